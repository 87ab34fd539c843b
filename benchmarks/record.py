# SPDX-License-Identifier: Apache-2.0
"""Options of a task, its rows, the table on the screen and the JSON record with what it was run on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import peak
from harness import (
    FULL,
    QUICK,
    SMOKE,
    Contender,
    Effort,
    Timing,
    exact,
    measure,
    pin_to_one_core,
)
from numpy.typing import NDArray

import bittwin

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the command line chose.

    Attributes:
        effort: how long to measure.
        smoke: tiny shapes, one round: does it run at all?
        shapes: names of the shapes; empty: all.
        dump: a mapper's output folder, for the network and verify tasks; empty: a stand-in.
        all_kernels: time every kernel where a task takes only the chosen one.
    """

    effort: Effort = FULL
    smoke: bool = False
    shapes: tuple[str, ...] = ()
    dump: str = ""
    all_kernels: bool = False


@dataclass
class Report:
    """What a task found: rows, skipped contenders with the reason, and remarks."""

    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def time(
        self,
        shape: str,
        contenders: Sequence[Contender],
        options: Options,
        *,
        what: str,
        macs: int = 0,
        wanted: NDArray[Any] | None = None,
        limits: bool = True,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Check the contenders of one shape against `wanted`, time them, append their rows.

        With `limits`, the register-only loops of peak.py take part in the same rounds, and rows get the
        share of the limit that they reach.
        """
        verdicts = {c.name: None if wanted is None else exact(c, wanted) for c in contenders}
        loops = peak.contenders() if limits and macs else []
        extra = {} if clock is None else {"clock": clock}
        timings = measure([*contenders, *loops], options.effort, **extra)
        rates = {c.kernel: _rate(c.macs or 0, timings[c.name]) for c in loops}
        for c in [*contenders, *loops]:
            timing = timings[c.name]
            row: Row = {"shape": shape, "what": what, "name": c.name, "role": c.role}
            row |= {"us": timing.us, "low": timing.low, "high": timing.high}
            row["samples"] = timing.samples
            if c.kernel:
                row["kernel"] = c.kernel
            work = macs if c.macs is None else c.macs
            if work:
                row["gmacs"] = _rate(work, timing)
            if verdicts.get(c.name) is not None:
                row["exact"] = verdicts[c.name]
            limit = peak.limit_of(c.kernel, rates) if c.role in ("ours", "peer", "bound") else None
            if work and limit is not None:
                row["limit"], row["share"] = limit, row["gmacs"] / rates[limit]
            self.rows.append(row)


def derived(row: Row, name: str, less: float) -> Row:
    """A row without what is not its own: `less` microseconds."""
    times = {key: row[key] - less for key in ("us", "low", "high")}
    return {**row, **times, "name": name, "role": "derived"}


def _rate(macs: int, timing: Timing) -> float:
    return macs / timing.us / 1000


def machine() -> dict[str, Any]:
    """CPU, instruction sets, compiler, versions and commit of a run."""

    def output(*command: str) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        except OSError:
            return "unknown"
        return (done.stdout.splitlines() or ["unknown"])[0]

    def version(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed"

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "instruction_sets": peak.instruction_sets(),
        "kernels": {k.name: k.reason or "runs" for k in bittwin.kernels()},
        "compiler": output(os.environ.get("CXX", "c++"), "--version"),
        "python": platform.python_version(),
        "commit": output("git", "describe", "--always", "--dirty"),
        **{p: version(p) for p in ("numpy", "torch", "onnxruntime", "brevitas")},
    }


def cpu_name() -> str:
    """Vendor's name, with family and model where the name alone says little."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    first = info.read_text().partition("\n\n")[0].splitlines()
    fields = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)
    }
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def print_report(title: str, report: Report) -> None:
    """The rows as a table, shape by shape."""
    print(title)
    shape = ""
    for row in report.rows:
        head = f"{row['shape']} {row['what']}".strip()
        if head != shape:
            print(f"  {head}")
            shape = head
        spread = 100 * (row["high"] - row["low"]) / row["us"] if row["us"] else 0.0
        line = f"    {row['name']:<34} {row['us']:12.2f} us  +-{spread / 2:4.1f} %"
        if "gmacs" in row:
            line += f" {row['gmacs']:9.1f} GMAC/s"
        if "share" in row:
            line += f" {100 * row['share']:5.1f} % of {row['limit']}"
        if row.get("exact") is False:
            line += "  INEXACT, not counted"
        print(line + (f"  {row['note']}" if row.get("note") else ""))
    for name, reason in report.skipped.items():
        print(f"  skipped: {name}: {reason}")
    for note in report.notes:
        print(f"  {note}")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def option_parser(description: str) -> argparse.ArgumentParser:
    """The options that every task has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, help="write the record as JSON to this file")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, one round")
    parser.add_argument("--shapes", default="", help="names of shapes, with commas; default: all")
    parser.add_argument("--dump", default="", help="a mapper's output folder")
    parser.add_argument("--all-kernels", action="store_true", help="every kernel, in every task")
    return parser


def options_of(arguments: argparse.Namespace) -> Options:
    """`Options` from parsed arguments."""
    effort = SMOKE if arguments.smoke else QUICK if arguments.quick else FULL
    shapes = tuple(filter(None, arguments.shapes.split(",")))
    return Options(effort, arguments.smoke, shapes, arguments.dump, arguments.all_kernels)


def record_of(task: str, report: Report) -> dict[str, Any]:
    """The JSON record of one task."""
    return {
        "task": task,
        "unit": "us",
        "machine": machine(),
        "rows": report.rows,
        "skipped": report.skipped,
        "notes": report.notes,
    }


def command(title: str, run: Callable[[Options], Report], *, pinned: bool = True) -> None:
    """A task's command line: pin, run, print, write."""
    parser = option_parser(title)
    arguments = parser.parse_args()
    if pinned and not arguments.smoke:
        pin_to_one_core()
    report = run(options_of(arguments))
    print_report(title, report)
    if arguments.out:
        write_json(arguments.out, record_of(Path(run.__code__.co_filename).stem, report))
