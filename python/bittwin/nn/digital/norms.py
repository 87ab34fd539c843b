# SPDX-License-Identifier: Apache-2.0
"""Mean, batch normalisation, cumulative layer normalisation (docs/spec/digital_training.md, "Reductions")."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bittwin.nn.digital.quantizers import (
    Limits,
    Unrounded,
    clip,
    nearest,
    over,
    quantize,
    saturate,
)
from bittwin.nn.digital.roots import reciprocal, shifted_root

#: Most numbers that one mean may take in.
LONGEST = 4096


def reduced(shape: torch.Size, dims: tuple[int, ...]) -> int:
    """How many numbers a reduction over `dims` takes in.

    >>> import torch
    >>> from bittwin.nn.digital.norms import reduced
    >>> reduced(torch.Size([2, 3, 4]), (0, 2))
    8
    """
    return math.prod(shape[d] for d in dims)


def mean_codes(
    codes: Tensor, dims: tuple[int, ...], sum_limits: Limits, rounding: str = "half_even"
) -> Tensor:
    """``round(saturate(sum) / N)`` of codes along `dims`, which stay with length 1."""
    total = saturate(codes.sum(dims, keepdim=True, dtype=torch.float64), sum_limits)
    return nearest(over(total.to(codes.dtype), reduced(codes.shape, dims)), rounding)


def mean(
    x: Tensor,
    codes_per_unit: float,
    limits: Limits,
    dims: tuple[int, ...],
    sum_limits: Limits,
    *,
    keepdim: bool,
    rounding: str = "half_even",
) -> Tensor:
    """The mean of the codes as a code of the same scale; `dims` all different and not negative."""
    y = mean_codes(quantize(x, codes_per_unit, limits), dims, sum_limits, rounding)
    return y if keepdim else y.reshape([n for d, n in enumerate(y.shape) if d not in dims])


class Folded(NamedTuple):
    """A batch normalisation as factor and offset of each channel, real units."""

    factor: Tensor
    offset: Tensor


def fold_norm(mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Folded:
    """``weight / sd`` and ``bias - (mean * weight) / sd``, ``sd = sqrt(var + eps)`` correctly rounded."""
    deviation = correct_sqrt(var + eps)
    return Folded(weight / deviation, bias - (mean * weight) / deviation)


def correct_sqrt(x: Tensor) -> Tensor:
    """Square root, correctly rounded, which `torch.sqrt` is not everywhere."""
    return torch.sqrt(x.double()).to(x.dtype)


def factor_and_offset(
    x: Tensor,
    x_scale: float,
    x_limits: Limits,
    folded: Folded,
    w_scale: float,
    w_limits: Limits,
    offset_limits: Limits,
) -> Unrounded:
    """``x codes * factor codes + offset codes``, the offset in accumulator units; channels on axis 1."""
    units = x_scale * w_scale
    factor = quantize(folded.factor, w_scale, w_limits)
    offset = quantize(folded.offset, units, offset_limits)
    acc = quantize(x, x_scale, x_limits) * _channels(factor) + _channels(offset)
    return Unrounded(acc, units)


def standardize(
    x: Tensor, mean: Tensor, var: Tensor, eps: float, codes_per_unit: float, limits: Limits
) -> Unrounded:
    """A normalisation without weight: mean and deviation become codes, eps is in code units."""
    centre = quantize(mean, codes_per_unit, limits)
    deviation = quantize(correct_sqrt(var), codes_per_unit, limits) + eps
    codes = quantize(x, codes_per_unit, limits)
    return Unrounded((codes - _channels(centre)) / _channels(deviation))


def _channels(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def layer_norm(
    x: Tensor,
    codes_per_unit: float,
    limits: Limits,
    shift_bits: int,
    sum_limits: Limits,
    *,
    simple: bool = False,
    limit: float | None = None,
) -> Unrounded:
    """[b, c, t, f] normalised over c and f: ``d * (fl(1 / I) * 2^(shift_bits / 2))``, 0 where I is 0.

    mu = the mean of the codes, d = codes - mu, var = the mean of d^2, I = floor(sqrt(var * 2^shift_bits));
    `simple` leaves the mean out.
    """
    d = quantize(x, codes_per_unit, limits)
    if not simple:
        d = d - mean_codes(d, (1, 3), sum_limits)
    variance = mean_codes(d * d, (1, 3), sum_limits)
    inverse = reciprocal(shifted_root(variance, shift_bits)) * 2.0 ** (shift_bits / 2)
    return Unrounded(clip(d * inverse, limit))


def float_layer_norm(x: Tensor, *, simple: bool = False) -> Tensor:
    """The same in real numbers, 0 where the variance is 0."""
    d = x if simple else x - x.mean((1, 3), keepdim=True)
    variance = (d * d).mean((1, 3), keepdim=True)
    positive = variance > 0
    inverse = 1 / torch.sqrt(torch.where(positive, variance, 1))
    return torch.where(positive, d * inverse, 0)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of [N, C, H, W]."""
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
