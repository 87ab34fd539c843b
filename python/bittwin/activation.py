# SPDX-License-Identifier: Apache-2.0
"""What follows the array: ReLU, clip and table look-up on codes (docs/spec/array_round.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import dense_array, in_range, integer, output_array

CODE_DTYPES = ("int8", "uint8", "int16", "uint16")
TABLE_SIZES = (256, 1024)


def relu(x: NDArray[Any], gain: int = 1, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """``max(x, 0) * gain``.

    Args:
        x: any shape, int8, uint8, int16 or uint16 codes; with gain 2 int8 only.
        gain: 1, or 2, which makes an unsigned byte 0..254 of an int8 code.
        out: where to write: the result's shape and dtype, C-contiguous, overlapping no input.

    Returns:
        Same shape; x's dtype with gain 1, uint8 with gain 2.

    >>> import numpy as np, bittwin
    >>> bittwin.relu(np.array([-3, 100], np.int8)), bittwin.relu(np.array([-3, 100], np.int8), 2)
    (array([  0, 100], dtype=int8), array([  0, 200], dtype=uint8))
    """
    factor = integer("gain", gain, 1, 2)
    codes = dense_array("x", x, CODE_DTYPES)
    if factor == 2 and codes.dtype != np.int8:
        raise TypeError(f"x: found dtype {codes.dtype.name}, gain 2 wants int8")
    dtype = codes.dtype if factor == 1 else np.dtype(np.uint8)
    result = output_array(out, codes.shape, dtype, x)
    _core.relu(codes, factor, result)
    return result


def clip(x: NDArray[Any], limit: int, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Limit codes to ``0..limit``.

    Args:
        x: any shape, int8, uint8, int16 or uint16 codes.
        limit: highest code, 0..255 (the chip's register has 8 bits).
        out: as in `relu`.

    Returns:
        Same shape and dtype.

    >>> import numpy as np, bittwin
    >>> bittwin.clip(np.array([-3, 50, 100], np.int8), 90)
    array([ 0, 50, 90], dtype=int8)
    """
    highest = integer("limit", limit, 0, 255)
    codes = dense_array("x", x, CODE_DTYPES)
    result = output_array(out, codes.shape, codes.dtype, x)
    _core.clip(codes, highest, result)
    return result


def lookup(
    x: NDArray[Any], table: NDArray[Any], *, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Look codes up in an activation table.

    Args:
        x: any shape, int8 or uint8 codes.
        table: [256] or [1024], int8 or uint8. A 256-entry table is indexed by the code's byte
            (0..127, then -128..-1); a 1024-entry table by ``(2 * code) & 1023``, so that only its even
            entries are read.
        out: as in `relu`.

    Returns:
        x's shape, the table's dtype.

    >>> import numpy as np, bittwin
    >>> bittwin.lookup(np.array([-1, 2], np.int8), np.arange(256, dtype=np.uint8))
    array([255,   2], dtype=uint8)
    """
    entries = dense_array("table", table, ("int8", "uint8"), 1)
    if entries.size not in TABLE_SIZES:
        raise ValueError(f"table: found {entries.size} entries, wanted 256 or 1024")
    codes = dense_array("x", x, ("int8", "uint8"))
    if codes.dtype == np.uint8 and entries.size == 1024:
        in_range("x", codes, 0, 127)  # the 1024-entry index is defined for int8 codes
    result = output_array(out, codes.shape, entries.dtype, x, table)
    _core.lookup(codes, entries, result)
    return result
