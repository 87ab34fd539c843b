# SPDX-License-Identifier: Apache-2.0
"""Normalisations on codes (docs/spec/digital_training.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array, integer
from bittwin.digital.simulated._steps import (
    MOST_BITS,
    codes_of,
    float32,
    output,
    reciprocal,
    shifted_root,
)
from bittwin.requant.limits import positive_float32


def factor_and_offset(
    x: NDArray[Any],
    factor: NDArray[Any],
    offset: NDArray[np.int32],
    *,
    units: float,
    units_y: float,
    y_bits: int = 8,
) -> NDArray[Any]:
    """``clamp(half_even(fl32((x * factor + offset) / fl32(units / units_y))))`` per channel of axis 1.

    The training tool's batch normalisation.

    Args:
        x: [frames, C, ...] codes of up to 12 bits.
        factor: [C] int8 or int16 codes of up to 12 bits.
        offset: [C] int32, accumulator units, within +-2^23.
        units: accumulator units per real unit.
        units_y: codes per real unit of the result.
        y_bits: width of the result, signed.

    Returns:
        int8 or int16 codes.

    Source: docs/spec/digital_training.md, "Reductions".

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> x = np.array([[5, 7]], np.int8)
    >>> factor, offset = np.array([2, -2], np.int8), np.array([1, 0], np.int32)
    >>> simulated.factor_and_offset(x, factor, offset, units=8, units_y=4)
    array([[ 6, -7]], dtype=int8)
    """
    codes = codes_of("x", x, MOST_BITS).astype(np.int32)
    f = codes_of("factor", dense_array("factor", factor, ("int8", "int16"), 1), MOST_BITS)
    o = dense_array("offset", offset, ("int32",), 1)
    if o.size and int(np.abs(o.astype(np.int64)).max()) > 1 << 23:
        raise ValueError(f"offset: found {o.min()}..{o.max()}, wanted at most 2^23 in magnitude")
    if codes.ndim < 2 or f.shape != o.shape or codes.shape[1] != f.size:
        raise ValueError(
            f"x: found shape {codes.shape} with {f.size} factors and {o.size} offsets, wanted as many "
            "channels on axis 1"
        )
    along = (1, -1, *([1] * (codes.ndim - 2)))
    acc = codes * f.astype(np.int32).reshape(along) + o.reshape(along)  # below 2^24: exact
    step = positive_float32("units", units) / positive_float32("units_y", units_y)
    return output(acc.astype(np.float32) / np.float32(step), 1.0, y_bits, None, True)


def _mean(codes: NDArray[np.int64], sum_bits: int) -> NDArray[np.int64]:
    """The saturated sum over axes 1 and 3 over its count, half even; axes stay with length 1."""
    count = codes.shape[1] * codes.shape[3]
    half = 1 << (integer("sum_bits", sum_bits, 8, 55) - 1)
    total = np.clip(codes.sum(axis=(1, 3), keepdims=True), -half, half - 1)
    codes_mean: NDArray[np.int64] = np.rint(float32(total) / np.float32(count)).astype(np.int64)
    return codes_mean


def layer_norm(
    x: NDArray[Any],
    *,
    units_y: float,
    shift_bits: int = 8,
    sum_bits: int = 55,
    simple: bool = False,
    x_bits: int = 8,
    y_bits: int = 8,
    limit: float | None = None,
) -> NDArray[Any]:
    """[frames, c, t, f] codes normalised over c and f; the training tool's ClnBn2d.

    ``OUT(d * (fl32(1 / I) * 2^(shift_bits / 2)))``, d = x - mean, I the root of the mean of d^2.

    Args:
        x: signed codes of x_bits; 1..4096 numbers per mean.
        units_y: codes per real unit of the result.
        shift_bits: 0, 4, 8, 12 or 16; with twice x_bits at most 32.
        sum_bits: width at which the sums saturate, 8..55.
        simple: leave the mean out.
        x_bits: 8..12.
        y_bits: width of the result, signed.
        limit: real units to which the result is limited on both sides; None: not limited.

    Returns:
        int8 or int16 codes.

    Source: docs/spec/digital_training.md, "Reductions".

    >>> import numpy as np
    >>> from bittwin.digital import simulated
    >>> simulated.layer_norm(np.array([[[[3, -3]]]], np.int8), units_y=64)
    array([[[[ 64, -64]]]], dtype=int8)
    """
    width = integer("x_bits", x_bits, 8, MOST_BITS)
    d = codes_of("x", x, width).astype(np.int64)
    if d.ndim != 4 or not 1 <= d.shape[1] * d.shape[3] <= 4096:
        raise ValueError(
            f"x: found shape {d.shape}, wanted [frames, c, t, f] with c * f in 1..4096"
        )
    if not simple:
        d = d - _mean(d, sum_bits)
    root = shifted_root(_mean(d * d, sum_bits), shift_bits, 2 * width)
    inverse = reciprocal(root) * np.float32(2.0 ** (shift_bits / 2))
    return output(d.astype(np.float32) * inverse, units_y, y_bits, limit, True)
