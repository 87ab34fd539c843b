# SPDX-License-Identifier: Apache-2.0
"""What `save_onnx` writes, `load_onnx` reads back: equal networks, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")
pytest.importorskip("onnx", reason="reading ONNX files needs the package onnx")

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

import bittwin
from bittwin import network as n
from bittwin import recurrent as r
from bittwin.errors import NetworkError
from bittwin.network import LAYER_KINDS, Layer, Network
from bittwin.onnx import load_onnx, save_onnx
from bittwin.onnx.save import WRITERS

Rng = np.random.Generator
Shape = tuple[int, ...]
ROUNDINGS = ("half_up", "half_even", "floor", "half_away")


def codes(rng: Rng, *shape: int) -> np.ndarray:
    return rng.integers(-60, 61, shape).astype(rng.choice(["int8", "int16"]))


def bias(rng: Rng, size: int) -> Any:
    if rng.random() < 0.3:
        return None
    return (128 * rng.integers(-9, 10, size)).astype(np.int32)


def rule(rng: Rng) -> bittwin.Requant:
    overflow = "wrap16" if rng.random() < 0.2 else "saturate"
    return bittwin.readout(int(2 ** rng.integers(8, 16)), overflow=overflow)


def table(rng: Rng) -> np.ndarray:
    size = int(rng.choice([256, 1024]))
    if rng.random() < 0.5:
        return rng.integers(0, 256, size).astype(np.uint8)
    return rng.integers(-128, 128, size).astype(np.int8)


def chosen(rng: Rng, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def sign(rng: Rng) -> bool:
    return bool(rng.random() < 0.5)


def linear(rng: Rng, name: str, shape: Shape) -> Layer:
    out = int(rng.integers(1, 6))
    wrap = chosen(rng, "refuse", "wrap32")
    return n.Linear(name, codes(rng, out, shape[0]), bias(rng, out), rule(rng), x_signed=sign(rng),
                    overflow=wrap)  # fmt: skip


def conv(rng: Rng, name: str, shape: Shape) -> Layer:
    out, (kh, kw) = int(rng.integers(1, 4)), (int(v) for v in rng.integers(1, 3, 2))
    groups = shape[0] if rng.random() < 0.3 else 1
    w = codes(rng, out * groups, shape[0] // groups, kh, kw)
    more = {"stride": (1, 1), "dilation": (1, 1), "groups": groups, "x_signed": sign(rng),
            "padding": tuple(int(v) for v in rng.integers(0, 3, 4))}  # fmt: skip
    return n.Conv2d(name, w, bias(rng, out * groups), rule(rng), **more)


def conv_transpose(rng: Rng, name: str, shape: Shape) -> Layer:
    out = int(rng.integers(1, 4))
    more = {
        "stride": (2, 1),
        "output_padding": (1, 0),
        "x_signed": sign(rng),
        "padding": (0, 0, 1, 0),
    }
    return n.ConvTranspose2d(
        name, codes(rng, shape[0], out, 2, 2), bias(rng, out), rule(rng), **more
    )


def pair(rng: Rng, name: str, shape: Shape) -> Layer:
    kind = chosen(rng, n.Add, n.Mul)
    constant = chosen(rng, np.array([3], np.int8), np.array(200, np.uint8), codes(rng, *shape))
    options = {"shift_bit": int(rng.integers(-8, 3)), "rounding": chosen(rng, *ROUNDINGS),
               "broadcast": chosen(rng, "chip", "numpy")}  # fmt: skip
    return kind(name, constant=constant, **options)  # type: ignore[no-any-return]


def lstm(rng: Rng, name: str, shape: Shape) -> Layer:
    h, i = 2, shape[0]
    cell = r.LstmCell(
        codes(rng, 3 * h, i + h), codes(rng, h, i + h), bias(rng, 3 * h), bias(rng, h), rule(rng), rule(rng),
        table(rng), table(rng), table(rng), shift_bits=chosen(rng, (-7, -7), (0, 1, -7, -6)),
        clean_after=int(rng.integers(0, 3)), rounding=chosen(rng, *ROUNDINGS), cmodel=sign(rng),
    )  # fmt: skip
    return n.Lstm(name, cell, sign(rng))


def gru(rng: Rng, name: str, shape: Shape) -> Layer:
    h, i = 2, shape[0]
    cell = r.GruCell(
        codes(rng, 2 * h, i + h), codes(rng, h, i + h), bias(rng, 2 * h), bias(rng, h), rule(rng), rule(rng),
        table(rng), table(rng), ones=int(rng.integers(120, 130)), row_order=chosen(rng, "hx", "xh"),
        blend=chosen(rng, "manual", "torch"), lowest=-127,
    )  # fmt: skip
    return n.Gru(name, cell, sign(rng))


def gru_new(rng: Rng, name: str, shape: Shape) -> Layer:
    h, i = 2, shape[0]
    cell = r.GruNewCell(
        codes(rng, 2 * h, i + h), codes(rng, h, h), codes(rng, h, i), bias(rng, 2 * h), bias(rng, h),
        bias(rng, h), rule(rng), rule(rng), rule(rng), table(rng), table(rng),
        sum_bits=chosen(rng, 8, 9),
    )  # fmt: skip
    return n.GruNew(name, cell, sign(rng))


def gru2array(rng: Rng, name: str, shape: Shape) -> Layer:
    h, i = 2, shape[0]
    cell = r.Gru2ArrayCell(
        codes(rng, 3 * h, i), codes(rng, 3 * h, h), bias(rng, 3 * h), bias(rng, 3 * h), rule(rng), rule(rng),
        table(rng), table(rng), hidden_shift=int(rng.integers(-2, 2)), shift_bits=(-7, -6, -1, 0),
        hidden_overflow=chosen(rng, "saturate", "exact"),
    )  # fmt: skip
    return n.Gru2Array(name, cell, sign(rng))


def tdnn(rng: Rng, name: str, shape: Shape) -> Layer:
    cell = r.TdnnCell(codes(rng, 3, 2 * shape[0]), bias(rng, 3), rule(rng), (-3, 1))
    return n.Tdnn(name, cell, sign(rng))


def split(rng: Rng, name: str, shape: Shape) -> Layer:
    sections: Any = shape[0] if sign(rng) else (1, shape[0] - 1)
    return n.SplitPart(name, sections, int(rng.integers(1 if shape[0] == 1 else 2)))


def float_layer(rng: Rng, name: str, shape: Shape) -> Layer:
    c = shape[0]
    one = rng.normal(0, 2, c).astype(np.float32)
    two = rng.normal(0, 20, c).astype(np.float32)
    scales = {"scale_in": float(rng.uniform(0.01, 2)), "scale_out": float(rng.uniform(0.01, 2))}
    return chosen(  # type: ignore[no-any-return]
        rng,
        lambda: n.BatchNorm(name, one, two, **scales, cmodel=sign(rng)),
        lambda: n.GroupNorm(name, one, two, scale_out=scales["scale_out"], epsilon=0.01),
        lambda: n.Softmax(name, **scales, subtract_max=sign(rng)),
        lambda: n.SumNorm(name, **scales, zero_sum="zero"),
        lambda: n.FloatScale(name, 4.3, clip_bits=6),
    )()


def simple(rng: Rng, name: str, shape: Shape) -> Layer:
    return chosen(  # type: ignore[no-any-return]
        rng,
        lambda: n.Relu(name),
        lambda: n.Lookup(name, table(rng)),
        lambda: n.Scale(
            name, chosen(rng, 0.25, 2.0**-11, 3, 1, -2), rounding=chosen(rng, *ROUNDINGS)
        ),
        lambda: n.Scalar(name, 5, -2, chosen(rng, "mul", "add")),
        lambda: n.ClearLowBits(name, 3, chosen(rng, "twos_complement", "magnitude")),
        lambda: n.Concat(name),
        lambda: n.Slice(name, (0,), (1 << 40,), (1,), chosen(rng, None, (1,), (2,))),
        lambda: n.ReduceMean(name, 1, keepdims=True),
    )()


def image(rng: Rng, name: str, shape: Shape) -> Layer:
    return chosen(  # type: ignore[no-any-return]
        rng,
        lambda: n.AveragePool(name, chosen(rng, 1, (1, 2)), chosen(rng, None, 1), cmodel=sign(rng),
                              count_padding=sign(rng), scale_in=0.3),
        lambda: n.MaxPool(name, (2, 1), (1, 1), 1, pad_code=chosen(rng, 0, None)),
        lambda: n.Permute(name, (0, 1, 3, 2)),
        lambda: n.Transpose(name, (0, 2, 1, 3)),
        lambda: n.ReduceMean(name, (2, 3), keepdims=True),
        lambda: n.Reshape(name, (shape[1], shape[0], shape[2]), "chip"),
    )()  # fmt: skip


def to_vector(rng: Rng, name: str, shape: Shape) -> Layer:
    return chosen(  # type: ignore[no-any-return]
        rng,
        lambda: n.Reshape(name, (-1,), "chip"),
        lambda: n.Reshape(name, (int(np.prod(shape)),), "chip"),
    )()


VECTOR: list[Callable[[Rng, str, Shape], Layer]] = [
    linear, pair, lstm, gru, gru_new, gru2array, tdnn, split, float_layer, simple,
]  # fmt: skip
PICTURE: list[Callable[[Rng, str, Shape], Layer]] = [
    conv, conv_transpose, pair, image, float_layer, simple,
]  # fmt: skip


def build(seed: int, count: int) -> Network:
    """A random network: pictures first, then vectors, with a branch that joins again."""
    rng = np.random.default_rng(seed)
    shape: Shape = (3, 4, 3) if rng.random() < 0.5 else (4,)
    start = shape
    layers: list[Layer] = []
    for i in range(count):
        makers = PICTURE if len(shape) == 3 else VECTOR
        if len(shape) == 3 and i == count // 2:
            makers = [to_vector]
        name = f"layer {i}" if i % 2 else f"l{i}.acc"
        while True:
            try:
                layer = makers[int(rng.integers(len(makers)))](rng, name, shape)
                next_shape = layer.output_shape(shape)
            except (ValueError, TypeError):
                continue
            if 0 < np.prod(next_shape) < 200:
                break
        layers.append(layer)
        shape = tuple(next_shape)
    inputs = None
    if rng.random() < 0.5:
        layers.append(n.Add("join", int(rng.integers(-2, 2))))
        inputs = {"join": [layers[-2].name, layers[-2].name]}
    network_input = chosen(rng, None, start)
    if rng.random() < 0.5:
        return Network(layers, "a net", inputs=inputs, input_shapes={"in": start})
    if inputs is None:
        return Network(layers, "a net", network_input)
    return Network(layers, "a net", start, inputs=inputs)


@settings(max_examples=200)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 8))
def test_any_network(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    net = build(seed, count)
    path, config = folder / "round.onnx", folder / "round.txt"
    save_onnx(path, net)
    assert load_onnx(path, bias="keep") == net
    save_onnx(path, net, optimize=config)
    assert load_onnx(path, optimize=config) == net
    # Other tools see a graph that protobuf's own schema accepts.
    assert onnx.load(path).graph.node


def test_every_kind_has_a_writer_or_a_refusal(tmp_path: Path) -> None:
    assert set(WRITERS) <= set(LAYER_KINDS)
    for layer in (n.Clip("c", 90), n.Rescale("c", 1), n.MinPool("c", 2), n.PnSplit("c")):
        with pytest.raises(
            NetworkError, match=rf"layer 'c': found kind '{layer.kind}'.*it has add, average_pool"
        ):
            save_onnx(tmp_path / "n.onnx", Network([layer]))
    assert not (tmp_path / "n.onnx").exists()


def test_over_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    layers = [
        n.StreamConv2d("c", codes(rng, 3, 2, 3, 2), bias(rng, 3), bittwin.readout(256), x_signed=True,
                       stride=(2, 1), padding=(1, 0, 0, 0), dilation=(1, 3)),
        n.Relu("r"),
        n.Reshape("rows", (6,), "chip"),
        lstm(rng, "lstm", (6,)),
        n.Reshape("image", (1, 2, 1), "chip"),
        n.StreamConvTranspose2d("d", codes(rng, 1, 2, 3, 2), None, bittwin.readout(256),
                                stride=(2, 1), padding=(1, 0, 1, 0), output_padding=(1, 0)),
    ]  # fmt: skip
    net = Network(layers, "time", [2, 4, 1])
    path, config = tmp_path / "n.onnx", tmp_path / "o.txt"
    save_onnx(path, net, optimize=config, frames=50)
    assert load_onnx(path) == net
    assert load_onnx(path, optimize=config) == net
    made = onnx.load(path)
    assert [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim] == [1, 2, 4, 50]
    assert "tdnn_mode: true" in config.read_text()
    values = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    assert values["rows.shape"].tolist() == [50, 6]
    assert values["image.shape"].tolist() == [1, 1, 2, 50]
    assert all(t.data_type == onnx.TensorProto.FLOAT for t in made.graph.initializer)


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (n.Linear("a", np.ones((1, 2), np.int8), None, bittwin.half_even(256)), (2,), "8-bit readout"),
        (n.Linear("a", np.ones((1, 2), np.int8), None, bittwin.readout(256, bits=10)), (2,), "8-bit readout"),
        (n.Linear("a", np.ones((1, 2), np.int8), None, bittwin.readout(256), x_bits=7), (2,), "7-bit inputs"),
        (n.Linear("a", np.ones((1, 2), np.int8), np.array([5], np.int32), bittwin.readout(256)), (2,),
         "no multiple of 128"),
        (n.Conv2d("a", np.ones((1, 2, 1, 1), np.int8), None, bittwin.readout(256), pad_value=3), (2, 1, 1),
         "pads with 0"),
        (n.Relu("a", 2), (2,), "gain 2"),
        (n.Add("a", bits=16, constant=np.array([1], np.int8)), (2,), "16 bits"),
        (n.Scale("a", 0.5, 16), (2,), "bits: found 16, which the file would say as 8"),
        (n.Flatten("a"), (2, 3, 4), r"chip stores \[W\]\[H\]\[C\]"),
        (n.Reshape("a", (4, 6)), (2, 3, 4), r"order='chip'"),
        (n.Flatten("a"), None, "unknown input shape"),
    ],
)  # fmt: skip
def test_what_the_chip_has_not(tmp_path: Path, layer: Layer, shape: Any, match: str) -> None:
    with pytest.raises(NetworkError, match=f"layer 'a'.*{match}"):
        save_onnx(tmp_path / "n.onnx", Network([layer], input_shape=shape))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layer", [n.Flatten("a"), n.Reshape("a", (-1,)), n.Reshape("a", (1, 0))])
def test_where_the_order_does_not_matter(tmp_path: Path, layer: Layer) -> None:
    shape = (1, 4, 1) if layer.kind == "flatten" or layer.shape == (-1,) else (2, 4)
    if shape == (2, 4):
        layer = n.Reshape("a", (4, 2))
    net = Network([layer], input_shape=shape)
    save_onnx(tmp_path / "n.onnx", net)
    assert load_onnx(tmp_path / "n.onnx") == net


def test_bias_kept(tmp_path: Path) -> None:
    layer = n.Linear("a", np.ones((1, 2), np.int8), np.array([5], np.int32), bittwin.readout(256))
    save_onnx(tmp_path / "n.onnx", Network([layer]), bias="keep")
    assert load_onnx(tmp_path / "n.onnx", bias="keep") == Network([layer])


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.onnx"
    save_onnx(path, Network([n.Relu("a")]))
    before = path.read_bytes()
    with pytest.raises(NetworkError):
        save_onnx(path, Network([n.Relu("a", 2)]))
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no such folder"):
        save_onnx(tmp_path / "absent" / "n.onnx", Network([n.Relu("a")]))
    assert [p.name for p in tmp_path.iterdir()] == ["n.onnx"]
