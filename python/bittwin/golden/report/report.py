# SPDX-License-Identifier: Apache-2.0
"""The report of a verification: what it says, independent of where it is printed.

A report is a list of lines and tables. `tables.render_plain` aligns it with spaces for a pipe or a file,
`tables.render_rich` draws it on a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bittwin.golden.check.results import FREE_RUNNING, MODES, SETS, TEACHER_FORCED, Diagnosis
from bittwin.golden.report.cells import FIRST, first_cells, first_text, histogram, percent
from bittwin.golden.report.tables import Block, Cell, Line, Table, count, render_plain

if TYPE_CHECKING:
    from bittwin.golden.check.results import LayerFacts, LayerResult, MeasuredResult, Verification

_MODE_NAMES = {TEACHER_FORCED: "teacher-forced", FREE_RUNNING: "free-running"}


def build_report(v: Verification) -> list[Block]:
    """Lines and tables of a verification, in reading order."""
    if v.against:
        from bittwin.golden.report.trace_report import build_trace_report

        return build_trace_report(v)
    blocks: list[Block] = [Line(_header(v), "bold")]
    if v.layers:
        blocks += _overview(v)
    for facts in v.facts:
        wrong = [r for r in v.layers if r.name == facts.name and r.mismatches]
        if wrong:
            blocks += _details(wrong)
    if v.measured:
        blocks += _measured(v.measured)
    if v.notes:
        blocks.append(Line(""))
    blocks += [Line(f"note: {note}", "dim") for note in v.notes]
    blocks.append(Line(""))
    blocks += _verdict(v)
    return blocks


def plain_report(v: Verification) -> str:
    """The report as plain text, ending in a newline."""
    return render_plain(build_report(v))


def _header(v: Verification) -> str:
    nets = len({f.net for f in v.facts})
    frames = []
    for name in SETS:
        rows = {r.frames for r in v.layers if r.set == name and r.mode == TEACHER_FORCED}
        if rows:
            frames.append(f"{name} {'/'.join(str(n) for n in sorted(rows))}")
    parts = [f"{len(v.facts)} layer{'s' * (len(v.facts) != 1)}, {nets} net{'s' * (nets != 1)}"]
    if frames:
        parts.append(f"frames: {', '.join(frames)}")
    parts.append(f"rule {v.rounding}")
    return f"{v.path}: {'; '.join(parts)}"


def _overview(v: Verification) -> list[Block]:
    """One row per layer; where something differs, its size and first place instead of the shape."""
    nets = len({f.net for f in v.facts}) > 1
    rules = len({f.rule for f in v.facts}) > 1
    headers = ["layer"] + ["net"] * nets + ([] if v.mismatches else ["shape", "gain"])
    headers += ["rule"] * rules + ["activation", "codes", *_MODE_NAMES.values()]
    headers += ["largest", "first in", *FIRST] if v.mismatches else []
    words = ("layer", "shape", "rule", "activation", "first in")
    table = Table(headers, right=tuple(i for i, h in enumerate(headers) if h not in words))
    for facts in v.facts:
        own = [r for r in v.layers if r.name == facts.name]
        cells = [Cell(facts.name, "bold")] + [Cell(str(facts.net))] * nets
        if not v.mismatches:
            cells += [Cell(facts.shape), Cell(str(facts.gain))]
        cells += [Cell(facts.rule)] * rules + [Cell(facts.activation + "*" * _concluded(facts))]
        cells.append(Cell(count(sum(r.codes for r in own))))
        for mode in MODES:
            mine = [r for r in own if r.mode == mode]
            differ = sum(r.mismatches for r in mine)
            style = "red" if differ else "green"
            cells.append(Cell(count(differ), style) if mine else Cell("-", "dim"))
        if v.mismatches:
            wrong = next((r for r in own if r.mismatches), None)
            largest = max((r.max_abs for r in own), default=0)
            cells.append(Cell(str(largest), "red" if largest else "") if own else Cell("-", "dim"))
            cells += [
                Cell(wrong.set if wrong else "-"),
                *first_cells(wrong.first if wrong else None),
            ]
        table.rows.append(cells)
    blocks: list[Block] = [Line("codes that differ, by layer"), table]
    sources = list(dict.fromkeys(f.activation_source for f in v.facts if _concluded(f)))
    for source in sources:
        named = [f for f in v.facts if _concluded(f) and f.activation_source == source]
        of = "" if len(sources) == 1 else f" of {', '.join(f.name for f in named)}"
        how = (
            f"inferred from {source}" if named[0].inferred else "assumed: no code after it is known"
        )
        blocks.append(Line(f"* activation{of} {how}", "dim"))
    return blocks


def _concluded(facts: LayerFacts) -> bool:
    """The dump does not state the activation; one that is unknown says so itself."""
    assumed = facts.activation_source == "assumed" and facts.activation != "unknown"
    return facts.inferred or assumed


def _details(wrong: list[LayerResult]) -> list[Block]:
    """One layer that differs: where, how much, and why."""
    one = wrong[0]
    blocks: list[Block] = [Line(""), Line(f"{one.name} (net {one.net})", "bold red")]
    headers = ["set", "mode", "codes", "differ", "share", "largest", *FIRST, "simulated - golden"]
    table = Table(headers, right=tuple(range(2, 10)))
    for i, r in enumerate(wrong):
        before, after = (wrong[j] if 0 <= j < len(wrong) else None for j in (i - 1, i + 1))
        if before is not None and _alike(before, r):
            continue
        both = after is not None and _alike(r, after)
        table.rows.append(
            [
                Cell(r.set),
                Cell("both" if both else _MODE_NAMES[r.mode]),
                Cell(count(r.codes)),
                Cell(count(r.mismatches), "red"),
                Cell(f"{100 * r.mismatches / r.codes:.2f} %"),
                Cell(str(r.max_abs)),
                *first_cells(r.first),
                Cell(histogram(r.histogram)),
            ]
        )
    blocks.append(table)
    causes: dict[Diagnosis, list[str]] = {}
    for r in wrong:
        for diagnosis in r.diagnosis:
            causes.setdefault(diagnosis, []).append(f"{r.set} {_MODE_NAMES[r.mode]}")
    for diagnosis, where in causes.items():
        places = "" if len(where) == len(wrong) else f" [{_merge(where)}]"
        if "%" not in diagnosis.cause and 0 < diagnosis.explains < 1:
            places = f" ({percent(diagnosis.explains)} of the differing codes){places}"
        blocks.append(Line(f"  cause: {diagnosis.cause}{places}", "yellow"))
    return blocks


def _alike(a: LayerResult, b: LayerResult) -> bool:
    """The two modes of one set, with the same differences."""
    same = (a.codes, a.mismatches, a.first, a.histogram) == (
        b.codes,
        b.mismatches,
        b.first,
        b.histogram,
    )
    return a.set == b.set and same


def _merge(where: list[str]) -> str:
    """``expected teacher-forced`` and so on, sets of one mode joined."""
    merged = []
    for mode in _MODE_NAMES.values():
        sets = [w.split()[0] for w in where if w.endswith(mode)]
        if sets:
            merged.append(f"{', '.join(sets)} {mode}")
    return "; ".join(merged)


def _measured(measured: tuple[MeasuredResult, ...]) -> list[Block]:
    """Error statistics, two rows per layer, and what is wrong with each."""
    sets = "/".join(dict.fromkeys(m.set for m in measured))
    title = f"measured - golden ({sets}), in LSB; second row: each column's mean error taken away"
    table = Table(
        [
            "layer",
            "differ",
            "max frame std",
            "mean frame std",
            "max column std",
            "mean column std",
            "max frame mean",
            "mean error",
            "max column mean",
            "at column",
            "gain",
            "offset",
            "cosine",
        ],
        right=tuple(range(1, 13)),
    )
    for m in measured:
        for s, label in ((m.raw, m.name), (m.corrected, "")):
            differ = f"{100 * m.mismatches / m.codes:.1f} %" if label else ""
            numbers = [s.max_frame_std, s.mean_frame_std, s.max_column_std, s.mean_column_std]
            table.rows.append(
                [
                    Cell(label, "bold"),
                    Cell(differ, "red" if m.mismatches else "green"),
                    *(Cell(f"{value:.2f}") for value in [*numbers, s.max_frame_mean]),
                    Cell(_signed(s.mean_error, 3)),
                    Cell(f"{s.max_column_mean:.2f}"),
                    Cell(str(s.worst_column) if label else ""),
                    Cell("-" if s.gain is None else f"{s.gain:.4f}"),
                    Cell("-" if s.offset is None else _signed(s.offset, 3)),
                    Cell("-" if s.cosine is None else f"{s.cosine:.4f}"),
                ]
            )
    blocks: list[Block] = [Line(""), Line(title, "bold"), table]
    for m in measured:
        for d in m.diagnosis:
            share = f" ({percent(d.explains)} of the squared error)"
            blocks.append(Line(f"  {m.name}: {d.cause}{share}", "yellow"))
    return blocks


def _signed(value: float, digits: int) -> str:
    """A number with its sign; what rounds to zero shows none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text


