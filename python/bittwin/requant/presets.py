# SPDX-License-Identifier: Apache-2.0
"""The general two-stage rule and the parameter sets of other NPUs (docs/spec/requantize.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bittwin._check import integer
from bittwin.requant.limits import code_limits
from bittwin.requant.rule import PerChannel, Requant


def _tuple(value: PerChannel) -> tuple[int, ...]:
    if isinstance(value, np.ndarray):
        return tuple(value.reshape(-1).tolist()) if value.ndim <= 1 else (value,)
    return tuple(value) if isinstance(value, Sequence) else (value,)


def two_stage(
    *,
    multiplier: PerChannel = 1,
    shift1: PerChannel = 0,
    rounding1: str = "half_up",
    shift2: PerChannel = 0,
    rounding2: str = "half_up",
    lsh: PerChannel = 0,
    middle: str = "exact",
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
    rule: str = "two_stage",
) -> Requant:
    """The general two-stage integer requantiser, all parameters open.

    Args:
        multiplier: int32, one or one per output channel (so are lsh, shift1 and shift2).
        shift1: first right shift, 0..62, rounded by rounding1.
        rounding1: one of `ROUNDINGS`.
        shift2: second right shift, 0..62, rounded by rounding2.
        rounding2: one of `ROUNDINGS`.
        lsh: left shift of the accumulator first, 0..31; an accumulator it pushes out of int32 is refused.
        middle: between the stages: ``exact``, ``clip32`` or ``wrap16``.
        zero_point: added before the saturation.
        bits: width of the output code, 2..16.
        signed: two's complement codes, else 0..2^bits - 1.
        rule: the name to show.

    >>> import numpy as np
    >>> from bittwin import requantize, requant
    >>> requantize(np.array([100, -100], np.int32), requant.two_stage(multiplier=3, shift1=3))
    array([ 38, -37], dtype=int8)
    """
    lo, hi = code_limits(bits, signed)
    return Requant(
        rule=rule,
        lsh=_tuple(lsh),
        multiplier=_tuple(multiplier),
        shift1=_tuple(shift1),
        rounding1=rounding1,
        middle=middle,
        shift2=_tuple(shift2),
        rounding2=rounding2,
        zero_point=zero_point,
        lo=lo,
        hi=hi,
    )


def bm1684(shift: PerChannel, *, bits: int = 8, signed: bool = True) -> Requant:
    """BM1684 (TPU-MLIR), convolution and fully connected: a shift, half up."""
    return two_stage(rule="bm1684", shift1=shift, bits=bits, signed=signed)


def bm1684x_conv(
    multiplier: PerChannel,
    shift: PerChannel,
    *,
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
) -> Requant:
    """BM1684X, BM1688, BM1690 convolution: multiplier and shift, half up."""
    return two_stage(
        rule="bm1684x_conv",
        multiplier=multiplier,
        shift1=shift,
        zero_point=zero_point,
        bits=bits,
        signed=signed,
    )


def bm1684x_fc(
    multiplier: PerChannel,
    shift: PerChannel,
    *,
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
) -> Requant:
    """The same chips' fully connected layer as TPU-MLIR's interpreter computes it: half up."""
    return two_stage(
        rule="bm1684x_fc",
        multiplier=multiplier,
        shift1=shift,
        zero_point=zero_point,
        bits=bits,
        signed=signed,
    )


def bm1684x_fc_cmodel(
    multiplier: PerChannel,
    shift: PerChannel,
    *,
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
) -> Requant:
    """The same layer as TPU-MLIR's C-model computes it: half away. They differ on negative ties."""
    return two_stage(
        rule="bm1684x_fc_cmodel",
        multiplier=multiplier,
        shift1=shift,
        rounding1="half_away",
        zero_point=zero_point,
        bits=bits,
        signed=signed,
    )


def cv18xx(
    multiplier: PerChannel, shift: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """CV18xx: multiplier in [2^30, 2^31), 31 bits half up, clip to int32, then half away."""
    return two_stage(
        rule="cv18xx",
        multiplier=multiplier,
        shift1=31,
        middle="clip32",
        shift2=shift,
        rounding2="half_away",
        zero_point=zero_point,
        bits=bits,
    )


def _exponents(exponent: PerChannel) -> tuple[int, ...]:
    return tuple(integer("exponent", e, -31, 30) for e in _tuple(exponent))


def tflite_classic(
    multiplier: PerChannel, exponent: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """TFLite's gemmlowp rule: scale = multiplier / 2^31 * 2^exponent, half up and then half away."""
    e = _exponents(exponent)
    return two_stage(
        rule="tflite_classic",
        lsh=[max(v, 0) for v in e],
        multiplier=multiplier,
        shift1=31,
        middle="clip32",
        shift2=[max(-v, 0) for v in e],
        rounding2="half_away",
        zero_point=zero_point,
        bits=bits,
    )


def litert_ruy(
    multiplier: PerChannel, exponent: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """LiteRT's optimised kernels (ruy): half up in both stages."""
    e = _exponents(exponent)
    return two_stage(
        rule="litert_ruy",
        lsh=[max(v, 0) for v in e],
        multiplier=multiplier,
        shift1=31,
        middle="clip32",
        shift2=[max(-v, 0) for v in e],
        zero_point=zero_point,
        bits=bits,
    )


def litert_reference(
    multiplier: PerChannel, exponent: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """LiteRT's reference kernels: one shift by 31 - exponent, half away."""
    return two_stage(
        rule="litert_reference",
        multiplier=multiplier,
        shift1=[31 - v for v in _exponents(exponent)],
        rounding1="half_away",
        zero_point=zero_point,
        bits=bits,
    )
