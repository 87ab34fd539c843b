# SPDX-License-Identifier: Apache-2.0
"""Timing that can be trusted: one pinned core, contenders interleaved, medians, ratios, a JSON record."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def pin_to_one_core() -> None:
    """Keep this process and its children on one core, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def median_seconds(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 15
) -> dict[str, float]:
    """Median wall time of each contender; every round runs all of them, after one uncounted round."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for counted in range(-1, rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if counted >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def machine() -> dict[str, str]:
    """CPU, compiler, Python and commit of a run."""

    def output(*command: str) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        except OSError:
            return "unknown"
        return (done.stdout.splitlines() or ["unknown"])[0]

    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "cpu": cpu,
        "compiler": output(os.environ.get("CXX", "c++"), "--version"),
        "python": platform.python_version(),
        "commit": output("git", "rev-parse", "--short", "HEAD"),
    }


def report(
    task: str, unit: str, rows: Mapping[str, float], extra: Mapping[str, Any] | None = None
) -> None:
    """Print a table and, with a file name as the first argument, write the record as JSON."""
    print(task)
    for name, value in rows.items():
        print(f"  {name:<44} {value:10.3f} {unit}")
    if len(sys.argv) > 1:
        record = {"task": task, "unit": unit, "results": dict(rows), **(extra or {}), **machine()}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n")
