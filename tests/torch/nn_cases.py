# SPDX-License-Identifier: Apache-2.0
"""Random layers of bittwin.nn with numbers that sit on the edges of codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

OPS = ("linear", "conv2d", "conv_transpose2d")
Layer = Linear | Conv2d | ConvTranspose2d


@dataclass
class Case:
    """A layer with fixed scales, and an input of it."""

    op: str
    config: QATConfig
    layer: Layer
    x: torch.Tensor
    note: str = ""

    def __repr__(self) -> str:
        return f"{self.op} {tuple(self.x.shape)} {self.layer} {self.config} {self.note}"


def near_codes(
    rng: np.random.Generator, shape: tuple[int, ...], lo: int, hi: int, per_unit: float
) -> NDArray[np.float32]:
    """Values on and next to codes, ties and the ends of lo..hi, and some beyond."""
    corners = [lo - 1, lo - 0.5, lo, lo + 0.5, -1, -0.5, 0, 0.5, 1, hi - 0.5, hi, hi + 0.5, hi + 1]
    size = int(np.prod(shape))
    inner = rng.integers(lo - 1, hi + 2, size) + rng.choice([0, 0, 0.5, -0.5, 0.25], size)
    codes = np.where(rng.random(size) < 0.4, rng.choice(corners, size), inner)
    values = (codes / per_unit).astype(np.float32)
    nudge = rng.random(size)
    values = np.where(nudge < 0.1, np.nextafter(values, np.float32(np.inf)), values)
    values = np.where(nudge > 0.9, np.nextafter(values, np.float32(-np.inf)), values)
    return values.astype(np.float32).reshape(shape)


@st.composite
def configs(draw: st.DrawFn, op: str, **given: Any) -> QATConfig:
    """A configuration with fixed scales; `given` fields are taken as they are."""
    treatments = ["clamp", "split_sign"] + ([] if op == "conv_transpose2d" else ["shift"])
    fields: dict[str, Any] = {
        "rounding": draw(st.sampled_from(("readout", "half_even"))),
        "x_bits": draw(st.sampled_from((8, 8, 9, 10, 11, 12))),
        "y_bits": draw(st.integers(8, 12)),
        "weight_bits": draw(st.sampled_from((2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 11, 12))),
        "bias_rows": draw(st.sampled_from((1, 2, 8, 16, 31, 32))),
        "negative_input": draw(st.sampled_from(treatments)),
    } | given
    split = fields["x_bits"] > 8
    plain = fields["rounding"] == "readout" or draw(st.booleans())
    if plain:
        lowest = 8 if fields["rounding"] == "readout" else 0 if split else -4
        gain = 2.0 ** draw(st.integers(lowest, 15))
        x, w = 2.0 ** draw(st.integers(-2, 12)), 2.0 ** draw(st.integers(-2, 10))
    else:
        gain = draw(st.sampled_from((0.7, 1.5, 9.23, 300.0, 1000.1, 5000.0)))
        x = draw(st.sampled_from((1.0, 100.3, 7.77, 255.0)))
        w = draw(st.sampled_from((1.0, 33.3, 127.0, 0.3)))
    scales = {"codes_per_unit_x": x, "codes_per_unit_w": w, "codes_per_unit_y": x * w / gain}
    fields = scales | fields
    if split and "bias_digital" not in fields and draw(st.booleans()):
        fields["bias_digital"] = draw(st.sampled_from((64, -192, 1000, -77777))) / (x * w)
    if fields["negative_input"] == "shift":
        high = (1 << fields["x_bits"]) - 1
        codes = draw(st.sampled_from((None, 1, 77, high // 2, high)))
        fields["shift"] = None if codes is None else codes / x
    return QATConfig(**fields)


def fill(layer: Layer, rng: np.random.Generator) -> None:
    """Set weight and bias to numbers near codes, some out of range."""
    config = layer.config
    high = (1 << (config.weight_bits - 1)) - 1
    per_unit = config.codes_per_unit_w or 1.0
    weight = near_codes(rng, tuple(layer.weight.shape), -high - 1, high, per_unit)
    product = (config.codes_per_unit_x or 1.0) * per_unit
    limit = config.bias_rows
    low, top = -128 * limit, 127 * limit
    corners = [
        0,
        0.5,
        1.5,
        2,
        low,
        low - 0.3,
        low - 0.7,
        low - 1,
        top,
        top + 0.3,
        top + 0.7,
        top + 1,
    ]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if layer.bias is not None:
            size = layer.bias.numel()
            counts = np.where(
                rng.random(size) < 0.4, rng.choice(corners, size), rng.normal(0, 20, size)
            )
            layer.bias.copy_(torch.from_numpy((128 * counts / product).astype(np.float32)))


def input_like(
    layer: Layer, rng: np.random.Generator, shape: tuple[int, ...], *, infinities: bool = True
) -> torch.Tensor:
    """An input near codes for a layer with fixed scales."""
    config = layer.config
    high = (1 << config.x_bits) - 1
    lo = {"clamp": 0, "split_sign": -high, "shift": -(high // 2)}[config.negative_input]
    hi = high // 2 if config.negative_input == "shift" else high
    values = near_codes(rng, shape, lo, hi, config.codes_per_unit_x or 1.0)
    if infinities and values.size and rng.random() < 0.3:
        values.reshape(-1)[rng.integers(values.size)] = rng.choice([np.inf, -np.inf])
    return torch.from_numpy(values)


def relaid(x: torch.Tensor, how: str) -> torch.Tensor:
    """Equal numbers in another memory layout."""
    if how == "channels_last" and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if how == "strided":
        wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1])
        wide[..., ::2] = x
        return wide[..., ::2]
    if how == "transposed" and x.dim() >= 2:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    return x


LAYOUTS = ("plain", "plain", "channels_last", "strided", "transposed")


@st.composite
def layers(draw: st.DrawFn, op: str, **given: Any) -> Case:
    """A layer, filled, without input."""
    config = draw(configs(op, **given))
    bias = draw(st.booleans())
    layer: Layer
    if op == "linear":
        layer = Linear(draw(st.integers(1, 9)), draw(st.integers(1, 5)), bias, config=config)
    elif op == "conv2d":
        groups = draw(st.sampled_from((1, 1, 2)))
        kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        padding: Any = draw(
            st.sampled_from(("numbers", "numbers", "same", "valid", "reflect", "replicate"))
        )
        mode = padding if padding in ("reflect", "replicate") else "zeros"
        stride = (1, 1) if padding == "same" else (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
        if padding not in ("same", "valid"):
            padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
        layer = Conv2d(
            groups * draw(st.integers(1, 2)),
            groups * draw(st.integers(1, 2)),
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias,
            mode,
            config=config,
        )
    else:
        stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        output = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        layer = ConvTranspose2d(
            draw(st.integers(1, 3)),
            draw(st.integers(1, 2)),
            (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            stride,
            (draw(st.integers(0, 1)), draw(st.integers(0, 1))),
            (int(output[0]), int(output[1])),
            1,
            bias,
            dilation,
            config=config,
        )
    fill(layer, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    return Case(op, config, layer, torch.empty(0))


@st.composite
def cases(draw: st.DrawFn, op: str, *, infinities: bool = True, **given: Any) -> Case:
    """A layer and an input of it, in some shape and memory layout."""
    case: Case = draw(layers(op, **given))
    layer = case.layer
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if isinstance(layer, Linear):
        batch = draw(st.sampled_from(((3,), (1,), (), (2, 3), (0,), (70,))))
        shape = (*batch, layer.in_features)
    else:
        size = (draw(st.integers(5, 7)), draw(st.integers(5, 6)))
        batch = draw(st.sampled_from(((2,), (1,), (), (0,))))
        shape = (*batch, layer.in_channels, *size)
    x = input_like(layer, rng, shape, infinities=infinities)
    case.note = draw(st.sampled_from(LAYOUTS))
    case.x = relaid(x, case.note)
    return case


def codes_of(layer: Layer, y: torch.Tensor) -> NDArray[np.int64]:
    """Output codes of a layer's float output; every output must be a code exactly."""
    per_unit = layer.codes_per_unit[2]
    values = y.detach().numpy()
    codes = np.rint(values.astype(np.float64) * per_unit).astype(np.int64)
    assert np.array_equal(values, codes.astype(np.float32) / np.float32(per_unit))
    return codes
