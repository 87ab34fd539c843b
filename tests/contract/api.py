# SPDX-License-Identifier: Apache-2.0
"""The public API of bittwin, as an implementation of the contract."""

from __future__ import annotations

import numpy as np

import bittwin
from contract.implementation import Array, Geometry, Split, Stages


class PublicApi:
    """Everything through `bittwin.*`, the way a user calls it."""

    def two_stage(self, acc: Array, stages: Stages, high: Array | None = None) -> Array:
        requant = bittwin.Requant(
            rule="two_stage",
            lsh=tuple(stages.lsh),
            multiplier=tuple(stages.multiplier),
            shift1=tuple(stages.shift1),
            rounding1=stages.rounding1,
            middle=stages.middle,
            shift2=tuple(stages.shift2),
            rounding2=stages.rounding2,
            zero_point=stages.zero_point,
            lo=stages.lo,
            hi=stages.hi,
        )
        return bittwin.requantize(acc, requant, high=high)

    def readout(
        self, acc: Array, gain: int, bits: int, overflow: str, high: Array | None = None
    ) -> Array:
        requant = bittwin.readout(gain, bits=bits, overflow=overflow)
        return bittwin.requantize(acc, requant, high=high)

    def unsigned_store(self, acc: Array, gain: int, high: Array | None = None) -> Array:
        requant = bittwin.readout(gain, store="wrap_u8")
        return bittwin.requantize(acc, requant, high=high)

    def half_even(self, acc: Array, gain: int, bits: int, high: Array | None = None) -> Array:
        return bittwin.requantize(acc, bittwin.half_even(gain, bits=bits), high=high)

    def half_even_f32(
        self,
        acc: Array,
        scale_product: float,
        codes_per_unit: float,
        bits: int,
        high: Array | None = None,
    ) -> Array:
        requant = bittwin.half_even_f32(scale_product, codes_per_unit, bits=bits)
        return bittwin.requantize(acc, requant, high=high)

    def quantize_bias(self, bias: Array, rows: int) -> Array:
        return bittwin.quantize_bias(bias, rows=rows)

    def split_linear(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        bias_digital: Array | None,
        how: Split,
    ) -> Array:
        if how.rule == "half_even_f32":
            scales = (how.scale_product, how.codes_per_unit)
            requant = bittwin.half_even_f32(*scales, bits=how.bits)
        else:
            requant = bittwin.requant.by_name(how.rule, how.gain, bits=how.bits)
        return bittwin.split_linear(
            x,
            weight,
            bias,
            requant,
            x_bits=12,
            bias_digital=bias_digital,
            low_bits=0 if how.low_bits is None else how.low_bits,
            high_rounding=how.high_rounding,
        )

    def relu(self, code: Array, gain: int) -> Array:
        return bittwin.relu(code, gain)

    def clip(self, code: Array, limit: int) -> Array:
        return bittwin.clip(code, limit)

    def lookup(self, code: Array, table: Array) -> Array:
        return bittwin.lookup(code, table)

    def accumulate(self, x: Array, weight: Array, bias: Array | None, wrap: bool) -> Array:
        bits = 16 if x.dtype.itemsize == 2 else 8
        overflow = "wrap32" if wrap else "refuse"
        return bittwin.accumulate(x, weight, bias, overflow=overflow, x_bits=bits)

    def conv2d(self, x: Array, weight: Array, bias: Array | None, at: Geometry) -> Array:
        return bittwin.conv2d_accumulate(
            x,
            weight,
            bias,
            stride=at.stride,
            padding=at.padding,
            dilation=at.dilation,
            groups=at.groups,
        )

    def conv_transpose2d(self, x: Array, weight: Array, bias: Array | None, at: Geometry) -> Array:
        return bittwin.conv_transpose2d_accumulate(
            x,
            weight,
            bias,
            stride=at.stride,
            padding=at.padding,
            dilation=at.dilation,
            output_padding=at.output_padding,
        )

    def bound(self, weight: Array, bias: Array | None, x_lo: int, x_hi: int) -> tuple[int, int]:
        dtype = "uint8" if x_lo == 0 else "int8"
        assert (x_lo, x_hi) == (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        found = bittwin.accumulator_bound(weight, bias, x_dtype=dtype)
        return found.low, found.high
