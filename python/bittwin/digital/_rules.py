# SPDX-License-Identifier: Apache-2.0
"""What the digital operations share: operands that go together, the shift rule, the float32 steps."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, integer
from bittwin.functional import requantize
from bittwin.requant import ROUNDINGS, Requant
from bittwin.requant.limits import code_limits
from bittwin.values import quantize

#: Operands of add, mul and their kin: sums and products of these stay inside int32.
OPERAND_DTYPES = ("int8", "uint8", "int16")
BYTE_DTYPES = ("int8", "uint8")
OVERFLOWS = ("saturate", "wrap16")
BROADCASTS = ("chip", "numpy")
MAX_LEFT, MAX_RIGHT = 15, 31


def operands(
    a: Any, b: Any, broadcast: str
) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[int, ...]]:
    """Check two operands and return them as int32 with the shape of the result."""
    left = dense_array("a", a, OPERAND_DTYPES)
    right = dense_array("b", b, OPERAND_DTYPES)
    shape = _common_shape(left.shape, right.shape, choice("broadcast", broadcast, BROADCASTS))
    return left.astype(np.int32), right.astype(np.int32), shape


def _common_shape(a: tuple[int, ...], b: tuple[int, ...], broadcast: str) -> tuple[int, ...]:
    if broadcast == "chip" and not (a == b or _goes_with(a, b) or _goes_with(b, a)):
        raise ValueError(
            f"b: found shape {b} to go with a {a}, wanted equal shapes, one number, one number per frame "
            "or one frame's shape (broadcast='numpy' takes any shapes that numpy broadcasts)"
        )
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"b: found shape {b}, which does not go with a {a}") from None


def _goes_with(small: tuple[int, ...], big: tuple[int, ...]) -> bool:
    """One number, one number per frame, or the same vector for every frame."""
    if len(small) > len(big):
        return False
    per_frame = len(big) > 1 and small == (big[0], *([1] * (len(big) - 1)))
    return math.prod(small) == 1 or per_frame or (len(big) > 1 and small == big[1:])


@lru_cache(maxsize=256)
def shift_rule(shift_bit: int, multiplier: int, bits: int, rounding: str, overflow: str) -> Requant:
    """``SHIFT(v * multiplier, shift_bit)`` and the store; a negative shift_bit shifts right."""
    lo, hi = code_limits(bits)
    return Requant(
        rule="shift",
        multiplier=(multiplier << max(shift_bit, 0),),
        shift1=(max(-shift_bit, 0),),
        rounding1=rounding,
        middle="wrap16" if overflow == "wrap16" else "exact",
        lo=lo,
        hi=hi,
    )


def shifted(
    acc: NDArray[np.int32],
    shift_bit: Any,
    *,
    multiplier: int = 1,
    bits: Any = 8,
    rounding: str = "half_up",
    overflow: str = "saturate",
) -> NDArray[Any]:
    """Shift int32 numbers and store them as int8 or int16 codes."""
    choice("rounding", rounding, ROUNDINGS)
    amount = integer("shift_bit", shift_bit, -MAX_RIGHT, MAX_LEFT)
    width = integer("bits", bits, 8, 16)
    if width not in (8, 16):
        raise ValueError(f"bits: found {width}, wanted 8 or 16")
    if choice("overflow", overflow, OVERFLOWS) == "wrap16" and width != 16:
        raise ValueError("overflow: found 'wrap16' with 8 bits, wanted 'saturate'")
    return requantize(acc, shift_rule(amount, multiplier, width, rounding, overflow))


def finish_f32(values: NDArray[Any], dtype: str, rounding: str) -> NDArray[Any]:
    """Round float32 results to byte codes and saturate; a NaN is refused."""
    signed = choice("dtype", dtype, BYTE_DTYPES) == "int8"
    v = np.asarray(values, np.float32)
    if np.isnan(v).any():
        raise ValueError("x: found a NaN on the way, wanted scales and parameters without one")
    return quantize(v, 1.0, bits=8, signed=signed, rounding=rounding)


def divided_sum(total: NDArray[np.integer[Any]], count: Any) -> NDArray[np.float32]:
    """``float32(sum) / float32(count)``, each one float32 rounding."""
    mean: NDArray[np.float32] = np.asarray(total.astype(np.float32) / np.asarray(count, np.float32))
    return mean


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """An axis of an array with `ndim` axes, counted from the front."""
    if ndim == 0:
        raise ValueError(f"{name}: found an array without axes, wanted at least one axis")
    return integer(name, axis, -ndim, ndim - 1) % ndim
