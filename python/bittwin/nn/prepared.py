# SPDX-License-Identifier: Apache-2.0
"""Weights and biases as integers: made once per optimiser step, used by every forward until the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin import _core
from bittwin.bounds import prove_fits
from bittwin.nn.spec import LayerSpec
from bittwin.requant.limits import positive_float32
from bittwin.values import quantize, quantize_bias, split_bias


@dataclass(frozen=True, eq=False)
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
    """Bits, set where the unrounded weight code lies in its range; None: everywhere."""
    bias_inside: torch.Tensor | None
    """True where the unrounded bias count lies in its range; None: everywhere."""

    @cached_property
    def is_plain(self) -> bool:
        """Whether `backward.layer_gradients` may have the layer's gradients in one call."""
        spec = self.spec
        return (
            spec.op == "linear"
            and spec.x_bits == 8
            and spec.weight_bits <= 8
            and not spec.x_signed
            and spec.backward_dtype == "float32"
            and self.bias_inside is None
        )

    @cached_property
    def weight_address(self) -> int:
        """Where the codes lie."""
        return self.weight_codes.data_ptr()

    @cached_property
    def layer(self) -> _core.QatLayer:
        """Everything of the forward pass but its input, with weights arranged once for the kernel."""
        spec = self.spec
        return _core.QatLayer(
            spec.op,
            self.weight,
            self.bias,
            self.bias_digital,
            spec.geometry,
            (spec.codes_per_unit_x, spec.shift_codes),
            spec.x_limits,
            spec.pad_code if spec.op == "conv2d" else 0,
            spec.requant.core,
            spec.split_rule,
            spec.codes_per_unit_y,
        )


def prepare(spec: LayerSpec, weight: torch.Tensor, bias: torch.Tensor | None) -> Prepared:
    """Quantise weight and bias and prove that the accumulator fits INT32."""
    codes, inside, sums = _weight(spec, weight)
    array_bias, digital, bias_inside = _bias(spec, sums, _outputs(spec, codes), bias)
    low, top = (-255 if spec.x_signed else 0, 255) if spec.split else spec.x_limits
    prove_fits(f"layer {spec.name!r}", _columns(spec, codes), array_bias, low, top)
    return Prepared(
        spec=spec,
        weight=codes,
        bias=array_bias,
        bias_digital=digital,
        weight_codes=torch.from_numpy(codes),
        weight_inside=None if inside is None else torch.from_numpy(inside),
        bias_inside=None if bias_inside is None else torch.from_numpy(bias_inside),
    )


def _weight(
    spec: LayerSpec, weight: torch.Tensor
) -> tuple[NDArray[Any], NDArray[np.uint8] | None, NDArray[np.int64] | None]:
    """Codes, bits of what was inside, and for a shifted input every output's sum of codes."""
    real = np.ascontiguousarray(weight.detach().numpy())
    high = (1 << (spec.weight_bits - 1)) - 1
    codes = np.empty(real.shape, np.int8 if spec.weight_bits <= 8 else np.int16)
    # A shifted layer is no transposed convolution: its outputs are the first axis.
    sums = np.empty(real.shape[0], np.int64) if spec.shift_codes else None
    try:
        per_unit = positive_float32("codes_per_unit", spec.codes_per_unit_w)
        nan, inside = _core.qat_weight(
            real, per_unit, (-high - 1, high), codes, sums, torch.get_num_threads()
        )
        if nan:  # which this refuses, with its place
            quantize(real, per_unit, bits=spec.weight_bits, signed=True)
    except ValueError as error:
        raise ValueError(f"layer {spec.name!r}: weight: {error}") from None
    return codes, inside, sums


def _outputs(spec: LayerSpec, codes: NDArray[Any]) -> int:
    return int(codes.shape[1 if spec.op == "conv_transpose2d" else 0])


def _columns(spec: LayerSpec, codes: NDArray[Any]) -> NDArray[Any]:
    """The weight codes as [out, products per output]."""
    if spec.op == "conv_transpose2d":
        codes = np.ascontiguousarray(codes.transpose(1, 0, 2, 3))
    return codes.reshape(codes.shape[0], int(np.prod(codes.shape[1:])))


def _bias(
    spec: LayerSpec, sums: NDArray[np.int64] | None, outputs: int, bias: torch.Tensor | None
) -> tuple[NDArray[np.int32] | None, NDArray[np.int32] | None, NDArray[np.bool_] | None]:
    """Array part, digital part, and where the bias was not limited (None: everywhere)."""
    if bias is None and sums is None and not spec.bias_digital:
        return None, None, None
    real = np.zeros(outputs, np.float32) if bias is None else bias.detach().numpy()
    shift = None if sums is None else spec.shift_codes * sums
    # The tool's order: the product of the scales is rounded to float32 once.
    product = np.float32(spec.scale_product)
    if spec.split:
        if not np.isfinite(real).all():
            raise _not_finite(spec)
        moved = np.float32(spec.bias_digital) * product
        low, high = split_bias(real * product, moved, 0 if shift is None else shift)
        digital = high.astype(np.int32) if high.any() else None
        inside = (low >= -16384 * spec.bias_rows) & (low <= 16256 * spec.bias_rows)
        return quantize_bias(low, rows=spec.bias_rows), digital, None if inside.all() else inside
    codes = np.empty(outputs, np.int32)
    real = np.ascontiguousarray(real)
    finite, bits = _core.qat_bias(real, float(product), shift, spec.bias_rows, codes)
    if not finite:
        raise _not_finite(spec)
    if bits is None:
        return codes, None, None
    return codes, None, np.unpackbits(bits, count=outputs, bitorder="little").astype(np.bool_)


def _not_finite(spec: LayerSpec) -> ValueError:
    return ValueError(f"layer {spec.name!r}: bias: found NaN or infinity, wanted finite numbers")
