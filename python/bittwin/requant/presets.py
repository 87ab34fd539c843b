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


def _one_shift(
    rule: str,
    multiplier: PerChannel,
    shift: PerChannel,
    rounding: str,
    zero_point: int,
    bits: int,
    signed: bool = True,
) -> Requant:
    return two_stage(
        rule=rule,
        multiplier=multiplier,
        shift1=shift,
        rounding1=rounding,
        zero_point=zero_point,
        bits=bits,
        signed=signed,
    )


def _high_product(
    rule: str,
    multiplier: PerChannel,
    lsh: PerChannel,
    shift: PerChannel,
    rounding: str,
    zero_point: int,
    bits: int,
) -> Requant:
    """The upper half of a 64-bit product, then a second shift."""
    return two_stage(
        rule=rule,
        lsh=lsh,
        multiplier=multiplier,
        shift1=31,
        middle="clip32",
        shift2=shift,
        rounding2=rounding,
        zero_point=zero_point,
        bits=bits,
    )


def _exponents(exponent: PerChannel) -> tuple[int, ...]:
    return tuple(integer("exponent", e, -31, 30) for e in _tuple(exponent))


def _both_ways(exponent: PerChannel) -> tuple[list[int], list[int]]:
    """An exponent as a left shift before the product and a right shift after it."""
    e = _exponents(exponent)
    return [max(v, 0) for v in e], [max(-v, 0) for v in e]


def bm1684(
    shift: PerChannel, *, zero_point: int = 0, bits: int = 8, signed: bool = True
) -> Requant:
    """BM1684, convolution and fully connected: a shift, half up.

    Args:
        shift: 0..62, one or one per output channel.
        zero_point: added before the saturation.
        bits: width of the output code, 2..16.
        signed: two's complement codes, else 0..2^bits - 1.

    Source: equal on recorded outputs of TPU-MLIR's interpreter and C-model (docs/spec/requantize.md).

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([96, -96], np.int32), requant.bm1684(6))
    array([ 2, -1], dtype=int8)
    """
    return _one_shift("bm1684", 1, shift, "half_up", zero_point, bits, signed)


def bm1684x_conv(
    multiplier: PerChannel,
    shift: PerChannel,
    *,
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
) -> Requant:
    """BM1684X, BM1688, BM1690 convolution: multiplier and shift, half up.

    Args:
        multiplier: int32, one or one per output channel.
        shift: 0..62, like multiplier.
        zero_point: added before the saturation.
        bits: width of the output code, 2..16.
        signed: two's complement codes, else 0..2^bits - 1.

    Source: equal on recorded outputs of TPU-MLIR's interpreter and C-models.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([[96, -96]], np.int32), requant.bm1684x_conv([1, 3], [6, 7]))
    array([[ 2, -2]], dtype=int8)
    """
    return _one_shift("bm1684x_conv", multiplier, shift, "half_up", zero_point, bits, signed)


def bm1684x_fc(
    multiplier: PerChannel,
    shift: PerChannel,
    *,
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
) -> Requant:
    """The same chips' fully connected layer as TPU-MLIR's interpreter computes it: half up.

    Arguments as `bm1684x_conv`. Source: equal on recorded outputs of the interpreter.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([96, -96], np.int32), requant.bm1684x_fc(1, 6))
    array([ 2, -1], dtype=int8)
    """
    return _one_shift("bm1684x_fc", multiplier, shift, "half_up", zero_point, bits, signed)


def bm1684x_fc_cmodel(
    multiplier: PerChannel,
    shift: PerChannel,
    *,
    zero_point: int = 0,
    bits: int = 8,
    signed: bool = True,
) -> Requant:
    """The same layer as TPU-MLIR's C-model computes it: half away. They differ on negative ties.

    Arguments as `bm1684x_conv`. Source: equal on recorded outputs of the C-model.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([96, -96], np.int32), requant.bm1684x_fc_cmodel(1, 6))
    array([ 2, -2], dtype=int8)
    """
    return _one_shift("bm1684x_fc_cmodel", multiplier, shift, "half_away", zero_point, bits, signed)


def cv18xx(
    multiplier: PerChannel, shift: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """CV18xx: 31 bits half up, clip to int32, then half away.

    Args:
        multiplier: in [2^30, 2^31), one or one per output channel.
        shift: 0..62, like multiplier.
        zero_point: added before the saturation.
        bits: width of the output code, 2..16.

    Source: equal on recorded outputs of TPU-MLIR's interpreter and C-model.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([1000, -1000], np.int32), requant.cv18xx(1493354624, 6))
    array([ 11, -11], dtype=int8)
    """
    return _high_product("cv18xx", multiplier, 0, shift, "half_away", zero_point, bits)


def tflite_classic(
    multiplier: PerChannel, exponent: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """TFLite's gemmlowp rule: half up, and then half away.

    Args:
        multiplier: int32, one or one per output channel; scale = multiplier / 2^31 * 2^exponent.
        exponent: -31..30, like multiplier.
        zero_point: added before the saturation.
        bits: width of the output code, 2..16.

    Source: the same parameter set as `cv18xx`, which is checked.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([1000, -1000], np.int32), requant.tflite_classic(1493354624, -6))
    array([ 11, -11], dtype=int8)
    """
    lsh, shift = _both_ways(exponent)
    return _high_product("tflite_classic", multiplier, lsh, shift, "half_away", zero_point, bits)


def litert_ruy(
    multiplier: PerChannel, exponent: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """LiteRT's optimised kernels (ruy): half up in both stages.

    Arguments as `tflite_classic`. Source: equal on 3 scales x 4096 accumulators of LiteRT 2.3.0.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([32, -32], np.int32), requant.litert_ruy(1 << 30, -5))
    array([1, 0], dtype=int8)
    """
    lsh, shift = _both_ways(exponent)
    return _high_product("litert_ruy", multiplier, lsh, shift, "half_up", zero_point, bits)


def litert_reference(
    multiplier: PerChannel, exponent: PerChannel, *, zero_point: int = 0, bits: int = 8
) -> Requant:
    """LiteRT's reference kernels: one shift by 31 - exponent, half away.

    Arguments as `tflite_classic`. Source: equal on 3 scales x 4096 accumulators of LiteRT 2.3.0.

    >>> import numpy as np
    >>> from bittwin import requant, requantize
    >>> requantize(np.array([32, -32], np.int32), requant.litert_reference(1 << 30, -5))
    array([ 1, -1], dtype=int8)
    """
    shift = [31 - v for v in _exponents(exponent)]
    return _one_shift("litert_reference", multiplier, shift, "half_away", zero_point, bits)
