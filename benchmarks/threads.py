# SPDX-License-Identifier: Apache-2.0
"""One thread against two, on linear layers; wall time, so the machine has to be quiet.

    python benchmarks/threads.py [--quick] [--shapes S3,S4] [--out RECORD.json]

The record also says how much of two cores the machine gave to two threads that do nothing but arithmetic:
well below 1, somebody else was at work, and the ratio is not to be trusted.
"""

from __future__ import annotations

import functools
import time

import numpy as np
import ours
import peak
from harness import Contender
from record import Options, Report, command
from shapes import Case, linear_case, linear_shapes

import bittwin
from bittwin import _core

TITLE = "one thread and two, wall time, medians, interleaved"
SHAPES = ("S3", "S4", "S5")
COUNTS = (1, 2)


def contenders(case: Case) -> list[Contender]:
    """The default kernel with one thread and with two."""
    weight, out = ours.packed(case.weight), np.empty_like(case.readout)
    rule = bittwin.readout(case.gain)
    run = functools.partial(bittwin.linear, case.x, weight, None, rule, out=out)
    kernel = ours.default_kernel()
    return [
        Contender(
            f"bittwin ({kernel}), {n} thread{'s' * (n > 1)}",
            run,
            "ours",
            run,
            before=functools.partial(bittwin.set_num_threads, n),
        )
        for n in COUNTS
    ]


def settle(pair: list[Contender], seconds: float) -> None:
    """Work on two threads for a while: the scheduler takes its time to give a new thread its own core."""
    bittwin.set_num_threads(max(COUNTS))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pair[-1].run()


def run(options: Options) -> Report:
    """Measure."""
    report = Report()
    if not hasattr(bittwin, "set_num_threads") or not hasattr(_core, "set_num_threads"):
        report.skipped["threads"] = "not there yet: bittwin.set_num_threads"
        return report
    if not options.smoke and ours.cores() < max(COUNTS):
        report.skipped["threads"] = "this process may use one core only"
        return report
    shapes = linear_shapes(options)
    for name in shapes if options.smoke else (s for s in SHAPES if s in shapes):
        case = linear_case(name, *shapes[name])
        pair = contenders(case)
        settle(pair, 0.0 if options.smoke else 0.5)
        report.time(
            name,
            pair,
            options,
            what="threads",
            macs=case.macs,
            wanted=case.readout,
            limits=False,
            clock=time.perf_counter_ns,
        )
        quiet = peak.parallel_speed() if not options.smoke else None
        if quiet is not None:
            for row in report.rows[-len(pair) :]:
                row["quiet"], row["note"] = quiet, f"machine gives {200 * quiet:.0f} % of a core"
    bittwin.set_num_threads(None)
    return report


if __name__ == "__main__":
    command(TITLE, run, pinned=False)
