# SPDX-License-Identifier: Apache-2.0
"""Training layers: the forward pass, and one step (forward and gradients of input, weight and bias).

    python benchmarks/training.py [--quick] [--shapes S2,8x16] [--all-kernels] [--out RECORD.json]

Contenders: bittwin.nn, the same with bfloat16 products in the backward pass, torch's float32 layer (the
base of the ratios), torch with fake-quantised input, weight and output, Brevitas when it is installed.
Weights count as changed before every call, as an optimiser leaves them: a layer that prepares its weights
has to do it each time. Every forward is a training forward with a fresh output, and keeps what its backward
pass needs. Before timing, bittwin's forward is compared with the numpy API, code by code.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ours
import torch
from harness import Contender, collect
from record import Options, Report, command
from shapes import Conv, conv_shapes, linear_shapes

import bittwin
from bittwin import _core
from bittwin.nn import Conv2d, Linear, QATConfig

TITLE = "training layers, one thread, medians, interleaved"


@dataclass(frozen=True)
class Job:
    """A shape of one of the two kinds; input of 0..1, so that the codes fill their range."""

    shape: tuple[int, int, int] | Conv
    x: torch.Tensor
    gy: torch.Tensor
    plain: Any

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a forward."""
        return int(np.prod(self.shape)) if isinstance(self.shape, tuple) else self.shape.macs

    def ours(self, config: QATConfig) -> Linear | Conv2d:
        """Our layer, calibrated, with the same parameters."""
        s = self.shape
        layer: Linear | Conv2d
        if isinstance(s, Conv):
            layer = Conv2d(s.size[1], s.out, s.kernel, **s.fields, config=config)
        else:
            layer = Linear(s[1], s[2], config=config)
        layer.load_state_dict(self.plain.state_dict(), strict=False)
        layer(self.x)
        return layer


def job(shape: tuple[int, int, int] | Conv) -> Job:
    torch.manual_seed(0)
    plain: torch.nn.Module
    if isinstance(shape, Conv):
        x = torch.rand(shape.size)
        plain = torch.nn.Conv2d(shape.size[1], shape.out, shape.kernel, **shape.fields)
    else:
        x = torch.rand(shape[:2])
        plain = torch.nn.Linear(*shape[1:])
    with torch.no_grad():
        gy = torch.randn_like(plain(x))
    return Job(shape, x.requires_grad_(), gy, plain)


def _contender(
    name: str,
    role: str,
    step: bool,
    todo: Job,
    layer: torch.nn.Module,
    call: Callable[[], torch.Tensor],
    kernel: str | None = None,
    changing: bool = True,
) -> Contender:
    """`kernel`: of ours, the one to force; "" is the default choice."""
    parameters = list(layer.parameters())
    inputs = [todo.x, *parameters]
    changed = torch.autograd.graph.increment_version if changing else id

    def forward() -> torch.Tensor:
        changed(parameters[0])
        return call()

    def train() -> None:
        torch.autograd.grad(forward(), inputs, todo.gy)

    run = train if step else forward
    if kernel is None:
        return Contender(name, run, role)
    return Contender(
        name, run, role, before=ours.force(kernel), kernel=kernel or ours.default_kernel()
    )


def float32(todo: Job, step: bool, options: Options) -> Sequence[Contender]:
    """The float32 layer of torch."""
    call = functools.partial(todo.plain, todo.x)
    return [_contender("torch float32", "float", step, todo, todo.plain, call)]


def fake_quantise(todo: Job, step: bool, options: Options) -> Sequence[Contender]:
    """Torch's own way to train for integers: float products of rounded values."""
    fake, layer = torch.fake_quantize_per_tensor_affine, todo.plain

    def call() -> torch.Tensor:
        weight = fake(layer.weight, 1 / 1024, 0, -128, 127)
        x = fake(todo.x, 1 / 256, 0, 0, 255)
        if isinstance(layer, torch.nn.Linear):
            y = torch.nn.functional.linear(x, weight, layer.bias)
        else:
            y = layer._conv_forward(x, weight, layer.bias)
        return fake(y, 1 / 64, 0, -128, 127)

    return [_contender("torch fake-quantise", "context", step, todo, layer, call)]


