# SPDX-License-Identifier: Apache-2.0
"""`to_network`: the integer network computes the model's eval codes, layer by layer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from network_cases import Chain, chains
from torch import nn
from torch.nn import functional

import bittwin
from bittwin.errors import NetworkError
from bittwin.network import ArrayLayer, Network, Relu, load_network
from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig, to_network
from bittwin.nn.base import QuantizedModule

SAME = "ignore:Using padding='same' with even kernel"
FIXED = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 128.0}


def quantized(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, QuantizedModule)]


def outputs(model: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What every layer gives (copies), and the model."""
    found: list[torch.Tensor] = []
    hooks = [
        m.register_forward_hook(lambda _m, _x, y: found.append(y.detach().clone()))
        for m in quantized(model)
    ]
    with torch.no_grad():
        y = model(x)
    for hook in hooks:
        hook.remove()
    return found, y


def assert_equal(model: nn.Module, network: Network, x: torch.Tensor) -> None:
    """Network.run on fresh codes == the model, every array layer and the output."""
    layers = quantized(model)
    wanted, y = outputs(model, x)
    trace = network.run(layers[0].quantize_input(x).numpy(), trace=True)
    arrays = [layer.name for layer in network.layers if isinstance(layer, ArrayLayer)]
    assert len(arrays) == len(layers) == len(wanted)
    for name, layer, real in zip(arrays, layers, wanted, strict=True):
        codes = trace[name].astype(np.float32) / np.float32(layer.codes_per_unit[2])
        np.testing.assert_array_equal(codes, real.numpy(), err_msg=name)
    units = np.float32(layers[-1].codes_per_unit[2])
    np.testing.assert_array_equal(trace.output.astype(np.float32) / units, y.numpy())


@pytest.mark.filterwarnings(SAME)
@given(chains())
@settings(max_examples=150)
def test_random_models_equal_their_networks(case: tuple[Chain, torch.Tensor]) -> None:
    model, x = case
    network = to_network(model, x[:2])
    assert network.input_shape == tuple(x.shape[1:])
    assert_equal(model, network, x)
    model.train()  # calibrated: the training forward gives the same codes
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    assert_equal(model, network, x)


@pytest.mark.filterwarnings(SAME)
@given(chains())
@settings(max_examples=25)
def test_random_networks_survive_saving(case: tuple[Chain, torch.Tensor]) -> None:
    import tempfile

    model, x = case
    network = to_network(model, x)
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder) / "net.npz")
        assert load_network(Path(folder) / "net.npz") == network


def calibrated(model: nn.Module, x: torch.Tensor) -> nn.Module:
    model.train()
    model(x)
    return model.eval()


def test_names_kinds_and_rescale() -> None:
    config = QATConfig(**FIXED)
    model = nn.Sequential(Linear(4, 4, config=config), nn.ReLU(), Linear(4, 2, config=config))
    network = to_network(model, torch.rand(3, 4))
    assert network.name == "Sequential"
    # 128 codes per unit are read at 256: the chip's doubled ReLU.
    assert [(layer.name, layer.kind) for layer in network.layers] == [
        ("0", "linear"),
        ("1", "relu"),
        ("2", "linear"),
    ]
    relu = network.layers[1]
    assert isinstance(relu, Relu)
    assert relu.gain == 2


@pytest.mark.parametrize(
    ("units", "negative_input", "activation", "kinds"),
    [
        (128.0, "clamp", nn.ReLU, ["relu"]),
        (256.0, "clamp", nn.ReLU, ["relu"]),
        (512.0, "clamp", nn.ReLU, ["relu", "rescale"]),
        (64.0, "clamp", nn.ReLU, ["relu", "rescale"]),
        (128.0, "clamp", nn.Identity, ["rescale"]),
        (128.0, "split_sign", nn.Identity, []),
        (64.0, "split_sign", nn.Identity, ["rescale"]),
        (128.0, "shift", nn.Identity, ["rescale"]),
        (128.0, "clamp", lambda: nn.Hardtanh(0, 0.5), ["clip"]),
        (256.0, "clamp", lambda: nn.Hardtanh(0, 0.5), ["rescale"]),
        (128.0, "split_sign", lambda: nn.Hardtanh(-0.5, 0.5), ["rescale"]),
        (100.0, "clamp", nn.Sigmoid, ["lookup"]),
    ],
)
def test_steps_between_layers(
    units: float, negative_input: str, activation: Any, kinds: list[str]
) -> None:
    read = QATConfig(
        negative_input=negative_input,
        rounding="half_even",
        **{**FIXED, "codes_per_unit_x": units},
    )
    torch.manual_seed(1)
    model = nn.Sequential(
        Linear(6, 8, config=QATConfig(**FIXED)), activation(), Linear(8, 3, config=read)
    )
    network = to_network(model.eval(), torch.rand(3, 6))
    assert [layer.kind for layer in network.layers[1:-1]] == kinds
    assert_equal(model, network, 3 * torch.rand(50, 6))


