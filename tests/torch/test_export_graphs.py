# SPDX-License-Identifier: Apache-2.0
"""Branches, digital operators and recurrent modules: train() codes == eval() codes == Network.run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as tnn

from bittwin import nn
from bittwin.errors import NetworkError
from bittwin.network import Network, load_network
from bittwin.nn import DigitalConfig, QATConfig, to_network

CALIBRATE = QATConfig(calibration_steps=1)
SIGNED = CALIBRATE.with_(negative_input="split_sign")
DIGITAL = DigitalConfig(calibration_steps=1)


class Model(tnn.Module):
    """Named modules and a forward as a function of them."""

    def __init__(self, forward: Any, **modules: tnn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._forward = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self._forward(self, x)


def calibrated(model: tnn.Module, x: torch.Tensor) -> tnn.Module:
    model.train()
    model(x)
    return model.eval()


def input_codes(model: Any, x: torch.Tensor) -> np.ndarray:
    """What the first bittwin module that runs makes of x."""
    found: list[Any] = []
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.digital.base.DigitalModule,
             nn.digital.cells.RecurrentCell, nn.sequences.Sequence)  # fmt: skip
    hooks = [
        m.register_forward_pre_hook(lambda m, _: found.append(m))
        for m in model.modules()
        if isinstance(m, kinds)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    first = found[0].cell if isinstance(found[0], nn.sequences.Sequence) else found[0]
    return np.asarray(first.quantize_input(x))


def assert_exported(model: Any, x: torch.Tensor, units: float, *, training: bool = True) -> Network:
    """The network equals the model on other inputs, in both modes, and survives a file."""
    network = to_network(model, x)
    fresh = torch.cat([x, x.flip(0) * 1.7, -x])  # some leave the calibrated range
    codes = network.run(input_codes(model, fresh))
    real = torch.from_numpy(codes.astype(np.float32)) / units
    for mode in (False, True) if training else (False,):
        assert torch.equal(model.train(mode)(fresh), real), f"training={mode}"
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder) / "net.npz")
        assert load_network(Path(folder) / "net.npz") == network
    assert len(np.unique(codes)) > 2
    return network


# -- one module of each kind ------------------------------------------------------------------

#: Module, shape of its inputs (frames first), and options: how many inputs, and of which shape the second.
MODULES: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...] | None]] = {
    "Sigmoid": (lambda: nn.Sigmoid(DIGITAL, input_limit=2.0), (6, 5), None),
    "Tanh": (lambda: nn.Tanh(DIGITAL), (6, 5), None),
    "GELU": (lambda: nn.GELU("tanh", DIGITAL, limit=1.0), (6, 5), None),
    "PReLU": (lambda: nn.PReLU(config=DIGITAL), (6, 5), None),
    "PReLU channels": (lambda: slopes(nn.PReLU(3, config=DIGITAL)), (4, 3, 2, 2), None),
    "PReLU wide": (lambda: nn.PReLU(config=DIGITAL.with_(x_bits=11, y_bits=10)), (6, 5), None),
    "Sqrt": (lambda: nn.Sqrt(DIGITAL), (6, 5), None),
    "Sqrt wide": (lambda: nn.Sqrt(DIGITAL.with_(x_bits=12, y_bits=12), limit=1.2), (6, 5), None),
    "InvSqrt": (lambda: nn.InvSqrt(DIGITAL), (6, 5), None),
    "InvSqrt wide": (lambda: nn.InvSqrt(DIGITAL.with_(x_bits=9), shift_bits=16), (6, 5), None),
    "Add": (lambda: nn.Add(DIGITAL), (6, 5), (6, 5)),
    "Add half_up": (lambda: nn.Add(DIGITAL.with_(rounding="half_up")), (6, 5), (6, 1)),
    "Add wide": (lambda: nn.Add(DIGITAL.with_(x_bits=12, other_bits=9, y_bits=10)), (6, 5), (6, 5)),
    "Mul": (lambda: nn.Mul(DIGITAL), (6, 3, 4), (6, 1, 4)),
    "Mul wide": (lambda: nn.Mul(DIGITAL.with_(x_bits=12, y_bits=12)), (6, 5), (6, 5)),
    "Divide": (lambda: nn.Divide(DIGITAL), (6, 5), (6, 5)),
    "Divide limit": (lambda: nn.Divide(DIGITAL.with_(y_bits=10), limit=3.3), (6, 5), (6, 5)),
    "Cat": (lambda: nn.Cat(1, DIGITAL), (6, 5), (6, 2)),
    "Cat last": (lambda: nn.Cat(-1, DIGITAL.with_(x_bits=10, other_bits=8), limit=0.7), (6, 3, 5), (6, 3, 2)),
    "MatMul": (lambda: nn.MatMul(DIGITAL), (6, 3, 4), (6, 4, 2)),
    "MatMul wide": (lambda: nn.MatMul(DIGITAL.with_(x_bits=12, y_bits=11)), (5, 2, 3, 40), (5, 2, 40, 2)),
    "Hypot": (lambda: nn.Hypot(DIGITAL), (6, 5), (6, 5)),
    "Hypot wide": (lambda: nn.Hypot(DIGITAL.with_(x_bits=10, y_bits=9), shift_bits=12, limit=2.0),
                   (6, 5), (6, 1)),
    "Mean": (lambda: nn.Mean(-1, config=DIGITAL), (6, 5), None),
    "Mean half_away": (lambda: nn.Mean((2, 3), True, DIGITAL.with_(rounding="half_away")),
                       (4, 3, 2, 3), None),
    "BatchNorm2d": (lambda: statistics(nn.BatchNorm2d(3, config=DIGITAL)), (5, 3, 2, 2), None),
    "BatchNorm2d wide": (lambda: statistics(nn.BatchNorm2d(3, config=DIGITAL.with_(
        x_bits=12, weight_bits=12, y_bits=9))), (5, 3, 2, 2), None),
    "ClnBn2d": (lambda: nn.ClnBn2d(DIGITAL), (4, 3, 2, 5), None),
    "ClnBn2d simple": (lambda: nn.ClnBn2d(DIGITAL.with_(x_bits=12), sum_bits=20, simple=True, limit=1.1),
                       (4, 3, 2, 5), None),
}  # fmt: skip


def slopes(module: Any) -> Any:
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.25, -0.5, 1.0]))
    return module


def statistics(module: Any) -> Any:
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.7, -1.3, 0.01]))
        module.bias.copy_(torch.tensor([0.2, -0.4, 1.0]))
        module.running_mean.copy_(torch.tensor([0.3, -0.1, 0.0]))
        module.running_var.copy_(torch.tensor([1.1, 0.4, 2.0]))
    return module


def split_input(
    model: Any, x: torch.Tensor, first: tuple[int, ...], second: tuple[int, ...]
) -> Any:
    """Two inputs out of one, as slices of a quantised tensor, whose scales differ by a factor of 4."""
    y = model.read(x)
    a = y[:, : int(np.prod(first[1:]))].reshape(-1, *first[1:])
    b = y[:, -int(np.prod(second[1:])) :].reshape(-1, *second[1:])
    return model.it(torch.relu(a) if model.positive else a, b)


@pytest.mark.parametrize("kind", MODULES)
def test_every_module(kind: str) -> None:
    make, first, second = MODULES[kind]
    torch.manual_seed(21)
    it = make()
    training = not isinstance(it, nn.BatchNorm2d)  # train() takes the batch's statistics
    if second is None:
        model: Any = Model(lambda m, x: m.it(x), it=it)
        x = 1.5 * torch.randn(first)
    else:
        size = int(np.prod(first[1:]) + np.prod(second[1:]))
        model = Model(lambda m, x: split_input(m, x, first, second), it=it,
                      read=nn.Linear(7, size, config=CALIBRATE))  # fmt: skip
        model.positive = "Cat" in kind
        x = 1.5 * torch.randn(first[0], 7)
    model.train()
    if not training:
        for _ in range(200):
            it.calibrating and model(x)
    calibrated(model, x)
    scales = it.codes_per_unit
    network = assert_exported(model, x, scales.get("y", scales["x"]), training=training)
    assert "it" in [layer.name for layer in network.layers]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GruNew", "Gru2Array"])
@pytest.mark.parametrize("alone", [False, True])
def test_recurrent_modules(kind: str, alone: bool) -> None:
    torch.manual_seed(22)
    if alone:
        model: Any = Model(lambda m, x: m.it(x)[0], it=getattr(nn, kind)(5, 4))
    else:
        model = Model(lambda m, x: m.out(torch.relu(m.it(m.fc(x))[0])), fc=nn.Linear(3, 5, config=CALIBRATE),
                      it=getattr(nn, kind)(5, 4), out=nn.Linear(4, 3, config=CALIBRATE))  # fmt: skip
    with torch.no_grad():
        for parameter in model.it.parameters():
            parameter.mul_(3)
    x = torch.randn(9, 5 if alone else 3)
    calibrated(model, x)
    network = assert_exported(model, x, 128.0 if alone else model.out.codes_per_unit[2])
    # Batches train the same codes, and a stream gives them frame by frame.
    batch = torch.stack([x, -x], 1)
    both = model(batch)
    assert torch.equal(both[:, 0], model(x))
    codes = input_codes(model, x)
    stream = network.stream()
    steps = np.stack([stream.step(frame) for frame in codes])
    np.testing.assert_array_equal(steps, network.run(codes))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GruNew", "Gru2Array"])
def test_a_cell_called_on_the_first_frame_is_its_layer(kind: str) -> None:
    torch.manual_seed(23)
    cell = getattr(nn, "LSTMCell" if kind == "LSTM" else f"{kind}Cell")(5, 4)
    model = Model(lambda m, x: m.it(x)[0] if kind == "LSTM" else m.it(x), it=cell)
    network = to_network(model, torch.randn(1, 5))
    x = torch.randn(6, 5)
    y, state = [], None
    for frame in x:
        state = cell(frame, state)
        y.append(state[0] if kind == "LSTM" else state)
    wanted = (torch.stack(y) * 128).detach().numpy()
    np.testing.assert_array_equal(network.run(cell.quantize_input(x)), wanted)


# -- small models -----------------------------------------------------------------------------


def conv(inputs: int, outputs: int, kernel: int = 3, config: QATConfig = CALIBRATE) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, config=config)


def residual_cnn(m: Any, x: torch.Tensor) -> torch.Tensor:
    x = m.pool(torch.relu(m.stem(x)))
    y = m.b(torch.relu(m.a(x)))
    x = torch.relu(m.add(y, x))
    x = torch.cat([x, m.side(x)], 1).relu_()
    x = m.mean(x)
    return m.head(x)


def plain_residual(m: Any, x: torch.Tensor) -> torch.Tensor:
    x = m.stem(x).relu()
    for block in (m.a, m.b):
        y = block(x)
        y += x
        x = torch.relu(y)
    x = torch.nn.functional.max_pool2d(x, 2, 1, 1)
    return m.head(x.permute(0, 2, 3, 1).flatten(1)[:, ::2])


def gated_mlp(m: Any, x: torch.Tensor) -> torch.Tensor:
    gate, value = m.up(x).chunk(2, -1)
    return m.down(m.mul(m.gate(gate), value))


def float_gate(m: Any, x: torch.Tensor) -> torch.Tensor:
    x = m.up(x)
    return m.down(m.gate(x[:, :6]) * torch.relu(x[:, 6:]))


def attention(m: Any, x: torch.Tensor) -> torch.Tensor:
    q, k, v = m.q(x), m.k(x), m.v(x)
    scores = m.scores(q, k.transpose(1, 2))
    return m.out(m.norm(m.mix(m.weights(scores), v).unsqueeze(2)).squeeze(2))


def tagger(m: Any, x: torch.Tensor) -> torch.Tensor:
    h, _ = m.lstm(m.embed(x))
    g, _ = m.gru(m.join(h, m.embed(x)))
    return m.tag(g)


MODELS: dict[str, tuple[Any, Any, tuple[int, ...], str]] = {
    "residual cnn": (residual_cnn, lambda: {
        "stem": conv(2, 4), "pool": tnn.MaxPool2d(3, 2, 1), "a": conv(4, 4), "b": conv(4, 4),
        "add": nn.Add(DIGITAL.with_(rounding="half_up")), "side": conv(4, 3, 1),
        "mean": nn.Mean((2, 3), config=DIGITAL), "head": nn.Linear(7, 3, config=CALIBRATE),
    }, (5, 2, 6, 7), "head"),
    "plain residual": (plain_residual, lambda: {
        "stem": conv(2, 4), "a": conv(4, 4), "b": conv(4, 4, 1),
        "head": nn.Linear(60, 3, config=CALIBRATE),
    }, (5, 2, 5, 4), "head"),
    "gated mlp": (gated_mlp, lambda: {
        "up": nn.Linear(5, 12, config=SIGNED), "gate": nn.Sigmoid(DIGITAL),
        "mul": nn.Mul(DIGITAL.with_(rounding="half_up")), "down": nn.Linear(6, 4, config=SIGNED),
    }, (7, 5), "down"),
    "float gate": (float_gate, lambda: {
        "up": nn.Linear(5, 12, config=SIGNED), "gate": nn.Sigmoid(DIGITAL),
        "down": nn.Linear(6, 4, config=CALIBRATE),
    }, (7, 5), "down"),
    "attention": (attention, lambda: {
        **{name: nn.Linear(5, 4, config=SIGNED) for name in "qkv"}, "scores": nn.MatMul(DIGITAL),
        "weights": nn.Sigmoid(DIGITAL), "mix": nn.MatMul(DIGITAL), "norm": nn.ClnBn2d(DIGITAL),
        "out": nn.Linear(4, 3, config=SIGNED),
    }, (4, 6, 5), "out"),
    "tagger": (tagger, lambda: {
        "embed": nn.Linear(3, 5, config=SIGNED), "lstm": nn.LSTM(5, 4), "join": nn.Cat(1, DIGITAL),
        "gru": nn.Gru2Array(9, 6), "tag": nn.Linear(6, 3, config=SIGNED),
    }, (11, 3), "tag"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_small_models(name: str, seed: int) -> None:
    forward, modules, shape, last = MODELS[name]
    torch.manual_seed(30 + seed)
    model: Any = Model(forward, **modules())
    x = torch.randn(shape)
    calibrated(model, x)
    network = assert_exported(model, x, getattr(model, last).codes_per_unit[2])
    assert not network.is_chain
    assert network.input_shape == shape[1:]


def test_a_maximum_is_chosen_before_what_turns_the_order() -> None:
    torch.manual_seed(40)
    fixed = SIGNED.with_(codes_per_unit_x=16, codes_per_unit_w=256, codes_per_unit_y=16)
    up, down = (nn.Conv2d(1, 1, 1, config=fixed) for _ in range(2))
    model = Model(lambda m, x: m.b(torch.nn.functional.hardswish(m.pool(m.a(x)))), a=up, b=down,
                  pool=tnn.MaxPool2d(2))  # fmt: skip
    x = 4 * torch.randn(4, 1, 6, 6) - 3
    network = assert_exported(model, x, down.codes_per_unit[2])
    assert [layer.kind for layer in network.layers] == ["conv2d", "max_pool", "lookup", "conv2d"]


def test_padding_never_is_the_maximum() -> None:
    torch.manual_seed(42)
    fixed = SIGNED.with_(codes_per_unit_x=16, codes_per_unit_w=256, codes_per_unit_y=16)
    a, b = nn.Conv2d(1, 2, 1, config=fixed), nn.Conv2d(2, 1, 1, config=fixed)
    with torch.no_grad():
        a.weight.copy_(torch.tensor([0.3, -0.2]).reshape(2, 1, 1, 1))
        a.bias.copy_(torch.tensor([-5.0, -1.0]))
        b.weight.fill_(0.4)
    model = Model(lambda m, x: m.b(tnn.functional.max_pool2d(m.a(x), 3, 2, 1)), a=a, b=b)
    x = 5 * torch.rand(4, 1, 5, 6) + 1
    assert bool((a.eval()(x) < 0).all())
    assert_exported(model.eval(), x, 16.0)


def test_joined_codes_have_one_dtype() -> None:
    torch.manual_seed(43)
    fixed = QATConfig(codes_per_unit_x=64, codes_per_unit_w=256, codes_per_unit_y=64)
    gate = nn.Sigmoid(DigitalConfig(codes_per_unit_x=64, codes_per_unit_y=64))
    model = Model(lambda m, x: m.b(torch.cat([torch.relu(y := m.a(x)), m.gate(y)], 1)), gate=gate,
                  a=nn.Linear(4, 4, config=fixed), b=nn.Linear(8, 3, config=fixed))  # fmt: skip
    x = 4 * torch.rand(9, 4)
    network = assert_exported(model.eval(), x, 64.0)
    trace = network.run(input_codes(model, x), trace=True)
    assert (trace["relu"].dtype, trace["gate"].dtype, trace["cat"].dtype) == (
        np.int8,
        np.uint8,
        np.uint8,
    )


def test_one_step_of_scale_serves_both_branches() -> None:
    torch.manual_seed(41)
    fixed = QATConfig(codes_per_unit_x=256, codes_per_unit_w=128, codes_per_unit_y=128)
    make = [nn.Linear(4, 4, config=fixed) for _ in range(3)]
    model = Model(lambda m, x: torch.cat([m.b(x := torch.relu(m.a(x))), m.c(x)], 1), a=make[0],
                  b=make[1], c=make[2])  # fmt: skip
    network = assert_exported(model.eval(), torch.rand(9, 4), 128.0)
    assert [layer.name for layer in network.layers] == ["a", "relu", "b", "c", "cat"]


def test_names_that_the_input_has() -> None:
    fixed = QATConfig(codes_per_unit_x=256, codes_per_unit_w=128, codes_per_unit_y=128)
    model = Model(lambda m, x: m.input(x) + m.other(x), input=nn.Linear(4, 4, config=fixed),
                  other=nn.Linear(4, 4, config=fixed))  # fmt: skip
    network = assert_exported(model.eval(), torch.rand(9, 4), 128.0)
    assert list(network.input_shapes) == ["network_input"]


# -- refusals ---------------------------------------------------------------------------------


def fc(units: float = 128.0, **changes: Any) -> nn.Linear:
    scales = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": units}
    return nn.Linear(4, 4, config=QATConfig(**{**scales, **changes}))


ONE = {"codes_per_unit_x": 32.0, "codes_per_unit_y": 64.0}
REFUSALS: dict[str, tuple[Any, tuple[int, ...], list[str]]] = {
    "sum with the input": (lambda: Model(lambda m, x: m.a(x) + x, a=fc()), (3, 4),
                           ["add 'add'", "the model's input", "bittwin.nn.Add"]),
    "sum of a table": (lambda: Model(lambda m, x: torch.sigmoid(m.a(x)) + m.b(x), a=fc(), b=fc()), (3, 4),
                       ["add 'add'", "'sigmoid' (sigmoid)", "128 codes per unit", "bittwin.nn"]),
    "sum at odd scales": (
        lambda: Model(lambda m, x: m.a(x) + m.b(x), a=fc(100.0, rounding="half_even"),
                      b=fc(100.0, rounding="half_even")), (3, 4),
        ["layer 'add'", "100 and 100 per unit", "powers of two", "use bittwin.nn.Add"]),
    "product beyond 16 bits": (
        lambda: Model(lambda m, x: m.a(x) * m.b(x), a=fc(y_bits=12), b=fc(y_bits=12)), (3, 4),
        ["layer 'mul'", "16 bits", "use bittwin.nn.Mul"]),
    "difference": (lambda: Model(lambda m, x: m.a(x) - m.b(x), a=fc(), b=fc()), (3, 4),
                   ["sub in Model", "bittwin.nn.Add"]),
    "float product": (lambda: Model(lambda m, x: m.a(x) @ m.b(x), a=fc(), b=fc()), (4, 4),
                      ["matmul in Model", "bittwin.nn.MatMul"]),
    "two readers of the input": (
        lambda: Model(lambda m, x: m.a(x) + m.b(x), a=fc(), b=fc(codes_per_unit_x=512.0)), (3, 4),
        ["its input is read by 'a' at 256", "by 'b' at 512", "wanted one scale"]),
    "frames joined": (lambda: Model(lambda m, x: torch.cat([m.a(x), m.a(x)]), a=fc()), (3, 4),
                      ["cat in Model", "axis 0"]),
    "frames taken": (lambda: Model(lambda m, x: m.a(x)[1:], a=fc()), (3, 4),
                     ["__getitem__", "the frame axis must stay"]),
    "every other number": (lambda: Model(lambda m, x: m.a(x)[:, [0, 1, 3]], a=fc()), (3, 4),
                           ["__getitem__", "no slice"]),
    "pool with dilation": (
        lambda: Model(lambda m, x: tnn.functional.max_pool2d(m.a(x)[:, None], 1, 1, 0, 2), a=fc()),
        (3, 4, 4), ["max_pool2d", "dilation"]),
    "batched sequence": (lambda: Model(lambda m, x: m.a(x)[0], a=nn.LSTM(4, 2)), (3, 2, 4),
                         ["layer 'a'", "(3, 2, 4)", "without a batch axis"]),
    "cell on rows": (lambda: Model(lambda m, x: m.a(x), a=nn.GRUCell(4, 2)), (3, 4),
                     ["layer 'a'", "3 rows", "bittwin.nn.LSTM"]),
    "last state": (lambda: Model(lambda m, x: m.a(x)[1], a=nn.GRU(4, 2)), (3, 4),
                   ["the output comes from the state of 'a' (GRU)", "all frames' outputs"]),
    "given state": (lambda: Model(lambda m, x: m.a(x, torch.zeros(4))[0], a=nn.GRU(4, 4)), (3, 4),
                    ["layer 'a'", "given state"]),
    "float cell": (lambda: Model(lambda m, x: m.a(x)[0], a=nn.GRU(4, 2, config=QATConfig(mode="float"))),
                   (3, 4), ["layer 'a'", "mode='float'"]),
    "wide table": (lambda: nn.Tanh(DigitalConfig(x_bits=9, **ONE)), (3, 4), ["bits of x: found 9, wanted 8"]),
    "mean of frames": (lambda: nn.Mean(0, config=DigitalConfig(codes_per_unit_x=8)), (3, 4),
                       ["dim: found 0", "axis 0 counts frames"]),
    "float average": (lambda: Model(lambda m, x: m.a(x).mean(1), a=fc()), (3, 4),
                      ["mean in Model", "bittwin.nn.Mean"]),
    "not calibrated": (lambda: tnn.Sequential(nn.Tanh()), (3, 4), ["layer '0'", "found no scales"]),
    "odd gain": (lambda: Model(lambda m, x: m.m(m.a(x), m.a(x)), a=fc(), m=nn.Mul(DigitalConfig(
        codes_per_unit_x=32, codes_per_unit_other=32, codes_per_unit_y=3))), (3, 4),
        ["layer 'm'", "power of two"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case: str) -> None:
    build, shape, words = REFUSALS[case]
    torch.manual_seed(50)
    with pytest.raises(NetworkError) as found:
        to_network(build().eval(), torch.rand(shape))
    assert all(word in str(found.value) for word in words), str(found.value)
