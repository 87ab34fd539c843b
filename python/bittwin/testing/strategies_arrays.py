# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for codes, weights, accumulators, shapes and memory layouts.

Integer datapaths break at the ends of ranges, so 70 % of all drawn codes are corners: the lowest
two, -1, 0, 1 and the highest two. Arrays are filled from one drawn seed: that keeps thousands of
elements cheap, and hypothesis still shrinks shapes, ranges and the kind of filling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bittwin.testing._hypothesis import DrawFn, SearchStrategy, st
from bittwin.testing.oracle_requant import READOUT_GAINS

CORNER_SHARE = 0.7
"""Share of draws that come from the ends of the range."""

LAYOUTS: tuple[str, ...] = (
    "contiguous",
    "fortran",
    "strided",
    "reversed",
    "transposed",
    "offset",
    "readonly",
    "unaligned",
)
"""Memory layouts that `layouts` chooses from; all have equal elements."""

_TAILS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 130)


def corner_codes(lo: int, hi: int) -> list[int]:
    """Return the corners of a range: lo, lo+1, -1, 0, 1, hi-1, hi, as far as they lie inside.

    >>> corner_codes(0, 255)
    [0, 1, 254, 255]
    """
    return sorted({v for v in (lo, lo + 1, -1, 0, 1, hi - 1, hi) if lo <= v <= hi})


@st.composite
def code(draw: DrawFn, lo: int, hi: int) -> int:
    """Draw one integer of lo..hi, 70 % of the time from the corners."""
    if draw(st.integers(0, 9)) < 10 * CORNER_SHARE:
        return draw(st.sampled_from(corner_codes(lo, hi)))
    return draw(st.integers(lo, hi))


def _limits(dtype: DTypeLike, lo: int | None, hi: int | None) -> tuple[int, int]:
    info = np.iinfo(np.dtype(dtype))
    return (int(info.min) if lo is None else lo), (int(info.max) if hi is None else hi)


@st.composite
def codes(
    draw: DrawFn,
    dtype: DTypeLike,
    shape: tuple[int, ...],
    lo: int | None = None,
    hi: int | None = None,
) -> NDArray[Any]:
    """Draw an array of codes, corner-weighted.

    Args:
        draw: given by hypothesis.
        dtype: integer dtype of the array.
        shape: its shape; zero-size is fine.
        lo: lowest code; default: the dtype's.
        hi: highest code; default: the dtype's.

    Returns:
        A C-contiguous array. Now and then it is one corner throughout, or two corners in turn:
        the extreme sums that random numbers never reach.
    """
    low, high = _limits(dtype, lo, hi)
    corners = np.array(corner_codes(low, high), dtype=np.int64)
    size = int(np.prod(shape))
    filling = draw(st.sampled_from(("one corner", "mixed", "mixed", "two corners", "mixed")))
    if filling == "one corner":
        flat = np.full(size, draw(st.sampled_from(corners.tolist())), dtype=np.int64)
    elif filling == "two corners":
        pair = [draw(st.sampled_from(corners.tolist())) for _ in range(2)]
        flat = np.resize(np.array(pair, dtype=np.int64), size)
    else:
        generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        anywhere = generator.integers(low, high, size, dtype=np.int64, endpoint=True)
        at_end = generator.random(size) < CORNER_SHARE
        flat = np.where(at_end, generator.choice(corners, size), anywhere)
    return flat.astype(dtype).reshape(shape)


def weights(
    shape: tuple[int, ...],
    lo: int | None = None,
    hi: int | None = None,
    dtype: DTypeLike = np.int8,
) -> SearchStrategy[NDArray[Any]]:
    """Draw weight codes: as `codes`, int8 unless told otherwise.

    The array's cells go to +-275: `weights(shape, -275, 275, np.int16)`.
    """
    return codes(dtype, shape, lo, hi)


def gains() -> SearchStrategy[int]:
    """Draw a gain that the converter's register can hold: a power of two, 256..32768."""
    return st.sampled_from(READOUT_GAINS)