def brevitas(todo: Job, step: bool, options: Options) -> Sequence[Contender]:
    """Brevitas, 8 bits everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        from brevitas.nn import QuantConv2d, QuantLinear
        from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat
    quant = {"input_quant": Uint8ActPerTensorFloat, "output_quant": Int8ActPerTensorFloat}
    s = todo.shape
    if isinstance(s, Conv):
        layer = QuantConv2d(s.size[1], s.out, s.kernel, **s.fields, bias=True, **quant)
    else:
        layer = QuantLinear(s[1], s[2], bias=True, **quant)
    layer(todo.x)
    used = [
        p for p in layer.parameters() if p.shape in (todo.plain.weight.shape, todo.gy.shape[1:2])
    ]
    call = functools.partial(layer, todo.x)
    held = torch.nn.ParameterList(used)  # its learned scales are its own business
    return [_contender("brevitas", "context", step, todo, held, call)]


def bittwin_nn(todo: Job, step: bool, options: Options) -> Sequence[Contender]:
    """Ours: the default kernel, or all of them."""
    found = []
    config = QATConfig(calibration_steps=1)
    kinds = [("", f"bittwin.nn ({ours.default_kernel()})", config)]
    if options.all_kernels:
        kinds += [(kernel, f"bittwin.nn {kernel}", config) for kernel in ours.kernel_names()]
    if step:
        kinds += [("", "bittwin.nn, bfloat16 backward", config.with_(backward_dtype="bfloat16"))]
    for kernel, name, settings in kinds:
        ours.force(kernel)()
        layer = todo.ours(settings)
        _check(layer, todo.x)
        call = functools.partial(layer, todo.x)
        found.append(_contender(name, "ours", step, todo, layer, call, kernel))
        if not step and not kernel:
            name = "bittwin.nn, weights unchanged"
            found.append(_contender(name, "ours", step, todo, layer, call, kernel, changing=False))
    return found


def _check(layer: Linear | Conv2d, x: torch.Tensor) -> None:
    """bittwin.nn's forward against the numpy API, code by code."""
    prepared, spec = layer.prepared(), layer.spec
    codes = layer.quantize_input(x).numpy()
    weight = prepared.weight_codes.numpy()
    if isinstance(layer, Linear):
        y = bittwin.linear(codes, weight, prepared.bias, spec.requant)
    else:
        fields: dict[str, Any] = {
            "stride": spec.stride,
            "padding": spec.padding,
            "groups": spec.groups,
        }
        y = bittwin.conv2d(codes, weight, prepared.bias, spec.requant, **fields)
    values = layer(x).detach().numpy() * np.float32(layer.codes_per_unit[2])
    np.testing.assert_array_equal(values, y)


def run(options: Options) -> Report:
    """Measure."""
    torch.set_num_threads(1)
    report = Report()
    shapes: dict[str, Any] = {**linear_shapes(options), **conv_shapes(options)}
    for name, shape in shapes.items():
        if name == "S1" and not options.smoke and "S1" not in options.shapes:
            continue  # nobody trains on batches of one
        todo = job(shape)
        for what in ("forward", "step"):
            makers = (bittwin_nn, float32, fake_quantise, brevitas)
            chosen = (functools.partial(m, todo, what == "step", options) for m in makers)
            contenders, skipped = collect(*chosen)
            report.skipped |= skipped
            macs = todo.macs if what == "forward" else 0
            report.time(name, contenders, options, what=what, macs=macs, limits=False)
    _core.force_kernel("")
    return report


if __name__ == "__main__":
    command(TITLE, run)
