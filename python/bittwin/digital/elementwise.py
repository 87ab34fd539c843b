# SPDX-License-Identifier: Apache-2.0
"""Add, multiply, scale, mask: the chip's digital operations on codes (docs/spec/digital.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, integer
from bittwin.digital._rules import OPERAND_DTYPES, operands, shifted

SCALAR_OPS = ("mul", "add")
MASKS = ("twos_complement", "magnitude")


def add(
    a: NDArray[Any],
    b: NDArray[Any],
    shift_bit: int = 0,
    *,
    bits: int = 8,
    rounding: str = "half_up",
    overflow: str = "saturate",
    broadcast: str = "chip",
) -> NDArray[Any]:
    """``saturate(SHIFT(a + b, shift_bit))``.

    Args:
        a: int8, uint8 or int16 codes, any shape.
        b: like a: equal shape, one number, one number per frame (``[frames, 1, ...]``), or one frame for
            all frames.
        shift_bit: -31..15; negative shifts right with `rounding`, positive shifts left.
        bits: width of the result, 8 or 16.
        rounding: of the right shift, one of `bittwin.requant.ROUNDINGS`.
        overflow: ``saturate``, or ``wrap16`` with 16 bits.
        broadcast: ``chip``, or ``numpy``: any shapes that numpy broadcasts.

    Returns:
        int8 or int16 codes.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not go together, a parameter outside its range.

    Source: measured on the C-model (20 recorded cases; docs/spec/digital.md).

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.add(np.array([100, 3, -3], np.int8), np.array([100, 0, 0], np.int8), -1)
    array([100,   2,  -1], dtype=int8)
    """
    left, right, shape = operands(a, b, broadcast)
    acc = np.add(left, right, out=np.empty(shape, np.int32))
    return shifted(acc, shift_bit, bits=bits, rounding=rounding, overflow=overflow)


def mul(
    a: NDArray[Any],
    b: NDArray[Any],
    shift_bit: int = 0,
    *,
    bits: int = 8,
    rounding: str = "half_up",
    overflow: str | None = None,
    broadcast: str = "chip",
) -> NDArray[Any]:
    """``SHIFT(a * b, shift_bit)``, saturated to 8 bits or wrapped to 16.

    Args:
        a: int8, uint8 or int16 codes, any shape.
        b: like a; shapes as in `add`.
        shift_bit: as in `add`.
        bits: width of the result, 8 or 16.
        rounding: of the right shift.
        overflow: ``saturate`` or, with 16 bits, ``wrap16``; None: as measured, 8 bits saturate and 16 wrap.
        broadcast: as in `add`.

    Returns:
        int8 or int16 codes.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not go together, a parameter outside its range.

    Source: measured on the C-model (14 recorded cases; docs/spec/digital.md).

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.mul(np.array([-128, 96], np.int8), np.array([-128, 2], np.int8), -7)
    array([127,   2], dtype=int8)
    >>> digital.mul(np.array([-128], np.int8), np.array([-128], np.int8), 1, bits=16)
    array([-32768], dtype=int16)
    """
    left, right, shape = operands(a, b, broadcast)
    acc = np.multiply(left, right, out=np.empty(shape, np.int32))
    store = ("wrap16" if bits == 16 else "saturate") if overflow is None else overflow
    return shifted(acc, shift_bit, bits=bits, rounding=rounding, overflow=store)


def scale(
    x: NDArray[Any], factor: float, *, bits: int = 8, rounding: str = "half_up"
) -> NDArray[Any]:
    """``saturate(x * factor)``; the factor is 2^-n (a rounded right shift) or an integer.

    Args:
        x: int8, uint8 or int16 codes, any shape.
        factor: 2^-n with n 0..13, or an integer in -128..127.
        bits: width of the result, 8 or 16.
        rounding: of the right shift; inferred (docs/spec/digital.md).

    Returns:
        int8 or int16 codes.

    Raises:
        TypeError: a wrong dtype, or a factor that is no number.
        ValueError: a factor that is neither.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.scale(np.array([-3, 3, 100], np.int8), 0.5)
    array([-1,  2, 50], dtype=int8)
    >>> digital.scale(np.array([-3, 3, 100], np.int8), 3)
    array([ -9,   9, 127], dtype=int8)
    """
    codes = dense_array("x", x, OPERAND_DTYPES).astype(np.int32)
    multiplier, shift_bit = scale_factor(factor)
    return shifted(codes, shift_bit, multiplier=multiplier, bits=bits, rounding=rounding)


def scale_factor(factor: Any) -> tuple[int, int]:
    """A Scale's factor as (multiplier, shift_bit)."""
    if isinstance(factor, bool | np.bool_) or not isinstance(
        factor, int | float | np.integer | np.floating
    ):
        raise TypeError(
            f"factor: found {factor!r} ({type(factor).__name__}), wanted a number: 2^-n or an integer"
        )
    number = float(factor)
    if number.is_integer() and -128 <= number <= 127:
        return int(number), 0
    for n in range(1, 14):
        if number == 2.0**-n:
            return 1, -n
    raise ValueError(
        f"factor: found {factor}, wanted 2^-n with n in 0..13, or an integer in -128..127"
    )


