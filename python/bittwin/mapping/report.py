# SPDX-License-Identifier: Apache-2.0
"""A mapping check as lines and tables."""

from __future__ import annotations

from bittwin.golden.report.tables import Block, Cell, Line, Table, count
from bittwin.mapping.results import ERROR, Mapping, PlacedBlock


def describe_mapping(m: Mapping) -> list[Block]:
    """Blocks with their places, what the whole takes, and what does not fit."""
    where = "the mapper's own places" if m.placement != "estimate" else "places are an estimate"
    blocks: list[Block] = [Line(""), Line(f"on the array of {m.chip.name} ({where})", "bold")]
    if m.blocks:
        blocks.append(_table(m))
    blocks.append(Line(_totals(m)))
    for f in m.findings:
        about = f"{f.layer}: {f.resource}" if f.layer else f.resource
        if f.level == ERROR:
            blocks.append(Line(f"does not fit: {about}: {f.text}", "bold red"))
        else:
            blocks.append(Line(f"note: {about}: {f.text}", "yellow"))
    verdict = "fits" if m.fits else f"does not fit {m.chip.name}"
    blocks.append(Line(verdict, "bold green" if m.fits else "bold red"))
    return blocks


def _table(m: Mapping) -> Table:
    headers = ["block", "rows", "columns", "bias rows", "gain", "weights", "half"]
    headers += ["at columns", "at rows", "at bias rows"]
    table = Table(headers, right=(1, 2, 3, 4))
    wrong = {f.layer for f in m.findings if f.level == ERROR}
    for b in m.blocks:
        style = "bold red" if b.layer in wrong else "bold"
        cells = [Cell(b.name, style), Cell(count(b.rows)), Cell(count(b.columns))]
        cells += [Cell(str(b.bias_rows)), Cell("-" if b.gain is None else str(b.gain))]
        cells += [Cell(f"{b.weights[0]}..{b.weights[1]}"), *_places(m, b)]
        table.rows.append(cells)
    return table


def _places(m: Mapping, b: PlacedBlock) -> list[Cell]:
    if not b.inside:
        return [Cell("none", "red"), *[Cell("-", "dim")] * 3]
    r = b.region
    half = "first" if r.row_first < m.chip.rows_per_half else "second"
    return [
        Cell(half),
        Cell(f"{r.column_first}..{r.column_last}"),
        Cell(f"{r.row_first}..{r.row_last}"),
        Cell(f"{r.bias_first}..{r.bias_last}"),
    ]


def _totals(m: Mapping) -> str:
    share = 100 * m.cells / m.capacity
    parts = [
        f"{count(m.cells)} of {count(m.capacity)} cells ({share:.1f} %)",
        f"{m.columns} of {m.chip.columns} columns",
        f"{m.tables} table{'s' * (m.tables != 1)} ({m.chip.table_slots} slots)",
    ]
    peak = m.register_peak
    if peak is not None:
        parts.append(
            f"register file: {count(peak.register_bytes or 0)} of "
            f"{count(m.chip.register_file_bytes)} bytes in {peak.name} (estimate)"
        )
    return "in use: " + "; ".join(parts)
