# SPDX-License-Identifier: Apache-2.0
"""Layers with a state in a network: shapes, files, and a run cut into pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.network import (
    ARRAY_KINDS,
    LAYER_KINDS,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Gru,
    Gru2Array,
    GruNew,
    Layer,
    Linear,
    Lstm,
    Network,
    Relu,
    StreamConv2d,
    StreamConvTranspose2d,
    Tdnn,
    layer_from_config,
    load_network,
)
from bittwin.recurrent import Gru2ArrayCell, GruCell, GruNewCell, LstmCell, TdnnCell

RNG = np.random.default_rng(11)
R = bittwin.readout(512)


def codes(*shape: int) -> np.ndarray:
    return RNG.integers(-60, 61, shape).astype(np.int8)


def bias(n: int) -> np.ndarray:
    return (128 * RNG.integers(-8, 9, n)).astype(np.int32)


def table(size: int) -> np.ndarray:
    return RNG.integers(-100, 101, size).astype(np.int8)


def lstm(n: int, h: int, **options: Any) -> LstmCell:
    return LstmCell(codes(3 * h, n + h), codes(h, n + h), bias(3 * h), None, R, R, table(1024),
                    table(256), table(256), **options)  # fmt: skip


def gru(n: int, h: int) -> GruCell:
    return GruCell(codes(2 * h, n + h), codes(h, n + h), bias(2 * h), bias(h), R, R, table(256),
                   table(256), ones=128, row_order="xh")  # fmt: skip


def gru_new(n: int, h: int) -> GruNewCell:
    return GruNewCell(codes(2 * h, n + h), codes(h, h), codes(h, n), None, bias(h), bias(h), R, R, R,
                      table(256), table(1024))  # fmt: skip


def gru2array(n: int, h: int) -> Gru2ArrayCell:
    return Gru2ArrayCell(codes(3 * h, n), codes(3 * h, h), bias(3 * h), None, R, R, table(1024),
                         table(1024), clean_after=4)  # fmt: skip


def tdnn(n: int, out: int) -> TdnnCell:
    return TdnnCell(codes(out, 3 * n), bias(out), R, (-2, 0, 1))


LAYERS: dict[str, tuple[Layer, tuple[int, ...], tuple[int, ...]]] = {
    "tdnn": (Tdnn("l", tdnn(3, 4)), (3,), (4,)),
    "lstm": (Lstm("l", lstm(3, 2, shift_bits=(0, 0, -7, -7))), (3,), (2,)),
    "gru": (Gru("l", gru(3, 2), x_signed=True), (3,), (2,)),
    "gru_new": (GruNew("l", gru_new(3, 2)), (3,), (2,)),
    "gru2array": (Gru2Array("l", gru2array(3, 2)), (3,), (2,)),
    "stream_conv2d": (
        StreamConv2d("l", codes(4, 2, 3, 2), bias(4), R, stride=(2, 1), padding=(1, 0, 0, 0),
                     dilation=(1, 3), pad_value=7),
        (2, 8, 1), (4, 4, 1)),
    "stream_conv_transpose2d": (
        StreamConvTranspose2d("l", codes(2, 3, 3, 2), None, R, stride=(2, 1), padding=(1, 0, 1, 0),
                              output_padding=(1, 0)),
        (2, 4, 1), (3, 8, 1)),
}  # fmt: skip
EVERY = pytest.mark.parametrize("kind", LAYERS)


def frames(shape: tuple[int, ...], count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8)


def test_every_layer_with_a_state_is_here() -> None:
    assert set(LAYERS) == {kind for kind, cls in LAYER_KINDS.items() if cls.stateful}


@EVERY
def test_layer_round_trip_and_shapes(kind: str) -> None:
    layer, shape, out = LAYERS[kind]
    assert layer.kind == kind
    assert layer.stateful
    assert kind not in ARRAY_KINDS
    text = json.dumps(layer.to_config())
    again = layer_from_config(json.loads(text), layer.arrays())
    assert again == layer
    assert again.output_shape(shape) == out
    x = frames(shape, 5)
    y = layer.run(x)
    assert y.shape == (5, *out)
    np.testing.assert_array_equal(again.run(x), y)
    assert layer.run(x[:0]).shape == (0, *out)
    bound = layer.bound()
    assert bound is not None
    assert bound.fits


@EVERY
def test_run_state_equals_run_however_it_is_cut(kind: str) -> None:
    layer: Any = LAYERS[kind][0]
    shape = LAYERS[kind][1]
    x = frames(shape, 11)
    state = layer.initial_state(shape)
    parts = []
    for part in np.split(x, [1, 2, 2, 7]):
        y, state = layer.run_state(part, state)
        parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts), layer.run(x))
    assert all(isinstance(v, np.ndarray) for v in state)


@EVERY
def test_wrong_shapes_are_refused_by_name(kind: str) -> None:
    layer: Any = LAYERS[kind][0]
    for shape in ((99,), (), (2, 3)):
        with pytest.raises(bittwin.NetworkError, match="layer 'l'"):
            layer.initial_state(shape)
    with pytest.raises(bittwin.NetworkError, match=r"layer 'l': .*found"):
        Network([layer], input_shape=(99,))
    with pytest.raises((TypeError, ValueError), match="state"):
        layer.run_state(frames(LAYERS[kind][1], 1), ())


@EVERY
def test_codes_that_the_layer_cannot_see_are_refused(kind: str) -> None:
    layer, shape, _ = LAYERS[kind]
    with pytest.raises(bittwin.NetworkError, match="layer 'l': x: found code 256"):
        Network([layer]).run(np.full((1, *shape), 256, np.int16))
    if kind != "gru":  # the one that takes signed codes
        with pytest.raises(bittwin.NetworkError, match=r"found code -1 .* wanted 0\.\.255"):
            Network([layer]).run(np.full((1, *shape), -1, np.int8))


def test_streams_equal_the_image_layers() -> None:
    layer: Any = LAYERS["stream_conv2d"][0]
    x = frames((2, 8, 1), 9)
    image = Conv2d("i", layer.weight, layer.bias, R, stride=(2, 1), padding=(1, 3, 0, 0),
                   dilation=(1, 3), pad_value=7)  # fmt: skip
    wanted = image.run(np.ascontiguousarray(x[..., 0].transpose(1, 2, 0))[None])
    np.testing.assert_array_equal(layer.run(x)[..., 0].transpose(1, 2, 0), wanted[0])
    back: Any = LAYERS["stream_conv_transpose2d"][0]
    x = frames((2, 4, 1), 9)
    turned = ConvTranspose2d("i", back.weight, None, R, stride=(2, 1), padding=(1, 0, 1, 0),
                             output_padding=(1, 0))  # fmt: skip
    wanted = turned.run(np.ascontiguousarray(x[..., 0].transpose(1, 2, 0))[None])
    np.testing.assert_array_equal(back.run(x)[..., 0].transpose(1, 2, 0), wanted[0, :, :, :9])


def test_a_network_of_all_is_saved_and_runs(tmp_path: Path) -> None:
    layers = [
        StreamConv2d("conv", codes(2, 1, 3, 2), bias(2), R, stride=(2, 1), padding=(1, 0, 0, 0)),
        Relu("relu"),
        Flatten("flat"),
        Tdnn("tdnn", tdnn(8, 5), x_signed=False),
        Lstm("lstm", lstm(5, 4), x_signed=True),
        Gru("gru", gru(4, 3), x_signed=True),
        GruNew("new", gru_new(3, 3), x_signed=True),
        Gru2Array("two", gru2array(3, 2), x_signed=True),
        Linear("fc", codes(3, 2), None, R, x_signed=True),
    ]
    net = Network(layers, input_shape=(1, 8, 1))
    assert net.shapes((1, 8, 1))["fc"] == (3,)
    net.save(tmp_path / "net.npz")
    again = load_network(tmp_path / "net.npz")
    assert again == net
    x = frames((1, 8, 1), 12)
    whole = net.run(x)
    np.testing.assert_array_equal(again.run(x), whole)
    stream = again.stream()
    for _ in range(2):
        np.testing.assert_array_equal(np.stack([stream.step(frame) for frame in x]), whole)
        stream.reset()
    assert "5 -> 4" in net.summary()
    assert "offsets [-2, 0, 1]" in net.summary()


def test_internals_come_from_the_layer() -> None:
    layer: Any = LAYERS["lstm"][0]
    x = frames((3,), 4)
    internals = layer.internals(x)
    np.testing.assert_array_equal(internals["h"], layer.run(x))
    assert internals["gates"].shape == (4, 6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lstm("l", gru(3, 2)), "cell: found GruCell, wanted a LstmCell"),
        (lambda: Tdnn("", tdnn(3, 2)), "non-empty"),
        (lambda: Lstm("l", lstm(3, 2), x_signed=1), "x_signed: found 1"),
        (lambda: StreamConv2d("l", codes(1, 1, 1, 2), None, R, stride=(1, 2)), "wanted stride 1"),
        (lambda: StreamConv2d("l", codes(1, 1, 1, 2), None, R, padding=(0, 1, 0, 0)), "no padding"),
        (lambda: StreamConvTranspose2d("l", codes(1, 1, 1, 2), None, R, padding=(0, 0, 0, 1)), "no padding"),
        (lambda: StreamConvTranspose2d("l", codes(1, 1, 1, 2), None, R, output_padding=(0, 1)),
         "output_padding: found"),
    ],
)  # fmt: skip
def test_impossible_layers_are_refused(build: Callable[[], Layer], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        build()


@pytest.mark.parametrize(
    "change",
    [
        {"shift_bits": "no"},
        {"clean_after": 1.5},
        {"requant_gates": {"rule": "x", "gain": -1}},
        {"requant_gates": None},
        {"nonsense": 1},
        {"x_signed": "yes"},
        {"x_bits": 99},
        {"name": 5},
    ],
)
def test_a_bad_file_is_refused_with_the_layers_name(change: dict[str, Any]) -> None:
    layer = LAYERS["lstm"][0]
    with pytest.raises(bittwin.NetworkError, match="layer"):
        layer_from_config(layer.to_config() | change, layer.arrays())
    with pytest.raises(bittwin.NetworkError, match="layer 'l': extra"):
        layer_from_config(layer.to_config(), layer.arrays() | {"extra": np.zeros(2)})