@st.composite
def accumulator(draw: DrawFn, gain: int = 256) -> int:
    """Draw one INT32 accumulator from where requantisers go wrong.

    The ends of int32; multiples, halves and quarters of the gain +-2, also near the saturation
    ends of 8- and 16-bit codes; powers of two +-0, 1, 2; now and then anything.
    """
    kind = draw(st.integers(0, 9))
    near = draw(st.integers(-2, 2))
    if kind < 4:
        around_zero, all_codes = st.integers(-8, 8), st.integers(-600, 600)
        steps = draw(st.one_of(around_zero, all_codes, code(-(2**17), 2**17)))
        value = steps * gain // 4 + near
    elif kind < 6:
        value = draw(st.sampled_from((-1, 1))) * 2 ** draw(st.integers(0, 31)) + near
    elif kind < 7:
        value = draw(st.sampled_from((-(2**31), 2**31 - 1))) + near
    elif kind < 8:
        value = draw(st.sampled_from((-8192, 8192, 8191, -8193, 128, -128))) * gain + near
    else:
        value = draw(st.integers(-(2**31), 2**31 - 1))
    return min(max(value, -(2**31)), 2**31 - 1)


@st.composite
def accumulators(draw: DrawFn, shape: tuple[int, ...] = (64,), gain: int = 256) -> NDArray[Any]:
    """Draw an int32 array of accumulators: a few of `accumulator`, spread over the array."""
    size = int(np.prod(shape))
    pool = draw(st.lists(accumulator(gain), min_size=1, max_size=24))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    flat = np.array(pool, dtype=np.int64)[generator.integers(0, len(pool), size)]
    flat[: min(size, len(pool))] = pool[:size]
    return flat.astype(np.int32).reshape(shape)


def lengths(largest: int = 130, *, zero: bool = False) -> SearchStrategy[int]:
    """Draw a length with and without a tail: around 8, 16, 32, 64 and 128, or anything."""
    tails = [n for n in _TAILS if n <= largest]
    return st.one_of(st.sampled_from(tails), st.integers(0 if zero else 1, largest))


@st.composite
def shapes(draw: DrawFn, largest: int = 12) -> tuple[int, ...]:
    """Draw the leading axes of an input: none, one or two, sometimes with a size of zero."""
    axes = draw(st.sampled_from((1, 1, 1, 2, 0)))
    return tuple(draw(st.one_of(st.integers(1, largest), st.just(0))) for _ in range(axes))


def relaid(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return an array with equal elements in another memory layout, one of `LAYOUTS`.

    >>> relaid(np.arange(3, dtype=np.int8), "reversed").strides
    (-1,)
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: found {layout!r}, wanted one of {', '.join(LAYOUTS)}")
    if array.ndim == 0 and layout != "readonly":
        return np.array(array)
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "readonly":
        array = array.copy()
        array.flags.writeable = False
        return array
    if layout == "transposed":
        turned: NDArray[Any] = np.ascontiguousarray(array.T).T
        return turned
    if layout == "contiguous":
        return np.ascontiguousarray(array)
    if layout == "unaligned":  # one byte off, where the elements have more than one
        raw = np.zeros(array.nbytes + 1, np.uint8)
        view = raw[1:].view(array.dtype).reshape(array.shape)
    elif layout == "strided":  # every second element of something larger, in all axes
        larger = np.full([2 * n + 1 for n in array.shape], 77, dtype=array.dtype)
        view = larger[tuple(slice(1, 2 * n + 1, 2) for n in array.shape)]
    elif layout == "reversed":
        view = np.empty_like(array)[tuple(slice(None, None, -1) for _ in array.shape)]
    else:  # offset: inside a larger array: rows are contiguous, the whole is not
        larger = np.full([n + 3 for n in array.shape], 77, dtype=array.dtype)
        view = larger[tuple(slice(2, n + 2) for n in array.shape)]
    view[...] = array
    return view


@st.composite
def layouts(draw: DrawFn, array: NDArray[Any]) -> NDArray[Any]:
    """Draw one memory layout of an array; the elements stay equal."""
    return relaid(array, draw(st.sampled_from(LAYOUTS)))
