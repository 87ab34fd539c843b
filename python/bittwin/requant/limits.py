# SPDX-License-Identifier: Apache-2.0
"""Ranges that several rules share."""

from __future__ import annotations

import math
from typing import Any

from bittwin._check import integer, positive_real


def code_limits(bits: int, signed: bool = True) -> tuple[int, int]:
    """Lowest and highest code of a width, 2..16 bits."""
    width = integer("bits", bits, 2, 16)
    return -(1 << (width - 1)) if signed else 0, (1 << (width - signed)) - 1


def log2_gain(gain: Any, low: int, high: int) -> int:
    """Exponent of a power-of-two gain in low..high."""
    value = integer("gain", gain, low, high)
    if value & (value - 1):
        raise ValueError(f"gain: found {value}, wanted a power of two in {low}..{high}")
    return value.bit_length() - 1


def power_of_two(name: str, value: Any, low: int, high: int) -> int:
    """Exponent of a number that must be a power of two from 2^low to 2^high."""
    mantissa, exponent = math.frexp(positive_real(name, value))
    if mantissa != 0.5 or not low <= exponent - 1 <= high:
        raise ValueError(f"{name}: found {value}, wanted a power of two from 2^{low} to 2^{high}")
    return exponent - 1


def positive_float32(name: str, value: Any) -> float:
    """A scale that stays a normal number above zero when it is rounded to float32."""
    number = positive_real(name, value)
    if not 2.0**-126 <= number <= 2.0**127:
        raise ValueError(f"{name}: found {value}, wanted a number from 2^-126 to 2^127")
    return number
