# SPDX-License-Identifier: Apache-2.0
"""From real inputs, weights and biases to codes, each with the mask of its straight-through gradient.

A mask is inclusive and taken on the scaled value *before* rounding: 255.0 passes, 255.01 does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import bittwin
from bittwin.compat.witin_nn.enums import HandleNegInType
from bittwin.compat.witin_nn.settings import Rules, Settings, code_limits
from bittwin.values import split_bias as share_bias

Reals = NDArray[Any]  # float32, or float64 in a layer made .double()
Codes = NDArray[Any]
Mask = NDArray[np.bool_]


class Quantized(NamedTuple):
    """Codes and which of them pass a gradient."""

    codes: Codes
    passes: Mask


@dataclass(frozen=True)
class Input:
    """A quantised input.

    Attributes:
        direct: codes; under PN those of the positive part, unsigned.
        mirrored: under PN the codes of the negative part, unsigned; else None.
        offset: what Shift added, in codes (a whole number).
    """

    direct: Quantized
    mirrored: Quantized | None = None
    offset: float = 0.0


def to_codes(scaled: Reals, bits: int, *, signed: bool) -> Codes:
    """Round half to even and saturate, by `bittwin.quantize`; a NaN becomes 0 (its outputs become NaN)."""
    if np.isnan(scaled).any():
        scaled = np.where(np.isnan(scaled), scaled.dtype.type(0), scaled)
    return bittwin.quantize(scaled, 1.0, bits=bits, signed=signed)


def quantize_input(x: Reals, scale: float, settings: Settings, rules: Rules) -> Input:
    """Input codes by the treatment of negative values."""
    bits, real = settings.x_bits, x.dtype.type
    scaled = x * real(scale)
    if rules.vpu or (rules.signed and settings.negative is HandleNegInType.FALSE):
        low, high = code_limits(bits)
        passes = (scaled >= low) & (scaled <= high)
        return Input(Quantized(to_codes(scaled, bits, signed=True), passes))
    high = (1 << bits) - 1
    if settings.negative is HandleNegInType.PN:
        # An input of exactly 0 is in neither half, so it passes no gradient.
        positive = Quantized(to_codes(scaled, bits, signed=False), (scaled > 0) & (scaled <= high))
        negative = Quantized(
            to_codes(-scaled, bits, signed=False), (scaled < 0) & (scaled >= -high)
        )
        return Input(positive, negative)
    offset = 0.0
    if settings.negative is HandleNegInType.Shift:
        limit = rules.shift_limit if rules.shift_limit is not None else 1 << bits
        # The product is taken in double and then rounded to the layer's precision.
        offset = float(np.clip(np.rint(real(settings.shift_num * scale)), 0, limit))
        scaled = scaled + real(offset)
    passes = (scaled >= 0) & (scaled <= high)
    return Input(Quantized(to_codes(scaled, bits, signed=False), passes), offset=offset)


def quantize_weight(
    weight: Reals, scale: float, settings: Settings, *, mirror: bool = False
) -> Quantized:
    """Weight codes, two's complement; `mirror`: of the negated weight.

    Negating comes before rounding and saturating: -128 becomes 127, and 128 becomes -128.
    """
    bits, real, limit = settings.weight_bits, weight.dtype.type, settings.w_clip
    scaled = (np.clip(weight, real(-limit), real(limit)) if limit else weight) * real(scale)
    if mirror:
        scaled = -scaled
    low, high = code_limits(bits)
    passes = (scaled >= low) & (scaled <= high)
    if limit:
        passes &= (weight >= real(-limit)) & (weight <= real(limit))
    return Quantized(to_codes(scaled, bits, signed=True), passes)


def quantize_bias(
    bias: Reals | None, scale_product: float, compensation: Reals | None, settings: Settings
) -> Quantized | None:
    """Array bias of one round, accumulator units; None: there is nothing to add.

    Args:
        bias: [out] real units, or None.
        scale_product: accumulator units per real unit.
        compensation: [out] what Shift added to the accumulators, or None.
        settings: for the number of bias rows.
    """
    if bias is None and compensation is None:
        return None
    if bias is None:
        assert compensation is not None
        wanted = -compensation
    else:
        # One rounding of the product: bias * scale_x * scale_weight in two steps is another number.
        wanted = bias * bias.dtype.type(scale_product)
        if compensation is not None:
            wanted = wanted - compensation
    count = wanted / wanted.dtype.type(128)
    return Quantized(_on_grid(wanted, settings), _fits_rows(count, settings))


class SplitBias(NamedTuple):
    """The two parts of a bias when the layer runs in two rounds."""

    array: Quantized
    digital: Reals  # [out] accumulator units, a multiple of 128, not limited


def split_bias(
    bias: Reals | None, scale_product: float, compensation: Reals, settings: Settings
) -> SplitBias:
    """Bias of the low and of the high round.

    ``bias_d`` moves from the array to the digital side. The bias is rounded to its grid before bias_d is
    taken out, and the sum is rounded again; the mask sees the rounded count.
    """
    dtype = compensation.dtype
    scale = dtype.type(scale_product)
    units = np.zeros_like(compensation) if bias is None else bias * scale
    array, digital = share_bias(units, settings.digital_bias(dtype) * scale, compensation)
    fits = _fits_rows(np.rint(array / dtype.type(128)), settings)
    return SplitBias(Quantized(_on_grid(array, settings), fits), digital)


def _on_grid(wanted: Reals, settings: Settings) -> NDArray[np.int32]:
    finite = np.where(np.isnan(wanted), wanted.dtype.type(0), wanted)
    return bittwin.quantize_bias(finite, rows=settings.bias_rows)


def _fits_rows(count: Reals, settings: Settings) -> Mask:
    passes: Mask = (count >= -128 * settings.bias_rows) & (count <= 127 * settings.bias_rows)
    return passes
