# SPDX-License-Identifier: Apache-2.0
"""Quotient, matrix product and PReLU on codes (docs/spec/digital_training.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array
from bittwin.digital.simulated._steps import MOST_BITS, codes_of, float32, output
from bittwin.requant.limits import positive_float32
from bittwin.values import dequantize

#: Real limit of a quotient, part of the tool's divider, and what a divisor of code 0 becomes.
QUOTIENT_LIMIT, SMALLEST_DIVISOR = 8.0, 1e-8


def divide(
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    units_a: float,
    units_b: float,
    units_y: float,
    y_bits: int = 8,
    limit: float | None = None,
) -> NDArray[Any]:
    """``OUT(clamp(half_even(a / b) / units_a * units_b, -8, 8))``: the quotient of codes is a whole number.

    Args:
        a: codes of up to 12 bits, any shape.
        b: codes that broadcast with a; code 0 counts as 1e-8.
        units_a: codes per real unit of a.
        units_b: codes per real unit of b.
        units_y: codes per real unit of the result.
        y_bits: width of the result, signed.
        limit: real units to which the result is limited on both sides; None: the 8 only.

    Returns:
        int8 or int16 codes.

    Source: docs/spec/digital_training.md, "Two inputs".

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> units = dict(units_a=16, units_b=16, units_y=16)
    >>> simulated.divide(np.array([112, 80, 1, 0], np.int8), np.array([32, 32, 0, 0], np.int8), **units)
    array([ 64,  32, 127,   0], dtype=int8)
    """
    left, right = float32(codes_of("a", a, MOST_BITS)), float32(codes_of("b", b, MOST_BITS))
    divisor = np.where(right == 0, np.float32(SMALLEST_DIVISOR), right)
    whole = np.rint(left / divisor)
    real = whole / np.float32(positive_float32("units_a", units_a))
    real = real * np.float32(positive_float32("units_b", units_b))
    bound = np.float32(QUOTIENT_LIMIT)
    return output(float32(np.clip(real, -bound, bound)), units_y, y_bits, limit, True)


def matmul(
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    units_a: float,
    units_b: float,
    units_y: float,
    y_bits: int = 8,
) -> NDArray[Any]:
    """``OUT(fl32(sum of a * b) / units_a / units_b)``; the sum is exact and rounded to float32 once.

    Args:
        a: [frames, ..., m, k] codes of up to 12 bits.
        b: [frames, ..., k, n] codes.
        units_a: codes per real unit of a.
        units_b: codes per real unit of b.
        units_y: codes per real unit of the result.
        y_bits: width of the result, signed.

    Returns:
        [frames, ..., m, n] int8 or int16 codes.

    Source: docs/spec/digital_training.md, "Two inputs".

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> x = np.array([[[3, 4]]], np.int8)
    >>> simulated.matmul(x, x.transpose(0, 2, 1), units_a=2, units_b=2, units_y=4)
    array([[[25]]], dtype=int8)
    """
    left, right = codes_of("a", a, MOST_BITS), codes_of("b", b, MOST_BITS)
    if left.ndim < 3 or right.ndim < 3:  # two axes would mix frames
        raise ValueError(
            f"a, b: found shapes {left.shape} and {right.shape}, wanted [frames, ..., rows, columns]"
        )
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"b: found shape {right.shape}, wanted {left.shape[-1]} rows to go with a")
    # Exact in float64: fewer than 2^31 products of 22 bits.
    exact = float32(np.matmul(left.astype(np.float64), right.astype(np.float64)))
    real = exact / np.float32(positive_float32("units_a", units_a))
    real = real / np.float32(positive_float32("units_b", units_b))
    return output(real, units_y, y_bits, None, True)


def prelu(
    x: NDArray[Any],
    slope: NDArray[Any],
    *,
    units_x: float,
    units_w: float,
    units_y: float,
    y_bits: int = 8,
    limit: float | None = None,
) -> NDArray[Any]:
    """``OUT(v)``, v = x / units_x, times slope / units_w where it is not above 0.

    Args:
        x: codes of up to 12 bits; [frames, C, ...] where there are several slopes.
        slope: [1] or [C] int8 or int16 codes of up to 12 bits.
        units_x: codes per real unit of x.
        units_w: codes per real unit of the slopes.
        units_y: codes per real unit of the result.
        y_bits: width of the result, signed.
        limit: real units to which the result is limited on both sides; None: not limited.

    Returns:
        int8 or int16 codes.

    Source: docs/spec/digital_training.md, "One input".

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> units = dict(units_x=16, units_w=64, units_y=16)
    >>> simulated.prelu(np.array([[16, -16]], np.int8), np.array([16, 32], np.int8), **units)
    array([[16, -8]], dtype=int8)
    """
    codes = codes_of("x", x, MOST_BITS)
    w = codes_of("slope", dense_array("slope", slope, ("int8", "int16"), 1), MOST_BITS)
    if w.size != 1 and (codes.ndim < 2 or codes.shape[1] != w.size):
        raise ValueError(
            f"x: found shape {codes.shape} with {w.size} slopes, wanted as many channels on axis 1"
        )
    along = (1,) if w.size == 1 else (1, -1, *([1] * (codes.ndim - 2)))
    v = dequantize(codes, units_x)
    slopes = dequantize(w, units_w).reshape(along)
    return output(np.where(v > 0, v, v * slopes), units_y, y_bits, limit, True)
