# SPDX-License-Identifier: Apache-2.0
"""The optimise config: its text, its contradictions, and its effect on codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX files needs the package onnx")

from onnx_cases import gain_round, gemm, model, weights, write

import bittwin
from bittwin import recurrent
from bittwin.errors import NetworkError
from bittwin.network import Gru, Linear, Lstm, Network, Relu, SparseLinear, Tdnn
from bittwin.onnx import (
    LayerOptions,
    OnnxWarning,
    apply_optimize,
    load_onnx,
    parse_optimize_config,
    read_optimize_config,
    save_onnx,
    write_optimize_config,
)

RNG = np.random.default_rng(11)
EVERYTHING = """
# a comment
layerOptiConfig {
  name : "fc"
  inputOpti { shift : 1 num : 2 front_scale: 1 signed_input : -1 }
  weightOpti { shift : 1 num : 1 region : UP }
  weightOpti { shift : 10, num : 0, region: DOWN }
  doubleWeightOpti { multiple : 3 }
  sparseMatrixOpti { sp_mode: MIX shift: 4 }
  arrayOutputOpti { magnify: 1 repeat: 2 }
  convOpti { multi_point : 4 tdnn_mode : true fout_burst_point: 2 }
}
layerOptiConfig { name : "empty" sparseMatrixOpti { } convOpti { conv2DToConv1D_enable: true } }
"""


def test_every_field() -> None:
    options = parse_optimize_config(EVERYTHING)
    assert options["fc"] == LayerOptions(
        "fc", input_shift=1, input_num=2, front_scale=1, signed_input=-1,
        weight_opti=((1, 1, "UP"), (10, 0, "DOWN")), multiple=3, sparse_mode="MIX", sparse_shift=4,
        magnify=1, repeat=2, multi_point=4, tdnn_mode=True, fout_burst_point=2,
    )  # fmt: skip
    assert options["empty"] == LayerOptions("empty", conv2d_to_conv1d=True)


def test_quoted_words() -> None:
    text = 'layerOptiConfig { name: "a" sparseMatrixOpti { sp_mode: "DIG" } weightOpti { region: "UP" } }'
    options = parse_optimize_config(text)
    assert (options["a"].sparse_mode, options["a"].weight_opti) == ("DIG", ((0, 0, "UP"),))


def test_write_and_read(tmp_path: Path) -> None:
    options = parse_optimize_config(EVERYTHING)
    path = tmp_path / "opt.protobuf"
    write_optimize_config(path, options.values())
    again = read_optimize_config(path)
    assert again["fc"] == options["fc"]
    assert again["empty"].conv2d_to_conv1d


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("layerOptiConfig { nome: 1 }", "no field named .nome.*known fields: InputOpti: shift, num"),
        ("layerOptiConfig {", "no readable optimise config"),
        ('layerOptiConfig { name: "a" } layerOptiConfig { name: "a" }', "'a' twice"),
        ("layerOptiConfig { }", "without a name"),
        ('layerOptiConfig { name: "a" convOpti { tdnn_mode: true conv2DToConv1D_enable: true } }',
         "exclude each other"),
        ('layerOptiConfig { name: "a" inputOpti { shift: -1 } }', "inputOpti.shift: found -1"),
        ('layerOptiConfig { name: "a" inputOpti { signed_input: -2 } }', "signed_input: found -2"),
        ('layerOptiConfig { name: "a" sparseMatrixOpti { sp_mode: "ALL" } }', "sp_mode"),
        ("{" * 5000, "no readable optimise config"),
    ],
)  # fmt: skip
def test_unreadable_texts(text: str, match: str) -> None:
    with pytest.raises(NetworkError, match=match):
        parse_optimize_config(text)


def chain() -> Network:
    """Linear, ReLU, Linear, with int8 weights."""
    first = Linear("a", RNG.integers(-60, 61, (5, 4)).astype(np.int8), None, bittwin.readout(256))
    bias = (128 * RNG.integers(-9, 10, 3)).astype(np.int32)
    second = Linear("b", RNG.integers(-60, 61, (3, 5)).astype(np.int8), bias, bittwin.readout(1024))
    return Network([first, Relu("r"), second], input_shape=[4])


def test_input_shift_saturates_at_255() -> None:
    net = chain()
    made = apply_optimize(net, {"b": LayerOptions("b", input_shift=1, input_num=2)})
    assert [layer.name for layer in made.layers] == ["a", "r", "b.input", "b"]
    assert made.inputs["b"] == ("b.input",)
    x = RNG.integers(0, 256, (200, 4)).astype(np.uint8)
    inner = net.run(x, trace=True)["r"].astype(int)
    assert inner.max() > 63  # so that some inputs do saturate
    b = net.layers[2]
    acc = np.minimum(inner << 2, 255) @ b.weight.T.astype(int) + (b.bias << 2)
    np.testing.assert_array_equal(made.run(x), gain_round(acc, 4096))
    assert (made.run(x) != net.run(x)).any()
    same = apply_optimize(net, {"b": LayerOptions("b", input_shift=1, input_num=1)})
    np.testing.assert_array_equal(same.run(x), net.run(x))  # 127 << 1 still fits


def test_what_changes_no_code() -> None:
    net = chain()
    entry = LayerOptions("b", weight_opti=((1, 2, "UP"),), multiple=1, repeat=2, multi_point=3,
                         conv2d_to_conv1d=True, sparse_shift=3)  # fmt: skip
    assert apply_optimize(net, {"b": entry}) == net
    odd = LayerOptions(
        "b", weight_opti=((10, 0, ""),)
    )  # shift 10 with num 0, as one shipped file has it
    assert apply_optimize(net, {"b": odd}) == net
    with pytest.raises(NetworkError, match=r"layer 'b': weight_shift: found 10"):
        apply_optimize(net, {"b": odd}, flags="exponent is shift")


def test_magnify_and_front_scale() -> None:
    net = chain()
    made = apply_optimize(net, {"b": LayerOptions("b", magnify=2)})
    assert made.layers[2].requant == bittwin.readout(256)
    with pytest.raises(NetworkError, match="'b': gain: found 128 once optimised"):
        apply_optimize(net, {"b": LayerOptions("b", magnify=3)})
    with_shift = LayerOptions("b", magnify=3, weight_opti=((1, 1, ""),))
    made = apply_optimize(net, {"b": with_shift})
    x = RNG.integers(0, 256, (200, 4)).astype(np.uint8)
    inner = net.run(x, trace=True)["r"].astype(int)
    acc = inner @ net.layers[2].weight.T.astype(int) + net.layers[2].bias
    np.testing.assert_array_equal(made.run(x), gain_round(2 * acc, 256))
    entry = LayerOptions("b", front_scale=1)
    with pytest.raises(NetworkError, match="what compensates it is unknown"):
        apply_optimize(net, {"b": entry})
    with pytest.raises(NetworkError, match="front_scale of 'a': gain: found 128"):
        apply_optimize(net, {"b": entry}, front_scale="front gain only")


def test_limits_of_the_array() -> None:
    net = chain()
    for entry, match in [
        (LayerOptions("b", weight_opti=((1, 3, ""),)), "weight: found -?[0-9]+ once optimised"),
        (LayerOptions("b", input_shift=1, input_num=4), "gain: found 16384 once optimised"),
        (LayerOptions("b", multiple=8), "wanted at most 896"),
        (LayerOptions("b", signed_input=99), "signed_input: found 99, wanted an integer in -1.."),
    ]:
        with pytest.raises(NetworkError, match=match):
            apply_optimize(net, {"b": entry})
    with pytest.raises(NetworkError, match="found a relu layer, wanted one that runs on the array"):
        apply_optimize(net, {"r": LayerOptions("r")})
    with pytest.warns(OnnxWarning, match="'c', which the network does not have"):
        assert apply_optimize(net, {"c": LayerOptions("c")}) == net


@pytest.mark.parametrize("count", [-1, 1, 4])
def test_signed_input(count: int) -> None:
    net = chain()
    made = apply_optimize(net, {"a": LayerOptions("a", signed_input=count)})
    assert made.layers[0].x_signed
    x = RNG.integers(-128, 128, (50, 4)).astype(np.int8)
    acc = x.astype(int) @ net.layers[0].weight.T.astype(int)
    np.testing.assert_array_equal(made.run(x, trace=True)["a"], gain_round(acc, 256))


def test_signed_and_shifted() -> None:
    net = chain()
    made = apply_optimize(net, {"a": LayerOptions("a", input_shift=1, input_num=1, signed_input=4)})
    x = np.array([[-128, 127, 0, 5], [-128, -128, -128, -128]], np.int8)
    acc = np.clip(x.astype(int) << 1, -255, 255) @ net.layers[0].weight.T.astype(int)
    np.testing.assert_array_equal(made.run(x, trace=True)["a"], gain_round(acc, 512))


@pytest.mark.parametrize("mode", ["MIX", "DIG"])
def test_sparse_modes(tmp_path: Path, mode: str) -> None:
    net = chain()
    made = apply_optimize(net, {"b": LayerOptions("b", sparse_mode=mode)})
    layer = made.layers[2]
    assert isinstance(layer, SparseLinear)
    x = RNG.integers(0, 256, (50, 4)).astype(np.uint8)
    inner = net.run(x, trace=True)["r"]
    wanted = bittwin.optimize.sparse_linear(
        inner.astype(np.uint8), layer.weight, layer.bias, layer.requant, mode=mode
    )
    np.testing.assert_array_equal(made.run(x), wanted)
    save_onnx(tmp_path / "n.onnx", made, optimize=tmp_path / "o.txt")
    assert load_onnx(tmp_path / "n.onnx", optimize=tmp_path / "o.txt") == made
    with pytest.raises(NetworkError, match="wanted optimize="):
        save_onnx(tmp_path / "n.onnx", made)
    other = replace(layer, low="unsigned")
    with pytest.raises(NetworkError, match="that the optimise config cannot say whole"):
        save_onnx(tmp_path / "n.onnx", Network([other]), optimize=tmp_path / "o.txt")


def cells() -> list[Any]:
    def codes(*shape: int) -> np.ndarray:
        return RNG.integers(-60, 61, shape).astype(np.int8)

    def bias(n: int) -> np.ndarray:
        return (128 * RNG.integers(-9, 10, n)).astype(np.int32)

    rule = bittwin.readout
    t = [RNG.integers(-128, 128, 256).astype(np.int8) for _ in range(3)]
    return [
        Lstm("cell", recurrent.LstmCell(codes(9, 7), codes(3, 7), bias(9), None, rule(512), rule(256), *t)),
        Gru("cell", recurrent.GruCell(codes(6, 7), codes(3, 7), bias(6), bias(3), rule(512), rule(256),
                                      *t[:2])),
        Gru("cell", recurrent.GruCell(codes(6, 7), codes(3, 7), bias(6), bias(3), rule(512), rule(256),
                                      *t[:2], row_order="xh")),
        bittwin.network.GruNew("cell", recurrent.GruNewCell(
            codes(6, 7), codes(3, 3), codes(3, 4), bias(6), bias(3), bias(3), rule(512), rule(256), rule(256),
            *t[:2])),
        bittwin.network.Gru2Array("cell", recurrent.Gru2ArrayCell(
            codes(9, 4), codes(9, 3), bias(9), bias(9), rule(512), rule(256), *t[:2])),
        Tdnn("cell", recurrent.TdnnCell(codes(3, 8), bias(3), rule(512), (-1, 0))),
    ]  # fmt: skip


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("signed", [0, 4])
def test_recurrent_layers_keep_their_codes(tmp_path: Path, which: int, signed: int) -> None:
    """A shift that saturates nothing changes nothing, whatever the order of the rows."""
    net = Network([cells()[which]], input_shape=[4])
    made = apply_optimize(
        net, {"cell": LayerOptions("cell", input_shift=1, input_num=1, signed_input=signed)}
    )
    assert made.layers[0].name == "cell.input"
    x = RNG.integers(-100 if signed else 0, 101, (40, 4)).astype(np.int16)
    plain = apply_optimize(net, {"cell": LayerOptions("cell", signed_input=signed)})
    np.testing.assert_array_equal(made.run(x), plain.run(x))
    high = np.full((5, 4), 200, np.int16)
    assert (made.run(high) != plain.run(high)).any()  # 400 is 255 there
    save_onnx(tmp_path / "n.onnx", made, optimize=tmp_path / "o.txt")
    assert load_onnx(tmp_path / "n.onnx", optimize=tmp_path / "o.txt") == made


def test_config_by_node_name(tmp_path: Path) -> None:
    """A node whose name a layer could not take is still found."""
    c = weights(RNG, "x1", 3, 2)
    nodes = gemm("x1", "x", "y")
    nodes[0].name = "x"  # the input's name
    path = write(tmp_path, model(nodes, {"x": [1, 3]}, ["y"], c))
    net = load_onnx(path, optimize={"x": LayerOptions("x", signed_input=3)})
    assert [(layer.name, layer.x_signed) for layer in net.layers] == [("x1_acc", True)]


def test_save_takes_options(tmp_path: Path) -> None:
    net = chain()
    entry = LayerOptions("b", multi_point=4, weight_opti=((1, 1, "UP"),), magnify=1)
    save_onnx(tmp_path / "n.onnx", net, optimize=tmp_path / "o.txt", options={"b": entry})
    found = read_optimize_config(tmp_path / "o.txt")
    assert list(found) == ["a", "b"]
    assert found["b"].weight_opti == ((1, 1, "UP"),)
    assert (found["b"].multi_point, found["b"].magnify) == (4, 0)
    with pytest.raises(NetworkError, match="'z', which is no layer"):
        save_onnx(tmp_path / "n.onnx", net, optimize=tmp_path / "o.txt", options={"z": entry})
