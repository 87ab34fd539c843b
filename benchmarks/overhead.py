# SPDX-License-Identifier: Apache-2.0
"""What a call costs beyond its arithmetic: the raw extension, the Python API, torch's autograd.

    python benchmarks/overhead.py [--quick] [--out RECORD.json]

The products are tiny (1 x 16 x 16) or, for the Python API, 1 x 256 x 256 with a packed weight. The layer's
step is one forward and backward of bittwin.nn with weights that do not change; from it the products alone
are taken off, timed in the same rounds: the raw call, and the two products of the gradients in torch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import ours
from harness import Contender, collect
from record import Options, Report, command, derived
from shapes import Ints, corner_codes

import bittwin
from bittwin import _core

TITLE = "cost of a call, one thread, medians, interleaved"
SMALL, LARGE = 16, 256


def raw() -> list[Contender]:
    """The extension's function alone: packed weight, fused readout, `out`."""
    x, w = _codes(SMALL)
    rule = bittwin.readout(1024)
    wanted = bittwin.requantize(x.astype(np.int32) @ w.astype(np.int32).T, rule)
    out = np.empty_like(wanted)
    arguments = x, _core.PackedWeight(w), None, rule.core, None, None, None, out
    run = functools.partial(_core.linear, *arguments)

    def result() -> Ints:
        run()
        return out

    return [Contender(RAW, run, "ours", result, wanted, ours.force(""))]


def python() -> list[Contender]:
    """`bittwin.linear` as a network would call it."""
    x, w = _codes(LARGE)
    rule = bittwin.readout(8192)
    wanted = bittwin.requantize(x.astype(np.int32) @ w.astype(np.int32).T, rule)
    weight, out = ours.packed(w), np.empty_like(wanted)
    run = lambda: bittwin.linear(x, weight, None, rule, out=out)  # noqa: E731
    return [Contender(PYTHON, run, "ours", run, wanted, ours.force(""))]


def autograd() -> Sequence[Contender]:
    """A layer's forward and backward, the gradients' products alone, and torch's own layer."""
    import torch

    from bittwin.nn import Linear, QATConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, gy = torch.rand(1, SMALL, requires_grad=True), torch.rand(1, SMALL)
    layer = Linear(SMALL, SMALL, config=QATConfig(calibration_steps=1))
    layer(x)
    plain = torch.nn.Linear(SMALL, SMALL)
    fixed_x, fixed_w = x.detach(), plain.weight.detach()
    gx, gw = torch.empty(1, SMALL), torch.empty(SMALL, SMALL)

    def products() -> None:
        torch.mm(gy, fixed_w, out=gx)
        torch.mm(gy.t(), fixed_x, out=gw)

    def step(module: torch.nn.Module, wanted: list[torch.Tensor]) -> None:
        torch.autograd.grad(module(x), wanted, gy)

    # Listing parameters is the caller's business: done once, for both.
    mine = functools.partial(step, layer, [x, *layer.parameters()])
    mine()  # torch's first backward imports for a third of a second
    return [
        Contender(STEP, mine, "ours", before=ours.force("")),
        Contender(PRODUCTS, products),
        Contender(
            "torch float32 layer, forward + backward",
            functools.partial(step, plain, [x, *plain.parameters()]),
            "float",
        ),
    ]


RAW = "raw _core call, 1 x 16 x 16"
PYTHON = "bittwin.linear, packed, 1 x 256 x 256"
STEP = "bittwin.nn.Linear, forward + backward, 1 x 16 x 16"
PRODUCTS = "two torch.mm of the gradients, 1 x 16 x 16"
BEYOND = "bittwin.nn forward + backward, beyond the kernels"


def _codes(n: int) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(n)
    return corner_codes(rng, 0, 255, (1, n), "uint8"), corner_codes(rng, -128, 127, (n, n), "int8")


def run(options: Options) -> Report:
    """Measure."""
    report = Report()
    contenders, skipped = collect(raw, python, autograd)
    report.skipped |= skipped
    if not ours.has_packing():
        report.notes.append(
            "not there yet: bittwin.pack_weight; the Python call has a plain weight"
        )
    # Each brings its own integers.
    report.time("call", contenders, options, what="overhead", wanted=np.zeros(0))
    rows = {row["name"]: row for row in report.rows}
    if STEP in rows:
        less = rows[RAW]["us"] + rows[PRODUCTS]["us"]
        report.rows.append(derived(rows[STEP], BEYOND, less))
    _core.force_kernel("")
    return report


if __name__ == "__main__":
    command(TITLE, run)