def scalar(
    x: NDArray[Any],
    number: int,
    shift_bit: int = 0,
    *,
    op: str = "mul",
    bits: int = 8,
    rounding: str = "half_up",
) -> NDArray[Any]:
    """``saturate(SHIFT(x * number, shift_bit))`` or ``saturate(SHIFT(x + number, shift_bit))``.

    Args:
        x: int8, uint8 or int16 codes, any shape.
        number: -32768..32767.
        shift_bit: -31..15 as in `add`; after the product or sum (inferred).
        op: ``mul`` or ``add``.
        bits: width of the result, 8 or 16.
        rounding: of the right shift; inferred.

    Returns:
        int8 or int16 codes.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a parameter outside its range.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.scalar(np.array([-4, 5], np.int8), 3, -1)
    array([-6,  8], dtype=int8)
    >>> digital.scalar(np.array([-4, 5], np.int8), 3, 1, op="add")
    array([-2, 16], dtype=int8)
    """
    codes = dense_array("x", x, OPERAND_DTYPES).astype(np.int32)
    operand = integer("number", number, -(1 << 15), (1 << 15) - 1)
    acc = codes * operand if choice("op", op, SCALAR_OPS) == "mul" else codes + operand
    return shifted(np.asarray(acc, np.int32), shift_bit, bits=bits, rounding=rounding)


def clear_low_bits(
    x: NDArray[Any], bits: int, *, negative: str = "twos_complement"
) -> NDArray[Any]:
    """Set the lowest bits of every code to 0.

    Args:
        x: int8, uint8 or int16 codes, any shape.
        bits: how many, 0..7 (0..15 for int16).
        negative: ``twos_complement``: ``x & ~((1 << bits) - 1)``, which goes down; ``magnitude``: the bits of
            |x|, which goes to zero. Unknown for negative codes; the default is the operator's formula.

    Returns:
        Same shape and dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a parameter outside its range.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.clear_low_bits(np.array([-5, 7], np.int8), 2)
    array([-8,  4], dtype=int8)
    >>> digital.clear_low_bits(np.array([-5, 7], np.int8), 2, negative="magnitude")
    array([-4,  4], dtype=int8)
    """
    codes = dense_array("x", x, OPERAND_DTYPES)
    low = integer("bits", bits, 0, 8 * codes.dtype.itemsize - 1)
    wide = codes.astype(np.int32)
    mask = -(1 << low)
    if choice("negative", negative, MASKS) == "magnitude":
        wide = np.sign(wide) * (np.abs(wide) & mask)
    else:
        wide = wide & mask
    kept: NDArray[Any] = np.asarray(wide).astype(codes.dtype)
    return kept
