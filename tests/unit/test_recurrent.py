# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells by hand: artefacts, states, empty runs, and everything that is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.recurrent import (
    Gru2ArrayCell,
    GruCell,
    GruNewCell,
    LstmCell,
    TdnnCell,
    conv2d_frames,
    conv_transpose2d_frames,
    first_history,
)
from bittwin.recurrent.rules import Product16, Shift, SumTable

R = bittwin.readout(256)
LINE = np.arange(256, dtype=np.uint8).view(np.int8)
ONE = np.full(256, 127, np.int8)


def lstm(**changes: Any) -> LstmCell:
    fields: dict[str, Any] = {
        "weight_gates": np.zeros((3, 2), np.int8),
        "weight_candidate": np.array([[64, 0]], np.int8),
        "bias_gates": None,
        "bias_candidate": None,
        "requant_gates": R,
        "requant_candidate": R,
        "sigmoid_table": ONE,
        "tanh_table": LINE,
        "state_table": LINE,
    }
    return LstmCell(**fields | changes)


def gru(**changes: Any) -> GruCell:
    fields: dict[str, Any] = {
        "weight_gates": np.zeros((2, 2), np.int8),
        "weight_candidate": np.array([[0, 64]], np.int8),
        "bias_gates": None,
        "bias_candidate": None,
        "requant_gates": R,
        "requant_candidate": R,
        "sigmoid_table": ONE,
        "tanh_table": LINE,
    }
    return GruCell(**fields | changes)


def gru_new(**changes: Any) -> GruNewCell:
    fields: dict[str, Any] = {
        "weight_gates": np.zeros((2, 2), np.int8),
        "weight_hidden": np.zeros((1, 1), np.int8),
        "weight_input": np.array([[64]], np.int8),
        "bias_gates": None,
        "bias_hidden": None,
        "bias_input": None,
        "requant_gates": R,
        "requant_hidden": R,
        "requant_input": R,
        "sigmoid_table": ONE,
        "tanh_table": LINE,
    }
    return GruNewCell(**fields | changes)


def gru2array(**changes: Any) -> Gru2ArrayCell:
    fields: dict[str, Any] = {
        "weight_input": np.array([[0], [0], [64]], np.int8),
        "weight_hidden": np.zeros((3, 1), np.int8),
        "bias_input": None,
        "bias_hidden": None,
        "requant_input": R,
        "requant_hidden": R,
        "sigmoid_table": ONE,
        "tanh_table": LINE,
    }
    return Gru2ArrayCell(**fields | changes)


def tdnn(**changes: Any) -> TdnnCell:
    fields: dict[str, Any] = {
        "weight": np.ones((1, 2), np.int8),
        "bias": None,
        "requant": R,
        "offsets": (-1, 0),
    }
    return TdnnCell(**fields | changes)


CELLS: list[Callable[..., Any]] = [lstm, gru, gru_new, gru2array]


@pytest.mark.parametrize(("cmodel", "candidate"), [(False, -2), (True, -1)])
def test_minus_128_is_fed_back_as_the_cmodel_does(cmodel: bool, candidate: int) -> None:
    """h = 128 * -128 >> 7 = -128, which the C-model's product with -1 clips to 127."""
    cell = lstm(
        weight_candidate=np.array([[0, 3]], np.int8),
        bias_candidate=np.array([-65], np.int32),
        sigmoid_table=np.full(256, 128, np.uint8),
        state_table=np.full(256, -128, np.int8),
        cmodel=cmodel,
    )
    _, _, seen = cell.run(np.zeros((2, 1), np.uint8), internals=True)
    assert seen["h"][0].tolist() == [-128]
    # 3 * -128 - 65 = -449 is past -1.75 * 256 = -448; 3 * -127 - 65 = -446 is not.
    assert seen["candidate"][1].tolist() == [candidate]


