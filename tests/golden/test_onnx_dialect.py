# SPDX-License-Identifier: Apache-2.0
"""The vendor's operators and the oddities of real files, one by one, on small files made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX files needs the package onnx")

from onnx import helper, numpy_helper
from onnx_cases import gain_round, gemm, model, node, weights, write

import bittwin
from bittwin.errors import NetworkError
from bittwin.network import GroupNorm, Linear, Lookup, Network
from bittwin.onnx import LayerOptions, OnnxWarning, load_onnx

RNG = np.random.default_rng(3)


def load(folder: Path, nodes: list[Any], x: Any, constants: Any = None, **more: Any) -> Network:
    keys = ("opset", "keep_types", "types")
    made = model(nodes, {"x": x}, more.pop("outputs", ["y"]), constants,
                 **{k: more.pop(k) for k in keys if k in more})  # fmt: skip
    return load_onnx(write(folder, made), **more)


def refused(folder: Path, match: str, *args: Any, **more: Any) -> None:
    with pytest.raises(NetworkError, match=match):
        load(folder, *args, **more)


# ---------------------------------------------------------------- the array


@pytest.mark.parametrize("gain", [256, 1024, 8192, 32768])
@pytest.mark.parametrize("trans", [0, 1])
def test_gemm(tmp_path: Path, gain: int, trans: int) -> None:
    c = weights(RNG, "fc", 6, 4)
    given = c | {"fc_w": c["fc_w"].T} if trans else c
    net = load(tmp_path, gemm("fc", "x", "y", gain, transB=trans), [1, 6], given)
    assert [(layer.name, layer.kind) for layer in net.layers] == [("fc", "linear")]
    assert net.input_shapes == {"x": (6,)}
    x = RNG.integers(-128, 256, (50, 6)).astype(np.int16)
    np.testing.assert_array_equal(net.run(x), gain_round(x @ c["fc_w"] + c["fc_b"], gain))


def test_gain_of_the_scale_that_alone_reads_it(tmp_path: Path) -> None:
    c = weights(RNG, "fc", 3, 2)
    first, second = gemm("fc", "x", "s")
    net = load(
        tmp_path, [first, second, node("Scale", ["s"], ["y"], "again", scale=1 / 1024)], [1, 3], c
    )
    assert [layer.kind for layer in net.layers] == ["linear", "scale"]
    also = node("Relu", ["fc_acc"], ["y"])
    refused(
        tmp_path,
        r"'fc' \(Gemm\).*gain is unknown",
        [first, second, also],
        [1, 3],
        c,
        outputs=["s", "y"],
    )
    refused(tmp_path, "gain is unknown; default_gain", [first, also], [1, 3], c)
    weak = node("Scale", ["fc_acc"], ["y"], "weak", scale=1.0)
    refused(tmp_path, "gain is unknown", [first, weak], [1, 3], c)
    net = load(tmp_path, [first, weak], [1, 3], c, default_gain=512)
    assert net.layers[0].requant == bittwin.readout(512)
    assert net.layers[1].factor == 1


def test_matmul(tmp_path: Path) -> None:
    c = {"w": RNG.integers(-128, 128, (3, 2))}
    nodes = [node("MatMul", ["x", "w"], ["a"], "mm"), node("Scale", ["a"], ["y"], scale=2.0**-9)]
    net = load(tmp_path, nodes, [1, 3], c)
    assert net.layers[0].bias is None
    assert net.layers[0].requant == bittwin.readout(512)
    refused(tmp_path, "two computed operands", [node("MatMul", ["x", "x"], ["y"])], [1, 3])


@pytest.mark.parametrize(
    ("attributes", "padding"),
    [
        ({}, (0, 0, 0, 0)),
        ({"pads": [1, 2, 0, 1]}, (1, 2, 0, 1)),
        ({"pads": [1, 2]}, (1, 2, 1, 2)),
        ({"pads": [0, 0], "kernel_shape": [3, 2]}, (0, 0, 0, 0)),
        ({"pads": "SAME"}, (1, 0, 1, 1)),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (1, 0, 1, 0)),
        ({"auto_pad": "SAME_LOWER"}, (1, 1, 1, 0)),
        ({"auto_pad": "VALID"}, (0, 0, 0, 0)),
        ({"dilations": [2, 3]}, (0, 0, 0, 0)),
        ({"group": 2}, (0, 0, 0, 0)),
    ],
)
def test_conv(tmp_path: Path, attributes: dict[str, Any], padding: Any) -> None:
    groups = attributes.get("group", 1)
    w = RNG.integers(-50, 51, (4, 4 // groups, 3, 2))
    c = {"w": w, "b": 128 * RNG.integers(-9, 9, 4)}
    nodes = [
        node("Conv", ["x", "w", "b"], ["a"], "conv", **attributes),
        node("Scale", ["a"], ["y"], scale=2.0**-8),
    ]
    net = load(tmp_path, nodes, [1, 4, 7, 6], c)
    layer = net.layers[0]
    assert layer.padding == padding
    assert layer.kind == "conv2d"
    x = RNG.integers(-128, 128, (2, 4, 7, 6)).astype(np.int16)
    options = {"stride": tuple(attributes.get("strides", (1, 1))), "groups": groups,
               "dilation": tuple(attributes.get("dilations", (1, 1))), "padding": padding}  # fmt: skip
    wanted = bittwin.conv2d(
        x, w.astype(np.int8), c["b"].astype(np.int32), bittwin.readout(256), **options
    )
    np.testing.assert_array_equal(net.run(x), wanted)


@pytest.mark.parametrize("pads", [[1, 0], [1, 0, 1, 0]])
@pytest.mark.parametrize("more", [[1, 0], [1, 0, 1, 0]])
def test_conv_transpose(tmp_path: Path, pads: list[int], more: list[int]) -> None:
    c = {"w": RNG.integers(-50, 51, (2, 3, 3, 2)), "b": np.zeros(3)}
    nodes = [
        node(
            "ConvTranspose",
            ["x", "w", "b"],
            ["a"],
            "up",
            pads=pads,
            output_padding=more,
            strides=[2, 1],
        ),
        node("Scale", ["a"], ["y"], scale=2.0**-8),
    ]
    layer = load(tmp_path, nodes, [1, 2, 4, 5], c).layers[0]
    assert (layer.padding, layer.output_padding) == ((1, 0, 1, 0), (1, 0))


@pytest.mark.parametrize(
    ("between", "signed"),
    [
        ([node("Relu", ["x"], ["t"])], False),
        ([node("Identity", ["x"], ["t"])], True),
        ([node("Relu", ["x"], ["r"]), node("Concat", ["r", "x"], ["c"], axis=1),
          node("Slice", ["c", "zero", "three", "one"], ["t"])], True),
        ([node("Relu", ["x"], ["r"]), node("Concat", ["r", "r"], ["c"], axis=1),
          node("Slice", ["c", "zero", "three", "one"], ["t"])], False),
        ([node("Relu", ["x"], ["r"]), node("Add", ["r", "x"], ["t"])], True),
        ([node("Relu", ["x"], ["r"]), node("Mul", ["r", "r"], ["t"], shift_bit=-7)], False),
        ([node("Relu", ["x"], ["r"]), node("Add", ["r", "minus"], ["t"])], True),
        ([node("Relu", ["x"], ["r"]), node("Mul", ["three", "r"], ["t"])], False),
        ([node("Relu", ["x"], ["r"]), node("Scale", ["r"], ["t"], scale=-2.0)], True),
        ([node("Relu", ["x"], ["r"]), node("Scale", ["r"], ["t"], scale=0.5)], False),
        ([node("Relu", ["x"], ["r"]), node("Scalar", ["r"], ["t"], scale=-1.0, op_types="add")], True),
        ([node("Softmax", ["x"], ["t"], scale_out=0.01)], False),
        ([node("Relu", ["x"], ["r"]), node("FloatScale", ["r"], ["t"], scale=-1.5)], True),
    ],
)  # fmt: skip
def test_signs_that_a_layer_can_meet(tmp_path: Path, between: list[Any], signed: bool) -> None:
    c = weights(RNG, "fc", 3, 2) | {
        "zero": np.array([0]), "one": np.array([1]), "three": np.array([3]), "minus": np.array([-3])
    }  # fmt: skip
    net = load(tmp_path, [*between, *gemm("fc", "t", "y")], [1, 3], c)
    assert net.layers[-1].x_signed is signed
    net.run(RNG.integers(-128, 128, (50, 3)).astype(np.int8))  # nothing refused on the way


# ---------------------------------------------------------------- biases


def test_bias_off_the_grid(tmp_path: Path) -> None:
    bias = np.array([64, 192, -64, -192, 65, 128])
    c = {"fc_w": RNG.integers(-9, 9, (3, 6)), "fc_b": bias}
    nodes = gemm("fc", "x", "y")
    with pytest.warns(
        OnnxWarning, match="rounded 5 entries half even to multiples of 128 .5 of 'fc'"
    ):
        net = load(tmp_path, nodes, [1, 3], c)
    assert net.layers[0].bias.tolist() == [0, 256, 0, -256, 128, 128]
    assert load(tmp_path, nodes, [1, 3], c, bias="keep").layers[0].bias.tolist() == bias.tolist()
    refused(tmp_path, "5 of 6 entries that are no multiple of 128", nodes, [1, 3], c, bias="refuse")
    with pytest.raises(ValueError, match="bias: found 'floor'"):
        load(tmp_path, nodes, [1, 3], c, bias="floor")


# ---------------------------------------------------------------- digital operators

X = np.arange(-128, 128, dtype=np.int8).reshape(-1, 4)


@pytest.mark.parametrize(
    ("op", "attributes", "function", "arguments"),
    [
        ("Relu", {}, bittwin.relu, {}),
        ("Scale", {"scale": 0.25}, bittwin.digital.scale, {"factor": 0.25}),
        ("Scale", {"scale": 1.0}, bittwin.digital.scale, {"factor": 1}),
        ("Scale", {"scale": 3.0}, bittwin.digital.scale, {"factor": 3}),
        ("Scalar", {"scale": 3.0, "shift_bit": -1, "op_types": "mul"}, bittwin.digital.scalar,
         {"number": 3, "shift_bit": -1}),
        ("Scalar", {"scale": 3.0, "op_types": "add"}, bittwin.digital.scalar, {"number": 3, "op": "add"}),
        ("FloatScale", {"scale": 4.25, "clip_bits": 7}, bittwin.digital.float_scale, {"factor": 4.25}),
        ("ClearLowBits", {"bits": 3}, bittwin.digital.clear_low_bits, {"bits": 3}),
        ("Softmax", {"scale_in": 2.0, "scale_out": 0.0078125}, bittwin.digital.softmax,
         {"scale_in": 2.0, "scale_out": 0.0078125}),
        ("ReduceMean", {"axes": [1], "keepdims": 1}, bittwin.digital.reduce_mean,
         {"axes": (1,), "keepdims": True}),
        ("ReduceMean", {"axes": [-1], "keepdims": 0}, bittwin.digital.reduce_mean, {"axes": (1,)}),
        ("Permute", {"dims": [0, 1]}, bittwin.digital.permute, {"dims": (0, 1)}),
    ],
)  # fmt: skip
def test_one_operator(
    tmp_path: Path, op: str, attributes: Any, function: Any, arguments: Any
) -> None:
    net = load(tmp_path, [node(op, ["x"], ["y"], "op", **attributes)], [1, 4])
    np.testing.assert_array_equal(net.run(X), function(X, **arguments))


@pytest.mark.parametrize("shape", [(1, 256), (256,), (1, 1024)])
@pytest.mark.parametrize("signed", [True, False])
def test_act_lut(tmp_path: Path, shape: tuple[int, ...], signed: bool) -> None:
    low = -128 if signed else 0
    table = RNG.integers(low, low + 256, shape)
    nodes = [node("ActLut", ["x"], ["y"], "lut", act_type="tanh", table_params=table)]
    layer = load(tmp_path, nodes, [1, 4]).layers[0]
    assert isinstance(layer, Lookup)
    assert layer.table.dtype == (np.int8 if signed else np.uint8)
    np.testing.assert_array_equal(layer.table, table.reshape(-1))
    refused(
        tmp_path,
        "act_type",
        [node("ActLut", ["x"], ["y"], act_type="gelu", table_params=table)],
        [1, 4],
    )
    refused(
        tmp_path, "table_params.*0 tables", [node("ActLut", ["x"], ["y"], act_type="tanh")], [1, 4]
    )


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("shift", [0, -1, -7, 3])
def test_add_and_mul(tmp_path: Path, op: str, shift: int) -> None:
    function = getattr(bittwin.digital, op.lower())
    nodes = [
        node("Scale", ["x"], ["t"], "t", scale=0.5),
        node(op, ["x", "t"], ["y"], "op", shift_bit=shift),
    ]
    net = load(tmp_path, nodes, [1, 4])
    assert net.inputs["op"] == ("x", "t")
    np.testing.assert_array_equal(net.run(X), function(X, bittwin.digital.scale(X, 0.5), shift))
    for constant in ([5], [[5]], [[1, 2, -3, 4]], [1, 2, -3, 4]):
        c = {"k": np.array(constant)}
        for inputs in (["x", "k"], ["k", "x"]):
            net = load(tmp_path, [node(op, inputs, ["y"], "op", shift_bit=shift)], [1, 4], c)
            wanted = function(X, np.array(constant, np.int8).reshape(-1), shift)
            np.testing.assert_array_equal(net.run(X), wanted)


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
def test_pools(tmp_path: Path, op: str) -> None:
    x = RNG.integers(-128, 128, (3, 2, 5, 6)).astype(np.int8)
    options = {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 0, 0, 1]}
    scales = {"scale_in": 0.5, "scale_out": 0.25} if op == "AveragePool" else {}
    net = load(tmp_path, [node(op, ["x"], ["y"], "pool", **options, **scales)], [1, 2, 5, 6])
    function = bittwin.digital.average_pool if scales else bittwin.digital.max_pool
    wanted = function(x, (2, 3), stride=(2, 1), padding=(1, 0, 0, 1), **scales)
    np.testing.assert_array_equal(net.run(x), wanted)
    one = [node(f"Global{op}", ["x"], ["y"], "pool", **scales)]
    wanted = getattr(bittwin.digital, "global_average_pool" if scales else "global_max_pool")(
        x, **scales
    )
    np.testing.assert_array_equal(load(tmp_path, one, [1, 2, 5, 6]).run(x), wanted)


def test_normalisations(tmp_path: Path) -> None:
    x = RNG.integers(-128, 128, (3, 4)).astype(np.int8)
    c = {"s": RNG.uniform(0.5, 2, 4), "b": RNG.normal(0, 9, 4), "m": RNG.normal(0, 9, 4),
         "v": RNG.uniform(0.5, 2, 4)}  # fmt: skip
    c = {k: v.astype(np.float32) for k, v in c.items()}
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], "bn", epsilon=0.5, scale_in=0.5,
                  scale_out=0.25)]  # fmt: skip
    gamma, beta = bittwin.digital.fold_batch_norm(c["s"], c["b"], c["m"], c["v"], epsilon=0.5)
    wanted = bittwin.digital.batch_norm(x, gamma, beta, scale_in=0.5, scale_out=0.25)
    np.testing.assert_array_equal(load(tmp_path, nodes, [1, 4], c).run(x), wanted)
    nodes = [
        node("GroupNorm", ["x", "s", "b"], ["y"], "gn", num_groups=2, num_channels=4, scale_out=0.5)
    ]
    layer = load(tmp_path, nodes, [1, 4], c).layers[0]
    assert isinstance(layer, GroupNorm)
    assert (layer.num_groups, layer.scale_out) == (2, 0.5)
    nodes = [node("SumNorm", ["x"], ["y"], "sn", scale_out=1 / 128)]
    np.testing.assert_array_equal(
        load(tmp_path, nodes, [1, 4]).run(np.abs(x[:, :]).clip(1).astype(np.int8)),
        bittwin.digital.sum_norm(np.abs(x).clip(1).astype(np.int8), scale_out=1 / 128),
    )


def test_moving_codes(tmp_path: Path) -> None:
    c = {
        "s": np.array([1.0]),
        "e": np.array([2.0**63]),
        "a": np.array([-1.0]),
        "t": np.array([2.0]),
    }
    nodes = [
        node("Split", ["x"], ["p", "q"], "parts", axis=1, split=[1, 3]),
        node("Concat", ["q", "p"], ["k"], "join", axis=1),
        node("Identity", ["k"], ["k2"], "same"),
        node("Slice", ["k2", "s", "e", "a", "t"], ["y"], "cut"),
    ]
    net = load(tmp_path, nodes, [1, 4], c)
    assert [layer.name for layer in net.layers] == ["parts", "q", "join", "cut"]
    joined = np.concatenate([X[:, 1:], X[:, :1]], axis=1)
    np.testing.assert_array_equal(net.run(X), joined[:, 1::2])


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [([1, -1], (-1,)), ([-1, 1], (-1,)), ([12], (12,)), ([0, 12], (12,)), ([7, 12], (12,))],
)
def test_reshape_with_float_shapes_in_the_chips_order(
    tmp_path: Path, sizes: Any, shape: Any
) -> None:
    nodes = [node("Reshape", ["x", "shape"], ["y"], "flat")]
    net = load(tmp_path, nodes, [1, 2, 3, 2], {"shape": np.array(sizes)})
    assert net.layers[0].shape == shape
    x = RNG.integers(-128, 128, (3, 2, 3, 2)).astype(np.int8)
    wanted = x.transpose(0, 3, 2, 1).reshape(3, 12)  # [W][H][C], the channel fastest
    np.testing.assert_array_equal(net.run(x), wanted)
    flat = load(tmp_path, [node("Flatten", ["x"], ["y"], "flat")], [1, 2, 3, 2])
    np.testing.assert_array_equal(flat.run(x), wanted)


# ---------------------------------------------------------------- recurrent operators


def table(rows: int, size: int) -> np.ndarray:
    return RNG.integers(-128, 128, (rows, size))


def recurrent(op: str, inside: int, hidden: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Constants in the order of the node's inputs, and attributes."""
    shapes: dict[str, list[tuple[int, int]]] = {
        "Lstm": [(inside + hidden, 3 * hidden), (inside + hidden, hidden)],
        "Gru": [(inside + hidden, 2 * hidden), (inside + hidden, hidden)],
        "Gru7": [(inside + hidden, 2 * hidden), (hidden, hidden), (inside, hidden)],
        "Gru2Array": [(inside, 3 * hidden), (hidden, 3 * hidden)],
    }
    own = shapes[op]
    c = {f"w{i}": RNG.integers(-60, 61, s) for i, s in enumerate(own)}
    c |= {f"b{i}": 128 * RNG.integers(-20, 21, s[1]) for i, s in enumerate(own)}
    gains = {
        "Lstm": {"scale_ioft": 2048, "scale_ct": 1024},
        "Gru": {"scale_zr": 2048, "scale_ht": 1024},
        "Gru7": {"scale_zr": 2048, "scale_ht": 1024, "scale_in": 512},
        "Gru2Array": {"scale_input": 2048, "scale_hidden": 1024, "input_offset": 0, "groupNum": 1},
    }
    return c, gains[op]


