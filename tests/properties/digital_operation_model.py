# SPDX-License-Identifier: Apache-2.0
"""The digital operations once more: Python integers and fractions, one element at a time.

Written from docs/spec/digital.md. `fl32` is float32's rounding on exact fractions, so no float of this
machine takes part.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from bittwin.testing import oracle

DIGITS = Context(prec=80, Emin=-(10**6), Emax=10**6)


def fl32(value: Fraction) -> Fraction:
    """The nearest float32 number, ties to even; the tests keep away from overflow."""
    if value == 0:
        return value
    exponent = abs(value).numerator.bit_length() - value.denominator.bit_length() - 25
    while abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    exponent = max(exponent, -149)
    step = Fraction(2) ** exponent
    return round(value / step) * step  # round() of a fraction is half even


def exact(number: float) -> Fraction:
    """A float32 parameter as the fraction it stands for."""
    return fl32(Fraction(float(number)))


def shift(value: int, bits: int, mode: str) -> int:
    """SHIFT: negative bits shift right."""
    return value * 2**bits if bits >= 0 else oracle.round_fraction(Fraction(value, 2**-bits), mode)


def store(value: int, bits: int, overflow: str) -> int:
    if overflow == "wrap16":
        return int(oracle.wrap16(value))
    low, high = oracle.code_range(bits)
    return min(max(value, low), high)


def byte(value: Fraction, mode: str, dtype: str) -> int:
    """Round a float32 number and saturate it to a byte."""
    low, high = oracle.code_range(8, dtype == "int8")
    return min(max(oracle.round_fraction(value, mode), low), high)


def mean(cells: list[int], count: int) -> Fraction:
    return fl32(fl32(Fraction(sum(cells))) / count)


def average(cells: list[int], count: int, s_in: float, s_out: float) -> Fraction:
    return fl32(fl32(mean(cells, count) * exact(s_in)) / exact(s_out))


def batch_norm(x: int, gamma: float, beta: float, s_in: float, s_out: float) -> Fraction:
    scaled = fl32(fl32(Fraction(x) * exact(s_in)) * exact(gamma))
    return fl32(fl32(scaled + exact(beta)) / exact(s_out))


def exp(value: Fraction) -> Fraction:
    quotient = DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
    return fl32(Fraction(DIGITS.exp(quotient)))


def softmax(row: list[int], s_in: float, s_out: float) -> list[Fraction]:
    values = [fl32(x * exact(s_in)) for x in row]
    powers = [exp(fl32(v - max(values))) for v in values]
    total = Fraction(0)
    for power in powers:
        total = fl32(total + power)
    return [fl32(fl32(power / total) / exact(s_out)) for power in powers]


def sum_norm(row: list[int], s_in: float, s_out: float) -> list[Fraction] | None:
    values = [fl32(x * exact(s_in)) for x in row]
    total = Fraction(0)
    for value in values:
        total = fl32(total + value)
    return None if total == 0 else [fl32(fl32(v / total) / exact(s_out)) for v in values]


def root(value: Fraction) -> Fraction:
    quotient = DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
    return fl32(Fraction(DIGITS.sqrt(quotient)))


def group_norm(
    cells: list[int], alpha: list[float], beta: list[float], s_out: float, epsilon: float
) -> list[Fraction]:
    """One group of one frame; alpha and beta by cell."""
    n = len(cells)
    mu = fl32(Fraction(sum(cells), n))
    variance = fl32(Fraction(sum(x * x for x in cells), n) - Fraction(sum(cells), n) ** 2)
    sigma = root(fl32(variance + exact(epsilon)))
    return [
        fl32(fl32(fl32(fl32(exact(a) * fl32(x - mu)) / sigma) + exact(b)) / exact(s_out))
        for x, a, b in zip(cells, alpha, beta, strict=True)
    ]


def windows(
    picture: list[list[int]], kernel: Any, stride: Any, around: Any
) -> list[list[list[tuple[bool, int]]]]:
    """The cells of every window of one picture, each with whether it is a real one."""
    height, width = len(picture), len(picture[0])
    top, left, bottom, right = around
    rows = (height + top + bottom - kernel[0]) // stride[0] + 1
    columns = (width + left + right - kernel[1]) // stride[1] + 1

    def cell(i: int, j: int) -> tuple[bool, int]:
        inside = 0 <= i < height and 0 <= j < width
        return inside, picture[i][j] if inside else 0

    return [
        [
            [
                cell(r * stride[0] - top + i, c * stride[1] - left + j)
                for i in range(kernel[0])
                for j in range(kernel[1])
            ]
            for c in range(columns)
        ]
        for r in range(rows)
    ]


def signed_byte(value: int) -> int:
    return value - 256 if value > 127 else value


def round_unit_max(cells: list[int]) -> int:
    """The C-model's maximum of a round: the next byte is read unsigned, the current one signed."""
    current = cells[0]
    for cell in cells[1:]:
        if cell % 256 > current:
            current = signed_byte(cell % 256)
    return current


def pn_split(row: list[int], count: int) -> list[int]:
    n = max(count, 0)
    head, rest = row[:n], row[n:]
    return [max(v, 0) for v in head] + [v + 128 for v in rest] + [max(-v, 0) for v in head]


def sigmoid_entry(code: int, q_in: int, q_out: int) -> Decimal:
    return DIGITS.divide(Decimal(2**q_out), 1 + DIGITS.exp(Decimal(-code) / 2**q_in))