def test_products_of_16_bits_wrap_or_saturate() -> None:
    v = np.array([16384, -16384, 100], np.int32)
    assert Product16(1, 16384, "wrap16", "half_up")(v).tolist() == [-32768, -32768, 200]
    assert Product16(1, 16384, "saturate16", "half_up")(v).tolist() == [32767, -32768, 200]
    assert Product16(0, 16384, "wrap16", "half_up")(v) is v
    assert Product16(-3, 16384, "wrap16", "half_up")(np.array([4, -4], np.int32)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("rounding", "wanted"),
    [
        ("half_up", [1, 0, -1, -1]),
        ("half_down", [0, -1, -1, -2]),
        ("floor", [0, -1, -2, -2]),
    ],
)
def test_shifts_by_hand(rounding: str, wanted: list[int]) -> None:
    v = np.array([64, -64, -129, -192], np.int32)
    assert Shift(-7, -128, 127, rounding)(v).tolist() == wanted


def test_sum_table_clamps_the_index_and_not_the_sum() -> None:
    entries = (np.arange(1024) % 251).astype(np.uint8)
    nine = SumTable("t", entries, 400, 9)
    sums = np.array([255, 256, 400, -256, -257, -400], np.int32)
    wanted = [entries[i % 1024] for i in (510, 511, 511, -512, -512, -512)]
    assert nine(sums).tolist() == [int(v) for v in wanted]
    eight = SumTable("t", entries, 400, 8)
    assert eight(sums).tolist() == [
        int(entries[i % 1024]) for i in (254, 254, 254, -256, -256, -256)
    ]
    short = SumTable("t", np.arange(256, dtype=np.uint8), 400, 9)
    assert short(sums).tolist() == [127, 127, 127, 128, 128, 128]


def test_lstm_keeps_and_forgets() -> None:
    x = np.full((5, 1), 200, np.uint8)
    free, after = lstm(sigmoid_table=np.full(256, 64, np.int8)).run(x)
    assert free[:, 0].tolist() == [13, 19, 22, 24, 25]
    assert [v.dtype.name for v in after] == ["int8", "int8", "int64"]
    cell = lstm(sigmoid_table=np.full(256, 64, np.int8), clean_after=2)
    y, state = cell.run(x)
    assert y[:, 0].tolist() == [13, 19, 13, 19, 13]
    assert [int(v.item()) for v in state] == [13, 25, 1]
    y, state = cell.run(x[:1], state)
    assert (y.item(), [int(v.item()) for v in state]) == (19, [0, 0, 0])


@pytest.mark.parametrize("make", CELLS)
def test_no_frames(make: Callable[..., Any]) -> None:
    cell = make()
    y, state, internals = cell.run(np.zeros((0, 1), np.uint8), internals=True)
    assert y.shape == (0, 1)
    assert y.dtype == np.int8
    assert all(v.shape[0] == 0 and v.ndim == 2 for v in internals.values())
    assert [v.tolist() for v in state] == [v.tolist() for v in cell.initial_state()]


@pytest.mark.parametrize("make", CELLS)
def test_states_are_never_shared(make: Callable[..., Any]) -> None:
    cell = make()
    y, state = cell.step(np.array([100], np.uint8))
    kept = [v.copy() for v in state]
    y[:] = 7
    cell.step(np.array([3], np.uint8), state)
    for mine, before in zip(state, kept, strict=True):
        np.testing.assert_array_equal(mine, before)


@pytest.mark.parametrize("make", CELLS)
def test_arrays_cannot_change_under_a_cell(make: Callable[..., Any]) -> None:
    for array in make().arrays().values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


@pytest.mark.parametrize("make", [*CELLS, tdnn])
def test_cells_are_copied_and_pickled(make: Callable[..., Any]) -> None:
    cell = make()
    x = np.arange(5, dtype=np.uint8)[:, None]
    wanted = cell.run(x)[0]
    for again in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert again.settings() == cell.settings()
        np.testing.assert_array_equal(again.run(x)[0], wanted)


def test_weights_are_packed_once_where_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []

    def pack(weight: np.ndarray) -> np.ndarray:
        packed.append(weight.shape)
        return weight

    monkeypatch.setattr(bittwin, "pack_weight", pack, raising=False)
    cell = lstm()
    for _ in range(3):
        cell.run(np.full((2, 1), 9, np.uint8))
    assert packed == [(4, 1), (4, 1)]


def per_channel(shifts: list[int]) -> bittwin.Requant:
    return bittwin.requant.bm1684(shifts)


