# SPDX-License-Identifier: Apache-2.0
"""Ranges that several rules share."""

from __future__ import annotations

from typing import Any

from bittwin._check import integer


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
