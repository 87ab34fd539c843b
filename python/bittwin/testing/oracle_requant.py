# SPDX-License-Identifier: Apache-2.0
"""Big-integer oracle: from accumulators to output codes.

`readout` is written from the definition in the datapath chapter (a division that drops the
fraction toward zero, then add half and drop two bits), `two_stage` from the general pipeline, so
that the one checks the claim that it is a special case of the other.

All functions broadcast: every argument but the named choices may be an integer or an array.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from bittwin.testing._elementwise import Integers, apply
from bittwin.testing.oracle_rounding import (
    code_range,
    round_fraction,
    round_shift,
    wrap16,
)

READOUT_GAINS: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
"""The gains the converter's register can hold."""


def two_stage(
    acc: Integers,
    lsh: Integers,
    mult: Integers,
    sh1: Integers,
    r1: str,
    sh2: Integers,
    r2: str,
    zero_point: Integers,
    lo: int,
    hi: int,
    *,
    middle: tuple[int, int] | str | None = None,
    high: Integers = 0,
    low_clamp: tuple[int, int] | None = None,
) -> Any:
    """Requantise with the general two-stage integer pipeline.

    `v = (acc << lsh) * mult`, `v = R1(v >> sh1)`, the middle limit, `v = R2(v >> sh2)`, the
    optional low clamp, `y = clip(v + high + zero_point, lo, hi)`.

    Args:
        acc: accumulators.
        lsh: left shift of the accumulator, 0 or more.
        mult: multiplier.
        sh1: first shift.
        r1: its rounding.
        sh2: second shift.
        r2: its rounding.
        zero_point: added before the one clamp.
        lo: lowest output code.
        hi: highest output code.
        middle: what happens between the stages: None, limits, or "wrap16".
        high: digital part in output units, added before the one clamp.
        low_clamp: limits of the rounded code before the digital part is added, or None.

    Returns:
        An int for ints, else an int64 array.

    Raises:
        ValueError: `acc << lsh` does not fit int32, or a choice is unknown.

    >>> two_stage(-5568, 0, 1, 6, "toward_zero", 2, "half_up", 0, -128, 127)
    -22
    """
    if isinstance(middle, str) and middle != "wrap16":
        raise ValueError(f"middle: found {middle!r}, wanted None, a pair of limits or 'wrap16'")

    def one(a: int, left: int, m: int, s1: int, s2: int, z: int, digital: int) -> int:
        if left < 0:
            raise ValueError(f"lsh: found {left}, wanted 0 or more")
        shifted = a * 2**left
        if not -(2**31) <= shifted < 2**31:
            raise ValueError(f"acc << lsh: found {shifted}, wanted a number that fits int32")
        v = round_shift(shifted * m, s1, r1)
        if middle == "wrap16":
            v = wrap16(v)
        elif middle is not None:
            v = min(max(v, int(middle[0])), int(middle[1]))
        v = round_shift(v, s2, r2)
        if low_clamp is not None:
            v = min(max(v, low_clamp[0]), low_clamp[1])
        return int(min(max(v + digital + z, lo), hi))

    return apply(one, acc=acc, lsh=lsh, mult=mult, sh1=sh1, sh2=sh2, zero_point=zero_point,
                 high=high)  # fmt: skip


