# SPDX-License-Identifier: Apache-2.0
"""Linear layers and requantisation: numpy in, numpy out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import (
    WEIGHT_DTYPES,
    bias_array,
    choice,
    dense_array,
    input_codes,
    integer,
    one_of,
)
from bittwin.bounds import prove_fits
from bittwin.requant import Requant

OVERFLOWS = ("refuse", "wrap32")


def accumulate(
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None = None,
    *,
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[np.int32]:
    """The INT32 accumulator of one array round: ``x @ weight.T + bias``, exact.

    Args:
        x: [..., in] uint8, int8, uint16 or int16 input codes.
        weight: [out, in] int8 or int16 weight codes (the array's cells hold up to +-275).
        bias: [out] int32 in accumulator units, or None.
        overflow: ``refuse`` proves from the weights that INT32 cannot overflow, or raises; ``wrap32``
            wraps modulo 2^32 like the chip's C-model.
        x_bits: width of the input codes, 1..16; default 8, or 12 for two-byte dtypes. Signed codes are
            sign and magnitude, +-(2^x_bits - 1).

    Returns:
        [..., out] int32.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, a code outside its range, an accumulator that may overflow.

    Source: docs/spec/array_round.md.

    >>> import numpy as np, bittwin
    >>> x = np.array([[255, 1]], np.uint8)
    >>> w = np.array([[127, -128], [1, 1]], np.int8)
    >>> bittwin.accumulate(x, w, np.array([0, 128], np.int32))
    array([[32257,   384]], dtype=int32)
    """
    choice("overflow", overflow, OVERFLOWS)
    codes, low, high = input_codes(x, x_bits)
    w = dense_array("weight", weight, WEIGHT_DTYPES, 2)
    if codes.ndim == 0 or codes.shape[-1] != w.shape[1]:
        raise ValueError(
            f"x: found shape {codes.shape}, wanted [..., {w.shape[1]}] to go with weight {w.shape}"
        )
    b = bias_array(bias, w.shape[0])
    if overflow == "refuse":
        prove_fits("linear", w, b, low, high)
    acc = np.empty((*codes.shape[:-1], w.shape[0]), np.int32)
    _core.linear(codes, w, b, None, None, None, None, acc)
    return acc


def requantize(
    acc: NDArray[np.int32],
    requant: Requant,
    *,
    high: NDArray[Any] | None = None,
    axis: int = -1,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Turn accumulators into output codes.

    Args:
        acc: any shape, int32.
        requant: the rule, see `bittwin.requant`.
        high: a digital part in output units, int8, int16 or int32, acc's shape; it joins the rounded code
            before the one saturation (the chip's adder, docs/spec/array_round.md).
        axis: the axis of acc that counts output channels, for per-channel rules.
        out: where to write: acc's shape, requant.dtype, C-contiguous.

    Returns:
        acc's shape, requant.dtype: codes saturated to requant.lo..requant.hi.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match; an accumulator that ``acc << lsh`` pushes out of int32.

    >>> import numpy as np, bittwin
    >>> acc = np.array([-768, -767, 511, 512], np.int32)
    >>> bittwin.requantize(acc, bittwin.readout(1024))
    array([-1,  0,  0,  1], dtype=int8)
    """
    if not isinstance(requant, Requant):
        raise TypeError(
            f"requant: found {type(requant).__name__}, wanted a bittwin.requant.Requant"
        )
    a = dense_array("acc", acc, ("int32",))
    layout = _layout(a.shape, requant.channels, axis)
    h = None
    if high is not None:
        h = dense_array("high", high, ("int8", "int16", "int32")).astype(np.int32, copy=False)
        if h.shape != a.shape:
            raise ValueError(f"high: found shape {h.shape}, wanted {a.shape}")
    result = output_array(out, a.shape, requant.dtype, "out")
    _core.requantize_into(a, h, result, *layout, requant.core)
    return result


def _layout(shape: tuple[int, ...], channels: int, axis: int) -> tuple[int, int, int]:
    if channels == 1:
        return 1, 1, math.prod(shape)
    if not shape:
        raise ValueError("acc: found a single number, a per-channel requantiser wants an axis")
    axis = integer("axis", axis, -len(shape), len(shape) - 1) % len(shape)
    if shape[axis] != channels:
        raise ValueError(
            f"acc: found {shape[axis]} channels on axis {axis}, the requantiser has {channels}"
        )
    return math.prod(shape[:axis]), channels, math.prod(shape[axis + 1 :])


def output_array(
    out: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any], name: str
) -> NDArray[Any]:
    """Check `out`, or make one."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        found = out.dtype.name if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"{name}: found {found}, wanted a numpy array of {dtype.name}")
    if out.shape != shape:
        raise ValueError(f"{name}: found shape {out.shape}, wanted {shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        missing = [
            word
            for word, has in (
                ("C-contiguous", out.flags.c_contiguous),
                ("aligned", out.flags.aligned),
                ("writeable", out.flags.writeable),
            )
            if not has
        ]
        raise ValueError(
            f"{name}: found an array that is not {one_of(missing)}, wanted a writeable, aligned, "
            "C-contiguous one"
        )
    return out


def linear(
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    high: NDArray[Any] | None = None,
    out: NDArray[Any] | None = None,
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[Any]:
    """One array round: accumulate, then requantise.

    Args:
        x: [..., in] uint8, int8, uint16 or int16 input codes.
        weight: [out, in] int8 or int16 weight codes.
        bias: [out] int32 in accumulator units, or None.
        requant: the rule, for example ``bittwin.readout(1024)``.
        high: [..., out] int8, int16 or int32 digital part in output units, added before the saturation.
        out: [..., out] requant.dtype to write into.
        overflow: ``refuse`` (proven from the weights) or ``wrap32``, see `accumulate`.
        x_bits: width of the input codes, see `accumulate`.

    Returns:
        [..., out] codes of requant.dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, a code outside its range, an accumulator that may overflow.

    Source: docs/spec/array_round.md; equal on every frame of the mapper's dumps and of the chip C-model.

    >>> import numpy as np, bittwin
    >>> x = np.array([[200, 100]], np.uint8)
    >>> w = np.array([[10, -10], [-10, 3]], np.int8)
    >>> bittwin.linear(x, w, None, bittwin.readout(256))
    array([[ 4, -6]], dtype=int8)
    """
    acc = accumulate(x, weight, bias, overflow=overflow, x_bits=x_bits)
    return requantize(acc, requant, high=high, out=out)