def test_odd_shift_moves_no_tie() -> None:
    # 9-bit codes read at a quarter of their scale, plus 33: ties round to even after the shift.
    write = QATConfig(y_bits=12, **FIXED)
    read = QATConfig(negative_input="shift", shift=33 / 32, **{**FIXED, "codes_per_unit_x": 32.0},
                     rounding="half_even")  # fmt: skip
    torch.manual_seed(2)
    model = nn.Sequential(Linear(6, 40, config=write), Linear(40, 3, config=read)).eval()
    network = to_network(model, torch.rand(3, 6))
    assert [layer.kind for layer in network.layers] == ["linear", "rescale", "rescale", "linear"]
    assert_equal(model, network, torch.rand(200, 6))


def test_shifted_padding_is_a_code() -> None:
    for x_bits in (8, 10):
        config = QATConfig(negative_input="shift", x_bits=x_bits, calibration_steps=1)
        torch.manual_seed(3)
        x = torch.randn(4, 2, 5, 6)
        model = calibrated(Conv2d(2, 3, 3, padding=(1, 2), config=config), x)
        network = to_network(model, x)
        assert network.layers[0].settings()["pad_value"] == 1 << (x_bits - 1)
        assert_equal(model, network, x)


def test_leading_relu() -> None:
    for negative_input in ("clamp", "split_sign", "shift"):
        config = QATConfig(negative_input=negative_input, calibration_steps=1)
        torch.manual_seed(4)
        x = torch.randn(20, 5)
        model = calibrated(nn.Sequential(nn.ReLU(), Linear(5, 4, config=config)), x)
        assert_equal(model, to_network(model, x), x)


def test_more_axes_and_flatten_first() -> None:
    torch.manual_seed(5)
    config = QATConfig(negative_input="split_sign", calibration_steps=1)
    x = torch.randn(4, 3, 5)
    model = calibrated(nn.Sequential(Linear(5, 6, config=config), nn.ReLU()), x)
    assert_equal(model, to_network(model, x), x)
    model = calibrated(nn.Sequential(nn.Flatten(), Linear(15, 6, config=config)), x)
    network = to_network(model, x)
    assert network.input_shape == (3, 5)
    assert_equal(model, network, x)


def test_layer_used_twice_gets_two_names() -> None:
    torch.manual_seed(6)
    fc = Linear(5, 5, config=QATConfig(negative_input="split_sign", calibration_steps=2))
    x = torch.randn(8, 5)
    model = calibrated(nn.Sequential(fc, nn.ReLU(), fc), x)
    names = [layer.name for layer in to_network(model, x).layers]
    assert len(set(names)) == len(names)
    assert names[0] == "0"
    assert names[-1] == "0_2"


def test_scales_that_are_no_power_of_two() -> None:
    config = QATConfig(rounding="half_even", codes_per_unit_x=100.0, codes_per_unit_w=77.0,
                       codes_per_unit_y=100.0)  # fmt: skip
    torch.manual_seed(7)
    model = nn.Sequential(Linear(9, 8, config=config), nn.ReLU(), Linear(8, 3, config=config))
    model.eval()
    x = torch.rand(60, 9)
    network = to_network(model, x)
    assert [layer.kind for layer in network.layers] == ["linear", "relu", "linear"]
    assert_equal(model, network, x)


def test_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(8)
    config = QATConfig(recalibrate="epoch", calibration_steps=2)
    model = nn.Sequential(Linear(5, 4, config=config), nn.Dropout(), Linear(4, 3, config=config))
    x = torch.rand(6, 5)
    model(x)
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    flags = [m.training for m in model.modules()]
    example = x.clone()
    to_network(nn.Sequential(nn.ReLU(inplace=True), model), example)
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(example, x)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Halves:
    """A noise that halves every accumulator."""

    def __call__(self, acc: Any, *, layer: str, gain: float, **context: Any) -> Any:
        return acc // 2


