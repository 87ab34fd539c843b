# SPDX-License-Identifier: Apache-2.0
"""Softmax, SumNorm, GroupNorm: float32 on the chip's CPU, in an order nobody has measured.

Their equations are documented, their float32 order and their rounding are not. The defaults follow the CPU
events that were measured: one float32 rounding per step, half away at the end (docs/spec/digital.md). Sums
run in index order and exp is correctly rounded, so that every machine gives the same codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, integer
from bittwin.digital._exp import exp_float32
from bittwin.digital._rules import BYTE_DTYPES, axis_of, finish_f32
from bittwin.requant.limits import positive_float32

ZERO_SUMS = ("refuse", "zero")


def _in_order(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Float32 sum along an axis, first to last, the axis kept with length 1."""
    if values.shape[axis] == 0:
        raise ValueError(f"x: found shape {values.shape}, empty along axis {axis}")
    sums = np.add.accumulate(values, axis=axis, dtype=np.float32)
    last: NDArray[np.float32] = np.take(sums, [-1], axis=axis)
    return last


def softmax(
    x: NDArray[Any],
    *,
    axis: int = -1,
    scale_out: float,
    scale_in: float = 1.0,
    subtract_max: bool = True,
    rounding: str = "half_away",
    dtype: str = "uint8",
) -> NDArray[Any]:
    """``saturate(round(softmax(x * scale_in) / scale_out))``.

    ``v = x * scale_in; e = exp(v - max v); y = (e / sum e) / scale_out``, float32 after every step.

    Args:
        x: int8 or uint8 codes.
        axis: the axis that is normalised.
        scale_in: value per input code.
        scale_out: value per output code, 1/255 as a rule (the operator's default is 1: codes 0 and 1).
        subtract_max: take the largest value away before exp; unknown.
        rounding: unknown.
        dtype: of the result, ``uint8`` or ``int8``; the event has both.

    Returns:
        x's shape.

    Raises:
        TypeError: a wrong dtype.
        ValueError: an empty axis, a NaN on the way, a parameter outside its range.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.softmax(np.array([[0, 0], [0, 127]], np.int8), scale_in=2.0, scale_out=1 / 255)
    array([[127, 127],
           [  0, 255]], dtype=uint8)
    """
    codes = dense_array("x", x, BYTE_DTYPES)
    place = axis_of("axis", axis, codes.ndim)
    s_in = np.float32(positive_float32("scale_in", scale_in))
    s_out = np.float32(positive_float32("scale_out", scale_out))
    with np.errstate(all="ignore"):
        v = codes.astype(np.float32) * s_in
        if subtract_max and codes.shape[place]:
            v = v - v.max(axis=place, keepdims=True)
        e = exp_float32(np.asarray(v, np.float32))
        values = (e / _in_order(e, place)) / s_out
    return finish_f32(values, dtype, rounding)


def sum_norm(
    x: NDArray[Any],
    *,
    axis: int = -1,
    scale_out: float,
    scale_in: float = 1.0,
    zero_sum: str = "refuse",
    rounding: str = "half_away",
    dtype: str = "uint8",
) -> NDArray[Any]:
    """``saturate(round(((x * scale_in) / sum(x * scale_in)) / scale_out))``, float32 after every step.

    Args:
        x: int8 or uint8 codes.
        axis: the axis that is normalised.
        scale_in: value per input code; without a rounding it would cancel.
        scale_out: value per output code.
        zero_sum: what a sum of 0 gives: ``refuse`` or ``zero``, codes of 0; unknown.
        rounding: unknown.
        dtype: of the result, ``uint8`` or ``int8``.

    Returns:
        x's shape.

    Raises:
        TypeError: a wrong dtype.
        ValueError: an empty axis, a sum of 0, a parameter outside its range.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.sum_norm(np.array([[1, 3], [2, 2]], np.uint8), scale_out=1 / 128)
    array([[32, 96],
           [64, 64]], dtype=uint8)
    """
    codes = dense_array("x", x, BYTE_DTYPES)
    place = axis_of("axis", axis, codes.ndim)
    s_in = np.float32(positive_float32("scale_in", scale_in))
    s_out = np.float32(positive_float32("scale_out", scale_out))
    with np.errstate(all="ignore"):
        v = np.asarray(codes.astype(np.float32) * s_in, np.float32)
        total = _in_order(v, place)
        empty = total == 0
        if choice("zero_sum", zero_sum, ZERO_SUMS) == "refuse" and empty.any():
            raise ValueError("x: found a sum of 0, wanted another (or zero_sum='zero')")
        values = np.where(empty, np.float32(0), (v / np.where(empty, np.float32(1), total)) / s_out)
    return finish_f32(values, dtype, rounding)


