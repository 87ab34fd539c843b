# SPDX-License-Identifier: Apache-2.0
"""The digital operators once more, number by number, written from docs/spec/digital_training.md.

Exact fractions and integers; float32 only where the page names a float32 step. Scales are powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

F32 = np.float32


def half_even(v: Fraction) -> int:
    return round(v)  # Python's own rule on fractions


def half_up(v: Fraction) -> int:
    return math.floor(v + Fraction(1, 2))


def half_away(v: Fraction) -> int:
    return -half_up(-v) if v < 0 else half_up(v)


ROUNDINGS = {"half_even": half_even, "half_up": half_up, "half_away": half_away}


def sat(v: int, bits: int, unsigned: bool = False) -> int:
    low = 0 if unsigned else -(1 << (bits - 1))
    return min(max(v, low), (1 << (bits - (not unsigned))) - 1)


def code(x: float, scale: float, bits: int, unsigned: bool = False) -> int:
    return sat(half_even(Fraction(float(x)) * Fraction(scale)), bits, unsigned)


def out(v: float, scale: float, bits: int, unsigned: bool = False) -> int:
    """Of a float32 value."""
    return sat(half_even(Fraction(float(F32(v))) * Fraction(scale)), bits, unsigned)


def add(a: float, b: float, sa: float, sb: float, sy: float, bits: int, rounding: str) -> int:
    s = min(sa, sb)
    acc = code(a, s, bits) + code(b, s, bits)
    return sat(ROUNDINGS[rounding](Fraction(acc) / Fraction(s) * Fraction(sy)), bits)


def mul(a: float, b: float, sa: float, sb: float, sy: float, bits: int, rounding: str) -> int:
    acc = code(a, sa, bits) * code(b, sb, bits)
    return sat(ROUNDINGS[rounding](acc / Fraction(sa) / Fraction(sb) * Fraction(sy)), bits)


def divide(a: float, b: float, sa: float, sb: float, sy: float, bits: int) -> int:
    n, d = code(a, sa, bits), code(b, sb, bits)
    if d:
        # Only the float32 quotient's exact ties matter; n and d are small.
        v = Fraction(half_even(Fraction(n, d))) / Fraction(sa) * Fraction(sb)
    else:
        v = Fraction(math.copysign(8, n) if n else 0)
    v = min(max(v, Fraction(-8)), Fraction(8))
    return sat(half_even(v * Fraction(sy)), bits)


def matmul(
    a: Iterable[float], b: Iterable[float], sa: float, sb: float, sy: float, bits: int
) -> int:
    acc = sum(code(u, sa, bits) * code(v, sb, bits) for u, v in zip(a, b, strict=True))
    return out(F32(F32(acc) / F32(sa)) / F32(sb), sy, bits)


def sqrt(x: float, sx: float, sy: float, bits: int, shift: int) -> int:
    root = math.isqrt(code(x, sx, bits, True) << shift)
    return out(F32(root) / F32(2 ** (shift / 2)) / F32(math.sqrt(sx)), sy, bits, True)


def inv_sqrt(x: float, sx: float, sy: float, bits: int, shift: int) -> int:
    root = math.isqrt(code(x, sx, bits, True) << shift)
    v = F32(1) / F32(root) * F32(math.sqrt(sx * 2**shift)) if root else F32(0)
    return out(v, sy, bits, True)


def hypot(a: float, b: float, sx: float, sy: float, bits: int, shift: int) -> int:
    root = math.isqrt((code(a, sx, bits) ** 2 + code(b, sx, bits) ** 2) << shift)
    return out(F32(root) / F32(2 ** (shift / 2)) / F32(sx), sy, bits, True)


def mean_code(codes: list[int], sum_bits: int, rounding: str = "half_even") -> int:
    total = sat(sum(codes), sum_bits)
    return ROUNDINGS[rounding](Fraction(float(F32(total) / F32(len(codes)))))


def cln(
    xs: list[float], sx: float, sy: float, bits: int, shift: int, sum_bits: int, simple: bool
) -> list[int]:
    codes = [code(x, sx, bits) for x in xs]
    mu = 0 if simple else mean_code(codes, sum_bits)
    d = [c - mu for c in codes]
    root = math.isqrt(mean_code([v * v for v in d], sum_bits) << shift)
    inverse = F32(1) / F32(root) * F32(2 ** (shift / 2)) if root else F32(0)
    return [out(F32(v) * inverse, sy, bits) for v in d]
