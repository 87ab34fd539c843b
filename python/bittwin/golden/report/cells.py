# SPDX-License-Identifier: Apache-2.0
"""Pieces of text that the reports share."""

from __future__ import annotations

from bittwin.golden.check.results import First
from bittwin.golden.report.tables import Cell, count

#: Headers of `first_cells`.
FIRST = ("frame", "column", "expected", "actual")


def first_cells(first: First | None) -> list[Cell]:
    """The first differing code, as cells under `FIRST`."""
    if first is None:
        return [Cell("-", "dim")] * len(FIRST)
    frame = str(first.frame)
    if first.stream_frame is not None and first.stream_frame != first.frame:
        frame += f" ({first.stream_frame})"
    return [Cell(frame), *(Cell(str(n)) for n in (first.column, first.expected, first.actual))]


def first_text(first: First | None, actual: str = "simulated") -> str:
    """The first differing code in words."""
    if first is None:
        return "-"
    stream = ""
    if first.stream_frame is not None and first.stream_frame != first.frame:
        stream = f" (stream frame {first.stream_frame})"
    return (
        f"frame {first.frame}{stream}, column {first.column}: "
        f"expected {first.expected}, {actual} {first.actual}"
    )


def histogram(counts: dict[int, int], most: int = 5) -> str:
    """The most common differences, with how often each occurs."""
    common = sorted(counts.items(), key=lambda item: (-item[1], abs(item[0])))
    text = ", ".join(f"{d:+d}: {count(n)}" for d, n in common[:most])
    left = len(common) - most
    return text + (f", {left} more values" if left > 0 else "")


def percent(share: float) -> str:
    """A share of 0..1."""
    return f"{100 * share:.1f} %"
