# SPDX-License-Identifier: Apache-2.0
"""Square roots by integers on codes (docs/spec/digital_training.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import integer
from bittwin.digital.simulated._steps import MOST_BITS, codes_of, output, reciprocal, shifted_root
from bittwin.requant.limits import positive_float32


def sqrt(
    x: NDArray[Any],
    *,
    units_x: float,
    units_y: float,
    shift_bits: int = 8,
    x_bits: int = 8,
    y_bits: int = 8,
    limit: float | None = None,
) -> NDArray[Any]:
    """``OUT(I / 2^(shift_bits / 2) / fl32(sqrt(units_x)))``, ``I = floor(sqrt(x * 2^shift_bits))``.

    Args:
        x: unsigned codes of x_bits, any shape.
        units_x: codes per real unit of x.
        units_y: codes per real unit of the result.
        shift_bits: 0, 4, 8, 12 or 16; with x_bits at most 32.
        x_bits: 8..12.
        y_bits: width of the result, unsigned.
        limit: real units to which the result is limited; None: not limited.

    Returns:
        uint8 or uint16 codes.

    Source: docs/spec/digital_training.md, "One input".

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> simulated.sqrt(np.array([8, 9, 255], np.uint8), units_x=1, units_y=16, shift_bits=0)
    array([ 32,  48, 240], dtype=uint8)
    """
    width = integer("x_bits", x_bits, 8, MOST_BITS)
    codes = codes_of("x", x, width, signed=False).astype(np.int64)
    root = shifted_root(codes, shift_bits, width)
    real = root / np.float32(2.0 ** (shift_bits / 2))
    real = real / np.float32(math.sqrt(positive_float32("units_x", units_x)))
    return output(real, units_y, y_bits, limit, False)


def inv_sqrt(
    x: NDArray[Any],
    *,
    units_x: float,
    units_y: float,
    shift_bits: int = 8,
    x_bits: int = 8,
    y_bits: int = 8,
    limit: float | None = None,
) -> NDArray[Any]:
    """``OUT(fl32(1 / I) * fl32(sqrt(units_x * 2^shift_bits)))``, 0 where I is 0; arguments as in `sqrt`.

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> simulated.inv_sqrt(np.array([0, 4, 16], np.uint8), units_x=4, units_y=64)
    array([ 0, 64, 32], dtype=uint8)
    """
    width = integer("x_bits", x_bits, 8, MOST_BITS)
    codes = codes_of("x", x, width, signed=False).astype(np.int64)
    inverse = reciprocal(shifted_root(codes, shift_bits, width))
    units = positive_float32("units_x", units_x)
    return output(
        inverse * np.float32(math.sqrt(units * 2.0**shift_bits)), units_y, y_bits, limit, False
    )


def hypot(
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    units_x: float,
    units_y: float,
    shift_bits: int = 8,
    x_bits: int = 8,
    y_bits: int = 8,
    limit: float | None = None,
) -> NDArray[Any]:
    """``OUT(I / 2^(shift_bits / 2) / units_x)``, I the root of ``(a^2 + b^2) * 2^shift_bits``.

    Both inputs have one scale, signed codes of x_bits; the other arguments are `sqrt`'s; twice x_bits and
    shift_bits are at most 32 together.

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> simulated.hypot(np.array([3], np.int8), np.array([-4], np.int8), units_x=1, units_y=2)
    array([10], dtype=uint8)
    """
    width = integer("x_bits", x_bits, 8, MOST_BITS)
    left, right = (codes_of(n, v, width).astype(np.int64) for n, v in (("a", a), ("b", b)))
    root = shifted_root(left * left + right * right, shift_bits, 2 * width)
    real = root / np.float32(2.0 ** (shift_bits / 2))
    return output(
        real / np.float32(positive_float32("units_x", units_x)), units_y, y_bits, limit, False
    )
