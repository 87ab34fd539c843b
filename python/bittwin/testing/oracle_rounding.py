# SPDX-License-Identifier: Apache-2.0
"""Big-integer oracle: roundings, wrapping, saturation and the quantisers.

Written from docs/spec and from nothing else; it shares no line with the kernels.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from bittwin.testing._elementwise import Integers, apply, pack

ROUNDINGS: tuple[str, ...] = (
    "half_even",
    "half_up",
    "half_away",
    "half_down",
    "half_to_zero",
    "half_to_odd",
    "toward_zero",
    "away",
    "floor",
    "ceil",
)
"""Every rounding the oracle knows, by name."""


def _check_mode(mode: str) -> None:
    if mode not in ROUNDINGS:
        raise ValueError(f"mode: found {mode!r}, wanted one of {', '.join(ROUNDINGS)}")


def _round_shift(v: int, n: int, mode: str) -> int:
    if n <= 0:
        return v * (1 << -n)
    q, r = divmod(v, 1 << n)  # Python's divmod floors, so 0 <= r < 2^n for negative v too
    h = 1 << (n - 1)
    step = {
        "half_even": r > h or (r == h and q % 2 == 1),
        "half_up": r >= h,
        "half_away": r >= h if v >= 0 else r > h,
        "half_down": r > h,
        "half_to_zero": r > h if v >= 0 else r >= h,
        "half_to_odd": r > h or (r == h and q % 2 == 0),
        "toward_zero": v < 0 and r != 0,
        "away": v > 0 and r != 0,
        "floor": False,
        "ceil": r != 0,
    }[mode]
    return q + int(step)


def round_shift(v: Integers, n: Integers, mode: str) -> Any:
    """Divide by a power of two with a named rounding: `v / 2^n`.

    Args:
        v: an integer of any size, or an array of integers.
        n: the shift; zero or less shifts left by -n, exactly.
        mode: one of `ROUNDINGS`.

    Returns:
        An int for ints, else an int64 array of the broadcast shape.

    Raises:
        ValueError: the mode is not known.

    >>> [round_shift(v, 1, "half_even") for v in (-5, -3, -1, 1, 3, 5)]
    [-2, -2, 0, 0, 2, 2]
    >>> [round_shift(v, 1, "half_up") for v in (-5, -3, -1, 1, 3, 5)]
    [-2, -1, 0, 1, 2, 3]
    >>> round_shift(3, -2, "floor")
    12
    """
    _check_mode(mode)
    return apply(lambda a, b: _round_shift(a, b, mode), v=v, n=n)


def round_fraction(value: Fraction, mode: str) -> int:
    """Round one exact fraction to an integer with a named rounding.

    A second way to the same ten rules, from distances instead of remainders; the tests hold it
    against `round_shift`.

    >>> round_fraction(Fraction(-3, 2), "half_to_zero"), round_fraction(Fraction(-3, 2), "away")
    (-1, -2)
    """
    _check_mode(mode)
    below, above = math.floor(value), math.ceil(value)
    inward, outward = (below, above) if value >= 0 else (above, below)
    to_even, to_odd = (below, above) if below % 2 == 0 else (above, below)
    directed = {"floor": below, "ceil": above, "toward_zero": inward, "away": outward}
    if mode in directed:
        return directed[mode]
    if below == above or value - below < above - value:
        return below
    if value - below > above - value:
        return above
    return {
        "half_even": to_even,
        "half_to_odd": to_odd,
        "half_up": above,
        "half_down": below,
        "half_away": outward,
        "half_to_zero": inward,
    }[mode]


def _wrap(v: int, bits: int) -> int:
    rest = v % (1 << bits)
    return rest - (1 << bits) if rest >= 1 << (bits - 1) else rest


def wrap8(v: Integers) -> Any:
    """Keep the low 8 bits, as a signed number: 200 becomes -56.

    >>> wrap8(200)
    -56
    """
    return apply(lambda a: _wrap(a, 8), v=v)


def wrap16(v: Integers) -> Any:
    """Keep the low 16 bits, as a signed number.

    >>> wrap16(32768), wrap16(-32769)
    (-32768, 32767)
    """
    return apply(lambda a: _wrap(a, 16), v=v)


def wrap32(v: Integers) -> Any:
    """Keep the low 32 bits, as a signed number.

    >>> wrap32(2**31), wrap32(-(2**31) - 1)
    (-2147483648, 2147483647)
    """
    return apply(lambda a: _wrap(a, 32), v=v)


def code_range(bits: int, signed: bool = True) -> tuple[int, int]:
    """Lowest and highest code of a width.

    >>> code_range(8), code_range(12, signed=False)
    ((-128, 127), (0, 4095))
    """
    if bits < 1:
        raise ValueError(f"bits: found {bits}, wanted at least 1")
    half = 1 << (bits - 1)
    return (-half, half - 1) if signed else (0, 2 * half - 1)


def saturate(v: Integers, lo: Integers, hi: Integers) -> Any:
    """Clamp to lo..hi, both inclusive.

    >>> saturate(300, -128, 127)
    127
    """
    return apply(lambda a, b, c: b if a < b else c if a > c else a, v=v, lo=lo, hi=hi)


def _product(value: Any, factor: float) -> float:
    """One multiplication in the array's own precision, as the training tool does it."""
    if isinstance(value, np.float32):
        return float(value * np.float32(factor))
    return float(value) * float(factor)


