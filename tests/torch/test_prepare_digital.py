# SPDX-License-Identifier: Apache-2.0
"""`prepare_qat(digital=...)`: swapped on request only, with torch's weights and interface."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as tnn

from bittwin import nn
from bittwin.nn import DigitalConfig, PrepareReport, QATConfig, prepare_qat, to_network

FLOAT = QATConfig(mode="float")
ONE = QATConfig(calibration_steps=1)


def model() -> tnn.Sequential:
    torch.manual_seed(1)
    return tnn.Sequential(
        tnn.Conv2d(1, 3, 1), tnn.BatchNorm2d(3), tnn.PReLU(3), tnn.Sigmoid(), tnn.Tanh(), tnn.GELU("tanh"),
        tnn.Flatten(), tnn.Linear(12, 4), tnn.ReLU(),
    )  # fmt: skip


def test_nothing_is_swapped_unasked() -> None:
    twin = prepare_qat(model(), QATConfig())
    kinds = [type(m) for m in twin]
    assert kinds == [nn.Conv2d, tnn.BatchNorm2d, tnn.PReLU, tnn.Sigmoid, tnn.Tanh, tnn.GELU, tnn.Flatten,
                     nn.Linear, tnn.ReLU]  # fmt: skip
    lstm = prepare_qat(tnn.ModuleList([tnn.LSTM(2, 2), tnn.Linear(2, 2)]), QATConfig())
    assert type(lstm[0]) is tnn.LSTM


def test_operators_are_swapped_in_place() -> None:
    config = DigitalConfig(calibration_steps=1)
    wide = config.with_(y_bits=10)
    reports: list[PrepareReport] = []
    before = model().eval()
    ids = [id(p) for p in before.parameters()]
    before[3].register_forward_hook(lambda _m, _x, y: None)
    twin = prepare_qat(before, ONE, digital={"2": wide, "[1345]": config}, inplace=True,
                       report=reports.append)  # fmt: skip
    assert twin is before
    assert [id(p) for p in twin.parameters()] == ids
    kinds = [type(m) for m in twin]
    assert kinds[1:6] == [nn.BatchNorm2d, nn.PReLU, nn.Sigmoid, nn.Tanh, nn.GELU]
    assert twin[2].config is wide
    assert twin[3].layer_name == "3"
    assert twin[3]._forward_hooks
    assert not any(m.training for m in twin.modules())
    text = str(reports[0])
    assert "swapped 7, folded 0, left 0" in text
    assert "swapped  2  PReLU        quantized, half_even, x8 y10" in text
    x = torch.randn(6, 1, 2, 2)
    twin.train()(x)
    assert_network(twin.eval(), x)


def assert_network(twin: Any, x: torch.Tensor) -> None:
    network = to_network(twin, x)
    codes = network.run(twin[0].quantize_input(x).numpy())
    real = torch.from_numpy(codes.astype(np.float32)) / twin[7].codes_per_unit[2]
    assert torch.equal(real, twin(x))


def test_a_folded_norm_is_not_swapped() -> None:
    config = DigitalConfig(calibration_steps=1)
    twin = prepare_qat(model().eval(), ONE, digital={"*": config}, fold_batchnorm=True)
    assert not any(isinstance(m, tnn.BatchNorm2d) for m in twin.modules())
    assert isinstance(twin[3], nn.Sigmoid)


@pytest.mark.parametrize("kind", [tnn.LSTM, tnn.GRU])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("units", [None, 32.0])
def test_float_mode_equals_torch(
    kind: Any, bias: bool, batch_first: bool, units: float | None
) -> None:
    torch.manual_seed(2)
    old = kind(5, 4, bias=bias, batch_first=batch_first).eval()
    config = FLOAT.with_(codes_per_unit_x=units)
    new = prepare_qat(tnn.Sequential(copy.deepcopy(old)), QATConfig(), digital={"0": config})[0]
    assert type(new) is (nn.LSTM if kind is tnn.LSTM else nn.Gru2Array)
    assert not new.training
    x, h = torch.randn(3, 6, 5), 0.3 * torch.randn(1, 3 if batch_first else 6, 4)
    state = (h, 0.5 * h) if kind is tnn.LSTM else h
    for given in (None, state):
        wanted, found = old(x, given), new(x, given)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    wanted, found = old(x[0]), new(x[0])  # without a batch axis: [frames, inputs]
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [tnn.LSTM, tnn.GRU])
def test_swapped_recurrent_modules_are_exported(kind: Any) -> None:
    class Tagger(tnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = kind(5, 8, batch_first=True)
            self.tag = tnn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.tag(torch.relu(self.memory(x)[0]))

    torch.manual_seed(3)
    twin = prepare_qat(Tagger(), ONE, digital={"memory": ONE})
    x = torch.randn(2, 9, 5)
    twin.train()(x)
    y = twin.eval()(x)
    for product in twin.memory.cell.modules():
        if isinstance(product, nn.Linear):
            w = product.codes_per_unit[1] * float(product.weight.detach().abs().max())
            assert 32 < w <= 127
    network = to_network(twin, x[0])
    for i in range(2):
        codes = network.run(twin.memory.cell.quantize_input(x[i]))
        real = torch.from_numpy(codes.astype(np.float32)) / twin.tag.codes_per_unit[2]
        assert torch.equal(real, y[i])
    y = twin.train()(x)
    y.sum().backward()
    assert all(p.grad is not None for p in twin.parameters())


def test_states_have_torchs_axis() -> None:
    new = prepare_qat(tnn.Sequential(tnn.GRU(5, 4)), QATConfig(), digital={"0": ONE})[0]
    _, h = new(torch.randn(3, 2, 5))
    assert h.shape == (1, 2, 4)
    with pytest.raises(ValueError, match=r"wanted \[1, ..., hidden\]"):
        new(torch.randn(3, 2, 5), torch.zeros(2, 2, 4))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (tnn.LSTM(2, 2, num_layers=2), "num_layers=2"),
        (tnn.GRU(2, 2, bidirectional=True), "bidirectional=True"),
        (tnn.LSTM(2, 4, proj_size=2), "proj_size=2"),
        (tnn.LSTM(2, 2).double(), "not torch.float32"),
    ],
)
def test_what_cannot_be_swapped_is_left_and_reported(module: Any, reason: str) -> None:
    reports: list[PrepareReport] = []
    twin = prepare_qat(
        tnn.Sequential(module), QATConfig(), digital={"0": ONE}, report=reports.append
    )
    assert type(twin[0]) is type(module)
    assert reason in reports[0].left[0].reason


@pytest.mark.parametrize(
    ("digital", "error", "message"),
    [
        ({"9": ONE}, ValueError, "digital: found the pattern '9', which matches no layer"),
        (
            {"7": ONE},
            ValueError,
            "it names modules that are no Sigmoid, Tanh, GELU, PReLU, BatchNorm2d",
        ),
        (
            {"3": ONE},
            TypeError,
            r"digital\['3'\]: found a QATConfig for a Sigmoid, wanted a DigitalConfig",
        ),
        ({"3": None}, TypeError, r"digital\['3'\]: found NoneType"),
        ({3: ONE}, TypeError, "found the key 3"),
        ([], TypeError, "digital: found list, wanted a mapping"),
    ],
)
def test_refusals(digital: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        prepare_qat(model(), QATConfig(), digital=digital)