def _divide_toward_zero(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


def converter_code(acc: Integers, gain: int, overflow: str = "saturate") -> Any:
    """Compute the converter's code t, two bits finer than the output: `acc/(gain/4)` toward zero.

    Args:
        acc: accumulators.
        gain: accumulator units per output code, one of `READOUT_GAINS`.
        overflow: "saturate" keeps t exact (the clamp comes at the end), "wrap16" keeps 16 bits.

    >>> converter_code(-191, 256), converter_code(-192, 256)
    (-2, -3)
    """
    if gain not in READOUT_GAINS:
        raise ValueError(f"gain: found {gain}, wanted a power of two in 256..32768")
    if overflow not in ("saturate", "wrap16"):
        raise ValueError(f"overflow: found {overflow!r}, wanted 'saturate' or 'wrap16'")
    quarter = gain // 4

    def one(a: int) -> int:
        t = _divide_toward_zero(a, quarter)
        return t if overflow == "saturate" else int(wrap16(t))

    return apply(one, acc=acc)


def rounded_code(acc: Integers, gain: int, overflow: str = "saturate") -> Any:
    """Compute the readout's code before any clamp: `(t + 2) >> 2`.

    >>> rounded_code(60000, 256)
    234
    """
    return apply(lambda t: (t + 2) // 4, t=converter_code(acc, gain, overflow))


def readout(
    acc: Integers, gain: int, bits: int = 8, overflow: str = "saturate", high: Integers = 0
) -> Any:
    """Turn accumulators into output codes the way the array's readout does.

    Positive accumulators round half up; negative ones step at -0.75, -1.75, ... of a code.

    Args:
        acc: accumulators.
        gain: accumulator units per output code, a power of two in 256..32768.
        bits: width of the output.
        overflow: "saturate", or "wrap16" for the chip model's 16-bit converter code.
        high: digital part in output units, added before the one clamp.

    Returns:
        An int for ints, else an int64 array.

    >>> [readout(acc, 256) for acc in (127, 128, -128, -191, -192, -5568)]
    [0, 1, 0, 0, -1, -22]
    """
    lo, hi = code_range(bits)
    code = rounded_code(acc, gain, overflow)
    return apply(lambda c, digital: min(max(c + digital, lo), hi), acc=code, high=high)


def one_stage(
    acc: Integers, gain: int | Fraction, rounding: str, bits: int = 8, high: Integers = 0
) -> Any:
    """Round `acc / gain` once with a named rounding, add the digital part, saturate.

    >>> one_stage(-384, 256, "half_away"), one_stage(-384, 256, "half_up")
    (-2, -1)
    """
    if gain <= 0:
        raise ValueError(f"gain: found {gain}, wanted a positive number")
    lo, hi = code_range(bits)

    def one(a: int, digital: int) -> int:
        return min(max(round_fraction(Fraction(a) / gain, rounding) + digital, lo), hi)

    return apply(one, acc=acc, high=high)


def half_even(acc: Integers, gain: int | Fraction, bits: int = 8, high: Integers = 0) -> Any:
    """Turn accumulators into output codes the way the training tool does: ties to even.

    >>> [half_even(acc, 256) for acc in (128, 384, -128, -192)]
    [0, 2, 0, -1]
    """
    if gain <= 0:
        raise ValueError(f"gain: found {gain}, wanted a positive number")
    lo, hi = code_range(bits)

    def one(a: int, digital: int) -> int:
        # Python's own round() of a Fraction is exact and takes ties to even.
        return min(max(round(Fraction(a) / gain) + digital, lo), hi)

    return apply(one, acc=acc, high=high)


def _check_scale(value: float, name: str) -> np.float32:
    with np.errstate(over="ignore", under="ignore"):
        single: np.float32 = np.float32(value)
    if not np.isfinite(single) or single <= 0:
        raise ValueError(f"{name}: found {value}, wanted a positive float32 number")
    return single


def half_even_f32(
    acc: Integers,
    scale_product: float,
    codes_per_unit: float,
    bits: int = 8,
    high: Integers = 0,
) -> Any:
    """Turn accumulators into output codes in the training tool's float32 order.

    `rne(fl32(fl32(fl32(acc) / fl32(scale_product)) * fl32(codes_per_unit)))`, saturated: two
    float32 operations, each rounded once.

    Args:
        acc: accumulators.
        scale_product: accumulator units per real unit (input scale x weight scale x g).
        codes_per_unit: output codes per real unit.
        bits: width of the output.
        high: digital part in output units, added before the clamp.

    >>> half_even_f32(1000, 300.0, 7.0)
    23
    """
    divisor = _check_scale(scale_product, "scale_product")
    factor = _check_scale(codes_per_unit, "codes_per_unit")
    lo, hi = code_range(bits)

    def one(a: int, digital: int) -> int:
        with np.errstate(over="ignore", under="ignore"):
            value = float((np.float32(a) / divisor) * factor)
        if math.isinf(value):
            return hi if value > 0 else lo
        return min(max(round(value) + digital, lo), hi)

    return apply(one, acc=acc, high=high)