def _round_float(value: float, mode: str, lo: int, hi: int, name: str) -> int:
    if math.isnan(value):
        raise ValueError(f"{name}: found NaN, wanted a number")
    if math.isinf(value):
        return hi if value > 0 else lo
    return min(max(round_fraction(Fraction(value), mode), lo), hi)


def quantize(
    values: Any, codes_per_unit: float, *, bits: int, signed: bool, rounding: str = "half_even"
) -> Any:
    """Turn values into codes: multiply, round, saturate.

    Args:
        values: a float, or an array. A float32 array is multiplied in float32 (one rounding, as
            the training tool does), anything else in float64.
        codes_per_unit: codes per value, the inverse of the field's scale.
        bits: width of the codes.
        signed: whether the codes are signed.
        rounding: one of `ROUNDINGS`.

    Returns:
        An int for a float, else an int64 array of the same shape. Infinities saturate.

    Raises:
        ValueError: NaN, or an unknown rounding.

    >>> quantize(np.array([0.5, 1.5, 2.5, 300.0]), 1, bits=8, signed=False)
    array([  0,   2,   2, 255])
    """
    lo, hi = code_range(bits, signed)
    array = np.asarray(values)
    codes = [
        _round_float(_product(value, codes_per_unit), rounding, lo, hi, "values")
        for value in array.reshape(-1)
    ]
    return codes[0] if array.ndim == 0 else pack(codes, array.shape)


def quantize_bias(bias: Any, codes_per_unit: float = 1, *, rows: int) -> Any:
    """Turn biases into what `rows` bias rows can hold: a multiple of 128, limited by the rows.

    Each bias row is driven with the constant 128 and holds an int8 code per column, so the count
    of 128s goes from -128*rows to 127*rows.

    Args:
        bias: integers (taken exactly), or floats: float32 is multiplied in float32.
        codes_per_unit: accumulator units per unit of the bias.
        rows: number of bias rows.

    Returns:
        The bias in accumulator units; an int for a number, else an int64 array.

    >>> [quantize_bias(b, rows=1) for b in (64, 65, 192, -20000)]
    [0, 128, 256, -16384]
    """
    if rows < 1:
        raise ValueError(f"rows: found {rows}, wanted at least 1")
    array = np.asarray(bias)
    result = []
    for value in array.reshape(-1):
        if isinstance(value, (np.integer, int)) and codes_per_unit == 1:
            count = round(Fraction(int(value), 128))
        elif math.isfinite(units := _product(value, codes_per_unit)):
            count = round(Fraction(units) / 128)
        else:
            count = _round_float(units, "half_even", -128 * rows, 127 * rows, "bias")
        result.append(128 * min(max(count, -128 * rows), 127 * rows))
    return result[0] if array.ndim == 0 else pack(result, array.shape)
