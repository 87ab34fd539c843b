# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a single column: dead, offset, bias, one weight, another column, or gain.

The exact causes are proven: the column is computed again with the change and must then equal the golden
codes in every frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.chips import WTM2101
from bittwin.golden.check.evidence import Evidence, windows
from bittwin.golden.check.restricted import rule_there

Ints = NDArray[Any]
_MOST_ROWS = 1 << 16  # rows of the set that a column is judged on
FRAMES_FOR_BIAS = 8  # a constant always fits one frame
_WEIGHT_SUSPECTS = 8


def describe(e: Evidence, column: int) -> tuple[str, str, bool]:
    """Say what is wrong with one column.

    Args:
        e: counts of the layer.
        column: the column.

    Returns:
        (kind, text, exact): exact when the change makes the whole column equal.
    """
    golden = (int(e.low["g"][column]), int(e.high["g"][column]))
    simulated = (int(e.low["s"][column]), int(e.high["s"][column]))
    if golden[0] == golden[1] and simulated[0] != simulated[1]:
        text = (
            f"dead: golden is {golden[0]} in every frame, simulated {simulated[0]}..{simulated[1]}"
        )
        return "dead_column", text, False
    other = np.flatnonzero(e.column_hash["s"] == e.column_hash["g"][column])
    if other.size and golden[0] != golden[1]:
        return "column_order", f"golden holds simulated column {int(other[0])}", True
    if e.base is None:
        found = _Column(e, column).explain()
        if found is not None:
            return found
    fit = e.fit(column)
    if fit is None:
        return "column", f"simulated is constant, golden {golden[0]}..{golden[1]}", False
    return (
        "column",
        f"golden = {fit[0]:.3f} x simulated {fit[1]:+.2f} (correlation {fit[2]:.3f})",
        False,
    )


class _Column:
    """One column's accumulators and codes over the frames, and trials on them."""

    def __init__(self, e: Evidence, column: int) -> None:
        self.e, self.column = e, column
        self.bounds = (e.bounds[0], min(e.bounds[1], e.bounds[0] + _MOST_ROWS))
        golden: list[Ints] = []
        before: list[Ints] = []
        acc: list[Ints] = []
        # Sums of input x difference and of input squared, per input.
        self.x_r: Ints = np.zeros(e.sim.layer.in_columns, np.int64)
        self.x_x: Ints = np.zeros(e.sim.layer.in_columns, np.int64)
        self.linear = getattr(e.sim.layer.operator, "kind", "") == "linear" and e.sim.accumulates
        for w in windows(e.sim, e.codes, self.bounds, e.block, e.skip):
            golden.append(w.golden[:, column].astype(np.int64))
            before.append(w.before[:, column].astype(np.int64))
            if w.acc is not None:
                acc.append(w.acc[:, column].astype(np.int64))
            if self.linear:
                x = w.x.astype(np.int64)
                r = golden[-1] - w.actual[:, column].astype(np.int64)
                self.x_r = self.x_r + r @ x
                self.x_x = self.x_x + (x * x).sum(axis=0)
        self.golden, self.before = np.concatenate(golden), np.concatenate(before)
        self.acc = np.concatenate(acc) if acc else None

    def explain(self) -> tuple[str, str, bool] | None:
        """An exact cause, or None."""
        for trial in (self._offset, self._bias, self._rule, self._weight):
            found = trial()
            if found is not None:
                return found
        return None

    def _finish(self, codes: Ints) -> Ints:
        """Codes before the activation, as the golden file would hold them."""
        active = self.e.sim.active
        assert active is not None
        narrow = np.clip(codes, active.lo, active.hi).astype(active.dtype)
        return np.asarray(self.e.sim.compared(narrow[:, None], self.e.codes))[:, 0]

    def _requantized(self, acc: Ints) -> Ints:
        from bittwin import requantize

        e = self.e
        assert e.sim.active is not None
        info = np.iinfo(np.int32)
        narrow = np.clip(acc, info.min, info.max).astype(np.int32)[:, None]
        return np.asarray(e.sim.compared(requantize(narrow, e.sim.active), e.codes))[:, 0]

    def _equal(self, codes: Ints) -> bool:
        return bool((codes == self.golden).all())

    def _offset(self) -> tuple[str, str, bool] | None:
        """A whole number of codes added after the readout."""
        if self.e.sim.active is None:
            return None
        step = self.golden - self._finish(self.before)
        values, counts = np.unique(step[step != 0], return_counts=True)
        for i in np.argsort(-counts)[:3]:
            offset = int(values[i])
            if self._equal(self._finish(self.before + offset)):
                fit = self.e.fit(self.column)
                line = "" if fit is None else f" (fit: gain {fit[0]:.3f}, offset {fit[1]:+.2f})"
                return (
                    "offset_column",
                    f"offset {offset:+d} LSB: golden = simulated {offset:+d}{line}",
                    True,
                )
        return None

    def _estimates(self, estimate: float, around: int) -> list[int]:
        middle = round(estimate)
        return sorted(
            (k for k in range(middle - around, middle + around + 1) if k),
            key=lambda k: abs(k - estimate),
        )

    def _bias(self) -> tuple[str, str, bool] | None:
        """A constant added to the accumulators."""
        fit = self.e.bias
        if fit is None or not fit.feasible[self.column] or self.e.by_row.size < FRAMES_FOR_BIAS:
            return None
        text = f"bias: golden has {fit.text(self.column)} more"
        rule = rule_there(self.e, columns=np.array([self.column]))
        if rule:  # where all accumulators have one sign, a rounding is a constant
            text += f" (so fits another rounding in this column: {rule})"
        return "bias_column", text, True

    def _rule(self) -> tuple[str, str, bool] | None:
        """Another rounding in this column only."""
        rule = rule_there(self.e, columns=np.array([self.column]))
        if not rule:
            return None
        return "rounding_column", f"{rule} explains 100 % of its codes", True

    def _weight(self) -> tuple[str, str, bool] | None:
        """One other weight: the input whose codes follow the differences."""
        if self.acc is None or not self.linear:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.where(self.x_x > 0, self.x_r.astype(float) ** 2 / self.x_x, 0.0)
        suspects = [int(k) for k in np.argsort(-power)[:_WEIGHT_SUSPECTS] if power[k] > 0]
        if not suspects:
            return None
        seen = windows(self.e.sim, self.e.codes, self.bounds, self.e.block, self.e.skip)
        x = np.concatenate([w.x[:, suspects] for w in seen]).astype(np.int64)
        weight = self.e.sim.layer.operator.weight
        for i, row in enumerate(suspects):
            estimate = self.e.sim.gain * float(self.x_r[row]) / float(self.x_x[row])
            now = int(weight[self.column, row])
            for k in self._estimates(estimate, max(8, round(abs(estimate) / 4))):
                if abs(now + k) > WTM2101.cell_limit:
                    continue  # no cell holds such a weight
                if self._equal(self._requantized(self.acc + k * x[:, i])):
                    text = f"weight of input {row}: golden fits {now + k}, the dump has {now}"
                    return "weight", text, True
        return None
