# SPDX-License-Identifier: Apache-2.0
"""Trainable LSTM and GRU cells: the codes of `bittwin.recurrent`, and gradients through tables and shifts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from bittwin import nn, tables
from bittwin.nn import ActivationTable, QATConfig
from bittwin.nn.digital.tables import shift

KINDS = ("LSTM", "GRU", "GruNew", "Gru2Array")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(kind: str, inputs: int = 7, hidden: int = 5, grow: float = 3.0, **options: Any) -> Any:
    torch.manual_seed(5)
    sequence = getattr(nn, kind)(inputs, hidden, **options)
    with torch.no_grad():
        for parameter in sequence.parameters():
            parameter.mul_(grow)  # so that codes saturate now and then
    return sequence


def frames(count: int, inputs: int = 7, seed: int = 0) -> torch.Tensor:
    """Corner-weighted inputs: ends, ties, zeros, a few beyond the range."""
    rng = np.random.default_rng(seed)
    corners = np.array([0, 0.5, -0.5, 127, -128, 255, -255, 300, -300, 1.5]) / 128
    x = np.where(rng.random((count, inputs)) < 0.3, rng.choice(corners, (count, inputs)),
                 rng.normal(0, 0.7, (count, inputs)))  # fmt: skip
    return torch.from_numpy(x.astype(np.float32))


def states(kept: Any) -> list[Any]:
    return [kept] if isinstance(kept, torch.Tensor) else list(kept)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in KINDS),
    *((kind, {"bias": False, "config": QATConfig(rounding="half_even")}) for kind in KINDS),
    *((kind, {"codes_per_unit_x": 32.0}) for kind in KINDS),
    ("LSTM", {"shift_bits": (1, -3, -7, -10)}),
    ("LSTM", {"shift_bits": (2, 2, -9, -6), "gain_gates": 1024, "gain_candidate": 4096}),
    ("LSTM", {"sigmoid_table": ActivationTable("sigmoid", 6, 1024),
              "tanh_table": ActivationTable("tanh", 8, 1024)}),
    ("GRU", {"shift_bits": (-6, -8), "ones": 128}),
    ("GruNew", {"tanh_table": ActivationTable("tanh", 5), "shift_bits": (-5, -7)}),
    ("Gru2Array", {"sigmoid_table": ActivationTable("sigmoid", 4), "hidden_shift": -1}),
    ("Gru2Array", {"shift_bits": (-7, -6, -1, -1), "hidden_shift": 2, "ones": 127}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_codes_are_the_integer_cells(kind: str, options: dict[str, Any]) -> None:
    sequence = make(kind, **options)
    x = frames(60)
    cell = sequence.cell.integer_cell()
    wanted, last = cell.run(sequence.cell.quantize_input(x))
    for training in (True, False):
        y, kept = sequence.train(training)(x)
        np.testing.assert_array_equal((y * 128).detach().numpy(), wanted)
        for found, state in zip(states(kept), last[:-1], strict=True):
            np.testing.assert_array_equal((found * 128).detach().numpy(), state)
    assert len(np.unique(wanted)) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_steps_are_the_same_codes(kind: str) -> None:
    sequence = make(kind)
    x = torch.stack([frames(12, seed=s) for s in range(3)], 1)
    y, kept = sequence(x)
    for i in range(3):
        assert torch.equal(y[:, i], sequence(x[:, i])[0])
    half, state = sequence(x[:5])
    rest, again = sequence(x[5:], state)
    assert torch.equal(torch.cat((half, rest)), y)
    for a, b in zip(states(kept), states(again), strict=True):
        assert torch.equal(a, b)
    cell, stepped = sequence.cell, None
    for frame in x:
        stepped = cell(frame, stepped)
    for a, b in zip(states(kept), states(stepped), strict=True):
        assert torch.equal(a, b)


def product(linear: Any, v: torch.Tensor) -> torch.Tensor:
    """Output codes of an array product, written with plain torch; the masks look at unrounded numbers."""
    spec = linear.spec
    x = straight(v * spec.codes_per_unit_x, -255, 255, torch.round)
    w = straight(linear.weight.double() * spec.codes_per_unit_w, -128, 127, torch.round)
    acc = x @ w.t()
    if linear.bias is not None:
        count = linear.bias.double() * spec.scale_product / 128
        acc = acc + 128 * straight(count, -128 * 16, 127 * 16, torch.round)
    quarters = 4 * acc / spec.gain
    return straight(acc / spec.gain, -128, 127, lambda _: (quarters.trunc() + 2).div(4).floor())


def straight(v: torch.Tensor, low: float, high: float, rule: Any) -> torch.Tensor:
    limited = v.clamp(low, high)
    return limited + (rule(v).clamp(low, high) - limited).detach()


def read(table: ActivationTable, codes: torch.Tensor) -> torch.Tensor:
    """The derivative is the function's at the code, as long as the table reaches it."""
    smooth = table.smooth(codes.clamp(-128, 127) if table.entries.size == 256 else codes)
    return smooth + (table(codes.detach()) - smooth).detach()


