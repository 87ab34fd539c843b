# SPDX-License-Identifier: Apache-2.0
"""Activation tables by the documented formulas, the same on every machine (docs/spec/digital.md).

Entry i of a table belongs to the code i, or i - size in the upper half: 0, 1, ..., then the negative ones.
The entry is ``clip(half_even(f(code / 2^q_in) * 2^q_out))`` with f rounded to double precision first, as the
vendor's scripts compute it. A library's exp and tanh differ from machine to machine in their last bit; here f
is evaluated with 50 digits, far beyond the 17 of a double, and rounded once. Should 50 digits not tell which
double is nearest, the digits are doubled until they do.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, integer
from bittwin.activation import TABLE_SIZES
from bittwin.values import quantize

APPROXIMATIONS = ("tanh", "none")
_DIGITS = 50
_BEYOND = 28  # exp(-28^2) is below the smallest double
_EXPONENTS = 4 * 10**8  # what every build of the decimal module allows


def sigmoid(size: int = 256, *, q_in: int, q_out: int = 7, signed: bool = True) -> NDArray[Any]:
    """``clip(half_even(sigmoid(code / 2^q_in) * 2^q_out))``.

    Args:
        size: 256 or 1024 entries.
        q_in: fraction bits of the index, 0..15; a 1024-entry table's index counts half output codes, so it
            takes one bit more than the 256-entry table of the same function.
        q_out: fraction bits of the entries, 0..15.
        signed: int8 entries, -128..127; else uint8, 0..255.

    Returns:
        [size] int8 or uint8.

    Raises:
        ValueError: a parameter outside its range.

    >>> from bittwin import tables
    >>> tables.sigmoid(q_in=5)[[0, 1, 127, 128, 255]]
    array([ 64,  65, 126,   2,  63], dtype=int8)
    """
    return _table(_sigmoid, size, q_in, q_out, signed)


def tanh(size: int = 256, *, q_in: int, q_out: int = 7, signed: bool = True) -> NDArray[Any]:
    """``clip(half_even(tanh(code / 2^q_in) * 2^q_out))``; arguments as in `sigmoid`.

    >>> from bittwin import tables
    >>> tables.tanh(q_in=7)[[0, 1, 127, 128, 255]]
    array([ 0,  1, 97, -97, -1], dtype=int8)
    """
    return _table(_tanh, size, q_in, q_out, signed)


def gelu(
    size: int = 256,
    *,
    q_in: int,
    q_out: int,
    signed: bool = True,
    approximate: str = "tanh",
) -> NDArray[Any]:
    """``clip(half_even(gelu(code / 2^q_in) * 2^q_out))``; arguments as in `sigmoid`.

    ``approximate``: ``tanh``, ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`` (documented), or
    ``none``, the function itself.

    >>> from bittwin import tables
    >>> tables.gelu(q_in=5, q_out=5)[[0, 32, 127, 255]]
    array([  0,  27, 127,   0], dtype=int8)
    """
    exact = choice("approximate", approximate, APPROXIMATIONS) == "none"
    return _table(_gelu if exact else _gelu_tanh, size, q_in, q_out, signed)


def _table(
    function: Callable[[Decimal, Context], Decimal], size: Any, q_in: Any, q_out: Any, signed: Any
) -> NDArray[Any]:
    if integer("size", size, 256, 1024) not in TABLE_SIZES:
        raise ValueError(f"size: found {size}, wanted 256 or 1024")
    if not isinstance(signed, bool):
        raise TypeError(f"signed: found {signed!r}, wanted True or False")
    values = _values(function, int(size), integer("q_in", q_in, 0, 15))
    factor = float(1 << integer("q_out", q_out, 0, 15))
    return quantize(np.array(values), factor, bits=8, signed=signed, rounding="half_even")


@lru_cache(maxsize=32)
def _values(
    function: Callable[[Decimal, Context], Decimal], size: int, q_in: int
) -> tuple[float, ...]:
    codes = (*range(size // 2), *range(-size // 2, 0))
    return tuple(_nearest(function, Decimal(code) / (1 << q_in)) for code in codes)


def _nearest(function: Callable[[Decimal, Context], Decimal], x: Decimal) -> float:
    """The double nearest to f(x)."""
    digits = _DIGITS
    while True:
        with localcontext(Context(prec=digits, Emin=-_EXPONENTS, Emax=_EXPONENTS)) as context:
            y = function(x, context)
            error = abs(y).scaleb(12 - digits)  # the few operations lose a few digits, not 12
            low, high = float(y - error), float(y + error)
        if low == high:
            return low
        digits *= 2
        if digits > 16 * _DIGITS:
            raise ArithmeticError(f"table entry at {x}: {digits} digits do not decide its rounding")


def _sigmoid(x: Decimal, context: Context) -> Decimal:
    return 1 / (1 + context.exp(-x))


def _tanh(x: Decimal, context: Context) -> Decimal:
    if abs(x) < 1:  # the quotient below would cancel
        context.prec += 12
    grown = context.exp(2 * abs(x))
    return ((grown - 1) / (grown + 1)).copy_sign(x)


def _gelu_tanh(x: Decimal, context: Context) -> Decimal:
    inner = (2 / _pi(context.prec)).sqrt(context) * (x + Decimal("0.044715") * x**3)
    # 1 + tanh(t) = 2 / (1 + exp(-2 t)), without cancellation
    return x / (1 + context.exp(-2 * inner))


def _gelu(x: Decimal, context: Context) -> Decimal:
    return x / 2 * _erfc(-x / Decimal(2).sqrt(context), context)


@lru_cache(maxsize=64)
def _pi(digits: int) -> Decimal:
    """Machin: pi = 16 atan(1/5) - 4 atan(1/239)."""

    def atan_inverse(n: int) -> Decimal:
        power = total = Decimal(1) / n
        k = 1
        while abs(power) > Decimal(10) ** -(digits + 5):
            power /= -n * n
            k += 2
            total += power / k
        return total

    with localcontext(Context(prec=digits + 10)):
        return 16 * atan_inverse(5) - 4 * atan_inverse(239)


def _erfc(z: Decimal, context: Context) -> Decimal:
    """1 - erf(z) by erf's power series, with as many digits more as its terms and the difference cancel."""
    if z > _BEYOND:
        return context.exp(-z * z)  # above erfc, and its nearest double is already 0
    if z < -_BEYOND:
        return Decimal(2)
    context.prec += int(z * z) + 10
    term = total = z
    n = 0
    while abs(term) > Decimal(10) ** -context.prec:
        n += 1
        term = -term * z * z / n
        total += term / (2 * n + 1)
    return 1 - 2 * total / _pi(context.prec).sqrt(context)
