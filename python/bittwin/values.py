# SPDX-License-Identifier: Apache-2.0
"""Between real values and codes: quantise, dequantise, and the bias grid.

`codes_per_unit` is codes per real unit, the inverse of the field's ``scale`` (value per code).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import choice, dense_array, integer, output_array, positive_real
from bittwin.requant import ROUNDINGS
from bittwin.requant.limits import positive_float32


def quantize(
    values: NDArray[Any],
    codes_per_unit: float,
    *,
    bits: int,
    signed: bool,
    rounding: str = "half_even",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Turn real values into codes: ``saturate(round(values * codes_per_unit))``.

    The product is one rounding in the array's own precision, then one named rounding to an integer.

    Args:
        values: any shape, float32 or float64; infinities saturate, NaN is refused.
        codes_per_unit: codes per real unit, above 0.
        bits: width of the code, 1..16.
        signed: two's complement -2^(bits-1)..2^(bits-1)-1, else 0..2^bits-1.
        rounding: one of `bittwin.requant.ROUNDINGS`.
        out: where to write: the result's shape and dtype, C-contiguous, overlapping no input.

    Returns:
        Same shape; the smallest of int8, uint8, int16, uint16 that holds the codes.

    Raises:
        TypeError: values is no float array.
        ValueError: NaN, or a parameter outside its range.

    >>> import numpy as np, bittwin
    >>> bittwin.quantize(np.array([0.5, 1.5, 2.5, -1, 300], np.float32), 1.0, bits=8, signed=False)
    array([  0,   2,   2,   0, 255], dtype=uint8)
    """
    v = dense_array("values", values, ("float32", "float64"))
    width = integer("bits", bits, 1, 16)
    if not isinstance(signed, bool | np.bool_):
        raise TypeError(f"signed: found {signed!r}, wanted True or False")
    low = -(1 << (width - 1)) if signed else 0
    high = (1 << (width - 1)) - 1 if signed else (1 << width) - 1
    mode = ROUNDINGS.index(choice("rounding", rounding, ROUNDINGS))
    dtype = np.dtype(f"{'' if signed else 'u'}int{8 if width <= 8 else 16}")
    scale = _scale_for(v, codes_per_unit)
    codes = output_array(out, v.shape, dtype, values)
    _core.quantize(v, scale, low, high, mode, codes)
    return codes


def _scale_for(values: NDArray[Any], codes_per_unit: float) -> float:
    # In float32 a tiny scale would become 0 and a huge one infinity: neither has codes.
    check = positive_float32 if values.dtype == np.float32 else positive_real
    return check("codes_per_unit", codes_per_unit)


def dequantize(
    codes: NDArray[Any], codes_per_unit: float, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Turn codes into real values: ``codes / codes_per_unit``, one float32 rounding.

    Args:
        codes: any shape, uint8, int8, uint16 or int16.
        codes_per_unit: codes per real unit, above 0.
        out: where to write: codes' shape, float32, C-contiguous, overlapping no input.

    Returns:
        Same shape, float32.

    >>> import numpy as np, bittwin
    >>> bittwin.dequantize(np.array([-128, 64], np.int8), 128.0)
    array([-1. ,  0.5], dtype=float32)
    """
    dtypes = ("uint8", "int8", "uint16", "int16")
    c = dense_array("codes", codes, dtypes)
    scale = np.float32(positive_float32("codes_per_unit", codes_per_unit))
    values = output_array(out, c.shape, np.dtype(np.float32), codes)
    np.divide(c, scale, out=values, dtype=np.float32)
    return values


def quantize_bias(
    bias: NDArray[Any], codes_per_unit: float = 1.0, *, rows: int
) -> NDArray[np.int32]:
    """Round a bias to what bias rows can hold: multiples of 128, limited by the number of rows.

    ``128 * clamp(half_even(bias * codes_per_unit / 128), -128 * rows, 127 * rows)``

    Args:
        bias: any shape; float32 or float64 in real units, or int32 or int64 in accumulator units.
        codes_per_unit: accumulator units per real unit (input codes_per_unit x weight codes_per_unit);
            1 for integer biases.
        rows: number of bias rows, 1..32 (the training tool's default is 8, the chip has 16).

    Returns:
        Same shape, int32, accumulator units.

    Raises:
        TypeError: a wrong dtype.
        ValueError: NaN, rows outside 1..32, or a codes_per_unit other than 1 with an integer bias.

    Source: docs/spec/bias.md.

    >>> import numpy as np, bittwin
    >>> bittwin.quantize_bias(np.array([64, 192, 20000, -20000], np.int32), rows=1)
    array([     0,    256,  16256, -16384], dtype=int32)
    """
    b = dense_array("bias", bias, ("float32", "float64", "int32", "int64"))
    count = integer("rows", rows, 1, 32)
    scale = _scale_for(b, codes_per_unit)
    if b.dtype.kind == "i":
        if scale != 1:
            raise ValueError(f"codes_per_unit: found {scale}, an integer bias wants 1")
        b = b.astype(np.int64, copy=False)
    return _core.quantize_bias(b, scale, count)


def split_bias(units: NDArray[Any], digital: Any, shift: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Share a bias between the two rounds of a split layer (docs/spec/split.md).

    ``d = half_even(digital / 128)``; the array part is ``128 * (half_even(units / 128) - d) - shift``, still
    to be put on the grid by `quantize_bias`, the digital part is ``128 * d``.

    Args:
        units: [out] float32 or float64, the bias in accumulator units.
        digital: the part moved to the digital round, accumulator units; one number or [out].
        shift: what a shifted input adds to the accumulators, one number or [out].

    Returns:
        The array part, [out] of units' dtype, and the digital part, [out] of units' dtype.

    >>> import numpy as np
    >>> from bittwin.values import split_bias
    >>> [part.tolist() for part in split_bias(np.array([1000], np.float32), 512.0, 0)]
    [[512.0], [512.0]]
    """
    real = units.dtype.type
    step = real(128)
    moved = np.rint(np.asarray(digital, units.dtype) / step)
    count = np.rint(units / step) - moved - np.asarray(shift, units.dtype) / step
    array_part: NDArray[Any] = count * step
    digital_part: NDArray[Any] = np.broadcast_to(moved * step, units.shape)
    return array_part, digital_part
