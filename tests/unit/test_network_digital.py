# SPDX-License-Identifier: Apache-2.0
"""Every layer over `bittwin.digital`: its function's codes, its shape, its files, its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin import digital
from bittwin.network import (
    LAYER_KINDS,
    Add,
    AveragePool,
    BatchNorm,
    ClearLowBits,
    Concat,
    Flatten,
    FloatScale,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    MaxPool,
    MinPool,
    Mul,
    Network,
    Operation,
    Permute,
    PnSplit,
    ReduceMean,
    Reshape,
    Scalar,
    Scale,
    Slice,
    Softmax,
    SplitPart,
    SumNorm,
    Transpose,
    layer_from_config,
)
from bittwin.network.simulated import SIMULATED

RNG = np.random.default_rng(5)
FRAME = (4, 5, 6)
GAMMA = RNG.normal(size=4).astype(np.float32)
BETA = RNG.normal(size=4).astype(np.float32)
CONSTANT = RNG.integers(-128, 128, FRAME).astype(np.int8)
Function = Callable[..., Any]

#: Layer, the same by hand, and whether it takes two inputs.
CASES: dict[str, tuple[Operation, Function, int]] = {
    "add": (Add("l", shift_bit=-1), lambda a, b: digital.add(a, b, -1), 2),
    "add 16": (Add("l", 3, 16, overflow="wrap16"),
               lambda a, b: digital.add(a, b, 3, bits=16, overflow="wrap16"), 2),
    "add constant": (Add("l", constant=CONSTANT), lambda a: digital.add(a, CONSTANT), 1),
    "add number": (Add("l", constant=np.array(7, np.int8)),
                   lambda a: digital.scalar(a, 7, op="add"), 1),
    "mul": (Mul("l", shift_bit=-7), lambda a, b: digital.mul(a, b, -7), 2),
    "mul 16": (Mul("l", bits=16), lambda a, b: digital.mul(a, b, bits=16), 2),
    "mul constant": (Mul("l", -4, rounding="floor", constant=CONSTANT),
                     lambda a: digital.mul(a, CONSTANT, -4, rounding="floor"), 1),
    "scale": (Scale("l", 0.25), lambda x: digital.scale(x, 0.25), 1),
    "scale integer": (Scale("l", 3, 16), lambda x: digital.scale(x, 3, bits=16), 1),
    "scalar": (Scalar("l", 3, -1), lambda x: digital.scalar(x, 3, -1), 1),
    "scalar add": (Scalar("l", 3, 1, op="add"), lambda x: digital.scalar(x, 3, 1, op="add"), 1),
    "float_scale": (FloatScale("l", 4.28, 7), lambda x: digital.float_scale(x, 4.28), 1),
    "clear_low_bits": (ClearLowBits("l", 3), lambda x: digital.clear_low_bits(x, 3), 1),
    "average_pool": (AveragePool("l", (2, 3), (1, 2), (1, 0, 1, 1), scale_in=0.7),
                     lambda x: digital.average_pool(x, (2, 3), (1, 2), (1, 0, 1, 1), scale_in=0.7), 1),
    "average_pool cmodel": (AveragePool("l", 2, None, 1, scale_in=9.0, cmodel=True),
                            lambda x: digital.average_pool(x, 2, None, 1, scale_in=9.0, cmodel=True), 1),
    "max_pool": (MaxPool("l", [2, 2], 1, 1, pad_code=None),  # type: ignore[arg-type]
                 lambda x: digital.max_pool(x, 2, 1, 1, pad_code=None), 1),
    "max_pool round": (MaxPool("l", 2, unit="round", cmodel=True),
                       lambda x: digital.max_pool(x, 2, unit="round", cmodel=True), 1),
    "min_pool": (MinPool("l", 3), lambda x: digital.min_pool(x, 3), 1),
    "global_average_pool": (GlobalAveragePool("l", scale_out=0.5),
                            lambda x: digital.global_average_pool(x, scale_out=0.5), 1),
    "global_max_pool": (GlobalMaxPool("l"), digital.global_max_pool, 1),
    "reduce_mean": (ReduceMean("l", 1), lambda x: digital.reduce_mean(x, 1), 1),
    "reduce_mean two": (ReduceMean("l", (3, 1), keepdims=True),
                        lambda x: digital.reduce_mean(x, (1, 3), keepdims=True), 1),
    "batch_norm": (BatchNorm("l", GAMMA, BETA, scale_out=0.5),
                   lambda x: digital.batch_norm(x, GAMMA, BETA, scale_out=0.5), 1),
    "softmax": (Softmax("l", 1 / 255, scale_in=0.1),
                lambda x: digital.softmax(x, axis=1, scale_in=0.1, scale_out=1 / 255), 1),
    "sum_norm": (SumNorm("l", 0.01, zero_sum="zero", axis=2),
                 lambda x: digital.sum_norm(x, axis=2, scale_out=0.01, zero_sum="zero"), 1),
    "group_norm": (GroupNorm("l", GAMMA, BETA, 2, 0.05),
                   lambda x: digital.group_norm(x, GAMMA, BETA, 2, scale_out=0.05), 1),
    "concat": (Concat("l"), lambda a, b: np.concatenate([a, b], axis=1), 2),
    "concat axis 3": (Concat("l", 3), lambda a, b: np.concatenate([a, b], axis=3), 2),
    "concat one": (Concat("l"), lambda a: a, 1),
    "slice": (Slice("l", (1, 0), (-1, 99), (2, 3), (1, 2)), lambda x: x[:, :, 1:-1, ::2], 1),
    "split_part": (SplitPart("l", (1, 3), 1), lambda x: x[:, 1:], 1),
    "split_part even": (SplitPart("l", 5, 2, 2), lambda x: x[:, :, 2:3], 1),
    "permute": (Permute("l", (0, 3, 1, 2)), lambda x: x.transpose(0, 3, 1, 2), 1),
    "transpose": (Transpose("l", (0, 2, 1, 3)), lambda x: x.transpose(0, 2, 1, 3), 1),
    "reshape": (Reshape("l", (0, -1)), lambda x: x.reshape(len(x), 4, 30), 1),
    "reshape chip": (Reshape("l", (-1,), "chip"),
                     lambda x: x.transpose(0, 3, 2, 1).reshape(len(x), 120), 1),
    "reshape chip 4": (Reshape("l", (2, 10, 6), "chip"),
                       lambda x: digital.reshape(x, (len(x), 2, 10, 6), order="chip"), 1),
    "pn_split": (PnSplit("l", 2), lambda x: digital.pn_split(x, 2, 1), 1),
}  # fmt: skip


def batch(frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ends = rng.choice(np.array([-128, -127, -1, 0, 1, 126, 127]), (frames, *FRAME))
    anywhere = rng.integers(-128, 128, (frames, *FRAME))
    return np.where(rng.random(ends.shape) < 0.6, ends, anywhere).astype(np.int8)


@pytest.mark.parametrize("name", CASES)
def test_layer_gives_its_functions_codes(name: str) -> None:
    layer, function, count = CASES[name]
    xs = [batch(3, seed) for seed in range(count)]
    wanted = function(*xs)
    got = layer.run_many(*xs)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)
    assert layer.output_shape_many(*[FRAME] * count) == wanted.shape[1:]
    if count == 1:
        np.testing.assert_array_equal(layer.run(xs[0]), wanted)
        assert layer.output_shape(FRAME) == wanted.shape[1:]
    frames = [layer.run_many(*(x[i : i + 1] for x in xs)) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(frames), wanted)
    none = layer.run_many(*(x[:0] for x in xs))
    assert none.shape == (0, *wanted.shape[1:])


@pytest.mark.parametrize("name", CASES)
def test_layer_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    layer, _, count = CASES[name]
    text = json.dumps(layer.to_config())
    again = layer_from_config(json.loads(text), layer.arrays())
    assert again == layer
    assert type(again) is type(layer)
    names = ["p", "q"][:count]
    net = Network([layer], inputs={"l": names}, input_shapes=dict.fromkeys(names, FRAME))
    net.save(tmp_path / "net.npz")
    assert bittwin.load_network(tmp_path / "net.npz") == net
    assert layer.kind in net.summary()
    with pytest.raises(bittwin.NetworkError):
        layer_from_config({**layer.to_config(), "surprise": 1}, layer.arrays())
    with pytest.raises(bittwin.NetworkError):
        layer_from_config(layer.to_config(), {**layer.arrays(), "surprise": np.zeros(1)})


def test_every_operation_is_tested_here() -> None:
    operations = {kind for kind, cls in LAYER_KINDS.items() if issubclass(cls, Operation)}
    # Layers between codes and values: test_network_onnx_layers.py.
    operations -= {"quantize_linear", "requantize_linear", "dequantize_linear"}
    # The training tool's operators: test_simulated.py.
    operations -= {cls.kind for cls in SIMULATED}
    assert {layer.kind for layer, _, _ in CASES.values()} == operations
    assert len(operations) == 23


def test_a_layer_that_differs_is_not_equal() -> None:
    assert Add("l") != Add("l", 1)
    assert Add("l") != Mul("l")
    assert Permute("l", (0, 2, 1)) != Transpose("l", (0, 2, 1))
    assert BatchNorm("l", GAMMA, BETA) != BatchNorm("l", GAMMA, GAMMA)
    assert MaxPool("l", [2, 2]) == MaxPool("l", (2, 2))  # type: ignore[arg-type]
    assert Scale("l", np.float32(0.5)) == Scale("l", 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Add("l", 99), "shift_bit: found 99"),
        (lambda: Add("l", overflow="wrap16"), "'wrap16' with 8 bits"),
        (lambda: Add("l", constant=np.zeros(3)), "constant: found dtype float64"),
        (lambda: Mul("l", constant=[1]), "constant: found list"),
        (lambda: Scale("l", 0.3), "factor: found 0.3"),
        (lambda: Scale("l", None), "factor: found None"),
        (lambda: Scalar("l", 1, op="x"), "op: found 'x'"),
        (lambda: FloatScale("l", 0.0), "factor: found 0"),
        (lambda: ClearLowBits("l", 8), "bits: found 8"),
        (lambda: AveragePool("l", 0), "kernel: found 0"),
        (lambda: AveragePool("l", 2, rounding="up"), "rounding: found 'up'"),
        (lambda: AveragePool("l", 2, count_padding=1), "count_padding: found 1, wanted True or False"),
        (lambda: AveragePool("l", 2, scale_in="1"), "scale_in: found '1'"),
        (lambda: MaxPool("l", 2, unit="x"), "unit: found 'x'"),
        (lambda: MaxPool("l", 2, pad_code=300), "pad_code: found 300"),
        (lambda: MinPool("l", (1, 2, 3)), "kernel: found"),
        (lambda: GlobalAveragePool("l", dtype="f"), "dtype: found 'f'"),
        (lambda: ReduceMean("l", 0), "axes: found 0, wanted 1 or more"),
        (lambda: ReduceMean("l", ()), "wanted at least one axis"),
        (lambda: ReduceMean("l", "1"), "axes: found '1'"),
        (lambda: BatchNorm("l", GAMMA, BETA[:2]), "beta: found 2 channels, wanted 4"),
        (lambda: BatchNorm("l", GAMMA, BETA, axis=0), "axis: found 0"),
        (lambda: BatchNorm("l", GAMMA, BETA, axis=-1), "axis: found -1"),
        (lambda: Softmax("l", 0.0), "scale_out: found 0"),
        (lambda: Softmax("l", 1.0, axis=1.0), "axis: found 1.0"),
        (lambda: SumNorm("l", 1.0, zero_sum="x"), "zero_sum: found 'x'"),
        (lambda: GroupNorm("l", GAMMA, BETA, 3), "num_groups: found 3"),
        (lambda: Concat("l", 0), "axis: found 0"),
        (lambda: Slice("l", (0,), (1,), (0,)), "axes: found 0"),
        (lambda: Slice("l", (0,), (1, 2), (1,)), "as many of each"),
        (lambda: Slice("l", 0, 1, 1), "starts: found 0, wanted a list"),
        (lambda: SplitPart("l", 2, 2), "index: found 2"),
        (lambda: SplitPart("l", (1, -1), 0), "sections: found -1"),
        (lambda: SplitPart("l", 0, 0), "sections: found 0"),
        (lambda: Permute("l", (1, 0)), "wanted 0 and then the other axes"),
        (lambda: Permute("l", 3), "dims: found 3"),
        (lambda: Reshape("l", (-2,)), "shape: found -2"),
        (lambda: Reshape("l", 6), "shape: found 6, wanted a list"),
        (lambda: Reshape("l", (6,), "c"), "order: found 'c'"),
        (lambda: PnSplit("l", -2), "count: found -2"),
    ],
)  # fmt: skip
def test_impossible_layers_are_refused(build: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (MaxPool("l", 7), [FRAME], r"layer 'l': kernel: found \(7, 7\)"),
        (ReduceMean("l", 5), [FRAME], "layer 'l': axes: found 5"),
        (BatchNorm("l", GAMMA, BETA, axis=2), [FRAME], "gamma: found 4 channels, wanted 5"),
        (Slice("l", (0,), (1,), (9,)), [FRAME], "axes: found 9"),
        (SplitPart("l", 3, 0), [FRAME], "add up to 4"),
        (Permute("l", (0, 2, 1)), [FRAME], "each of the 4 axes once"),
        (Reshape("l", (7, -1)), [FRAME], "holds the 120 codes"),
        (Reshape("l", (1, 1, 1, 0)), [FRAME], "axis 4 to keep is not there"),
        (PnSplit("l", 5), [FRAME], "count: found 5"),
        (Add("l", constant=CONSTANT), [(4, 5)], "the constant has"),
        (Add("l"), [FRAME, (5, 6)], "b: found shape"),
        (Concat("l"), [FRAME, (4, 5, 7)], "part 1: found shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    layer: Operation, shapes: list[Any], message: str
) -> None:
    with pytest.raises(bittwin.NetworkError, match=message):
        layer.output_shape_many(*shapes)


@pytest.mark.parametrize("layer", [Reshape("l", (-1,)), Reshape("l", (-1,), "chip"), Flatten("l")])
@pytest.mark.parametrize(
    "x", [[[1, 2]], np.zeros((2, 2), np.float32), np.zeros((2, 2), bool), np.int8(1), np.array(1)]
)
def test_layers_that_move_codes_take_codes_only(layer: bittwin.network.Layer, x: Any) -> None:
    with pytest.raises(bittwin.NetworkError, match="layer 'l': x: found"):
        Network([layer]).run(x)


def test_a_layer_cannot_change_under_a_network() -> None:
    gamma = GAMMA.copy()
    layer = BatchNorm("l", gamma, BETA)
    gamma += 1
    np.testing.assert_array_equal(layer.gamma, GAMMA)
    with pytest.raises(ValueError, match="read-only"):
        layer.gamma[0] = 1
