# SPDX-License-Identifier: Apache-2.0
"""Linear layers and requantisation: numpy in, numpy out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import OVERFLOWS as OVERFLOWS
from bittwin._check import dense_array, output_array
from bittwin._products import (
    Finish,
    channel_layout,
    float32_holds,
    high_array,
    linear_product,
    rule_argument,
)
from bittwin.packed import Weight
from bittwin.requant import Requant


def accumulate(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None = None,
    *,
    out: NDArray[np.int32] | None = None,
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[np.int32]:
    """The INT32 accumulator of one array round: ``x @ weight.T + bias``, exact.

    Args:
        x: [..., in] uint8, int8, uint16 or int16 input codes.
        weight: [out, in] int8 or int16 weight codes (the array's cells hold up to +-275), or what
            `pack_weight` made of them.
        bias: [out] int32 in accumulator units, or None.
        out: [..., out] int32 to write into: C-contiguous, overlapping no input.
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
    return linear_product(x, weight, bias, None, out, overflow, x_bits)


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
        out: where to write: acc's shape, C-contiguous, overlapping no input; requant.dtype, or float32,
            which then holds the codes as numbers (rules with codes within +-2^24).

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
    rule = rule_argument(requant)
    a = dense_array("acc", acc, ("int32",))
    layout = channel_layout(a.shape, rule.channels, axis)
    h = high_array(high, a.shape)
    result = output_array(out, a.shape, rule.dtype, acc, high, as_number=float32_holds(rule))
    _core.requantize_into(a, h, result, *layout, rule.core)
    return result


def linear(
    x: NDArray[Any],
    weight: Weight,
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
        weight: [out, in] int8 or int16 weight codes, or what `pack_weight` made of them.
        bias: [out] int32 in accumulator units, or None.
        requant: the rule, for example ``bittwin.readout(1024)``.
        high: [..., out] int8, int16 or int32 digital part in output units, added before the saturation.
        out: [..., out] to write into: C-contiguous, overlapping no input; requant.dtype, or float32, which
            then holds the codes as numbers.
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
    return linear_product(x, weight, bias, Finish(requant, high), out, overflow, x_bits)
