# SPDX-License-Identifier: Apache-2.0
"""Convolutions: codes in, codes out, the call from Python included.

    python benchmarks/conv.py [--quick] [--shapes 8x16,depthwise] [--out RECORD.json]

Contenders: every kernel in both layouts, oneDNN's qconv on channels-last codes and onnxruntime's
QLinearConv (the same task, counted in ratios), torch's float32 layer in both layouts.
"""

from __future__ import annotations

import functools

import ours
from harness import collect, lazy
from record import Options, Report, command
from shapes import conv_case, conv_shapes

from bittwin import _core

TITLE = "convolutions, one thread, medians, interleaved"
MAKERS = (
    ours.conv_nhwc,
    ours.conv_nchw,
    lazy("peer_torch", "onednn_conv"),
    lazy("peer_torch", "conv_float32"),
    lazy("peer_onnxruntime", "onnxruntime_conv"),
)


def run(options: Options) -> Report:
    """Measure."""
    report = Report(notes=ours.missing())
    for name, conv in conv_shapes(options).items():
        case = conv_case(name, conv)
        contenders, skipped = collect(*(functools.partial(maker, case) for maker in MAKERS))
        report.skipped |= skipped
        report.time(name, contenders, options, what="conv", macs=case.macs, wanted=case.readout)
    _core.force_kernel("")
    return report


if __name__ == "__main__":
    command(TITLE, run)
