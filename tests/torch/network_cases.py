# SPDX-License-Identifier: Apache-2.0
"""Random models, small ones, for the export to integer networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st
from torch.nn import functional

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

Call = Callable[[torch.Tensor], torch.Tensor]

#: Activations that only limit: for any widths. They come as modules and as functions.
LIMITS: dict[str, Callable[[], Call]] = {
    "module": torch.nn.ReLU,
    "module in place": lambda: torch.nn.ReLU(inplace=True),
    "torch": lambda: torch.relu,
    "functional": lambda: functional.relu,
    "functional in place": lambda: lambda x: functional.relu(x, inplace=True),
    "method": lambda: lambda x: x.relu(),
    "method in place": lambda: lambda x: x.relu_(),
    "twice": lambda: lambda x: torch.relu(functional.relu(x)),
    "relu6": torch.nn.ReLU6,
    "hardtanh": lambda: torch.nn.Hardtanh(-0.3, 0.8),
    "clamp": lambda: lambda x: x.clamp(0, 0.7),
    "clamp keyword": lambda: lambda x: torch.clamp(input=x, max=0.5),
    "none": torch.nn.Identity,
}
#: Activations that need a table: 8-bit codes on both sides.
TABLES: dict[str, Callable[[], Call]] = {
    "leaky": lambda: torch.nn.LeakyReLU(0.125),
    "sigmoid": torch.nn.Sigmoid,
    "tanh": lambda: torch.tanh,
    "hardswish": lambda: functional.hardswish,
    "relu of sigmoid": lambda: lambda x: torch.sigmoid(x).relu(),
}
#: What leaves numbers as they are.
NOTHING: dict[str, Callable[[], Call]] = {
    "identity": torch.nn.Identity,
    "dropout": lambda: torch.nn.Dropout(0.5),
    "contiguous": lambda: lambda x: x.contiguous(),
    "clone": lambda: lambda x: x.detach().clone(),
}
FLATTENS: dict[str, Callable[[], Call]] = {
    "module": torch.nn.Flatten,
    "torch": lambda: lambda x: torch.flatten(x, 1),
    "method": lambda: lambda x: x.flatten(1),
    "view": lambda: lambda x: x.contiguous().view(x.size(0), -1),
    "reshape": lambda: lambda x: x.reshape(x.shape[0], x[0].numel()),
}


class Chain(torch.nn.Module):
    """Modules and functions in a row."""

    def __init__(self, steps: list[Call]) -> None:
        super().__init__()
        self.steps: list[Any] = []
        for i, step in enumerate(steps):
            if isinstance(step, torch.nn.Module):
                self.add_module(f"m{i}", step)
                self.steps.append(f"m{i}")
            else:
                self.steps.append(step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in self.steps:
            x = getattr(self, step)(x) if isinstance(step, str) else step(x)
        return x


@st.composite
def configs(draw: st.DrawFn, rounding: str, *, transposed: bool = False) -> QATConfig:
    """Settings of one layer."""
    x_bits = draw(st.sampled_from((8, 8, 9, 10, 11, 12)))
    kinds = ("clamp", "split_sign") if transposed else ("clamp", "split_sign", "shift")
    negative_input = draw(st.sampled_from(kinds))
    shift = None
    if negative_input == "shift" and draw(st.booleans()):
        shift = draw(st.sampled_from((0.1, 0.33, 1.01)))  # odd codes too
    return QATConfig(
        rounding=rounding,
        x_bits=x_bits,
        y_bits=draw(st.sampled_from((8, 8, 9, 10, 12))),
        weight_bits=draw(st.sampled_from((4, 8, 8, 10))),
        bias_rows=draw(st.sampled_from((1, 8, 16))),
        negative_input=negative_input,
        shift=shift,
        bias_digital=draw(st.sampled_from((0.0, 0.21))) if x_bits > 8 else 0.0,
        calibration_steps=1,
        max_gain=draw(st.sampled_from((1024, 8192))),
    )


@st.composite
def chains(draw: st.DrawFn) -> tuple[Chain, torch.Tensor]:
    """A calibrated model of 1 to 4 layers, and inputs of which some leave the calibrated range."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    torch.manual_seed(draw(st.integers(0, 1 << 20)))
    rounding = draw(st.sampled_from(("readout", "half_even")))
    convolutions = draw(st.integers(0, 2))
    linears = draw(st.integers(0 if convolutions else 1, 2))
    shape = tuple(draw(st.integers(5, 7)) for _ in range(2))
    channels = 2
    steps: list[Call] = []
    x = torch.randn(6, channels, *shape, generator=generator)
    x = x if convolutions else x.flatten(1)
    y = x
    for i in range(convolutions + linears):
        last = i == convolutions + linears - 1
        if i == convolutions and convolutions:
            steps.append(FLATTENS[draw(st.sampled_from(sorted(FLATTENS)))]())
            y = y.flatten(1)
        layer = draw(layers(y, rounding, image=i < convolutions))
        with torch.no_grad():
            y = layer.float_forward(y)
        if i == 0 and draw(st.integers(0, 5)) == 0:
            steps.append(torch.nn.ReLU())
        steps.append(layer)
        if not last or draw(st.booleans()):
            steps += draw(activations(last=last))
    model = Chain(steps)
    fit_tables(model)
    model.train()
    try:
        model(x * 0.5)
    except ValueError as error:  # a layer that lets nothing through cannot calibrate
        if "during calibration" not in str(error) and "wanted at least 0.5" not in str(error):
            raise
        reject()
    model.eval()
    return model, x


