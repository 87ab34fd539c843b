# SPDX-License-Identifier: Apache-2.0
"""Counting differences, block by block, with results that do not depend on the blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.results import First

Ints = NDArray[Any]


@dataclass
class Tally:
    """Running comparison of golden codes with others of the same layer.

    The blocks may come in any order and size: ``first`` is always the one that comes first in the file.

    >>> t = Tally()
    >>> t.update(np.array([4, 5]), np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 9]]))
    >>> t.mismatches, t.max_abs, t.histogram
    (1, 5, {5: 1})
    >>> t.first.frame, t.first.column, t.first.expected, t.first.actual
    (5, 1, 4, 9)
    """

    frames: int = 0
    codes: int = 0
    mismatches: int = 0
    max_abs: int = 0
    first: First | None = None
    histogram: dict[int, int] = field(default_factory=dict)

    def update(self, rows: Ints, golden: Ints, actual: Ints, stream: Ints | None = None) -> None:
        """Add one block.

        Args:
            rows: the rows' numbers in the file, int [n].
            golden: golden codes, integer [n, columns].
            actual: the codes to compare, same shape.
            stream: the rows' frames in the recorded stream, int [n], or None.

        Raises:
            ValueError: the shapes differ.
        """
        if golden.shape != actual.shape:
            raise ValueError(f"actual: found shape {actual.shape}, wanted {golden.shape}")
        self.frames += golden.shape[0]
        self.codes += golden.size
        wrong = golden != actual
        if not wrong.any():
            return
        where, column = np.nonzero(wrong)
        expected = golden[where, column].astype(np.int64)
        found = actual[where, column].astype(np.int64)
        difference = found - expected
        self.mismatches += difference.size
        self.max_abs = max(self.max_abs, int(np.abs(difference).max()))
        for value, count in zip(*np.unique(difference, return_counts=True), strict=True):
            self.histogram[int(value)] = self.histogram.get(int(value), 0) + int(count)
        row = rows[where]
        at = int(np.lexsort((column, row))[0])
        place = (int(row[at]), int(column[at]))
        if self.first is None or place < (self.first.frame, self.first.column):
            frame = None if stream is None else int(stream[where[at]])
            self.first = First(*place, int(expected[at]), int(found[at]), frame)
