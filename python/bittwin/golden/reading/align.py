# SPDX-License-Identifier: Apache-2.0
"""Rows of two sets of codes that belong to the same stream frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.dump import Codes
from bittwin.golden.reading.codes import take_rows

#: Most frames that conclusions about a dump are drawn from.
FRAME_LIMIT = 2000
#: Most codes per side that are looked at; lowers the frames for very wide layers.
CODE_LIMIT = 4 << 20


@dataclass(frozen=True, eq=False)
class Aligned:
    """Codes of two sources, row by row from the same frame."""

    first: NDArray[np.int16]
    second: NDArray[np.int16]
    frames: NDArray[np.int64]
    """Stream frame of each row, ascending."""
    total: int
    """Frames that both sources have; more than `len(frames)` when not all were read."""

    @property
    def scope(self) -> str:
        """Say how many frames were looked at, for notes."""
        if self.total > len(self.frames):
            return f"the first {len(self.frames)} of {self.total} common frames"
        return f"{len(self.frames)} frames"


def align(
    first: Codes,
    first_index: NDArray[np.int64] | None,
    second: Codes,
    second_index: NDArray[np.int64] | None,
) -> Aligned | None:
    """Read the rows of the frames that both have; None when there are none.

    Where a frame occurs several times in a source, its first row is taken.
    """
    if first_index is None or second_index is None:
        return None
    common, in_first, in_second = np.intersect1d(first_index, second_index, return_indices=True)
    total = len(common)
    widest = max(first.columns, second.columns, 1)
    count = min(total, FRAME_LIMIT, max(1, CODE_LIMIT // widest))
    if count == 0:
        return None
    return Aligned(
        take_rows(first, in_first[:count].astype(np.int64)),
        take_rows(second, in_second[:count].astype(np.int64)),
        common[:count],
        total,
    )


@dataclass(frozen=True)
class Likeness:
    """How far two tables of codes agree."""

    size: int
    differing: int
    telling: int
    """Positions where either is not zero: two zeros agree by accident."""
    first: str
    """The first difference, for notes."""

    @property
    def equal(self) -> bool:
        """No code differs."""
        return self.differing == 0

    @property
    def alike(self) -> bool:
        """Mostly equal: the same signal with faults in it, rather than another signal."""
        agreeing = self.size - self.differing
        return agreeing >= 0.75 * self.size and 2 * self.differing <= self.telling

    def describe(self) -> str:
        """Say how many codes differ and where the first one is."""
        share = 100 * (self.size - self.differing) / max(self.size, 1)
        # Never let a rounded number claim that everything fits.
        shown = min(round(share, 2), 99.99) if self.differing else 100
        plural = "code differs" if self.differing == 1 else "codes differ"
        return f"fits {shown:g} %: {self.differing} {plural}, first at {self.first}"


def compare(
    found: NDArray[np.int16], wanted: NDArray[np.int16], frames: NDArray[np.int64]
) -> Likeness:
    """Compare two tables `[frames, columns]` of the same shape."""
    differs = found != wanted
    count = int(differs.sum())
    telling = int(((found != 0) | (wanted != 0)).sum())
    first = ""
    if count:
        row, column = np.unravel_index(int(differs.argmax()), differs.shape)
        first = (
            f"frame {int(frames[row])} column {int(column)} "
            f"({int(found[row, column])} against {int(wanted[row, column])})"
        )
    return Likeness(found.size, count, telling, first)


def recover_order(
    expected: Codes, reference: Codes, reference_index: NDArray[np.int64] | None
) -> NDArray[np.int64] | None:
    """Find the frame of each expected row by its content, without random_idx.txt.

    Args:
        expected: rows in unknown order.
        reference: rows whose frames are known.
        reference_index: those frames.

    Returns:
        The frames, or None unless every row occurs in the reference exactly once.
    """
    count, most = expected.frames, max(1, CODE_LIMIT // max(reference.columns, 1))
    if reference_index is None or count == 0 or max(count, reference.frames) > most:
        return None
    places: dict[bytes, int] = {}
    for place, row in enumerate(reference.block(0, reference.frames)):
        key = row.tobytes()
        places[key] = -1 if key in places else place
    found = [places.get(row.tobytes(), -1) for row in expected.block(0, count)]
    if min(found) < 0:
        return None
    index: NDArray[np.int64] = reference_index[np.array(found)]
    return index
