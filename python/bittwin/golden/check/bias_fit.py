# SPDX-License-Identifier: Apache-2.0
"""Which constant, added to a column's accumulators, makes all its golden codes right.

Every golden code allows its accumulator a range; the constant must bring every accumulator of the column
into its range, so it lies between the largest lower and the smallest upper distance. That is exact: no
fitting, no trial, one pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bittwin.requant import Requant

Ints = NDArray[Any]
_FAR = 1 << 40
_OPEN = _FAR // 2  # beyond it a bound was never set
_UNIT = 128  # accumulator units of one bias code


def first_accumulators(requant: Requant) -> NDArray[np.int64]:
    """The smallest accumulator that gives each code lo+1..hi (or a higher one).

    Args:
        requant: a rule whose codes never fall when the accumulator rises.

    >>> import bittwin
    >>> first_accumulators(bittwin.readout(256))[[127, 128]].tolist()  # of the codes 0 and 1
    [-191, 128]
    """
    from bittwin import requantize

    codes = np.arange(requant.lo + 1, requant.hi + 1)
    low = np.full(codes.size, -(1 << 31), np.int64)  # gives less than the code, or is the lowest
    high = np.full(codes.size, (1 << 31) - 1, np.int64)  # gives the code or more, or is the highest
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = requantize(middle.astype(np.int32), requant).astype(np.int64) >= codes
        high, low = np.where(reached, middle, high), np.where(reached, low, middle)
    return high


class BiasFit:
    """Allowed constants of every column, narrowed block by block."""

    def __init__(self, requant: Requant, columns: int, relu: bool) -> None:
        """Start with everything allowed.

        Args:
            requant: the rule of the layer.
            columns: number of columns.
            relu: golden codes are after a ReLU: 0 stands for all negative codes, too.
        """
        first = first_accumulators(requant)
        self.lo, self.hi = int(requant.lo), int(requant.hi)
        self.least = np.concatenate(([-_FAR], first))
        self.most = np.concatenate((first - 1, [_FAR]))
        if relu:
            self.least[: 1 - self.lo] = -_FAR
        self.low = np.full(columns, -_FAR, np.int64)
        self.high = np.full(columns, _FAR, np.int64)

    def update(self, acc: Ints, golden: Ints) -> None:
        """Add a block: accumulators and golden codes, [frames, columns]."""
        inside = (golden >= self.lo) & (golden <= self.hi)
        at = np.clip(golden.astype(np.int64), self.lo, self.hi) - self.lo
        wide = acc.astype(np.int64)
        low = np.where(inside, self.least[at] - wide, _FAR)
        self.low = np.maximum(self.low, low.max(axis=0))
        self.high = np.minimum(self.high, (self.most[at] - wide).min(axis=0))

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Columns for which some constant makes every code equal."""
        return self.low <= self.high

    def text(self, column: int) -> str:
        """The constant of a column: the multiple of 128 nearest to 0 where there is one, else the range."""
        low, high = int(self.low[column]), int(self.high[column])
        least, most = -(-low // _UNIT), high // _UNIT
        if least > most:
            return f"{low:+d}..{high:+d} accumulator units, no multiple of {_UNIT}"
        k = min(max(0, least), most)
        others = "" if least == most else f"; {most - least + 1} multiples of {_UNIT} fit"
        open_end = ""
        if low < -_OPEN or high > _OPEN:  # saturated codes bound it at one side only
            open_end, others = "at most " if low < -_OPEN else "at least ", ""
        return f"{open_end}{_UNIT * k:+d} accumulator units ({k:+d} bias codes{others})"