def group_norm(
    x: NDArray[Any],
    alpha: NDArray[np.float32],
    beta: NDArray[np.float32],
    num_groups: int,
    *,
    scale_out: float = 1.0,
    epsilon: float = 1e-5,
    rounding: str = "half_away",
    dtype: str = "int8",
) -> NDArray[Any]:
    """``saturate(round((alpha * (x - mu) / sigma + beta) / scale_out))`` per frame and group.

    mu and the variance (divided by the count) come from exact sums of the codes and are rounded to float32
    once each; ``sigma = sqrt(variance + epsilon)`` and the rest is float32 after every step.

    Args:
        x: [frames, C, ...] int8 or uint8 codes.
        alpha: [C] float32.
        beta: [C] float32.
        num_groups: divides C.
        scale_out: value per output code.
        epsilon: added to the variance, above 0, in codes squared; unknown.
        rounding: unknown.
        dtype: of the result, ``int8`` or ``uint8``.

    Returns:
        x's shape.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, a parameter outside its range.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> x = np.array([[1, 3, 10, 10]], np.int8)
    >>> one = np.ones(4, np.float32)
    >>> digital.group_norm(x, 8 * one, 0 * one, 2)
    array([[-8,  8,  0,  0]], dtype=int8)
    """
    codes = dense_array("x", x, BYTE_DTYPES)
    if codes.ndim < 2:
        raise ValueError(f"x: found shape {codes.shape}, wanted [frames, channels, ...]")
    frames, channels = codes.shape[:2]
    groups = integer("num_groups", num_groups, 1, max(channels, 1))
    if channels % groups:
        raise ValueError(f"num_groups: found {groups}, wanted a divisor of {channels} channels")
    shape = (1, channels, *([1] * (codes.ndim - 2)))
    parts = []
    for name, value in (("alpha", alpha), ("beta", beta)):
        array = dense_array(name, value, ("float32",), 1)
        if array.shape != (channels,):
            raise ValueError(f"{name}: found {array.size} channels, wanted {channels}")
        parts.append(array.reshape(shape))
    eps = np.float32(positive_float32("epsilon", epsilon))
    s_out = np.float32(positive_float32("scale_out", scale_out))
    if codes.size == 0:
        return finish_f32(np.zeros(codes.shape, np.float32), dtype, rounding)
    wide = codes.reshape(frames, groups, channels // groups, *codes.shape[2:]).astype(np.int64)
    inner = tuple(range(2, wide.ndim))
    count = wide[0, 0].size
    total = wide.sum(axis=inner, keepdims=True)
    spread = count * (wide * wide).sum(axis=inner, keepdims=True) - total * total
    # Quotients of whole numbers this small are never so near a float32 tie that the division in double
    # precision decides it: one rounding in effect.
    mean = (total / count).astype(np.float32)
    variance = (spread / (count * count)).astype(np.float32)
    with np.errstate(all="ignore"):
        deviation = (wide.astype(np.float32) - mean).reshape(codes.shape)
        sigma = np.broadcast_to(np.sqrt(variance + eps), wide.shape).reshape(codes.shape)
        values = ((parts[0] * deviation) / sigma + parts[1]) / s_out
    return finish_f32(values, dtype, rounding)
