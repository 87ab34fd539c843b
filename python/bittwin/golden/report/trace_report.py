# SPDX-License-Identifier: Apache-2.0
"""The report of two traces that were compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bittwin.golden.report.cells import FIRST, first_cells, first_text, histogram, percent
from bittwin.golden.report.tables import Block, Cell, Line, Table, count

if TYPE_CHECKING:
    from bittwin.golden.check.results import LayerResult, Verification


def build_trace_report(v: Verification) -> list[Block]:
    """One row per layer, why each wrong one is wrong, and the verdict."""
    layers = len(v.layers)
    frames = "/".join(map(str, sorted({r.frames for r in v.layers})))
    head = f"{v.path} against {v.against}: {layers} layer{'s' * (layers != 1)}; frames: {frames}"
    blocks: list[Block] = [Line(head, "bold"), Line("codes that differ, by layer"), _table(v)]
    wrong = [r for r in v.layers if r.mismatches]
    for r in wrong:
        blocks += _causes(r)
    if v.notes:
        blocks.append(Line(""))
    blocks += [Line(f"note: {note}", "dim") for note in v.notes]
    blocks.append(Line(""))
    first = v.first_wrong
    if first is not None:
        text = (
            f"first wrong layer: {first.name} (net {first.net}), {first_text(first.first, 'found')}"
        )
        if first.diagnosis:
            text += f"; {first.diagnosis[0].cause}"
        blocks.append(Line(text, "bold red"))
    text = f"{layers} layer{'s' * (layers != 1)}: {count(v.codes)} codes compared, "
    style = "bold red" if v.mismatches else "bold green"
    blocks.append(Line(f"{text}{count(v.mismatches)} differ", style))
    return blocks


def _table(v: Verification) -> Table:
    nets = len({f.net for f in v.facts}) > 1
    headers = ["layer", *["net"] * nets, "kind", "shape", "activation", "codes", "differ"]
    headers += ["largest", *FIRST, "found - expected"] if v.mismatches else []
    words = ("layer", "kind", "shape", "activation", "found - expected")
    table = Table(headers, right=tuple(i for i, h in enumerate(headers) if h not in words))
    for r, f in zip(v.layers, v.facts, strict=True):
        cells = [Cell(r.name, "bold"), *[Cell(str(r.net))] * nets]
        cells += [Cell(f.rule), Cell(f.shape), Cell(f.activation), Cell(count(r.codes))]
        cells.append(Cell(count(r.mismatches), "red" if r.mismatches else "green"))
        if v.mismatches:
            cells.append(Cell(str(r.max_abs), "red" if r.max_abs else ""))
            cells += [*first_cells(r.first), Cell(histogram(r.histogram) or "-")]
        table.rows.append(cells)
    return table


def _causes(r: LayerResult) -> list[Block]:
    return [
        Line(
            f"  {r.name}: {d.cause}"
            + f" ({percent(d.explains)} of the differing codes)" * (d.explains < 1),
            "bold yellow" if d.kind == "own" else "yellow",
        )
        for d in r.diagnosis
    ]
