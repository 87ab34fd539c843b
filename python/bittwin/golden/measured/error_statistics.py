# SPDX-License-Identifier: Apache-2.0
"""Error statistics of measured codes, as the chip's own bring-up tool prints them.

Error is measured - golden, in LSB. All sums are exact integers, so the block size changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.compare import Tally
from bittwin.golden.check.results import ErrorStatistics

if TYPE_CHECKING:
    from bittwin.golden.dump import CodeSet, DumpLayer

Ints = NDArray[Any]
_CODES_PER_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """Measured codes of one layer: ``read(start, stop)`` gives integer [stop - start, columns]."""

    layer: DumpLayer
    codes: CodeSet
    read: Callable[[int, int], Ints]


class Statistics:
    """Sums over one layer's measured and golden codes, exact integers, in two passes over the file.

    Attributes:
        n: frames; columns: columns.
        sums: per column int64: e, ee (error and its square), m, mm, g, gg, mg.
        low, high: per column smallest and largest code of m and g.
        frame_std, frame_mean: per frame, of the error.
        clean_std, clean_mean: the same after each column's mean error was taken away.
    """

    def __init__(self, source: Source, bounds: tuple[int, int], block: int | None = None) -> None:
        """Read everything twice."""
        self.source, self.bounds = source, bounds
        self.n = bounds[1] - bounds[0]
        self.columns = source.layer.out_columns
        self.block = block or max(1, _CODES_PER_BLOCK // max(self.columns, 1))
        self.tally = Tally()
        self.sums = {
            k: np.zeros(self.columns, np.int64) for k in ("e", "ee", "m", "mm", "g", "gg", "mg")
        }
        self.low = {k: np.full(self.columns, 1 << 30, np.int64) for k in "mg"}
        self.high = {k: np.full(self.columns, -(1 << 30), np.int64) for k in "mg"}
        self.frame_std = np.zeros(self.n)
        self.frame_mean = np.zeros(self.n)
        self.clean_std = np.zeros(self.n)
        self.clean_mean = np.zeros(self.n)
        self.shift_error: dict[tuple[str, int], list[int]] = {}  # [sum of squares, codes]
        for rows, m, g, wide in self._blocks():
            self._first(rows, m, g)
            self._shifts(rows, m, g, wide)
        mean = self.sums["e"] / max(self.n, 1)
        for rows, m, g, _ in self._blocks():
            at = slice(int(rows[0]) - bounds[0], int(rows[-1]) + 1 - bounds[0])
            clean = (m - g) - mean
            self.clean_mean[at] = clean.mean(axis=1)
            self.clean_std[at] = clean.std(axis=1)

    def _blocks(self) -> Iterator[tuple[Ints, Ints, Ints, tuple[Ints, int]]]:
        output = self.source.codes.output
        assert output is not None
        for start in range(self.bounds[0], self.bounds[1], self.block):
            stop = min(start + self.block, self.bounds[1])
            first, last = max(start - 1, self.bounds[0]), min(stop + 1, self.bounds[1])
            wide = output.block(first, last).astype(np.int64)
            g = wide[start - first : stop - first]
            m = np.asarray(self.source.read(start, stop)).astype(np.int64)
            yield np.arange(start, stop), m, g, (wide, start - first)

    def _first(self, rows: Ints, m: Ints, g: Ints) -> None:
        index = self.source.codes.frame_index
        self.tally.update(rows, g, m, None if index is None else index[rows])
        e = m - g
        for key, value in (
            ("e", e), ("ee", e * e), ("m", m), ("mm", m * m), ("g", g), ("gg", g * g), ("mg", m * g),
        ):  # fmt: skip
            self.sums[key] += value.sum(axis=0)
        for key, value in (("m", m), ("g", g)):
            self.low[key] = np.minimum(self.low[key], value.min(axis=0))
            self.high[key] = np.maximum(self.high[key], value.max(axis=0))
        at = slice(int(rows[0]) - self.bounds[0], int(rows[-1]) + 1 - self.bounds[0])
        total, square = e.sum(axis=1), (e * e).sum(axis=1)
        self.frame_mean[at] = total / self.columns
        self.frame_std[at] = np.sqrt(self.columns * square - total * total) / self.columns

    def _shifts(self, rows: Ints, m: Ints, g: Ints, wide: tuple[Ints, int]) -> None:
        """Squared error against the golden codes one frame or one column away."""
        around, lead = wide
        for by in (-1, 1):
            at = np.arange(rows.size) + lead + by
            inside = (at >= 0) & (at < around.shape[0])
            self._shift(("frame", by), m[inside] - around[at[inside]])
        if self.columns > 1:
            self._shift(("column", -1), m[:, 1:] - g[:, :-1])
            self._shift(("column", 1), m[:, :-1] - g[:, 1:])

    def _shift(self, key: tuple[str, int], error: Ints) -> None:
        seen = self.shift_error.setdefault(key, [0, 0])
        seen[0] += int((error * error).sum())
        seen[1] += error.size

    @property
    def column_mean(self) -> NDArray[np.float64]:
        """Mean error per column."""
        return self.sums["e"] / self.n

    @property
    def column_std(self) -> NDArray[np.float64]:
        """Standard deviation of the error over the frames, per column."""
        return _std(self.n, self.sums["e"], self.sums["ee"])

    def column_std_without(self, rows: Ints) -> NDArray[np.float64]:
        """`column_std` without some frames (numbers within the compared range); one more pass."""
        keep = np.ones(self.n, bool)
        keep[rows] = False
        count = max(int(keep.sum()), 1)
        total, square = np.zeros(self.columns, np.int64), np.zeros(self.columns, np.int64)
        for at, m, g, _ in self._blocks():
            e = (m - g)[keep[at - self.bounds[0]]]
            total += e.sum(axis=0)
            square += (e * e).sum(axis=0)
        return _std(count, total, square)

    def raw(self) -> ErrorStatistics:
        """Statistics of the codes as they are."""
        total = {k: int(v.sum()) for k, v in self.sums.items()}
        return self._statistics(
            self.frame_std,
            self.frame_mean,
            self.column_mean,
            total["m"],
            total["mm"],
            total["mg"],
            1,
        )

    def corrected(self) -> ErrorStatistics:
        """Statistics after each column's mean error was taken away from the measured codes."""
        n = self.n  # all sums times n (or n squared), so that they stay integers
        e, m, g = ([int(v) for v in self.sums[k]] for k in ("e", "m", "g"))
        first = n * (sum(m) - sum(e))
        square = n * n * int(self.sums["mm"].sum()) + sum(
            n * a * a - 2 * n * a * b for a, b in zip(e, m, strict=True)
        )
        mixed = n * int(self.sums["mg"].sum()) - sum(a * b for a, b in zip(e, g, strict=True))
        zero = np.zeros(self.columns)
        return self._statistics(self.clean_std, self.clean_mean, zero, first, square, mixed, n)

    def _statistics(
        self,
        frame_std: NDArray[np.float64],
        frame_mean: NDArray[np.float64],
        column_mean: NDArray[np.float64],
        m: int,
        mm: int,
        mg: int,
        times: int,
    ) -> ErrorStatistics:
        """Put together; ``m`` and ``mg`` are ``times`` too large, ``mm`` its square."""
        count = self.n * self.columns
        g, gg = int(self.sums["g"].sum()), int(self.sums["gg"].sum())
        spread = count * gg - g * g
        gain = (count * mg - m * g) / (spread * times) if spread else None
        offset = None if gain is None else (m / times - gain * g) / count
        worst = int(np.argmax(np.abs(column_mean)))
        return ErrorStatistics(
            max_frame_std=float(frame_std.max()),
            mean_frame_std=float(frame_std.mean()),
            max_column_std=float(self.column_std.max()),
            mean_column_std=float(self.column_std.mean()),
            max_frame_mean=float(np.abs(frame_mean).max()),
            mean_error=float(column_mean.mean()),
            max_column_mean=float(abs(column_mean[worst])),
            worst_column=worst,
            gain=gain,
            offset=offset,
            cosine=mg / (float(mm) * float(gg)) ** 0.5 if mm and gg else None,
        )


def _std(count: int, total: Ints, square: Ints) -> NDArray[np.float64]:
    """Standard deviations from sums and sums of squares, exact up to the root."""
    spread = [count * int(b) - int(a) ** 2 for a, b in zip(total, square, strict=True)]
    roots: NDArray[np.float64] = np.array([float(v) ** 0.5 for v in spread], np.float64)
    return roots / count