@pytest.mark.parametrize("make", CELLS)
def test_rules_may_differ_by_channel(make: Callable[..., Any]) -> None:
    """Every product of every frame, requantised on its own, with the state it really saw."""
    h, n = 2, 3
    rng = np.random.default_rng(3)
    shapes = {
        lstm: {"gates": (3 * h, n + h), "candidate": (h, n + h)},
        gru: {"gates": (2 * h, h + n), "candidate": (h, h + n)},
        gru_new: {"gates": (2 * h, h + n), "hidden": (h, h), "input": (h, n)},
        gru2array: {"input": (3 * h, n), "hidden": (3 * h, h)},
    }[make]
    fields: dict[str, Any] = {}
    for name, shape in shapes.items():
        fields[f"weight_{name}"] = rng.integers(-99, 100, shape).astype(np.int8)
        fields[f"requant_{name}"] = per_channel(rng.integers(6, 12, shape[0]).tolist())
    cell = make(**fields)
    x = rng.integers(0, 256, (6, n)).astype(np.uint8)
    _, _, seen = cell.run(x, internals=True)
    before = np.concatenate([np.zeros((1, h), np.int8), seen["h"][:-1]])
    wide = x.astype(np.int16)
    sees = {"hidden": before, "input": wide}
    sees["gates"] = np.concatenate([wide, before] if make is lstm else [before, wide], axis=1)
    sees["candidate"] = sees["gates"]
    if make is gru:
        sees["candidate"] = np.concatenate([seen["rh"], wide], axis=1)
    for name in shapes:
        acc = bittwin.accumulate(sees[name], fields[f"weight_{name}"], x_bits=8)
        wanted = bittwin.requantize(acc, fields[f"requant_{name}"])
        np.testing.assert_array_equal(seen[name], wanted, err_msg=name)


def test_a_history_of_other_codes_than_the_frames() -> None:
    cell = tdnn(weight=np.array([[256, 256]], np.int16))
    _, state = cell.run(np.array([[-100]], np.int8))
    assert cell.run(np.array([[200], [3]], np.uint8), state)[0].ravel().tolist() == [100, 127]
    _, state = cell.run(np.array([[255]], np.uint8))
    assert cell.run(np.array([[-128], [-1]], np.int8), state)[0].ravel().tolist() == [127, -128]
    kernel = np.array([[[[1, 1]]]], np.int8)
    _, kept = conv2d_frames(np.full((1, 1, 1, 1), -100, np.int8), first_history(1, 1, 2), kernel)
    acc, _ = conv2d_frames(np.full((1, 1, 1, 1), 200, np.uint8), kept, kernel)
    assert acc.ravel().tolist() == [100]


@pytest.mark.parametrize(("overflow", "wanted"), [("exact", 32512), ("saturate", 127)])
def test_the_hidden_shift_of_gru2array(overflow: str, wanted: int) -> None:
    cell = gru2array(
        bias_hidden=np.full(3, 128 * 256, np.int32), hidden_shift=8, hidden_overflow=overflow
    )
    _, _, seen = cell.run(np.zeros((1, 1), np.uint8), internals=True)
    assert seen["hidden"].tolist() == [[wanted] * 3]


def test_bounds_take_inputs_and_states_at_their_ends() -> None:
    bound = lstm(bias_candidate=np.array([1000], np.int32)).bound()
    assert (bound.low, bound.high) == (1000 - 64 * 255, 1000 + 64 * 255)
    bound = gru(x_bits=12).bound()
    assert (bound.low, bound.high) == (-64 * 4095, 64 * 4095)
    bound = gru(x_bits=4).bound()  # the state is still an int8 code
    assert (bound.low, bound.high) == (-64 * 128, 64 * 128)
    bound = tdnn().bound()
    assert (bound.low, bound.high) == (-2 * 255, 2 * 255)
    edge = (2**31 - 1) // (255 * 32767)
    lstm(weight_gates=np.full((3, edge), 32767, np.int16),
         weight_candidate=np.zeros((1, edge), np.int8))  # fmt: skip
    with pytest.raises(ValueError, match=r"weight_gates: .* can leave INT32"):
        lstm(weight_gates=np.full((3, edge + 1), 32767, np.int16),
             weight_candidate=np.zeros((1, edge + 1), np.int8))  # fmt: skip


