# SPDX-License-Identifier: Apache-2.0
"""Linear layers: codes in, codes out, the call from Python included.

    python benchmarks/linear.py [--quick] [--shapes S1,S2] [--out RECORD.json]

Contenders: every kernel of this build, the default choice, oneDNN's qlinear and onnxruntime's QLinearMatMul
(the same task, counted in ratios), torch's float32 layer, and the raw integer products that do not
requantise.
"""

from __future__ import annotations

import functools

import numpy as np
import ours
from harness import Contender, collect, lazy
from record import Options, Report, command
from shapes import Case, linear_case, linear_shapes

import bittwin
from bittwin import _core

TITLE = "linear layers, one thread, medians, interleaved"


def numpy_float64(case: Case) -> list[Contender]:
    """Numpy's exact way: a float64 product (raw accumulators)."""
    x, w = case.x.astype(np.float64), case.weight.T.astype(np.float64)
    run = lambda: x @ w  # noqa: E731
    return [Contender("numpy float64", run, "context", run, case.acc)]


MAKERS = (
    ours.linear,
    ours.accumulate,
    numpy_float64,
    lazy("peer_torch", "linear_float32"),
    lazy("peer_torch", "int_mm"),
    lazy("peer_torch", "onednn_linear"),
    lazy("peer_onnxruntime", "onnxruntime_linear"),
    lazy("peer_onnxruntime", "onnxruntime_integer"),
)


def check_ends(report: Report) -> None:
    """Every kernel on the inputs that saturate int16 pairs for certain: all 255, weights all at one end."""
    k = 2048
    rows = [np.full(k, 127), np.full(k, -128), np.where(np.arange(k) % 2, 127, -128)]
    weight = np.array(rows * 6, np.int8)
    for kernel in ours.kernel_names():
        _core.force_kernel(kernel)
        for m in (1, 2, 17):
            x = np.full((m, k), 255, np.uint8)
            wanted = x.astype(np.int64) @ weight.astype(np.int64).T
            for w in (weight, ours.packed(weight)):
                assert np.array_equal(bittwin.accumulate(x, w), wanted), f"{kernel} is not exact"
        row = {"shape": "ends", "what": "exactness", "name": f"bittwin {kernel}", "role": "check"}
        report.rows.append({**row, "us": 0.0, "low": 0.0, "high": 0.0, "samples": 1, "exact": True})
    _core.force_kernel("")


def run(options: Options) -> Report:
    """Measure."""
    report = Report(notes=ours.missing())
    check_ends(report)
    for name, (m, k, n) in linear_shapes(options).items():
        case = linear_case(name, m, k, n)
        contenders, skipped = collect(*(functools.partial(maker, case) for maker in MAKERS))
        report.skipped |= skipped
        report.time(name, contenders, options, what="linear", macs=case.macs, wanted=case.readout)
    _core.force_kernel("")
    return report


if __name__ == "__main__":
    command(TITLE, run)
