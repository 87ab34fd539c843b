# SPDX-License-Identifier: Apache-2.0
"""The second pass over a layer that differs: counts from which causes are concluded.

Everything is accumulated in integers, so the block size changes nothing. Memory: a few numbers per
column, two per row, and one table of code pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.bias_fit import BiasFit
from bittwin.golden.check.hypotheses import Alternative, Window, alternatives

if TYPE_CHECKING:
    from bittwin.golden.check.simulate import Simulator
    from bittwin.golden.dump import CodeSet

Ints = NDArray[Any]
_MOST_RESIDUES = 1 << 16
_LOW, _BEFORE, _GOLDEN = -256, 512, 768  # table of (code before the activation, golden code)


def windows(
    sim: Simulator,
    codes: CodeSet,
    bounds: tuple[int, int],
    block: int | None = None,
    skip: tuple[int, ...] = (),
) -> Iterator[Window]:
    """Blocks of a set with accumulators, simulated and golden codes; rows of `skip` are left out."""
    assert codes.input is not None
    assert codes.output is not None
    size = block or sim.block
    for start in range(bounds[0], bounds[1], size):
        stop = min(start + size, bounds[1])
        first, last = max(start - 1, bounds[0]), min(stop + 1, bounds[1])
        x = codes.input.block(first, last)
        lead = start - first
        rows = np.arange(start, stop)
        rows = rows[~np.isin(rows, skip)]
        if rows.size == 0:
            continue
        core = rows - start + lead
        before = sim.before(x, codes.input.source)
        wide = np.asarray(sim.compared(before, codes))
        golden = codes.output.block(start, stop)[rows - start]
        yield Window(
            sim=sim,
            codes=codes,
            rows=rows,
            x=x[core],
            acc=sim.accumulators(x[core]) if sim.accumulates else None,
            before=before[core],
            actual=wide[core],
            golden=golden,
            wrong=wide[core] != golden,
            wide=wide,
            first=first,
        )


class Evidence:
    """Counts of one layer, set and range of rows."""

    def __init__(
        self,
        sim: Simulator,
        codes: CodeSet,
        bounds: tuple[int, int],
        block: int | None = None,
        base: Alternative | None = None,
        skip: tuple[int, ...] = (),
    ) -> None:
        """Read the set once.

        Args:
            sim: the layer under the active rule.
            codes: the set, with input and output.
            bounds: first row and the row after the last one.
            block: frames per block.
            base: judge the differences that are left under this hypothesis instead.
            skip: rows to leave out.
        """
        assert codes.output is not None
        self.sim, self.codes, self.bounds, self.block, self.base = sim, codes, bounds, block, base
        self.skip = skip
        columns, rows = codes.output.columns, bounds[1] - bounds[0]
        self.alternatives = alternatives(sim, codes) if base is None else []
        self.total = 0
        self.wrong = 0
        self.by_column = np.zeros(columns, np.int64)
        self.by_row = np.zeros(rows, np.int64)
        self.histogram: dict[int, int] = {}
        self.sums = {k: np.zeros(columns, np.int64) for k in ("s", "g", "ss", "gg", "sg")}
        self.low = {k: np.full(columns, 1 << 30, np.int64) for k in "sg"}
        self.high = {k: np.full(columns, -(1 << 30), np.int64) for k in "sg"}
        self.masks: dict[str, list[int]] = {}  # property: [codes, differing codes]
        self.mask_column: dict[str, Ints] = {}  # property: codes of each column
        self.mask_row: dict[str, Ints] = {}  # property: codes of each row
        # Accumulators modulo the gain: of all codes, of differing ones.
        self.residues = np.zeros((2, _gain_of_residues(sim)), np.int64)
        self.table: Ints | None = np.zeros((_BEFORE, _GOLDEN), np.int64)
        self.column_hash = {k: np.zeros(columns, np.uint64) for k in "sg"}
        self.row_golden = np.zeros(
            (2, rows), np.int64
        )  # lowest and highest golden code of each row
        self.row_hash = {k: np.zeros(rows, np.uint64) for k in "sg"}
        self.few: list[tuple[int, int, int, int]] = []  # row, column, golden, simulated
        self.bias = self._bias_fit() if base is None else None
        for window in windows(sim, codes, bounds, block, skip):
            self._add(window)

    def _bias_fit(self) -> BiasFit | None:
        """Where the golden codes follow from the accumulators by a rule that never falls."""
        sim, relu = self.sim, False
        if self.codes.activated and sim.layer.activation:
            if sim.layer.activation_label != "relu":
                return None
            relu = True
        if not sim.accumulates or sim.active is None or sim.active.middle == "wrap16":
            return None
        if sim.active.store != "saturate" or min(sim.active.multiplier) < 0:
            return None
        return BiasFit(sim.active, self.by_column.size, relu)

    def _add(self, w: Window) -> None:
        for alternative in self.alternatives:
            alternative.update(w)
        actual = w.actual if self.base is None else self.base.compute(w)
        golden = w.golden.astype(np.int64)
        simulated = actual.astype(np.int64)
        wrong = (simulated != golden) & (simulated < (1 << 29))
        at = w.rows - self.bounds[0]
        self.total += golden.size
        self.wrong += int(np.count_nonzero(wrong))
        self.by_column += np.count_nonzero(wrong, axis=0)
        self.by_row[at] = np.count_nonzero(wrong, axis=1)
        difference = (simulated - golden)[wrong]
        for value, count in zip(*np.unique(difference, return_counts=True), strict=True):
            self.histogram[int(value)] = self.histogram.get(int(value), 0) + int(count)
        for key, value in (("s", simulated), ("g", golden)):
            self.sums[key] += value.sum(axis=0)
            self.sums[key * 2] += (value * value).sum(axis=0)
            self.low[key] = np.minimum(self.low[key], value.min(axis=0))
            self.high[key] = np.maximum(self.high[key], value.max(axis=0))
            self._hash(key, value.astype(np.uint64), at)
        self.row_golden[0, at], self.row_golden[1, at] = golden.min(axis=1), golden.max(axis=1)
        self.sums["sg"] += (simulated * golden).sum(axis=0)
        if self.bias is not None and w.acc is not None:
            self.bias.update(w.acc, golden)
        self._masks(w, wrong, at)
        self._table(w.before, golden)
        if len(self.few) < 8:
            for i, c in np.argwhere(wrong)[: 8 - len(self.few)]:
                row = int(w.rows[i])
                self.few.append((row, int(c), int(golden[i, c]), int(simulated[i, c])))

    def _masks(self, w: Window, wrong: NDArray[np.bool_], at: Ints) -> None:
        """Count codes and differing codes with a property of the exact result."""
        properties = {"negative": (w.before if w.acc is None else w.acc) < 0}
        if w.acc is not None and w.sim.active is not None:
            gain, acc = w.sim.gain, w.acc.astype(np.int64)
            for i, chosen in enumerate((acc, acc[wrong]) if self.residues.size else ()):
                self.residues[i] += np.bincount((chosen % gain).ravel(), minlength=gain)
            lo, hi = int(w.sim.active.lo), int(w.sim.active.hi)
            if gain % 2 == 0:
                properties["tie"] = acc % gain == gain // 2
                if w.sim.rule_name.startswith("readout") and gain % 4 == 0:
                    # Negative accumulators step at -0.75, -1.75, ... under this rule.
                    properties["tie"] |= (acc < 0) & (acc % gain == gain // 4)
            properties["saturated"] = (2 * acc > (2 * hi + 1) * gain) | (
                2 * acc < (2 * lo - 1) * gain
            )
            ends = (w.golden == lo) | (w.golden == hi)
            properties["end"] = properties["saturated"] | ends
        for name, mask in properties.items():
            counts = self.masks.setdefault(name, [0, 0])
            counts[0] += int(np.count_nonzero(mask))
            counts[1] += int(np.count_nonzero(mask & wrong))
            by_column = self.mask_column.setdefault(name, np.zeros_like(self.by_column))
            by_column += np.count_nonzero(mask, axis=0)
            by_row = self.mask_row.setdefault(name, np.zeros_like(self.by_row))
            by_row[at] = np.count_nonzero(mask, axis=1)

    def _table(self, before: Ints, golden: Ints) -> None:
        """Count pairs of code before the activation and golden code; give up outside the table."""
        if self.table is None:
            return
        i, j = before.astype(np.int64) - _LOW, golden - _LOW
        if i.size and (i.min() < 0 or i.max() >= _BEFORE or j.min() < 0 or j.max() >= _GOLDEN):
            self.table = None
            return
        pairs = np.bincount((i * _GOLDEN + j).ravel(), minlength=_BEFORE * _GOLDEN)
        self.table += pairs.reshape(_BEFORE, _GOLDEN)

    def _hash(self, key: str, codes: Ints, at: Ints) -> None:
        """Linear hashes of rows and columns: equal codes, equal hash, in any order of the other axis."""
        by_column = _mix(np.arange(codes.shape[1], dtype=np.uint64))
        by_row = _mix(at.astype(np.uint64))
        self.row_hash[key][at] = (codes * by_column).sum(axis=1, dtype=np.uint64)
        self.column_hash[key] += (codes * by_row[:, None]).sum(axis=0, dtype=np.uint64)

    def pairs(self) -> dict[int, dict[int, int]]:
        """Golden codes, with counts, that each code before the activation met."""
        found: dict[int, dict[int, int]] = {}
        if self.table is not None:
            for i, j in np.argwhere(self.table):
                found.setdefault(int(i) + _LOW, {})[int(j) + _LOW] = int(self.table[i, j])
        return found

    def fit(self, column: int | None = None) -> tuple[float, float, float] | None:
        """Least-squares line golden = gain * simulated + offset, and their correlation.

        Args:
            column: of one column; None for all.

        Returns:
            (gain, offset, correlation); None when one side is constant.
        """
        if column is None:
            n, sums = self.total, {k: int(v.sum()) for k, v in self.sums.items()}
        else:
            n = self.bounds[1] - self.bounds[0] - len(self.skip)
            sums = {k: int(v[column]) for k, v in self.sums.items()}
        xx = n * sums["ss"] - sums["s"] ** 2
        yy = n * sums["gg"] - sums["g"] ** 2
        xy = n * sums["sg"] - sums["s"] * sums["g"]
        if xx == 0 or yy == 0:
            return None
        gain = xy / xx
        return gain, (sums["g"] - gain * sums["s"]) / n, xy / (float(xx) * float(yy)) ** 0.5


def _gain_of_residues(sim: Simulator) -> int:
    """The gain where remainders by it are worth counting, else 0."""
    return sim.gain if sim.accumulates and 2 <= sim.gain <= _MOST_RESIDUES else 0


def _mix(index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread numbers over 64 bits (splitmix64), odd."""
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: NDArray[np.uint64] = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    return mixed
