# SPDX-License-Identifier: Apache-2.0
"""Several launches as one: every row with the medians of all, and questions to ask of them.

A ratio is taken within each launch and the median of the ratios is given, never the ratio of medians.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Record = Mapping[str, Any]


def merge(launches: Sequence[Mapping[str, Record]]) -> dict[str, Any]:
    """Records by task, one mapping per launch -> one record.

    Rows keep the fields of their last launch; ``us``, ``gmacs``, ``share``, ``frames_per_second`` and
    ``quiet`` become medians, ``us_runs`` and ``share_runs`` keep every launch's figure. A row is exact
    when it was exact in all launches.
    """
    merged: dict[tuple[str, ...], Row] = {}
    skipped: dict[str, str] = {}
    notes: list[str] = []
    machine: Record = {}
    for launch in launches:
        for task, record in launch.items():
            machine = record["machine"]
            skipped |= {f"{task}: {name}": reason for name, reason in record["skipped"].items()}
            notes += [note for note in record["notes"] if note not in notes]
            for row in record["rows"]:
                _add(merged, {**row, "task": task})
    rows = [_medians(row) for row in merged.values()]
    return {
        "machine": machine,
        "launches": len(launches),
        "rows": rows,
        "skipped": skipped,
        "notes": notes,
    }


_RUNS = ("us", "gmacs", "share", "frames_per_second", "quiet")


def _add(merged: dict[tuple[str, ...], Row], row: Row) -> None:
    key = (row["task"], row["shape"], row["what"], row["name"])
    known = merged.get(key, {})
    runs = {k: [*known.get(f"{k}_runs", []), row[k]] for k in _RUNS if k in row}
    new = {**row, **{f"{k}_runs": v for k, v in runs.items()}}
    if "exact" in row:
        new["exact"] = row["exact"] and known.get("exact", True)
    merged[key] = new


def _medians(row: Row) -> Row:
    kept = {k: v for k, v in row.items() if k not in ("low", "high", "samples", "note")}
    for k in _RUNS:
        if f"{k}_runs" in kept:
            kept[k] = statistics.median(kept[f"{k}_runs"])
    for k in ("gmacs", "frames_per_second", "quiet"):
        kept.pop(f"{k}_runs", None)
    # Four digits are more than a clock on a shared machine gives.
    return {k: _short(v) for k, v in kept.items()}


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Results:
    """A merged record, to be asked."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.rows: list[Row] = list(record["rows"])
        self.machine: Mapping[str, Any] = record["machine"]

    def find(
        self, task: str, shape: str, what: str, matches: str | Callable[[Row], bool]
    ) -> list[Row]:
        """Rows of a task and shape whose name starts with a text, or that fulfil a condition."""
        if isinstance(matches, str):
            prefix = matches
            matches = lambda row: row["name"].startswith(prefix)  # noqa: E731
        wanted = (task, shape, what)
        return [r for r in self.rows if (r["task"], r["shape"], r["what"]) == wanted and matches(r)]

    def has(self, task: str) -> bool:
        """Whether a task was run at all, or said why it could not."""
        return any(r["task"] == task for r in self.rows)

    def why_not(self, task: str) -> str:
        """Why a task or its contenders were skipped."""
        reasons = [
            text for name, text in self.record["skipped"].items() if name.startswith(f"{task}:")
        ]
        return "; ".join(dict.fromkeys(reasons)) or "not measured in this run"


def is_peer(row: Row) -> bool:
    """The same task by somebody else, and correct."""
    return row["role"] == "peer" and bool(row.get("exact"))


def fastest(rows: Iterable[Row]) -> Row | None:
    """The row with the least time."""
    return min(rows, key=lambda row: float(row["us"]), default=None)


def speed_ratio(base: Sequence[Row], ours: Row) -> float:
    """How many times faster `ours` is than the fastest of `base`: in each launch, then the median."""
    runs = zip(*(row["us_runs"] for row in base), strict=False)
    return statistics.median(float(min(t) / o) for t, o in zip(runs, ours["us_runs"], strict=False))


def micro(us: float) -> str:
    """Microseconds with four digits, or all before the point."""
    return f"{us:.4g}" if us < 10_000 else f"{us:,.0f}"


def slug(cpu: str) -> str:
    """A CPU's name as a file name: ``AMD EPYC (family 26, model 2)`` -> ``amd-epyc-family-26-model-2``."""
    return re.sub(r"[^a-z0-9]+", "-", cpu.replace("(R)", "").replace("(TM)", "").lower()).strip("-")
