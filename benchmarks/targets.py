# SPDX-License-Identifier: Apache-2.0
"""All tasks, several launches each, and the table of targets: what `make bench` runs.

    python benchmarks/targets.py [--quick] [--only linear,conv] [--launches 3] [--minutes 8]
                                 [--dump OUTPUT_FOLDER] [--out RECORD.json]
    python benchmarks/targets.py --docs [--plot]     # write docs/performance.md and .svg from the records

Each task is a process of its own; medians over the launches. The record goes to
benchmarks/results/<cpu>.json unless --out says otherwise. Exit code 0 also when targets are missed (they
depend on the CPU), 1 when a task fails, which a wrong code makes it do.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from judge import Line, judge
from record import ROOT, Options, option_parser, options_of, record_of, write_json
from results import Results, merge, slug

TASKS = ("linear", "conv", "training", "overhead", "network", "threads", "verify")
RECORDS = ROOT / "benchmarks" / "results"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = option_parser("all benchmarks and the table of targets")
    parser.add_argument("--only", default="", help=f"tasks, with commas, of {', '.join(TASKS)}")
    parser.add_argument("--launches", type=int, default=0, help="processes per task; default 3")
    parser.add_argument("--minutes", type=float, default=8, help="start no launch that ends later")
    parser.add_argument(
        "--docs", action="store_true", help="write docs/performance.md from records"
    )
    parser.add_argument(
        "--plot", action="store_true", help="write docs/performance.svg from records"
    )
    chosen = parser.parse_args(arguments)
    unknown = [task for task in filter(None, chosen.only.split(",")) if task not in TASKS]
    if unknown:
        parser.error(f"--only: found {', '.join(unknown)}, wanted {', '.join(TASKS)}")
    return chosen


def in_process(tasks: list[str], options: Options) -> dict[str, Any]:
    """One launch of all tasks in this process, unpinned: for the smoke test."""
    return {task: record_of(task, importlib.import_module(task).run(options)) for task in tasks}


def in_processes(
    tasks: list[str], chosen: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """Launches of all tasks, each a process; and the failures."""
    flags = ["--quick"] * chosen.quick + ["--all-kernels"] * chosen.all_kernels
    flags += ["--dump", str(Path(chosen.dump).resolve())] * bool(chosen.dump)
    flags += ["--shapes", chosen.shapes] * bool(chosen.shapes)
    launches: list[dict[str, Any]] = []
    failures: list[str] = []
    start = time.monotonic()
    for number in range(chosen.launches or (1 if chosen.quick else 3)):
        elapsed = time.monotonic() - start
        if number and elapsed * (number + 1) / number > 60 * chosen.minutes:
            print(f"{number} launches in {elapsed:.0f} s; another would take too long")
            break
        records = {}
        for task in tasks:
            record, failure = _launch(task, flags)
            if record is not None:
                records[task] = record
            else:
                failures.append(f"{task}, launch {number + 1}: {failure}")
        launches.append(records)
    return launches, failures


def _launch(task: str, flags: list[str]) -> tuple[dict[str, Any] | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "record.json")
        script = str(ROOT / "benchmarks" / f"{task}.py")
        start = time.monotonic()
        line = [sys.executable, script, *flags, "--out", str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        print(f"{task}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["no message"])[-1]
        return json.loads(path.read_text(encoding="utf-8")), ""


def table(lines: list[Line]) -> str:
    """The targets, one per line."""
    rows = [("", "target", "shape", "wanted", "measured", "verdict", "")]
    rows += [
        (str(e.number), e.what, e.shape, e.wanted, e.measured, e.verdict, e.why) for e in lines
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[6]]).rstrip()
        for row in rows
    )


def main() -> int:
    chosen = parse()
    if chosen.docs or chosen.plot:
        page = importlib.import_module("page")
        records = page.read_records(RECORDS)
        if chosen.plot:
            page.plot(records, ROOT / "docs" / "performance.svg")
        if chosen.docs:
            page.write(records, ROOT / "docs" / "performance.md")
        return 0
    failures: list[str] = []
    tasks = [task for task in TASKS if not chosen.only or task in chosen.only.split(",")]
    if chosen.smoke:
        launches = [in_process(tasks, options_of(chosen))]
    else:
        launches, failures = in_processes(tasks, chosen)
    merged = merge(launches)
    if merged["rows"] or merged["skipped"]:
        results = Results(merged)
        lines = judge(results)
        print(table(lines))
        for name, reason in merged["skipped"].items():
            print(f"skipped: {name}: {reason}")
        for note in merged["notes"]:
            print(note)
        merged["targets"] = [asdict(line) for line in lines]
        merged["failures"] = failures
        name = slug(merged["machine"]["cpu"])
        if chosen.out or not chosen.smoke:
            write_json(chosen.out or RECORDS / f"{name}.json", merged)
    if chosen.smoke:
        print("smoke run: tiny shapes, one call each; the figures and verdicts mean nothing")
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
