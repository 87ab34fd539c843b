# SPDX-License-Identifier: Apache-2.0
"""torch as a contender: float32 layers, the raw integer product, and oneDNN's quantised operators.

The quantised operators are those that torch's own compiler emits; their scales are chosen as powers of two,
so that codes = half_even(accumulator / gain), and every code can be compared. On CPUs without VNNI they add
int16 pairs that saturate (vpmaddubsw): the check marks them inexact there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from harness import AbsentError, Contender
from shapes import Case, Ints


def _float32(layer: Any, case: Case, name: str) -> list[Contender]:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(case.weight))
    x = torch.from_numpy(case.x).float()
    if case.conv is not None and "NHWC" in name:
        x = x.contiguous(memory_format=torch.channels_last)
        layer = layer.to(memory_format=torch.channels_last)

    def run() -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = layer(x)
            return out

    # Sums of floats are not compared code by code; far off would mean another operator.
    error = np.abs(run().numpy() - case.acc).max()
    assert error <= 1e-4 * np.abs(case.acc).max() + 1, f"{name}: off by {error}"
    return [Contender(name, run, "float")]


def linear_float32(case: Case) -> list[Contender]:
    """torch.nn.Linear."""
    n, k = case.weight.shape
    return _float32(torch.nn.Linear(k, n, bias=False), case, "torch float32")


def int_mm(case: Case) -> list[Contender]:
    """torch._int_mm, uint8 x int8 -> int32: raw accumulators, no requantisation."""
    x, w = torch.from_numpy(case.x), torch.from_numpy(case.weight).t()
    out = torch.empty(case.acc.shape, dtype=torch.int32)
    try:
        torch._int_mm(x, w, out=out)
    except RuntimeError as error:
        raise AbsentError(f"torch._int_mm: {str(error).splitlines()[0]}") from None

    def result() -> Ints:
        return torch._int_mm(x, w).numpy()

    run = lambda: torch._int_mm(x, w, out=out)  # noqa: E731
    return [Contender("torch._int_mm (int32)", run, "context", result, case.acc)]


def _operator(name: str) -> Any:
    try:
        return getattr(torch.ops.onednn, name).default
    except (AttributeError, RuntimeError):
        raise AbsentError(f"this torch has no onednn::{name}") from None


def onednn_linear(case: Case) -> list[Contender]:
    """onednn::qlinear_pointwise, uint8 x int8 -> int8, weight packed once."""
    prepack, linear = _operator("qlinear_prepack"), _operator("qlinear_pointwise")
    x = torch.from_numpy(case.x)
    weight = prepack(torch.from_numpy(case.weight), list(case.x.shape))
    ones, zeros = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    gain = float(case.gain)
    post: tuple[Any, ...] = "none", [], ""

    def run() -> torch.Tensor:
        out: torch.Tensor = linear(x, 1.0, 0, weight, ones, zeros, None, gain, 0, torch.int8, *post)
        return out

    return [Contender("oneDNN qlinear", run, "peer", lambda: run().numpy(), case.half_even)]


def conv_float32(case: Case) -> list[Contender]:
    """torch.nn.Conv2d, in both layouts."""
    assert case.conv is not None
    c = case.conv
    found = []
    for name in ("torch float32 NCHW", "torch float32 NHWC"):
        layer = torch.nn.Conv2d(c.size[1], c.out, c.kernel, **c.fields, bias=False)
        found += _float32(layer, case, name)
    return found


def onednn_conv(case: Case) -> list[Contender]:
    """onednn::qconv2d_pointwise on channels-last codes, weight packed once, a scale per channel."""
    assert case.conv is not None
    prepack, conv = _operator("qconv_prepack"), _operator("qconv2d_pointwise")
    c = case.conv
    x = torch.from_numpy(case.x).contiguous(memory_format=torch.channels_last)
    # One scale per channel is the form that torch's exporter makes, and the faster one.
    ones, zeros = torch.ones(c.out), torch.zeros(c.out, dtype=torch.int64)
    geometry = [c.stride] * 2, [c.padding] * 2, [1, 1], c.groups
    weight = prepack(torch.from_numpy(case.weight), ones, 1.0, 0, *geometry, list(c.size))
    tail: tuple[Any, ...] = float(case.gain), 0, torch.int8, "none", [], ""

    def run() -> torch.Tensor:
        out: torch.Tensor = conv(x, 1.0, 0, weight, ones, zeros, None, *geometry, *tail)
        return out

    return [Contender("oneDNN qconv NHWC", run, "peer", lambda: run().numpy(), case.half_even)]