def test_noise_is_not_exported() -> None:
    torch.manual_seed(9)
    config = QATConfig(noise=Halves(), noise_in_eval=True, calibration_steps=1)
    x = torch.rand(6, 5)
    model = calibrated(nn.Sequential(Linear(5, 4, config=config)), x)
    network = to_network(model, x)
    assert model[0].config.noise_in_eval
    quiet = copy.deepcopy(model)
    quiet[0].config = config.with_(noise_in_eval=False)
    assert_equal(quiet, network, x)


# -- dumps ------------------------------------------------------------------------------------


def verify_written(model: nn.Module, x: torch.Tensor, folder: Path) -> None:
    network = to_network(model, x)
    codes = quantized(model)[0].quantize_input(x).numpy()
    bittwin.write_dump(folder / "dump", network, codes, expected_frames=4)
    dump = bittwin.read_dump(folder / "dump")
    assert bittwin.verify(dump).equal
    assert dump.network() == network


@pytest.mark.parametrize("x_bits", [8, 10])
@pytest.mark.parametrize("negative_input", ["clamp", "split_sign", "shift"])
def test_linear_network_to_dump(tmp_path: Path, x_bits: int, negative_input: str) -> None:
    torch.manual_seed(10)
    first = QATConfig(x_bits=x_bits, negative_input=negative_input, calibration_steps=1)
    config = QATConfig(calibration_steps=1)
    model = nn.Sequential(
        Linear(12, 9, config=first), nn.ReLU(), nn.Dropout(), Linear(9, 8, config=config),
        nn.Sigmoid(), Linear(8, 3, config=config),
    )  # fmt: skip
    x = torch.randn(12, 12)
    verify_written(calibrated(model, x), x, tmp_path)


@pytest.mark.parametrize("negative_input", ["clamp", "split_sign", "shift"])
def test_conv_network_to_dump(tmp_path: Path, negative_input: str) -> None:
    torch.manual_seed(11)
    config = QATConfig(negative_input=negative_input, calibration_steps=1)
    up = QATConfig(negative_input="clamp", calibration_steps=1)
    model = nn.Sequential(
        Conv2d(2, 4, 3, padding=1, config=config), nn.ReLU(),
        Conv2d(4, 4, (3, 2), stride=2, padding=1, groups=2, config=config), nn.ReLU6(),
        ConvTranspose2d(4, 2, 2, stride=2, config=up), nn.Flatten(),
        Linear(2 * 6 * 6, 5, config=config),
    )  # fmt: skip
    x = torch.randn(9, 2, 6, 5)
    x = torch.cat([x, x[:, :, :, :1]], dim=3)[:, :, :6, :]
    with torch.no_grad():
        size = model[:-1](x).shape[1]
    model[-1] = Linear(size, 5, config=config)
    verify_written(calibrated(model, x), x, tmp_path)


# -- refusals ---------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = Linear(4, 4, config=QATConfig(**FIXED))
        self.b = Linear(4, 4, config=QATConfig(**FIXED))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        return self.b(x + torch.relu(x))


class Pair(Residual):
    def forward(self, x: torch.Tensor) -> Any:
        return self.a(x), self.b(x)