def _verdict(v: Verification) -> list[Block]:
    """The last lines: what to remember."""
    blocks: list[Block] = []
    if v.layers:
        layers = len({r.name for r in v.layers})
        sets = len({r.set for r in v.layers})
        modes = len({r.mode for r in v.layers})
        counted = f"{layers} layer{'s' * (layers != 1)}, {sets} set{'s' * (sets != 1)}, "
        counted += f"{modes} mode{'s' * (modes != 1)}: {count(v.codes)} codes compared, "
        style = "bold red" if v.mismatches else "bold green"
        first = v.first_wrong
        if first is not None:
            text = f"first wrong layer: {first.name} (net {first.net}), set {first.set}, "
            text += first_text(first.first)
            if first.mode == FREE_RUNNING:
                text += " (free-running)"
            if first.diagnosis:
                text += f"; likely cause: {first.diagnosis[0].cause}"
            blocks.append(Line(text, "bold red"))
        blocks.append(Line(f"{counted}{count(v.mismatches)} differ", style))
        left = [f.name for f in v.facts if f.name not in {r.name for r in v.layers}]
        if left:
            blocks.append(Line(f"not compared: {', '.join(left)}", "bold yellow"))
    if v.measured:
        codes = sum(m.codes for m in v.measured)
        differ = sum(m.mismatches for m in v.measured)
        layers = len(v.measured)
        text = f"measured: {layers} layer{'s' * (layers != 1)}, {count(codes)} codes, "
        blocks.append(Line(f"{text}{count(differ)} differ", "bold red" if differ else "bold green"))
    return blocks
