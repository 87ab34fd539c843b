# SPDX-License-Identifier: Apache-2.0
"""Where the differing codes are, and what they have in common: the causes short of a computed rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.columns import FRAMES_FOR_BIAS, describe
from bittwin.golden.check.evidence import Evidence
from bittwin.golden.check.restricted import rule_there
from bittwin.golden.check.results import Diagnosis

Ints = NDArray[Any]
_HOLDS = 0.9  # share of the differing codes that a few columns or frames must hold to be named
_FEW_CODES = 4
_FEW_COLUMNS = 3
_FEW_FRAMES = 3
_RUN = 8  # equal frames beside a run of differing ones that make it no accident


def percent(share: float) -> str:
    """A share as text that says 100 % only for all of it.

    >>> percent(1.0), percent(0.9999), percent(0.5), percent(0.00001)
    ('100 %', '99.9 %', '50 %', '<0.1 %')
    """
    if share >= 1:
        return "100 %"
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{min(np.floor(share * 1000) / 10, 99.9):g} %"


def numbers(found: Ints | list[int], most: int = 8) -> str:
    """A list of numbers as text, runs joined.

    >>> numbers([1, 2, 3, 7])
    '1..3, 7'
    """
    pieces: list[str] = []
    values = sorted(int(v) for v in found)
    at = 0
    while at < len(values) and len(pieces) < most:
        last = at
        while last + 1 < len(values) and values[last + 1] == values[last] + 1:
            last += 1
        pieces.append(str(values[at]) if last == at else f"{values[at]}..{values[last]}")
        at = last + 1
    more = len(values) - at
    return ", ".join(pieces) + (f" and {more} more" if more else "")


def single_codes(e: Evidence) -> Diagnosis | None:
    """A handful of codes, named one by one."""
    if e.wrong > _FEW_CODES:
        return None
    places = "; ".join(
        f"frame {r}, column {c}: expected {g}, simulated {s}" for r, c, g, s in e.few
    )
    rows = int(np.count_nonzero(e.by_row))
    codes = f"{e.wrong} code{'s' * (e.wrong > 1)} in {rows} frame{'s' * (rows > 1)}"
    columns = np.flatnonzero(e.by_column)
    if e.wrong > 1 and columns.size == 1:
        codes += f", all in column {int(columns[0])}"
    return Diagnosis(f"{codes}: {places}", 1.0, "single_code")


def few_columns(e: Evidence) -> list[Diagnosis]:
    """One to three columns that hold (nearly) all differences, each described; or a run of columns."""
    bad = np.flatnonzero(e.by_column)
    columns = e.by_column.size
    worst = np.argsort(-e.by_column, kind="stable")
    for count in range(1, min(_FEW_COLUMNS, max(columns // 4, columns > 1)) + 1):
        held = int(e.by_column[worst[:count]].sum())
        if held < _HOLDS * e.wrong:
            continue
        found = []
        for column in sorted(int(c) for c in worst[:count]):
            kind, text, exact = describe(e, column)
            share = int(e.by_column[column]) / e.wrong
            frames = int(e.by_column[column])
            cause = f"column {column}: {text}; {frames} of {e.by_row.size} frames differ"
            found.append(Diagnosis(cause, share, kind, exact and bad.size == 1))
        return found
    if 1 < bad.size <= columns // 4:
        run = int(bad[-1] - bad[0]) + 1 == bad.size
        cause = f"only {bad.size} of {columns} columns{' in a row' if run else ''}: {numbers(bad)}"
        worst_column = int(worst[0])
        cause += f"; the worst, column {worst_column}: {describe(e, worst_column)[1]}"
        return [Diagnosis(cause, 1.0, "columns")]
    return []


def few_frames(e: Evidence) -> list[Diagnosis]:
    """One frame, a few, or all from some frame on."""
    bad = np.flatnonzero(e.by_row)
    rows = e.by_row.size
    first = e.bounds[0]
    worst = np.argsort(-e.by_row, kind="stable")
    for count in range(1, min(_FEW_FRAMES, max(rows // 4, rows > 1)) + 1):
        chosen = np.sort(worst[:count])
        share = int(e.by_row[chosen].sum()) / e.wrong
        if share < _HOLDS:
            continue
        word = "frame" if count == 1 else "frames"
        cause = f"only {word} {numbers(chosen + first)}: {int(e.by_row[chosen].sum())} codes differ there"
        return [
            Diagnosis(
                cause + other_row(e, int(chosen[0])), share, "frames" if count > 1 else "frame"
            )
        ]
    if 1 < bad.size <= rows - _RUN and int(bad[-1] - bad[0]) + 1 == bad.size:
        if bad[-1] == rows - 1:
            cause = f"every frame before {int(bad[0]) + first} is equal, none from there on"
        elif bad[0] == 0:
            cause = f"every frame from {int(bad[-1]) + 1 + first} on is equal, none before"
        else:
            cause = f"only frames {numbers(bad + first)}"
        return [Diagnosis(cause + _constant(e, bad), 1.0, "frames")]
    return []


def scattered_frames(e: Evidence) -> list[Diagnosis]:
    """A tenth of the frames or less, wherever they are."""
    bad, rows = np.flatnonzero(e.by_row), e.by_row.size
    if not 1 < bad.size <= rows // 10:
        return []
    cause = f"only {bad.size} of {rows} frames: {numbers(bad + e.bounds[0])}"
    return [Diagnosis(cause, 1.0, "frames")]


def other_rule(e: Evidence) -> Diagnosis | None:
    """Another rounding in some columns, or in some frames, that explains every code of these."""
    for axis, word, wrong in (("columns", "column", e.by_column), ("rows", "frame", e.by_row)):
        bad = np.flatnonzero(wrong)
        if bad.size > wrong.size // 2 or wrong.size < 2:
            continue
        if bad.size > _FEW_COLUMNS and e.wrong < 3 * bad.size:
            continue  # one code here and there: rules that differ in ties only fit by accident
        rule = rule_there(e, columns=bad) if axis == "columns" else rule_there(e, rows=bad)
        if not rule:
            continue
        some = bad.size > 1
        where = f"{word}{'s' * some} {numbers(bad if axis == 'columns' else bad + e.bounds[0])}"
        cause = f"only {where}: {rule} explains 100 % of {'their' if some else 'its'} codes"
        return Diagnosis(cause, 1.0, f"rounding_{word}{'s' * (axis == 'rows')}", True)
    return None


def standing_out(e: Evidence) -> tuple[int, ...]:
    """One to three frames with far more differing codes than any other frame has."""
    order = np.argsort(-e.by_row, kind="stable")
    counts = e.by_row[order]
    for count in range(1, min(_FEW_FRAMES, counts.size - 1) + 1):
        if counts[count - 1] >= max(8, 4 * counts[count]) and counts[count]:
            return tuple(sorted(int(r) + e.bounds[0] for r in order[:count]))
    return ()


def _constant(e: Evidence, rows: Ints) -> str:
    """Whether the golden codes of these rows are all the same number."""
    low, high = e.row_golden[0, rows].min(), e.row_golden[1, rows].max()
    return f"; golden is {low} in all columns there" if low == high and e.by_column.size > 1 else ""


def other_row(e: Evidence, row: int) -> str:
    """What stands in a wrong golden row: one number, or the simulation of another frame."""
    constant = _constant(e, np.array([row]))
    same = np.flatnonzero(e.row_hash["s"] == e.row_hash["g"][row])
    if constant or same.size == 0 or e.by_column.size < 4:
        return constant
    here, there = row + e.bounds[0], int(same[0]) + e.bounds[0]
    text = f"; golden frame {here} is the simulation of frame {there}"
    index = e.codes.frame_index
    if index is not None and index[here] == index[there]:
        text += ", the same stream frame: the inputs of these two rows differ"
    return text


def other_order(e: Evidence) -> Diagnosis | None:
    """Whole frames, or whole columns, that are right but in another place."""
    for axis, word, wrong in (
        ("row", "frame", e.by_row),
        ("column", "column", e.by_column),
    ):
        hashes = e.row_hash if axis == "row" else e.column_hash
        bad = np.flatnonzero(wrong)
        if wrong.size < 4 or bad.size < 2 or np.unique(hashes["g"][bad]).size * 2 < bad.size:
            continue
        order = np.argsort(hashes["s"], kind="stable")
        ordered = hashes["s"][order]
        at = np.minimum(np.searchsorted(ordered, hashes["g"][bad]), ordered.size - 1)
        known = ordered[at] == hashes["g"][bad]
        share = int(wrong[bad[known]].sum()) / e.wrong
        if share < _HOLDS:
            continue
        base = e.bounds[0] if axis == "row" else 0
        i = int(np.flatnonzero(known)[0])
        here, there = int(bad[i]) + base, int(order[at[i]]) + base
        cause = (
            f"{word}s in another order: {int(known.sum())} of the {bad.size} differing golden {word}s are "
            f"the simulation of another {word} (golden {word} {here} is simulated {word} {there})"
        )
        return Diagnosis(cause, share, f"{word}_order", share == 1)
    return None


def own_bias(e: Evidence) -> Diagnosis | None:
    """A constant of its own for every differing column, added to the accumulators."""
    bad = np.flatnonzero(e.by_column)
    if e.bias is None or e.by_row.size < FRAMES_FOR_BIAS or bad.size <= _FEW_COLUMNS:
        return None
    fits = e.bias.feasible[bad]
    share = int(e.by_column[bad[fits]].sum()) / e.wrong
    if share < _HOLDS:
        return None
    worst = int(bad[fits][np.argmax(e.by_column[bad[fits]])])
    cause = (
        f"bias: in {int(fits.sum())} of the {bad.size} differing columns golden has a constant more "
        f"(column {worst}: {e.bias.text(worst)})"
    )
    return Diagnosis(cause, share, "bias_columns", share == 1)


def spread(e: Evidence) -> Diagnosis:
    """The facts, when no cause was found."""
    rows, columns = int(np.count_nonzero(e.by_row)), int(np.count_nonzero(e.by_column))
    common = sorted(e.histogram.items(), key=lambda item: -item[1])
    most = ", ".join(f"{d:+d} in {percent(n / e.wrong)}" for d, n in common[:3])
    fit = e.fit()
    line = ""
    if fit is not None:
        line = f"; golden = {fit[0]:.3f} x simulated {fit[1]:+.2f}, correlation {fit[2]:.3f}"
        if abs(fit[2]) < 0.3:
            line += ": golden is unrelated to the simulation (other weights, frames or layer?)"
    cause = (
        f"no single cause found; differences are spread: {e.wrong} codes in {rows} of {e.by_row.size} frames "
        f"and {columns} of {e.by_column.size} columns, "
        f"{min(e.histogram):+d}..{max(e.histogram):+d} LSB ({most}){line}"
    )
    return Diagnosis(cause, 0.0, "spread")
