# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md and its plot, from the records of real runs.

The page's prose is written by hand; what stands between its two markers is replaced by what the records
say, one section per machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peak import INTEGER
from results import Row, micro

BEGIN, END = "<!-- results: begin (make bench, then targets.py --docs) -->", "<!-- results: end -->"
#: Heading, task, what, and how a shape's work is called.
TABLES = (
    ("Linear layers, codes to codes", "linear", "linear"),
    ("Convolutions, codes to codes", "conv", "conv"),
    ("Training forward, float32 to float32", "training", "forward"),
    ("Training step, forward and gradients", "training", "step"),
)
#: Plot: label, colour, and the names whose fastest row stands for it.
BARS = (
    ("bittwin", "#1b6ca8", ("bittwin (",)),
    ("oneDNN int8", "#e07b39", ("oneDNN",)),
    ("onnxruntime int8", "#b8b042", ("onnxruntime QLinear",)),
    ("torch float32", "#9a9a9a", ("torch float32",)),
)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All records of a folder, by name.

    Raises:
        FileNotFoundError: there are none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{folder}: found no records, wanted at least one: make bench")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def write(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Replace what stands between the page's markers.

    Raises:
        ValueError: the page has no markers.
    """
    page = path.read_text(encoding="utf-8")
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path.name}: found no markers, wanted {BEGIN!r} and {END!r}")
    body = "\n".join(section(record) for record in records)
    path.write_text(f"{head}{BEGIN}\n\n{body}\n{END}{tail}", encoding="utf-8")


def section(record: Mapping[str, Any]) -> str:
    """What one record says, as Markdown."""
    m = record["machine"]
    runs = [name for name, state in m["kernels"].items() if state == "runs"]
    parts = [
        f"## {m['cpu']}",
        f"Commit {m['commit']}, {m['compiler']}, Python {m['python']}, numpy {m['numpy']}, "
        f"torch {m['torch']}, onnxruntime {m['onnxruntime']}, brevitas {m['brevitas']}. "
        f"Kernels: {', '.join(runs)}. "
        f"Medians of {record['launches']} launches, one thread.",
        _limits(record["rows"]),
        "### Targets",
        _targets(record["targets"]),
    ]
    for heading, task, what in TABLES:
        rows = [r for r in record["rows"] if (r["task"], r["what"]) == (task, what)]
        rows = [r for r in rows if r["role"] != "limit"]
        if rows:
            parts += [f"### {heading}, microseconds per call", _grid(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _limits(rows: Iterable[Row]) -> str:
    best: dict[str, float] = {}
    for row in rows:
        if row["role"] == "limit" and "gmacs" in row:
            best[row["name"]] = max(best.get(row["name"], 0.0), row["gmacs"])
    if not best:
        return ""
    text = ", ".join(f"{name.removeprefix('limit ')} {rate:,.0f}" for name, rate in best.items())
    return f"Limit of one core, GMAC/s from registers: {text}."


def _targets(lines: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(e["number"]),
            e["what"],
            e["shape"],
            e["wanted"],
            e["measured"],
            e["verdict"],
            e["why"],
        )
        for e in lines
        if e["verdict"] != "not applicable" or e["measured"]
    ]
    return _table(("", "target", "shape", "wanted", "measured", "verdict", "beside"), rows)


def _grid(rows: Sequence[Row]) -> str:
    shapes = list(dict.fromkeys(r["shape"] for r in rows))
    names = list(dict.fromkeys(r["name"] for r in rows))
    cells = {(r["name"], r["shape"]): _cell(r) for r in rows}
    body = [(name, *(cells.get((name, shape), "-") for shape in shapes)) for name in names]
    return _table(("", *shapes), body)


def _cell(row: Row) -> str:
    return micro(row["us"]) + " (inexact)" * (row.get("exact") is False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def plot(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rates of linear layers and convolutions beside the limit, one line of panels per machine."""
    import matplotlib

    matplotlib.use("svg")
    # The same record gives the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "bittwin", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    size = (10, 3.2 * len(records))
    figure, axes = pyplot.subplots(
        len(records), 2, figsize=size, squeeze=False, layout="constrained"
    )
    for line, record in zip(axes, records, strict=True):
        for panel, (title, task, what) in zip(line, TABLES[:2], strict=True):
            _panel(panel, record, task, what)
            panel.set_title(f"{title.partition(',')[0]}: {record['machine']['cpu']}", fontsize=8)
    handles = axes[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(BARS) + 1, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(panel: Any, record: Mapping[str, Any], task: str, what: str) -> None:
    rows = [r for r in record["rows"] if (r["task"], r["what"]) == (task, what)]
    shapes = list(dict.fromkeys(r["shape"] for r in rows))
    width = 0.8 / len(BARS)
    for i, (label, colour, prefixes) in enumerate(BARS):
        rates = []
        for shape in shapes:
            named = [r for r in rows if r["shape"] == shape and r["name"].startswith(prefixes)]
            rates.append(
                max((r["gmacs"] for r in named if r.get("exact") is not False), default=0.0)
            )
        places = [x + i * width - 0.3 for x in range(len(shapes))]
        panel.bar(places, rates, width * 0.92, label=label, color=colour)
    limits = {
        r["name"]: r["gmacs"] for r in rows if r["role"] == "limit" and r["kernel"] in INTEGER
    }
    if limits:
        name, best = max(limits.items(), key=lambda item: item[1])
        panel.axhline(best, color="#444444", linewidth=0.8, linestyle="--", label=name)
    panel.set_xticks(range(len(shapes)), shapes)
    panel.set_ylabel("GMAC/s, one core")
    panel.spines[["top", "right"]].set_visible(False)
