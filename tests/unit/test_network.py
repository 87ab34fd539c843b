# SPDX-License-Identifier: Apache-2.0
"""`Network`: exact runs, traces, bounds, shapes, saving, and what it refuses."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.network import (
    LAYER_KINDS,
    Clip,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    Lookup,
    Network,
    Operation,
    Relu,
    Rescale,
    SplitConv2d,
    SplitConvTranspose2d,
    SplitLinear,
    SplitRounds,
    layer_from_config,
)
from bittwin.testing import oracle

RNG = np.random.default_rng(7)


def codes(*shape: int, low: int = -128, high: int = 127, dtype: str = "int8") -> np.ndarray:
    return RNG.integers(low, high + 1, shape).astype(dtype)


def bias(n: int) -> np.ndarray:
    return (128 * RNG.integers(-50, 50, n)).astype(np.int32)


def linear_net() -> Network:
    return Network(
        [
            Linear("fc1", codes(12, 20), bias(12), bittwin.readout(1024)),
            Relu("fc1.relu"),
            Linear(
                "fc2", codes(9, 12, low=-275, high=275, dtype="int16"), None, bittwin.readout(512)
            ),
            Clip("fc2.clip", 90),
            Linear("fc3", codes(4, 9), bias(4), bittwin.half_even(256)),
        ],
        name="mlp",
        input_shape=(20,),
    )


def conv_net() -> Network:
    return Network(
        [
            Conv2d(
                "conv", codes(6, 2, 3, 2), bias(6), bittwin.readout(1024),
                stride=(2, 1), padding=(1, 1, 0, 0), groups=2, x_signed=True,
            ),
            Relu("conv.relu"),
            ConvTranspose2d(
                "up", codes(6, 3, 3, 2), bias(3), bittwin.readout(1024),
                stride=(2, 1), padding=(1, 0, 1, 0), output_padding=(1, 0),
            ),
            Lookup("up.table", np.arange(256).astype(np.uint8)),
        ],
        input_shape=(4, 8, 5),
    )  # fmt: skip


def split_net() -> Network:
    split = SplitLinear(
        "wide", codes(5, 7), bias(5), bittwin.readout(1024, bits=10),
        x_bits=10, x_signed=True, bias_digital=bias(5),
    )  # fmt: skip
    return Network([split], input_shape=(7,))


def wide_conv_net() -> Network:
    wide = {"x_bits": 9, "x_signed": True, "low_bits": 8}
    return Network(
        [
            SplitConv2d(
                "conv", codes(6, 2, 3, 2), bias(6), bittwin.readout(1024, bits=10),
                padding=(1, 1, 0, 0), groups=2, bias_digital=bias(6), **wide,
            ),
            Rescale("conv.rescale", log2_factor=-1, offset=3, low=-255, high=255),
            SplitConvTranspose2d(
                "up", codes(6, 3, 2, 2), bias(3), bittwin.half_even(512), stride=(2, 1), **wide
            ),
            Flatten("flat"),
        ],
        input_shape=(4, 5, 3),
    )  # fmt: skip


NETS = {"linear": linear_net, "conv": conv_net, "split": split_net, "wide conv": wide_conv_net}


def an_input(network: Network, frames: int = 6) -> np.ndarray:
    assert network.input_shape is not None
    kind = network.layers[0]
    reach = (1 << kind.x_bits) - 1 if isinstance(kind, SplitRounds) else 0
    low, high = -reach, reach or 255
    return codes(frames, *network.input_shape, low=low, high=high, dtype="int16")


def test_run_equals_the_oracle_layer_by_layer() -> None:
    network = linear_net()
    x = an_input(network).astype(np.uint8)
    trace = network.run(x, trace=True)
    y: Any = x
    for layer in network.layers:
        if isinstance(layer, Linear):
            acc = oracle.accumulate(y, layer.weight, layer.bias)
            rule = oracle.readout if layer.requant.rule == "readout" else oracle.half_even
            y = rule(acc, layer.requant.gain)
        else:
            top = 90 if isinstance(layer, Clip) else 127
            y = np.clip(np.asarray(y, dtype=np.int64), 0, top)
        y = np.asarray(y, dtype=np.int64)
        np.testing.assert_array_equal(trace[layer.name], y)
    np.testing.assert_array_equal(network.run(x), y)
    assert list(trace) == [layer.name for layer in network.layers]
    np.testing.assert_array_equal(trace.output, y)
    np.testing.assert_array_equal(trace.input, x)


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_batch_split_and_layout_change_nothing(make: Any) -> None:
    network = make()
    x = an_input(network, 7)
    whole = network.run(x)
    parts = np.concatenate([network.run(x[i : i + 1]) for i in range(7)])
    np.testing.assert_array_equal(whole, parts)
    strided = np.repeat(x, 2, axis=0)[::2]
    reversed_twice = x[::-1][::-1]
    np.testing.assert_array_equal(network.run(strided), whole)
    np.testing.assert_array_equal(network.run(reversed_twice), whole)
    assert network.run(x[:0]).shape == (0, *whole.shape[1:])


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_save_and_load_give_the_same_network(make: Any, tmp_path: Path) -> None:
    network = make()
    path = tmp_path / "net.npz"
    network.save(path)
    network.save(path)  # replaces
    loaded = bittwin.load_network(path)
    assert loaded == network
    x = an_input(network)
    np.testing.assert_array_equal(loaded.run(x), network.run(x))
    assert [p.name for p in tmp_path.iterdir()] == ["net.npz"], "no temporary file is left"


def test_networks_that_differ_are_not_equal() -> None:
    a, b = linear_net(), linear_net()
    assert a == a
    assert a != b  # other random weights
    first = a.layers[0]
    assert isinstance(first, Linear)
    changed = Linear(first.name, first.weight, first.bias, bittwin.readout(2048))
    assert first != changed
    assert first != Relu("fc1")


def test_shapes_bounds_and_summary() -> None:
    network = conv_net()
    assert network.shapes((4, 8, 5)) == {
        "conv": (6, 4, 5), "conv.relu": (6, 4, 5), "up": (3, 8, 6), "up.table": (3, 8, 6),
    }  # fmt: skip
    bounds = network.bounds()
    assert list(bounds) == ["conv", "up"]
    text = network.summary()
    for word in ("conv_transpose2d", "6x3x3x2 int8", "3x8x6", "readout(gain=1024, bits=8)"):
        assert word in text


def test_rescale_equals_exact_fractions() -> None:
    x = np.arange(-512, 512, dtype=np.int16)
    for factor in (-3, -1, 0, 2):
        layer = Rescale("r", log2_factor=factor, offset=5, low=-100, high=255)
        wanted = [
            max(-100, min(255, round(Fraction(int(v)) * Fraction(2) ** factor) + 5)) for v in x
        ]
        np.testing.assert_array_equal(layer.run(x), wanted)


def test_wide_convolution_equals_the_oracle() -> None:
    layer = wide_conv_net().layers[0]
    assert isinstance(layer, SplitConv2d)
    x = codes(2, 4, 5, 3, low=-511, high=511, dtype="int16")
    sign, size = np.sign(x), np.abs(x)
    geometry = {"padding": (1, 1, 0, 0), "groups": 2}
    low = oracle.conv2d(sign * (size & 255), layer.weight, layer.bias, **geometry)
    high = oracle.conv2d(sign * (size >> 8), layer.weight, None, **geometry)
    assert layer.bias_digital is not None
    digital = layer.bias_digital.astype(np.int64).reshape(1, -1, 1, 1)
    parts = np.clip(oracle.readout(low, 1024, bits=16), -128, 127) + oracle.half_even(
        256 * np.asarray(high) + digital, 1024, bits=16
    )
    np.testing.assert_array_equal(layer.run(x), np.clip(parts, -512, 511))


def test_bound_is_reached_and_never_left() -> None:
    w = codes(5, 30)
    layer = Linear("fc", w, bias(5), bittwin.readout(1024))
    bound = layer.bound()
    assert bound is not None
    assert layer.bias is not None
    best = np.where(w > 0, 255, 0).astype(np.uint8)
    worst = np.where(w < 0, 255, 0).astype(np.uint8)
    top = [int(layer.accumulate(best[i : i + 1])[0, i]) for i in range(5)]
    bottom = [int(layer.accumulate(worst[i : i + 1])[0, i]) for i in range(5)]
    assert (bound.low, bound.high) == (min(bottom), max(top))


def test_layer_that_may_overflow_is_refused_with_its_bound() -> None:
    weight = np.full((2, 40_000), 32767, np.int16)
    with pytest.raises(
        bittwin.NetworkError, match=r"column 0 can leave INT32: found the bound 0\.\.334223400000"
    ):
        Linear("big", weight, None, bittwin.readout(1024))
    Linear("big", weight, None, bittwin.readout(1024), overflow="wrap32")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Network([]), "found none"),
        (lambda: Network([Relu("a"), Relu("a")]), "'a' twice"),
        (lambda: Network(["a"]), "found str"),  # type: ignore[list-item]
        (lambda: Network([Relu("")]), "non-empty"),
        (lambda: Network(linear_net().layers, input_shape=(19,)), r"found input shape \(19,\)"),
        (lambda: Network(conv_net().layers, input_shape=(3, 8, 5)), "found 3 channels, wanted 4"),
        (lambda: Relu("r", 3), "gain: found 3"),
        (lambda: Clip("c", 256), "limit: found 256"),
        (lambda: Lookup("t", np.zeros(255, np.int8)), "255 entries"),
        (lambda: Linear("l", codes(2, 3), bias(3), bittwin.readout(256)), r"bias: found shape \(3,\)"),
        (lambda: Linear("l", codes(2, 3), None, bittwin.readout(256), x_bits=13), "x_bits: found 13"),
        (lambda: SplitLinear("l", codes(2, 3), None, bittwin.readout(256), x_bits=8), "x_bits: found 8"),
        (
            lambda: Linear("l", codes(2, 3), None, bittwin.requant.bm1684([1, 2, 3])),
            "found 3 channels, wanted 1 or 2",
        ),
    ],
)  # fmt: skip
def test_impossible_networks_are_refused(build: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        build()


def test_run_names_the_layer_that_refuses() -> None:
    network = Network(
        [
            Linear("first", codes(3, 2), None, bittwin.readout(256)),
            Linear("second", codes(3, 3), None, bittwin.readout(256)),
        ]
    )
    with pytest.raises(
        bittwin.NetworkError, match=r"layer 'second': x: found code -\d+ at index .* wanted 0..255"
    ):
        network.run(np.full((1, 2), 255, np.uint8))
    with pytest.raises(bittwin.NetworkError, match="layer 'first': x: found float32"):
        network.run(np.zeros((1, 2), np.float32))


def test_weights_cannot_change_under_a_network() -> None:
    weight = codes(3, 2)
    layer = Linear("fc", weight, None, bittwin.readout(256))
    before = layer.weight.copy()
    weight += 1
    np.testing.assert_array_equal(layer.weight, before)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 1


def test_every_kind_reads_its_own_config() -> None:
    seen = set()
    for make in NETS.values():
        for layer in make().layers:
            text = json.dumps(layer.to_config())
            assert layer_from_config(json.loads(text), layer.arrays()) == layer
            seen.add(layer.kind)
    seen |= {"relu", "clip"}
    # Layers over bittwin.digital and layers with a memory have their own tests of the same kind.
    others = {
        kind for kind, cls in LAYER_KINDS.items() if issubclass(cls, Operation) or cls.stateful
    }
    others |= {"sparse_linear"}  # test_network_onnx_layers.py
    assert seen == set(LAYER_KINDS) - others


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "conv9d"},
        {"kind": ["linear"]},
        {"x_bits": "8"},
        {"x_bits": 1e9},
        {"x_bits": None},
        {"requant": None},
        {"requant": {"rule": "readout", "shift1": [99]}},
        {"requant": {"rule": "readout", "surprise": 1}},
        {"overflow": "maybe"},
        {"surprise": 1},
        {"name": ""},
        {"name": None},
        {"x_signed": 1},
    ],
)  # fmt: skip
def test_impossible_configs_are_refused(change: dict[str, Any]) -> None:
    layer = Linear("fc", codes(2, 3), None, bittwin.readout(256))
    with pytest.raises(bittwin.NetworkError):
        layer_from_config({**layer.to_config(), **change}, layer.arrays())


def header_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("bittwin.json").tobytes()), arrays


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h, a: h.update(version=3), "version: found 3"),
        (lambda h, a: h.update(format="x"), "wanted format"),
        (lambda h, a: h.update(layers=3), "wanted a list of layers"),
        (lambda h, a: h.update(input_shape=[-1]), "input_shape"),
        (lambda h, a: h.update(layers=[*h["layers"], 7]), "found int"),
        (lambda h, a: a.update({"9/weight": np.zeros(1)}), "belongs to no layer"),
        (lambda h, a: a.update({"0/weight": np.zeros((12, 20))}), "weight: found dtype float64"),
        (lambda h, a: a.pop("0/weight"), "weight"),
        (lambda h, a: a.update({"0/weight": a["0/weight"][:, :5].copy()}), "found input shape"),
    ],
)
def test_spoiled_files_are_refused(spoil: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    linear_net().save(path)
    header, arrays = header_of(path)
    spoil(header, arrays)
    arrays["bittwin.json"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(bittwin.NetworkError, match=message):
        bittwin.load_network(path)


def test_old_files_keep_reading(golden_dir: Path) -> None:
    """A file written by release 0.1.0; it stays in the tree and must read for ever."""
    network = bittwin.load_network(golden_dir / "network_v1.npz")
    with np.load(golden_dir / "network_v1_codes.npz") as archive:
        np.testing.assert_array_equal(network.run(archive["x"]), archive["y"])
