# SPDX-License-Identifier: Apache-2.0
"""A keyword spotter of the mapper, loaded into training layers: its codes come out in train mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bittwin
from bittwin.nn import Linear, QATConfig

pytestmark = pytest.mark.dumps
W = 128.0  # weight codes per unit
SETS = ("expected", "complete", "debug")


@pytest.fixture(scope="module")
def dump(shared_dir: Path) -> bittwin.Dump:
    return bittwin.read_dump(shared_dir / "data" / "dumps" / "kws_dnn")


def training_layer(entry: Any, x_scale: float) -> Linear:
    """A float layer whose weights quantise back to the dump's codes."""
    codes, bias = entry.operator.weight, entry.operator.bias
    config = QATConfig(
        codes_per_unit_x=x_scale,
        codes_per_unit_w=W,
        codes_per_unit_y=x_scale * W / entry.gain,
        bias_rows=16,
    )
    layer = Linear(codes.shape[1], codes.shape[0], config=config)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(codes.astype(np.float32) / W))
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(bias.astype(np.float32) / np.float32(x_scale * W)))
    assert np.array_equal(layer.prepared().weight, codes)
    return layer.train()


def codes(layer: Linear, y: torch.Tensor) -> np.ndarray:
    return (y.detach() * layer.codes_per_unit[2]).numpy()


def test_layer_by_layer(dump: bittwin.Dump) -> None:
    compared = 0
    for entry in dump.layers:
        layer = training_layer(entry, 256.0)
        for name in SETS:
            found = entry.set(name) if hasattr(entry, "set") else None
            found = found or next(s for s in entry.sets if s.name == name)
            x = found.input.block(0, found.frames)
            wanted = found.output.block(0, found.frames)
            y = layer(torch.from_numpy(x.astype(np.float32)) / 256.0)
            got = codes(layer, y)
            if found.activated and entry.activation:
                got = np.maximum(got, 0)
            assert np.array_equal(got, wanted), f"{entry.name} {name}"
            compared += wanted.size
    assert compared == 290 * (4 * 256 + 2)


def test_chained_through_relu_and_trainable(dump: bittwin.Dump) -> None:
    scale, parts = 256.0, []
    for entry in dump.layers:
        layer = training_layer(entry, scale)
        parts += [layer] + [torch.nn.ReLU() for _ in entry.activation]
        scale = layer.codes_per_unit[2]  # a ReLU hands the codes on
    net = torch.nn.Sequential(*parts).train()
    first = next(s for s in dump.layers[0].sets if s.name == "debug")
    last = next(s for s in dump.layers[-1].sets if s.name == "debug")
    x = torch.from_numpy(first.input.block(0, first.frames).astype(np.float32)) / 256.0
    y = net(x)
    assert np.array_equal((y.detach() * scale).numpy(), last.output.block(0, last.frames))
    assert torch.equal(y, net.eval()(x))
    y.sum().backward()
    for part in parts[::2]:
        assert part.weight.grad is not None
        assert torch.isfinite(part.weight.grad).all()
    assert parts[0].weight.grad.abs().sum() > 0