BAD: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (lstm, {"weight_gates": np.zeros((2, 2), np.int8)}, r"found shape \(2, 2\), wanted .* 3 rows"),
    (lstm, {"weight_gates": np.zeros((3, 3), np.int8)}, r"weight_gates: found shape \(3, 3\) beside"),
    (lstm, {"weight_gates": np.zeros((3, 2), np.float32)}, "weight_gates: found dtype float32"),
    (lstm, {"weight_candidate": np.zeros((0, 2), np.int8)}, r"weight_candidate: found shape \(0, 2\)"),
    (lstm, {"weight_candidate": np.zeros((2, 1), np.int8),
            "weight_gates": np.zeros((6, 1), np.int8)}, "wanted .*inputs"),
    (lstm, {"bias_gates": np.zeros(2, np.int32)}, r"bias_gates: found shape \(2,\), wanted \(3,\)"),
    (lstm, {"requant_gates": bittwin.readout(256, bits=9)}, r"found codes -256\.\.255, wanted int8"),
    (lstm, {"requant_candidate": 1024}, "requant_candidate: found int, wanted a bittwin.requant.Requant"),
    (lstm, {"requant_gates": bittwin.requant.bm1684([1, 2])}, "requant_gates: found 2 channels"),
    (lstm, {"tanh_table": np.zeros(255, np.int8)}, "tanh_table: found 255 entries"),
    (lstm, {"state_table": np.zeros(256, np.int16)}, "state_table: found dtype int16"),
    (lstm, {"shift_bits": (-7,)}, r"shift_bits: found \(-7,\), wanted 2 or 4 integers"),
    (lstm, {"shift_bits": (-7, -7, -7)}, "wanted 2 or 4"),
    (lstm, {"shift_bits": (-16, -7)}, r"shift_bits: found -16, wanted an integer in -15\.\.8"),
    (lstm, {"shift_bits": (-7, True)}, "shift_bits: found True"),
    (lstm, {"clean_after": -1}, "clean_after: found -1"),
    (lstm, {"product_overflow": "wrap"}, "product_overflow: found 'wrap'"),
    (lstm, {"rounding": "round"}, "rounding: found 'round'"),
    (lstm, {"cmodel": 1}, "cmodel: found 1, wanted True or False"),
    (lstm, {"x_bits": 13}, "x_bits: found 13"),
    (lstm, {"overflow": "maybe"}, "overflow: found 'maybe'"),
    (gru, {"weight_gates": np.zeros((2, 3), np.int8)}, "weight_gates: found shape"),
    (gru, {"row_order": "x"}, "row_order: found 'x', wanted 'hx' or 'xh'"),
    (gru, {"blend": "mix"}, "blend: found 'mix'"),
    (gru, {"ones": 256}, "ones: found 256"),
    (gru, {"lowest": -126}, "lowest: found -126"),
    (gru, {"shift_bits": (-7, -7, 0, 0)}, "wanted 2 integers"),
    (gru_new, {"weight_hidden": np.zeros((1, 2), np.int8)}, "weight_gates, weight_hidden: found shapes"),
    (gru_new, {"sum_bits": 10}, "sum_bits: found 10"),
    (gru_new, {"bias_hidden": np.zeros(2, np.int32)}, "bias_hidden: found shape"),
    (gru_new, {"shift_bits": (8, -7)}, "shift_bits: found 8 for the product"),
    (gru2array, {"weight_hidden": np.zeros((3, 2), np.int8)}, "weight_input, weight_hidden: found shapes"),
    (gru2array, {"hidden_shift": 9}, "hidden_shift: found 9"),
    (gru2array, {"hidden_overflow": "wrap16"}, "hidden_overflow: found 'wrap16'"),
    (gru2array, {"shift_bits": (-7, -7)}, "wanted 4 integers"),
    (gru2array, {"blend_rounding": "up"}, "blend_rounding: found 'up'"),
    (tdnn, {"offsets": ()}, r"offsets: found \(\), wanted at least one"),
    (tdnn, {"offsets": (0, 0)}, r"offsets: found \[0, 0\], wanted distinct integers, ascending"),
    (tdnn, {"offsets": (1, 0)}, "ascending"),
    (tdnn, {"offsets": (0.0, 1)}, r"offsets: found 0\.0"),
    (tdnn, {"offsets": (-1, 0, 1)}, r"weight: found shape \(1, 2\), wanted \[out, inputs \* 3\]"),
    (tdnn, {"weight": np.ones((1, 20_000), np.int8), "offsets": (-60_000, 0)}, "offsets: found a history"),
    (tdnn, {"requant": bittwin.requant.bm1684([1, 2])}, "requant: found 2 channels"),
    (tdnn, {"requant": None}, "requant: found NoneType"),
    (tdnn, {"weight": np.full((1, 2 * 40_000), 32767, np.int16)}, "can leave INT32"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "change", "message"), BAD)