def shifted(v: torch.Tensor, bits: int, low: float, high: float, up: bool = True) -> torch.Tensor:
    smooth = v * 2.0**bits
    hard = torch.floor(smooth + 0.5) if up else torch.ceil(smooth - 0.5)
    inside = (hard >= low) & (hard <= high)  # the limit looks at the rounded number
    passed = torch.where(inside, smooth, smooth.detach())
    return passed + (hard.clamp(low, high) - passed).detach()


def plain_step(cell: Any, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
    """One frame of any cell on codes h and c, with the default options."""
    old = h / 128
    if isinstance(cell, nn.LSTMCell):
        v = torch.cat((x, old), -1)
        i, f, o = read(cell.sigmoid_table, product(cell.gates, v)).chunk(3, -1)
        n = read(cell.tanh_table, product(cell.candidate, v))
        c = shifted(f * c + i * n, -7, -128, 127)
        return shifted(o * read(cell.state_table, c), -7, -128, 127), c
    if isinstance(cell, nn.GRUCell):
        gates = product(cell.gates, torch.cat((old, x), -1))
        z, r = read(cell.sigmoid_table, gates).chunk(2, -1)
        rh = shifted(r * h, -7, -128, 127) / 128
        n = read(cell.tanh_table, product(cell.candidate, torch.cat((rh, x), -1)))
        return shifted((127 - z) * h + z * n, -7, -128, 127), c
    if isinstance(cell, nn.GruNewCell):
        gates = product(cell.gates, torch.cat((old, x), -1))
        z, r = read(cell.sigmoid_table, gates).chunk(2, -1)
        rb = shifted(r * product(cell.of_hidden, old), -7, -1e9, 1e9)
        n = read(cell.tanh_table, product(cell.of_input, x) + rb)
        return shifted((127 - z) * n + z * h, -7, -127, 127, False), c
    a, b = product(cell.of_input, x).chunk(3, -1), product(cell.of_hidden, old).chunk(3, -1)
    z, r = (read(cell.sigmoid_table, a[k] + b[k]) for k in (0, 1))
    n = read(cell.tanh_table, a[2] + shifted(r * b[2], -7, -1e9, 1e9))
    return shifted((128 - z) * n + z * h, -7, -127, 127, False), c


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grow", [0.4, 1.0, 3.0])
def test_codes_and_gradients_equal_a_model_in_plain_torch(kind: str, grow: float) -> None:
    sequence = make(kind, grow=grow)
    parameters = list(sequence.parameters())
    found, wanted = [], []
    x = frames(8).requires_grad_()
    y, _ = sequence(x)
    y.pow(2).sum().backward()
    found = [t.grad.clone() for t in (x, *parameters)]
    for t in (x, *parameters):
        t.grad = None
    h = c = torch.zeros(5, dtype=torch.float64)
    outputs = []
    for frame in x.double():
        h, c = plain_step(sequence.cell, frame, h, c)
        outputs.append(h / 128)
    again = torch.stack(outputs)
    assert torch.equal(again.float(), y.detach())
    again.pow(2).sum().backward()
    wanted = [t.grad for t in (x, *parameters)]
    for ours, plain in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    assert all(float(g.abs().sum()) > 0 for g in found)


def test_float_cells_are_the_known_equations() -> None:
    torch.manual_seed(0)
    options = {"config": QATConfig(mode="float")}
    x = torch.randn(6, 3)
    ours = make("LSTM", 3, 4, 1.0, **options)
    plain = torch.nn.LSTMCell(3, 4)
    i, f, o = ours.cell.gates.weight.chunk(3)
    bi, bf, bo = ours.cell.gates.bias.chunk(3)
    rows = torch.cat((i, f, ours.cell.candidate.weight, o))
    with torch.no_grad():
        plain.weight_ih.copy_(rows[:, :3])
        plain.weight_hh.copy_(rows[:, 3:])
        plain.bias_ih.copy_(torch.cat((bi, bf, ours.cell.candidate.bias, bo)))
        plain.bias_hh.zero_()
    state = None
    for frame in x:
        state = plain(frame[None], state)
    torch.testing.assert_close(ours(x)[0][-1], state[0][0])
    # torch's GRU blends (1 - z) n + z h and keeps the reset behind the product: Gru2Array's form; the rows
    # are z | r | n here and r | z | n there, and the 1024-entry table with 5 bits has 16 codes per unit.
    ours = make("Gru2Array", 3, 4, 1.0, **options)
    plain = torch.nn.GRUCell(3, 4)
    order = torch.cat((torch.arange(4, 8), torch.arange(4), torch.arange(8, 12)))
    with torch.no_grad():
        plain.weight_ih.copy_(ours.cell.of_input.weight[order])
        plain.weight_hh.copy_(ours.cell.of_hidden.weight[order])
        plain.bias_ih.copy_(ours.cell.of_input.bias[order])
        plain.bias_hh.copy_(ours.cell.of_hidden.bias[order])
    h = None
    for frame in x:
        h = plain(frame[None], h)
    torch.testing.assert_close(ours(x)[0][-1], h[0])


@pytest.mark.parametrize(("kind", "q_in", "size"), [("sigmoid", 5, 256), ("tanh", 7, 256),
                                                    ("sigmoid", 6, 1024), ("tanh", 5, 1024)])  # fmt: skip
def test_table_values_and_slopes(kind: str, q_in: int, size: int) -> None:
    table = ActivationTable(kind, q_in, size)
    codes = torch.arange(-600.0, 600.0, requires_grad=True)
    y = table(codes)
    entries = getattr(tables, kind)(size, q_in=q_in)
    step = 2 if size == 1024 else 1
    for code, value in zip(codes.tolist(), y.tolist(), strict=True):
        index = min(max(int(code) * step, -size // 2), size // 2 - 1)
        assert value == entries[index % size]
    y.sum().backward()
    real = codes.detach() / table.codes_per_unit
    if kind == "sigmoid":
        wanted = torch.sigmoid(real) * (1 - torch.sigmoid(real))
    else:
        wanted = 1 - torch.tanh(real) ** 2
    wanted = wanted * 128 / table.codes_per_unit
    inside = (codes * step >= -size // 2) & (codes * step <= size // 2 - 1)
    torch.testing.assert_close(codes.grad, torch.where(inside, wanted, 0.0))
    assert torch.equal(torch.round(table.smooth(codes)).clamp(-128, 127)[inside], y[inside])


def test_shifts() -> None:
    codes = torch.arange(-40000.0, 40000.0, requires_grad=True)
    whole = codes.detach().long()
    up, down = shift(codes, -7), shift(codes, -7, rounding="half_down")
    assert torch.equal(up.long(), (whole + 64) >> 7)
    assert torch.equal(down.long(), (whole + 63) >> 7)
    assert torch.equal(shift(codes, 2), codes * 4)
    limited = shift(codes, -7, (-128.0, 127.0))
    limited.sum().backward()
    inside = (up >= -128) & (up <= 127)
    assert torch.equal(codes.grad, inside / 128.0)
    with pytest.raises(ValueError, match="rounding: found 'floor'"):
        shift(codes, -1, rounding="floor")


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: nn.LSTMCell(0, 2), ValueError, "inputs: found 0"),
        (lambda: nn.GRUCell(2, 1.5), TypeError, "hidden: found 1.5"),
        (lambda: nn.LSTMCell(2, 2, config=nn.DigitalConfig()), TypeError, "wanted a bittwin.nn.QATConfig"),
        (lambda: nn.LSTMCell(2, 2, config=QATConfig(x_bits=9)), ValueError, "x_bits: found 9"),
        (lambda: nn.LSTMCell(2, 2, config=QATConfig(codes_per_unit_y=8)), ValueError, "found fixed scales"),
        (lambda: nn.LSTMCell(2, 2, codes_per_unit_x=100), ValueError, "wants a power of two"),
        (lambda: nn.LSTMCell(2, 2, gain_gates=100), ValueError, "gain"),
        (lambda: nn.LSTMCell(2, 2)(torch.zeros(3)), ValueError, r"wanted \[..., 2\]"),
        (lambda: nn.LSTMCell(2, 3)(torch.zeros(2), (torch.zeros(3),)), ValueError, "state: found shapes"),
        (lambda: nn.GRUCell(2, 3)(torch.zeros(4, 2), torch.zeros(3)), ValueError, "state: found shapes"),
        (lambda: nn.GRU(2, 3)(torch.zeros(2)), ValueError, r"wanted \[frames"),
        (lambda: nn.GRU(2, 3)(torch.zeros(0, 2)), ValueError, "found no frames"),
        (lambda: nn.GRU(2, 3)(torch.full((1, 2), float("nan"))), ValueError, "found NaN"),
        (lambda: ActivationTable("relu", 5), ValueError, "kind: found 'relu'"),
        (lambda: ActivationTable("tanh", 5, 512), ValueError, "size: found 512"),
    ],
)  # fmt: skip
def test_misuse_is_refused(run: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run()


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_holds_weights_and_scales_only(kind: str) -> None:
    sequence, other = make(kind), getattr(nn, kind)(7, 5)
    other.load_state_dict(sequence.state_dict())
    assert torch.equal(other(frames(5))[0], sequence(frames(5))[0])
    assert not any("values" in name or "slopes" in name for name in sequence.state_dict())


def test_a_gru_learns_to_remember() -> None:
    """The sign of the first frame, two frames later."""
    torch.manual_seed(2)
    sequence = nn.Gru2Array(1, 8)
    head = torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*sequence.parameters(), *head.parameters()], 0.03)
    x = 0.05 * torch.randn(3, 32, 1)
    x[0] += torch.where(torch.rand(32, 1) < 0.5, -0.9, 0.9)
    target = (x[0] > 0).float()
    for _ in range(30):
        y, _ = sequence(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(y[-1]), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3
