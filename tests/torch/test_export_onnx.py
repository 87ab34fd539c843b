# SPDX-License-Identifier: Apache-2.0
"""A trained model goes through the vendor's ONNX dialect and comes back as the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as tnn

from bittwin import nn
from bittwin.errors import NetworkError
from bittwin.nn import DigitalConfig, QATConfig, to_network

pytest.importorskip("onnx")
from bittwin.onnx import load_onnx, save_onnx

#: One scale everywhere: the dialect has no step from scale to scale.
SAME = QATConfig(codes_per_unit_x=64, codes_per_unit_w=256, codes_per_unit_y=64)
ADD = DigitalConfig(
    codes_per_unit_x=64, codes_per_unit_other=64, codes_per_unit_y=64, rounding="half_up"
)


class Residual(tnn.Module):
    """A convolution, a branch around one, pooling, a table, a layer over all that is left."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, config=SAME)
        self.block = nn.Conv2d(4, 4, 1, config=SAME)
        self.add = nn.Add(ADD)
        self.pool = tnn.MaxPool2d(2)
        self.gate = nn.Sigmoid(DigitalConfig(codes_per_unit_x=64, codes_per_unit_y=64))
        self.head = nn.Conv2d(
            4, 3, 2, config=SAME
        )  # a Linear would want the chip's order of a frame

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = self.pool(torch.relu(self.add(self.block(x), x)))
        return self.head(self.gate(x))


class Tagger(tnn.Module):
    """A linear layer, a memory, a linear layer."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        signed = QATConfig(codes_per_unit_x=128, codes_per_unit_w=256, codes_per_unit_y=128,
                           negative_input="split_sign")  # fmt: skip
        self.embed = nn.Linear(5, 6, config=signed)
        self.memory = kind(6, 4)
        self.tag = nn.Linear(4, 3, config=signed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tag(self.memory(self.embed(x))[0])


@pytest.mark.parametrize("kind", ["residual", "LSTM", "GRU", "GruNew", "Gru2Array"])
def test_trained_networks_survive_onnx(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    model: Any = Residual() if kind == "residual" else Tagger(getattr(nn, kind))
    x = torch.rand(5, 1, 4, 4) if kind == "residual" else torch.randn(9, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    network = to_network(model.eval(), x)
    path = tmp_path / "net.onnx"
    save_onnx(path, network)
    again = load_onnx(path)
    assert again == network
    first = model.stem if kind == "residual" else model.embed
    codes = again.run(first.quantize_input(x).numpy())
    units = (model.head if kind == "residual" else model.tag).codes_per_unit[2]
    assert torch.equal(torch.from_numpy(codes.astype(np.float32)) / units, model(x))


def test_a_step_of_scale_is_refused_by_the_dialect(tmp_path: Path) -> None:
    other = SAME.with_(codes_per_unit_x=16, codes_per_unit_w=1024)
    model = tnn.Sequential(nn.Linear(4, 4, config=SAME), tnn.ReLU(), nn.Linear(4, 2, config=other))
    network = to_network(model.eval(), torch.rand(3, 4))
    with pytest.raises(NetworkError, match=r"2\.rescale"):
        save_onnx(tmp_path / "net.onnx", network)