class Constant(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(torch.ones_like(x) + torch.ones(1))


class Branch(Residual):
    """A branch that nobody needs does not matter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.b(x)
        assert not bool(torch.isnan(x).any())
        if x.shape[0] > 1 and x.max() > 100:
            x = x + 1
        return self.a(x).clamp_min(0.0)


def fc(**changes: Any) -> Linear:
    return Linear(4, 4, config=QATConfig(**{**FIXED, **changes}))


def test_control_flow_and_dead_branches_are_fine() -> None:
    model = Branch().eval()
    network = to_network(model, torch.rand(3, 4))
    assert [layer.name for layer in network.layers] == ["a", "clamp_min"]


REFUSALS: dict[str, tuple[Any, tuple[int, ...], list[str]]] = {
    "two outputs": (Pair, (2, 4), ["found tuple as its output", "a single tensor"]),
    "constant": (Constant, (2, 4), ["the input of 'a'"]),
    "float layer": (
        lambda: nn.Sequential(fc(), nn.Linear(4, 4)),
        (2, 4),
        ["linear in '1' (Linear)", "float layer", "prepare_qat"],
    ),
    "no layer": (lambda: nn.Sequential(nn.ReLU()), (2, 4), ["no bittwin layer"]),
    "norm": (
        lambda: nn.Sequential(fc(), nn.LayerNorm(4)),
        (2, 4),
        ["layer_norm in '1' (LayerNorm)"],
    ),
    "average pool": (
        lambda: nn.Sequential(Conv2d(1, 1, 1, config=QATConfig(**FIXED)), nn.AvgPool2d(2)),
        (2, 1, 4, 4),
        ["avg_pool2d in '1' (AvgPool2d)", "use bittwin.nn.Mean", "flatten", "relu"],
    ),
    "softmax": (lambda: nn.Sequential(fc(), nn.Softmax(1)), (2, 4), ["softmax in '1' (Softmax)"]),
    "active dropout": (
        lambda: Chain([fc(), lambda x: functional.dropout(x, 0.9)]),
        (50, 4),
        ["dropout in Chain", "changes numbers"],
    ),
    "frames moved": (
        lambda: Chain([fc(), lambda x: x.transpose(0, 1)]),
        (2, 4),
        ["transpose", "(4, 2)", "(2, 4)", "the frame axis must stay"],
    ),
    "frames moved, as many": (
        lambda: Chain([fc(), lambda x: x.transpose(0, 1)]),
        (4, 4),
        ["transpose", "the frame axis must stay"],
    ),
    "assignment": (
        lambda: Chain([fc(), lambda x: (x.__setitem__(0, 1.0), x)[1]]),
        (2, 4),
        ["__setitem__", "in place"],
    ),
    "not calibrated": (
        lambda: nn.Sequential(Linear(4, 4)),
        (2, 4),
        ["'0'", "found no scales", "training forwards"],
    ),
    "float mode": (
        lambda: nn.Sequential(fc(mode="float")),
        (2, 4),
        ["found mode='float'", "wanted 'quantized'"],
    ),
    "padding mode": (
        lambda: Conv2d(1, 1, 3, padding=1, padding_mode="reflect", config=QATConfig(**FIXED)),
        (2, 1, 4, 4),
        ["padding_mode='reflect'", "'zeros'"],
    ),
    "no batch axis": (
        lambda: Conv2d(1, 1, 3, config=QATConfig(**FIXED)),
        (1, 4, 4),
        ["(1, 4, 4)", "[N, C, H, W]"],
    ),
    "ratio": (
        lambda: nn.Sequential(fc(), nn.ReLU(), fc(codes_per_unit_x=300.0, rounding="half_even")),
        (2, 4),
        ["'2'", "300 codes per unit", "'0'", "128", "2.34375", "power of two"],
    ),
    "sigmoid at the end": (
        lambda: nn.Sequential(fc(), nn.Sigmoid()),
        (2, 4),
        ["'1' (sigmoid)", "after the last layer"],
    ),
    "limit between codes": (
        lambda: nn.Sequential(fc(), nn.Hardtanh(0.0, 0.7003)),
        (2, 4),
        ["'1' (hardtanh)", "after the last layer"],
    ),
    "sigmoid before": (
        lambda: nn.Sequential(nn.Sigmoid(), fc()),
        (2, 4),
        ["before the first layer"],
    ),
    "wide table": (
        lambda: nn.Sequential(fc(y_bits=10), nn.Tanh(), fc(x_bits=9)),
        (2, 4),
        ["'1' (tanh)", "y_bits=8 and x_bits=8", "10 and 9"],
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_refusals(case: str) -> None:
    build, shape, words = REFUSALS[case]
    torch.manual_seed(12)
    with pytest.raises(NetworkError) as found:
        to_network(build(), torch.rand(*shape))
    assert all(word in str(found.value) for word in words), str(found.value)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"model: found str"):
        to_network("model", torch.rand(2, 4))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"example: found torch.float64"):
        to_network(fc(), torch.rand(2, 4).double())
    for shape in ((0, 4), (4,)):
        with pytest.raises(NetworkError, match="at least one frame"):
            to_network(fc(), torch.zeros(shape))


def test_hooks_that_change_numbers_are_seen() -> None:
    model = nn.Sequential(fc(), nn.ReLU())
    model[0].register_forward_hook(lambda _m, _x, y: y * 0.5)
    with pytest.raises(NetworkError, match="comes from mul in Sequential"):
        to_network(model, torch.rand(5, 4))


def test_compiled_model_is_unwrapped() -> None:
    model = nn.Sequential(fc(), nn.ReLU()).eval()
    wrapped = torch.compile(model, backend="eager")
    assert to_network(wrapped, torch.rand(5, 4)) == to_network(model, torch.rand(5, 4))  # type: ignore[arg-type]
