# SPDX-License-Identifier: Apache-2.0
"""Average, maximum and minimum of windows (docs/spec/digital.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, four_sides, integer
from bittwin.activation import CODE_DTYPES
from bittwin.digital._rules import BYTE_DTYPES, divided_sum, finish_f32
from bittwin.digital._windows import Windows
from bittwin.requant.limits import positive_float32
from bittwin.values import quantize

UNITS = ("event", "round")
_MOST_IN_INT32 = ((1 << 31) - 1) // 255
_WRAPS_TO = (1 << 15) - 1  # means are wrapped from 16 bits; the recorded ones are far smaller


def average_pool(
    x: NDArray[Any],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    *,
    scale_in: float = 1.0,
    scale_out: float = 1.0,
    count_padding: bool = True,
    rounding: str = "half_away",
    dtype: str = "int8",
    cmodel: bool = False,
) -> NDArray[Any]:
    """``saturate(round(float32(sum) / float32(count) * scale_in / scale_out))``, float32 in this order.

    Args:
        x: [..., H, W] int8 or uint8 codes.
        kernel: (height, width).
        stride: (height, width); the kernel's when None.
        padding: codes of 0 around the picture: one number, (height, width) or (top, left, bottom, right).
        scale_in: value per input code.
        scale_out: value per output code.
        count_padding: padding counts in the divisor (measured); else only real codes do.
        rounding: measured: half_away.
        dtype: of the result, ``int8`` or ``uint8``.
        cmodel: the C-model's artefacts: bytes are read as int8, padding above the picture moves below it, and
            a result beyond 8 bits wraps modulo 256.

    Returns:
        [..., out_h, out_w] codes.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a kernel larger than the padded picture, a parameter outside its range.

    Source: measured on the C-model: 10 recorded cases, 3,840 averages on tie-heavy scales among the runs.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.average_pool(np.array([[[1, 2, -1, -2], [2, 1, -2, -1]]], np.int8), 2)
    array([[[ 2, -2]]], dtype=int8)
    """
    codes = dense_array("x", x, BYTE_DTYPES)
    codes = codes.view(np.int8) if cmodel else codes
    windows = Windows(codes.shape, kernel, stride, padding, cmodel)
    count: Any = math.prod(windows.kernel)
    if not count_padding:
        count = _real_codes(windows, codes.size)
    wide = np.dtype(np.int32 if math.prod(windows.kernel) <= _MOST_IN_INT32 else np.int64)
    total = np.zeros((*codes.shape[:-2], *windows.out), wide)
    if codes.size:  # a shape alone costs no look at the windows
        total = windows.folded(windows.padded(codes.astype(wide), 0), np.add)
    s_in = np.float32(positive_float32("scale_in", scale_in))
    s_out = np.float32(positive_float32("scale_out", scale_out))
    with np.errstate(all="ignore"):  # infinities saturate
        values = (divided_sum(total, count) * s_in) / s_out
    if not cmodel:
        return finish_f32(values, dtype, rounding)
    return _wrapped(values, dtype, rounding)


def _real_codes(windows: Windows, size: int) -> Any:
    """How many codes of every window are no padding; 1 where no code is there to be counted."""
    down, across = (windows.real_codes(axis) for axis in (0, 1))
    if not (down.all() and across.all()):
        raise ValueError("padding: found a window of padding alone, which has no mean")
    return np.outer(down, across) if size else 1


def _wrapped(values: NDArray[np.float32], dtype: str, rounding: str) -> NDArray[Any]:
    """Rounded float32 numbers modulo 256."""
    if values.size and not (np.abs(values) < _WRAPS_TO).all():
        raise ValueError(
            f"scale_in, scale_out: found a mean of {_WRAPS_TO} codes or more, wanted less"
        )
    rounded = quantize(np.asarray(values), 1.0, bits=16, signed=True, rounding=rounding)
    result: NDArray[Any] = rounded.astype(np.uint8).view(choice("dtype", dtype, BYTE_DTYPES))
    return result


def max_pool(
    x: NDArray[Any],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    *,
    pad_code: int | None = 0,
    unit: str = "event",
    cmodel: bool = False,
) -> NDArray[Any]:
    """The largest code of every window.

    Args:
        x: [..., H, W] int8, uint8, int16 or uint16 codes.
        kernel: (height, width).
        stride: (height, width); the kernel's when None.
        padding: as in `average_pool`; the unit ``round`` has none.
        pad_code: the code that padding holds: 0 as measured; None: padding never wins, as in ONNX.
        unit: which unit of the chip computes it, ``event`` (its CPU) or ``round`` (what follows the array).
            Without cmodel both give the same codes.
        cmodel: the C-model's artefacts on bytes, read as int8: ``event``: padding above the picture moves
            below it; ``round``: a negative code always replaces the current one.

    Returns:
        [..., out_h, out_w] codes of x's dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a kernel larger than the padded picture, a parameter outside its range.

    Source: measured on the C-model: event 2 recorded cases, round 10.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> x = np.array([[[3, 1, -1, -2]]], np.int8)
    >>> digital.max_pool(x, (1, 2))
    array([[[ 3, -1]]], dtype=int8)
    >>> digital.max_pool(x, (1, 2), unit="round", cmodel=True)
    array([[[ 3, -2]]], dtype=int8)
    """
    if choice("unit", unit, UNITS) == "round" and any(four_sides("padding", padding)):
        raise ValueError(f"padding: found {padding}, the unit 'round' has none")
    bytewise = unit == "round" and cmodel
    return _extreme(x, kernel, stride, padding, pad_code, cmodel, lowest=False, bytewise=bytewise)


def min_pool(
    x: NDArray[Any],
    kernel: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    *,
    pad_code: int | None = 0,
    cmodel: bool = False,
) -> NDArray[Any]:
    """The smallest code of every window; arguments as in `max_pool`.

    Args:
        x: [..., H, W] int8, uint8, int16 or uint16 codes.
        kernel: (height, width).
        stride: (height, width); the kernel's when None.
        padding: as in `average_pool`.
        pad_code: the code that padding holds: 0 as measured; None: padding never wins.
        cmodel: bytes are read as int8 and padding above the picture moves below it.

    Returns:
        [..., out_h, out_w] codes of x's dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a kernel larger than the padded picture, a parameter outside its range.

    Source: measured on the C-model: 2 recorded cases.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.min_pool(np.array([[[3, 1, -1, -2]]], np.int8), (1, 2))
    array([[[ 1, -2]]], dtype=int8)
    """
    return _extreme(x, kernel, stride, padding, pad_code, cmodel, lowest=True)


def _extreme(
    x: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    pad_code: int | None,
    cmodel: bool,
    *,
    lowest: bool,
    bytewise: bool = False,
) -> NDArray[Any]:
    codes = dense_array("x", x, BYTE_DTYPES if cmodel else CODE_DTYPES)
    codes = codes.view(np.int8) if cmodel else codes
    info = np.iinfo(codes.dtype)
    windows = Windows(codes.shape, kernel, stride, padding, cmodel)
    never = int(info.max) if lowest else int(info.min)
    code = (
        never if pad_code is None else integer("pad_code", pad_code, int(info.min), int(info.max))
    )
    if not codes.size:  # a shape alone costs no look at the windows
        return np.zeros((*codes.shape[:-2], *windows.out), x.dtype)
    picture = windows.padded(codes, code)
    if bytewise:  # (uint8)next > (int8)current, in the order of the cells
        cells = windows.cells(picture)
        best = next(cells).copy()
        for cell in cells:
            np.copyto(best, cell, where=cell.view(np.uint8) > best.astype(np.int16))
    else:
        best = windows.folded(picture, np.minimum if lowest else np.maximum)
    result: NDArray[Any] = np.ascontiguousarray(best).view(x.dtype)
    return result
