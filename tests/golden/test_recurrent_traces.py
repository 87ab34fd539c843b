# SPDX-License-Identifier: Apache-2.0
"""Recorded LSTM and GRU layers, free running: a whole denoiser, a GRU, and the C-model's LSTM rounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npz_cases import cases

import bittwin
from bittwin.network import Layer, Linear, Relu, StreamConv2d, StreamConvTranspose2d
from bittwin.recurrent import Gru2ArrayCell, LstmCell

FRAMES = 250
STEPS = 60  # frames that the streaming tests run one by one


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))  # type: ignore[no-any-return]


def table(function: Any, q_in: int, size: int = 256) -> np.ndarray:
    """The tables of the traces: clip(rint(f(code / 2^q_in) * 128)), two's complement order."""
    index = np.arange(size)
    codes = np.where(index < size // 2, index, index - size)
    return np.clip(np.rint(function(codes / 2**q_in) * 128), -128, 127).astype(np.int8)


# ---------------------------------------------------------------- DCCRN


@pytest.fixture(scope="module")
def dccrn(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "data" / "traces" / "dccrn_250.npz") as archive:
        return {name: archive[name] for name in archive.files}


def lstm_cell(trace: dict[str, np.ndarray]) -> LstmCell:
    return LstmCell(
        trace["param_lstm6_ifo_w"].astype(np.int16),
        trace["param_lstm6_c_w"].astype(np.int16),
        trace["param_lstm6_ifo_b"],
        trace["param_lstm6_c_b"],
        bittwin.readout(2048),
        bittwin.readout(1024),
        table(sigmoid, 5),
        table(np.tanh, 7),
        table(np.tanh, 7),
    )


def to_frames(rows: np.ndarray, channels: int) -> np.ndarray:
    """Rows [frames, h * c] with the channel fastest, to columns [frames, C, H, 1]."""
    return np.ascontiguousarray(rows.reshape(len(rows), -1, channels).transpose(0, 2, 1))[..., None]


def to_rows(columns: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(columns[..., 0].transpose(0, 2, 1)).reshape(len(columns), -1)


def dccrn_layers(trace: dict[str, np.ndarray]) -> Iterator[Layer]:
    """Every layer around the LSTM, in order."""
    rule = bittwin.readout(1024)

    def weights(name: str) -> tuple[np.ndarray, np.ndarray]:
        return trace[f"param_{name}_w"].astype(np.int16), trace[f"param_{name}_b"]

    for i in range(1, 6):
        name = f"conv{i}"
        yield StreamConv2d(name, *weights(name), rule, x_signed=i == 1, stride=(2, 1),
                           padding=(1, 0, 0, 0))  # fmt: skip
        yield Relu(f"{name}_relu")
    yield Linear("linear7", *weights("linear7"), rule, x_signed=True)
    for i in range(8, 13):
        name = f"deconv{i}"
        yield StreamConvTranspose2d(name, *weights(name), rule, x_signed=i == 8, stride=(2, 1),
                                    padding=(1, 0, 1, 0), output_padding=(1, 0))  # fmt: skip
        if i < 12:
            yield Relu(f"{name}_relu")


class Denoiser:
    """The chain, with the reshapes between images and rows; one state per layer."""

    def __init__(self, trace: dict[str, np.ndarray]) -> None:
        self.layers = {layer.name: layer for layer in dccrn_layers(trace)}
        self.cell = lstm_cell(trace)
        self.state: dict[str, Any] = {}

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        y, seen = to_frames(x, 2), {}
        for name, layer in self.layers.items():
            if name == "linear7":
                y, self.state["lstm6"] = self.cell.run(to_rows(y), self.state.get("lstm6"))
                seen["lstm6"] = y
            if isinstance(layer, StreamConv2d | StreamConvTranspose2d):
                state = self.state.get(name) or layer.initial_state(y.shape[1:])
                y, self.state[name] = layer.run_state(y, state)
            else:
                y = layer.run(y)
            if name == "linear7":
                seen[name] = y
                y = to_frames(y, 112)
            else:
                seen[name.removesuffix("_relu")] = to_rows(y)
        return seen


@pytest.mark.dumps
def test_denoiser_free_running(dccrn: dict[str, np.ndarray]) -> None:
    """Only the first layer sees recorded codes; every layer's output is equal on every frame."""
    seen = Denoiser(dccrn).run(dccrn["conv1_input"])
    assert set(seen) == {n.removesuffix("_output") for n in dccrn if n.endswith("_output")}
    for name, codes in seen.items():
        np.testing.assert_array_equal(codes, dccrn[f"{name}_output"], err_msg=name)


@pytest.mark.dumps
def test_denoiser_frame_by_frame(dccrn: dict[str, np.ndarray]) -> None:
    net = Denoiser(dccrn)
    steps = [net.run(dccrn["conv1_input"][t : t + 1]) for t in range(STEPS)]
    for name in steps[0]:
        codes = np.concatenate([step[name] for step in steps])
        np.testing.assert_array_equal(codes, dccrn[f"{name}_output"][:STEPS], err_msg=name)


@pytest.mark.dumps
def test_lstm_internals(dccrn: dict[str, np.ndarray]) -> None:
    y, state, internals = lstm_cell(dccrn).run(dccrn["lstm5_input"], internals=True)
    names = {"h": "output", "c": "cx", "gates": "gates_ifo", "candidate": "gates_c", "fc": "fc",
             "ic": "ic", "c_tanh": "cy_tanh"}  # fmt: skip
    for mine, theirs in names.items():
        np.testing.assert_array_equal(internals[mine], dccrn[f"lstm6_{theirs}"], err_msg=mine)
    for kept, name in ((y, "h_in"), (internals["c"], "c_in")):
        np.testing.assert_array_equal(kept[:-1], dccrn[f"lstm6_{name}"][1:])
    np.testing.assert_array_equal(state[0], dccrn["lstm6_output"][-1])
    # The trace does reach the ends: saturated states, products near their limits.
    assert np.abs(internals["c_sum"]).max() > 128 * 128
    assert internals["fc"].min() == -16128


@pytest.mark.dumps
@pytest.mark.parametrize("rounding", ["floor", "half_down", "half_even", "toward_zero"])
def test_another_rounding_would_not_do(dccrn: dict[str, np.ndarray], rounding: str) -> None:
    cell = lstm_cell(dccrn)
    other = LstmCell.from_settings(cell.settings() | {"rounding": rounding}, cell.arrays())
    assert (other.run(dccrn["lstm5_input"])[0] != dccrn["lstm6_output"]).any()


# ---------------------------------------------------------------- Gru2Array


@pytest.fixture(scope="module")
def gru(shared_dir: Path) -> tuple[Gru2ArrayCell, np.ndarray, np.ndarray]:
    onnx = pytest.importorskip("onnx", reason="the GRU's weights lie in an ONNX file")
    model = onnx.load(shared_dir / "data" / "models" / "gru2array.onnx")
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}

    def weight(name: str) -> np.ndarray:
        return np.ascontiguousarray(values[name].T).astype(np.int16)

    cell = Gru2ArrayCell(
        weight("params1"),
        weight("params2"),
        values["bias1"].astype(np.int32),
        values["bias2"].astype(np.int32),
        bittwin.readout(2048),
        bittwin.readout(2048),
        values["act_table"][0].astype(np.int8),
        values["act_table"][1].astype(np.int8),
    )
    with np.load(shared_dir / "data" / "traces" / "gru2array_250.npz") as archive:
        return cell, archive["x"], archive["h"]


@pytest.mark.dumps
def test_gru2array_free_running(gru: tuple[Gru2ArrayCell, np.ndarray, np.ndarray]) -> None:
    cell, x, h = gru
    np.testing.assert_array_equal(cell.run(x)[0], h)
    assert h.min() == -127  # the lower limit is reached
    np.testing.assert_array_equal(cell.sigmoid_table, table(sigmoid, 5, 1024))
    np.testing.assert_array_equal(cell.tanh_table, table(np.tanh, 5, 1024))


@pytest.mark.dumps
def test_gru2array_frame_by_frame(gru: tuple[Gru2ArrayCell, np.ndarray, np.ndarray]) -> None:
    cell, x, h = gru
    state = None
    for t in range(FRAMES):
        y, state = cell.step(x[t], state)
        np.testing.assert_array_equal(y, h[t])


@pytest.mark.dumps
@pytest.mark.parametrize(
    ("option", "value"),
    [("lowest", -128), ("blend_rounding", "half_up"), ("blend_rounding", "half_even"), ("rounding", "floor"),
     ("blend", "manual"), ("ones", 127)],
)  # fmt: skip
def test_gru2array_needs_its_defaults(
    gru: tuple[Gru2ArrayCell, np.ndarray, np.ndarray], option: str, value: Any
) -> None:
    cell, x, h = gru
    other = Gru2ArrayCell.from_settings(cell.settings() | {option: value}, cell.arrays())
    assert (other.run(x)[0] != h).any()


# ---------------------------------------------------------------- C-model

LSTM = cases("chip_events.npz", "lstm")


@pytest.mark.parametrize("cmodel", [False, True])
@pytest.mark.parametrize("numbered", LSTM, ids=lambda c: str(c[0]))
def test_lstm_rounds_of_the_cmodel(
    numbered: tuple[int, dict[str, Any], dict[str, np.ndarray]], cmodel: bool
) -> None:
    """Gates after their table, candidate, c, tanh(c) and h of every frame, as recorded."""
    _, case, a = numbered
    cell = LstmCell(
        np.ascontiguousarray(a["W1"].T),
        np.ascontiguousarray(a["W2"].T),
        128 * a["b1"].astype(np.int32),
        128 * a["b2"].astype(np.int32),
        bittwin.readout(case["G1"], overflow="wrap16" if cmodel else "saturate"),
        bittwin.readout(case["G2"], overflow="wrap16" if cmodel else "saturate"),
        a["T1"].astype(np.int8),
        a["T2"].astype(np.int8),
        a["T2"].astype(np.int8),
        cmodel=cmodel,
    )
    _, _, seen = cell.run(a["X"], internals=True)
    recorded = [seen[name] for name in ("i", "f", "o", "n", "c", "c_tanh", "h")]
    np.testing.assert_array_equal(np.concatenate(recorded, axis=1), a["y"])


def test_all_recorded_lstm_cases_are_here() -> None:
    assert len(LSTM) == 4
    assert sum(a["y"].size for _, _, a in LSTM) == 65_940