@pytest.mark.parametrize("op", ["Lstm", "Gru", "Gru7", "Gru2Array"])
@pytest.mark.parametrize("form", ["tensor", "list", "initializer too"])
def test_recurrent(tmp_path: Path, op: str, form: str) -> None:
    inside, hidden = 5, 3
    c, attributes = recurrent(op, inside, hidden)
    names = list(c)
    count = 3 if op == "Lstm" else 2
    if form == "list":  # lengths may differ
        tables = [table(1, 1024), table(1, 1024), table(1, 256)][:count]
        attributes["activate_table"] = [
            numpy_helper.from_array(t.astype(np.float32)) for t in tables
        ]
        rows = [t[0] for t in tables]
    else:
        rows = list(table(count, 256))
        attributes["activate_table"] = np.stack(rows)
    attributes["activate_type"] = ["sigmoid", "tanh", "tanh"][:count]
    nodes = [node(op.rstrip("7"), ["x", *names], ["y"], "cell", **attributes)]
    made = model(nodes, {"x": [1, inside]}, ["y"], c)
    if form == "initializer too":  # attribute tensors as initializers, one name twice
        for row in rows[:2]:
            made.graph.initializer.append(
                numpy_helper.from_array(row.astype(np.float32), "act_table")
            )
    net = load_onnx(write(tmp_path, made))
    cell = net.layers[0].cell
    assert cell.clean_after == 0  # what the attributes that are left out stand for
    assert cell.shift_bits == {"Lstm": (0, 0, -7, -7), "Gru2Array": (-7, -7, 0, 0)}.get(
        op, (-7, -7)
    )
    assert getattr(cell, "ones", 0) == {"Lstm": 0, "Gru2Array": 128}.get(op, 127)
    assert getattr(cell, "hidden_shift", 0) == 0
    arrays = {k: v for k, v in cell.arrays().items() if "table" not in k}
    transposed = [c[n].T if n.startswith("w") else c[n] for n in names]
    for mine, theirs in zip(arrays.values(), transposed, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    found = [v for k, v in cell.arrays().items() if "table" in k]
    for mine, theirs in zip(found, rows, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert net.run(RNG.integers(-100, 100, (7, inside)).astype(np.int16)).shape == (7, hidden)


@pytest.mark.parametrize(
    ("op", "attribute", "value", "field", "wanted"),
    [
        ("Lstm", "shift_bits", [-7, -6], "shift_bits", (-7, -6)),
        ("Lstm", "shift_bits", [1, -3, -7, -10], "shift_bits", (1, -3, -7, -10)),
        ("Lstm", "clean_ctht", 4, "clean_after", 4),
        ("Gru", "scale_ones", 128, "ones", 128),
        ("Gru", "clean_ht", 5, "clean_after", 5),
        ("Gru7", "shift_bits", [-6, -7], "shift_bits", (-6, -7)),
        ("Gru2Array", "hidden_shift_bit", -1, "hidden_shift", -1),
        ("Gru2Array", "shift_bits", [-7, -7, -1, 1], "shift_bits", (-7, -7, -1, 1)),
    ],
)
def test_recurrent_attributes(
    tmp_path: Path, op: str, attribute: str, value: Any, field: str, wanted: Any
) -> None:
    c, attributes = recurrent(op, 4, 2)
    attributes |= {"activate_table": table(3 if op == "Lstm" else 2, 256), attribute: value}
    nodes = [node(op.rstrip("7"), ["x", *c], ["y"], "cell", **attributes)]
    assert getattr(load(tmp_path, nodes, [1, 4], c).layers[0].cell, field) == wanted
    if op == "Lstm":
        bad = attributes | {"shift_bits": [1, 2, 3]}
        refused(
            tmp_path, "3 entries, wanted 2 or 4", [node(op, ["x", *c], ["y"], **bad)], [1, 4], c
        )


def test_tdnn(tmp_path: Path) -> None:
    w, bias = RNG.integers(-60, 61, (6, 4)), 128 * RNG.integers(-9, 10, 4)
    nodes = [node("Tdnn", ["x", "w"], ["y"], "tdnn", time_offsets=np.array([-5, 5]), bias_params=bias,
                  scale_params=512)]  # fmt: skip
    net = load(tmp_path, nodes, [1, 3], {"w": w})
    assert net.layers[0].cell.offsets == (-5, 5)
    x = RNG.integers(0, 256, (30, 3)).astype(np.uint8)
    past = np.concatenate([np.zeros((10, 3), int), x])
    u = np.concatenate([past[:30], past[10:40]], axis=1)
    np.testing.assert_array_equal(net.run(x), gain_round(u @ w + bias, 512))


# ---------------------------------------------------------------- time


def test_over_time(tmp_path: Path) -> None:
    """Convolutions, a Reshape with frames first, a recurrent layer, and back: frames are columns."""
    cell, attributes = recurrent("Lstm", 6, 4)
    c = {"w": RNG.integers(-60, 61, (3, 2, 3, 2)), "b": np.zeros(3), "rows": np.array([50.0, 6.0]),
         "image": np.array([1.0, 4.0, 1.0, 50.0])} | {f"l{k}": v for k, v in cell.items()}  # fmt: skip
    nodes = [
        node("Conv", ["x", "w", "b"], ["a"], "conv", pads=[1, 1, 0, 0], strides=[2, 1]),
        node("Scale", ["a"], ["s"], scale=2.0**-8),
        node("Reshape", ["s", "rows"], ["r"]),
        node(
            "Lstm",
            ["r", *(f"l{k}" for k in cell)],
            ["h"],
            "lstm",
            activate_table=table(3, 256),
            **attributes,
        ),
        node("Reshape", ["h", "image"], ["y"], "image"),
    ]
    net = load(tmp_path, nodes, [1, 2, 4, 50], c)
    assert net.input_shapes == {"x": (2, 4, 1)}
    assert [layer.kind for layer in net.layers] == ["stream_conv2d", "reshape", "lstm", "reshape"]
    x = RNG.integers(-128, 128, (20, 2, 4, 1)).astype(np.int8)
    trace = net.run(x, trace=True)
    image = np.ascontiguousarray(x[..., 0].transpose(1, 2, 0))[None]
    wanted = bittwin.conv2d(image, c["w"].astype(np.int8), None, bittwin.readout(256), stride=(2, 1),
                            padding=(1, 1, 0, 0))  # fmt: skip
    np.testing.assert_array_equal(trace["conv"][..., 0].transpose(1, 2, 0)[None], wanted)
    np.testing.assert_array_equal(
        trace["r"], trace["conv"][..., 0].transpose(0, 2, 1).reshape(20, 6)
    )
    assert trace.output.shape == (20, 4, 1, 1)
    one = [nodes[0], node("Scale", ["a"], ["y"], scale=2.0**-8)]
    assert load(tmp_path, one, [1, 2, 4, 50], c).layers[0].kind == "conv2d"
    assert load(tmp_path, one, [1, 2, 4, 50], c, time="frames").layers[0].kind == "stream_conv2d"
    late = [node("Conv", ["x", "w", "b"], ["a"], "conv", pads=[1, 0, 0, 1]), one[1]]
    refused(
        tmp_path, "1 columns on the left, none on the right", late, [1, 2, 4, 50], c, time="frames"
    )
    # The config's tdnn_mode keeps history in place of the padding that the file leaves out.
    bare = [node("Conv", ["x", "w", "b"], ["a"], "conv", pads=[1, 0, 0, 0], strides=[2, 1]), one[1]]
    tdnn = {"conv": LayerOptions("conv", tdnn_mode=True, signed_input=2)}
    made = load(tmp_path, bare, [1, 2, 4, 50], c, optimize=tdnn)
    np.testing.assert_array_equal(made.run(x), trace["conv"])
    refused(tmp_path, "1 columns on the left", bare, [1, 2, 4, 50], c, time="frames")
    pool = [node("GlobalAveragePool", ["x"], ["y"])]
    refused(tmp_path, "over all frames", pool, [1, 2, 4, 50], time="frames")
    cut = [node("Concat", ["x", "x"], ["y"], axis=3)]
    refused(tmp_path, "the time axis", cut, [1, 2, 4, 50], time="frames")


# ---------------------------------------------------------------- names, shapes, leftovers


def test_names(tmp_path: Path) -> None:
    c = weights(RNG, "x1", 3, 3) | weights(RNG, "fc", 3, 3)
    nodes = [*gemm("x1", "x", "t"), *gemm("fc", "t", "y")]
    nodes[0].name, nodes[2].name = "", "x"  # no name; the name of the input
    net = load(tmp_path, nodes, [1, 3], c)
    assert [layer.name for layer in net.layers] == ["x1_acc", "fc_acc"]
    relus = [node("Relu", ["x"], ["r"], "same"), node("Relu", ["r"], ["y"], "same")]
    assert [layer.name for layer in load(tmp_path, relus, [1, 3]).layers] == ["same", "y"]


def test_declared_width_is_wrong(tmp_path: Path) -> None:
    with pytest.warns(OnnxWarning, match=r"declares \(5,\), its weights want \(3,\)"):
        net = load(tmp_path, gemm("fc", "x", "y"), [1, 5], weights(RNG, "fc", 3, 2))
    assert net.input_shapes == {"x": (3,)}


def test_unused_parts_and_open_sizes(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"], "a"), node("Relu", ["x"], ["z"], "b")]
    with pytest.warns(OnnxWarning, match="'b', which no output needs"):
        net = load(tmp_path, nodes, ["N", "width"])
    assert net.input_shapes == {"x": None}


def test_two_inputs_and_outputs(tmp_path: Path) -> None:
    nodes = [node("Add", ["p", "q"], ["s"], "sum"), node("Relu", ["s"], ["y"], "relu")]
    net = load_onnx(write(tmp_path, model(nodes, {"p": [1, 3], "q": [1, 3]}, ["y", "s"])))
    assert net.outputs == ("relu", "sum")
    assert net.input_shapes == {"p": (3,), "q": (3,)}


def test_settings_by_layer(tmp_path: Path) -> None:
    nodes = [node("AveragePool", ["x"], ["y"], "pool", kernel_shape=[1, 2])]
    choice = {"pool": {"rounding": "half_even", "count_padding": False}}
    layer = load(tmp_path, nodes, [1, 1, 1, 4], settings=choice).layers[0]
    assert (layer.rounding, layer.count_padding) == ("half_even", False)
    refused(tmp_path, "'nobody', which is no layer", nodes, [1, 1, 1, 4], settings={"nobody": {}})
    refused(tmp_path, "layer 'pool'.*colour", nodes, [1, 1, 1, 4], settings={"pool": {"colour": 1}})


@pytest.mark.parametrize(
    ("match", "nodes"),
    [
        (r"node 'd' \(Div\): found an unsupported operator; supported: ActLut, Add", ("Div", {})),
        (r"'d' \(Splice\): found an unsupported operator", ("Splice", {"axis": 1, "context": [0]})),
        (r"'d' \(Relu\): found the attribute 'leak', which is not supported; supported: none",
         ("Relu", {"leak": 0.1})),
        (r"'d' \(Scale\).*supported: scale", ("Scale", {"scale": 0.5, "bias": 1.0})),
        (r"'d' \(Scale\).*2\^-n", ("Scale", {"scale": 0.3})),
        (r"'d' \(Scale\): attribute 'scale': found None", ("Scale", {})),
        (r"'d' \(ReduceMean\).*wanted an axis of the frame's", ("ReduceMean", {"axes": [0]})),
        (r"'d' \(Transpose\).*starts with 0", ("Transpose", {})),
        (r"'d' \(ClearLowBits\).*bits: found 9", ("ClearLowBits", {"bits": 9})),
    ],
)  # fmt: skip
def test_refusals_name_node_operator_attribute(tmp_path: Path, match: str, nodes: Any) -> None:
    op, attributes = nodes
    inputs = ["x", "x"] if op == "Div" else ["x"]
    refused(tmp_path, match, [node(op, inputs, ["y"], "d", **attributes)], [1, 4])


def test_foreign_domain(tmp_path: Path) -> None:
    foreign = helper.make_node("Relu", ["x"], ["y"], name="f", domain="com.example")
    refused(tmp_path, r"com\.example::Relu", [foreign], [1, 4])


def test_weights_must_be_integers(tmp_path: Path) -> None:
    c = weights(RNG, "fc", 3, 2)
    c["fc_w"] = c["fc_w"] + np.array([[0, 0], [0, 0.5], [0, 0]])
    refused(
        tmp_path,
        r"'fc_w': found .* at index \(1, 1\), wanted integers",
        gemm("fc", "x", "y"),
        [1, 3],
        c,
    )


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, model([node("Relu", ["x"], ["y"])], {"x": [1, 4]}, ["y"]))
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"install bittwin\[onnx\]"):
        load_onnx(path)


def test_gemm_keeps_wide_weights(tmp_path: Path) -> None:
    c = {"fc_w": np.array([[275], [-275]]), "fc_b": np.zeros(1)}
    layer = load(tmp_path, gemm("fc", "x", "y"), [1, 2], c).layers[0]
    assert isinstance(layer, Linear)
    assert layer.weight.dtype == np.int16
