# SPDX-License-Identifier: Apache-2.0
"""Weights and biases as integers: made once per optimiser step, used by every forward until the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.bounds import prove_fits
from bittwin.nn.spec import LayerSpec
from bittwin.values import quantize, quantize_bias, split_bias


@dataclass(frozen=True)
class Prepared:
    """A layer's integers and the masks that its gradients need."""

    spec: LayerSpec
    weight: NDArray[Any]
    """int8 or int16 codes in torch's layout."""
    bias: NDArray[np.int32] | None
    """int32 accumulator units: the bias, or the array part of a split layer's, shift taken out."""
    bias_digital: NDArray[np.int32] | None
    weight_codes: torch.Tensor
    """The same codes as a tensor."""
    weight_inside: torch.Tensor | None
    """True where the unrounded weight code lies in its range; None: everywhere."""
    bias_inside: torch.Tensor | None
    """True where the unrounded bias count lies in its range; None: everywhere."""


def prepare(spec: LayerSpec, weight: torch.Tensor, bias: torch.Tensor | None) -> Prepared:
    """Quantise weight and bias and prove that the accumulator fits INT32."""
    real = weight.detach().numpy()
    try:
        codes = quantize(real, spec.codes_per_unit_w, bits=spec.weight_bits, signed=True)
    except ValueError as error:
        raise ValueError(f"layer {spec.name!r}: weight: {error}") from None
    high = (1 << (spec.weight_bits - 1)) - 1
    scaled = real * np.float32(spec.codes_per_unit_w)
    inside = (scaled >= -high - 1) & (scaled <= high)
    columns = _columns(spec, codes)
    array_bias, digital, bias_inside = _bias(spec, columns, bias)
    low, top = (-255 if spec.x_signed else 0, 255) if spec.split else spec.x_limits
    prove_fits(f"layer {spec.name!r}", columns, array_bias, low, top)
    return Prepared(
        spec=spec,
        weight=codes,
        bias=array_bias,
        bias_digital=digital,
        weight_codes=torch.from_numpy(codes),
        weight_inside=None if inside.all() else torch.from_numpy(inside),
        bias_inside=None if bias_inside.all() else torch.from_numpy(bias_inside),
    )


def _columns(spec: LayerSpec, codes: NDArray[Any]) -> NDArray[Any]:
    """The weight codes as [out, products per output]."""
    if spec.op == "conv_transpose2d":
        codes = np.ascontiguousarray(codes.transpose(1, 0, 2, 3))
    return codes.reshape(codes.shape[0], int(np.prod(codes.shape[1:])))


def _bias(
    spec: LayerSpec, columns: NDArray[Any], bias: torch.Tensor | None
) -> tuple[NDArray[np.int32] | None, NDArray[np.int32] | None, NDArray[np.bool_]]:
    """Array part, digital part, and where the bias was not limited."""
    outputs = columns.shape[0]
    shift = spec.shift_codes * columns.sum(axis=1, dtype=np.int64)
    if bias is None and not spec.shift_codes and not spec.bias_digital:
        return None, None, np.ones(outputs, np.bool_)
    real = np.zeros(outputs, np.float32) if bias is None else bias.detach().numpy()
    if not np.isfinite(real).all():
        raise ValueError(f"layer {spec.name!r}: bias: found NaN or infinity, wanted finite numbers")
    # The tool's order: the product of the scales is rounded to float32 once.
    units = real * np.float32(spec.scale_product)
    if spec.split:
        moved = np.float32(spec.bias_digital) * np.float32(spec.scale_product)
        low, high = split_bias(units, moved, shift)
        digital = high.astype(np.int32) if high.any() else None
        return quantize_bias(low, rows=spec.bias_rows), digital, _inside(low, spec)
    total = (units - shift).astype(np.float32)
    return (
        quantize_bias(total, rows=spec.bias_rows),
        None,
        _inside(total, spec),
    )


def _inside(units: NDArray[Any], spec: LayerSpec) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (units >= -16384 * spec.bias_rows) & (
        units <= 16256 * spec.bias_rows
    )
    return inside