@st.composite
def layers(
    draw: st.DrawFn, x: torch.Tensor, rounding: str, *, image: bool
) -> Linear | Conv2d | ConvTranspose2d:
    """A layer that takes x."""
    bias = draw(st.booleans())
    if not image:
        config = draw(configs(rounding))
        return Linear(x.shape[1], draw(st.integers(1, 9)), bias, config=config)
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    transposed = draw(st.integers(0, 3)) == 0
    config = draw(configs(rounding, transposed=transposed))
    common: dict[str, Any] = {"bias": bias, "config": config}
    if transposed:
        extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
        kernel = max(kernel[0], 2 * padding[0]), max(kernel[1], 2 * padding[1])
        return ConvTranspose2d(x.shape[1], 4, kernel, stride, padding, extra, **common)
    groups = draw(st.sampled_from((1, 2)))
    if max(kernel) == 1 or stride == (1, 1):
        padding = draw(st.sampled_from((padding, "same"))) if stride == (1, 1) else padding
    dilation = draw(st.sampled_from((1, 1, 2)))
    if min(x.shape[2:]) < 5:
        dilation, padding = 1, (1, 1)
    return Conv2d(x.shape[1], 4, kernel, stride, padding, dilation, groups, **common)


@st.composite
def activations(draw: st.DrawFn, *, last: bool) -> list[Call]:
    """What follows a layer: one activation, and something that does nothing."""
    choice = {k: v for k, v in LIMITS.items() if not last or k not in UNREPRESENTABLE}
    name = draw(st.sampled_from(sorted(choice) + ([] if last else ["table"])))
    if name == "table":
        table = draw(st.sampled_from(sorted(TABLES)))
        return [Marked(TABLES[table]())]
    return [choice[name](), NOTHING[draw(st.sampled_from(sorted(NOTHING)))]()]


#: After the last layer a limit must itself be a code.
UNREPRESENTABLE = ("hardtanh", "clamp", "clamp keyword", "relu6")


class Marked(torch.nn.Module):
    """An activation that needs a table."""

    def __init__(self, function: Call) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def fit_tables(model: Chain) -> None:
    """Make the layers around every table 8 bits wide, and the reader's codes fit one byte."""
    parts = [getattr(model, s) if isinstance(s, str) else s for s in model.steps]
    for i, part in enumerate(parts):
        if not isinstance(part, Marked):
            continue
        before = [p for p in parts[:i] if hasattr(p, "config")][-1]
        after = next(p for p in parts[i:] if hasattr(p, "config"))
        before.config = before.config.with_(y_bits=8)
        sign = "clamp" if after.config.negative_input == "split_sign" else None
        after.config = after.config.with_(
            x_bits=8, bias_digital=0.0, negative_input=sign or after.config.negative_input
        )