def test_impossible_cells_are_refused(
    make: Callable[..., Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(**change)


@pytest.mark.parametrize("make", [*CELLS, tdnn])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 2), np.uint8), r"x: found shape \(2, 2\), wanted \[frames, 1\]"),
        (np.zeros(2, np.uint8), "wanted 2 axes"),
        (np.zeros((2, 1), np.float32), "x: found dtype float32"),
        (
            np.full((2, 1), 256, np.int16),
            r"x: found code 256 at index \(0, 0\), wanted -255\.\.255",
        ),
        ([[1]], "x: found list"),
    ],
)
def test_impossible_frames_are_refused(make: Callable[..., Any], x: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make().run(x)
    with pytest.raises(ValueError, match="wanted one frame"):
        make().step(np.zeros((1, 1), np.uint8))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((np.zeros(1, np.int8),), r"state: found tuple, wanted \(h, c, calls\)"),
        (5, "state: found int"),
        ((np.zeros(2, np.int8), np.zeros(1, np.int8), np.zeros((), np.int64)), r"state h: found shape"),
        ((np.zeros(1, np.int8), np.zeros(1, np.int16), np.zeros((), np.int64)), "state c: found dtype int16"),
        ((np.zeros(1, np.int8), np.zeros(1, np.int8), np.array(5)), "state calls: found 5"),
        ((np.zeros(1, np.int8), np.zeros(1, np.int8), 0), "state calls: found int"),
    ],
)  # fmt: skip
def test_impossible_states_are_refused(state: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        lstm(clean_after=3).run(np.zeros((1, 1), np.uint8), state)


@pytest.mark.parametrize("function", [conv2d_frames, conv_transpose2d_frames])
def test_impossible_histories_are_refused(function: Callable[..., Any]) -> None:
    weight = np.ones((1, 1, 1, 2), np.int8)
    x = np.zeros((1, 1, 1, 1), np.uint8)
    with pytest.raises(ValueError, match=r"state: found shape \(1, 1, 2\), wanted \(1, 1, 1\)"):
        function(x, first_history(1, 1, 3), weight)
    with pytest.raises(TypeError, match="state: found dtype int8"):
        function(x, np.zeros((1, 1, 1), np.int8), weight)
    with pytest.raises(ValueError, match=r"state: found code 300 .* wanted -255\.\.255"):
        function(x, np.full((1, 1, 1), 300, np.int16), weight, x_bits=8)
    with pytest.raises(ValueError, match=r"wanted \[frames, C, H, 1\]"):
        function(np.zeros((1, 1, 1, 2), np.uint8), first_history(1, 1, 2), weight)
    with pytest.raises(ValueError, match="found a history"):
        first_history(1 << 10, 1 << 10, 3, dilation=1 << 10)
    acc, kept = function(x[:0], first_history(1, 1, 2), weight)
    assert acc.shape == (0, 1, 1, 1)
    assert kept.shape == (1, 1, 1)


@pytest.mark.parametrize("make", [*CELLS, tdnn])
def test_unknown_settings_are_refused(make: Callable[..., Any]) -> None:
    cell = make()
    with pytest.raises(TypeError, match="nonsense"):
        type(cell).from_settings(cell.settings() | {"nonsense": 1}, cell.arrays())
    missing = cell.arrays()
    missing.pop(next(iter(missing)))
    with pytest.raises(TypeError):
        type(cell).from_settings(cell.settings(), missing)
