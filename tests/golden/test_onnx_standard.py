# SPDX-License-Identifier: Apache-2.0
"""Standard quantised ONNX: every code and every value equals onnxruntime's."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")
pytest.importorskip("onnx", reason="reading ONNX files needs the package onnx")
pytest.importorskip("onnxruntime", reason="no onnxruntime to compare with")

import onnxruntime as ort
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_cases import model, node

import bittwin
from bittwin.onnx import load_onnx

TYPES = {np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3}


def has_vnni() -> bool:
    """Without VNNI (or on other processors) onnxruntime's 8-bit products may saturate in 16 bits."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine() in ("arm64", "aarch64")


needs_vnni = pytest.mark.skipif(
    not has_vnni(), reason="onnxruntime may saturate on a CPU without VNNI"
)
pytestmark = needs_vnni


def compare(
    folder: Path,
    nodes: list[Any],
    x: np.ndarray,
    constants: dict[str, np.ndarray],
    outputs: tuple[str, ...] = ("y",),
) -> Any:
    shape = ["N", *x.shape[1:]]
    made = model(
        nodes,
        {"x": shape},
        outputs,
        constants,
        opset=17,
        keep_types=True,
        types={"x": TYPES[x.dtype]},
    )
    for value in made.graph.output:  # onnxruntime infers them
        value.ClearField("type")
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})
    net = load_onnx(path)
    found = net.run(x)
    each = list(found.values()) if isinstance(found, dict) else [found]
    for mine, theirs in zip(each, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert (
        bittwin.Network(
            net.layers,
            net.name,
            inputs=net.inputs,
            outputs=net.outputs,
            input_shapes=net.input_shapes,
        )
        == net
    )
    return net


def codes(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Codes with many at the ends."""
    info = np.iinfo(dtype)
    some = rng.integers(info.min, info.max + 1, shape)
    ends = rng.choice([info.min, info.max, 0], shape)
    return np.where(rng.random(shape) < 0.4, ends, some).astype(dtype)


def point(rng: np.random.Generator, dtype: str, size: int | None = None) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.asarray(rng.integers(info.min, info.max + 1, size), dtype)


DTYPES = st.sampled_from(["uint8", "int8"])
SEEDS = st.integers(0, 1 << 20)


@settings(max_examples=60)
@given(seed=SEEDS, x_dtype=DTYPES, w_dtype=DTYPES, per_channel=st.booleans())
def test_qlinear_matmul(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    x_dtype: str,
    w_dtype: str,
    per_channel: bool,
) -> None:
    rng = np.random.default_rng(seed)
    # onnxruntime takes uint8 x with either weight, int8 x with int8 weights; y is of x's type.
    w_dtype = "int8" if x_dtype == "int8" else w_dtype
    rows, inside, columns = (int(v) for v in rng.integers(1, 70, 3))
    count = columns if per_channel else None
    # Ties are common where the scale is a power of two.
    scale = (2.0 ** rng.integers(-12, -6, count)) if seed % 2 else rng.uniform(1e-4, 2e-3, count)
    constants = {
        "xs": np.float32(0.5 if seed % 2 else rng.uniform(0.3, 0.9)),
        "xz": point(rng, x_dtype),
        "w": codes(rng, w_dtype, (inside, columns)),
        "ws": np.asarray(scale, np.float32),
        "wz": point(rng, w_dtype, count),
        "ys": np.float32(0.25 if seed % 2 else rng.uniform(0.1, 0.9)),
        "yz": point(rng, x_dtype),
    }
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    folder = tmp_path_factory.mktemp("q")
    constants = {k: np.asarray(v) for k, v in constants.items()}
    compare(
        folder,
        [node("QLinearMatMul", names, ["y"], "fc")],
        codes(rng, x_dtype, (rows, inside)),
        constants,
    )


def test_order_of_the_scales(tmp_path: Path) -> None:
    """(x * w) / y, one float32 rounding each: scales where x * (w / y) is on the other side of a tie."""
    rng = np.random.default_rng(0)
    one, found = np.ones((1, 1), np.uint8), []
    while len(found) < 4:
        xs, ws = rng.uniform(0.1, 1, 2).astype(np.float32)
        ys = np.float32(2 * xs * ws)
        first, second = (xs * ws) / ys, xs * (ws / ys)
        if (first > 0.5) != (second > 0.5):
            found.append((xs, ws, ys))
    for xs, ws, ys in found:
        c = {"xs": xs, "ws": ws, "ys": ys, "z": np.uint8(0), "w": one}
        names = ["x", "xs", "z", "w", "ws", "z", "ys", "z"]
        constants = {k: np.asarray(v) for k, v in c.items()}
        compare(tmp_path, [node("QLinearMatMul", names, ["y"], "fc")], one, constants)


@settings(max_examples=60)
@given(seed=SEEDS, x_dtype=DTYPES, w_dtype=DTYPES, per_channel=st.booleans(), bias=st.booleans())
def test_qlinear_conv(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    x_dtype: str,
    w_dtype: str,
    per_channel: bool,
    bias: bool,
) -> None:
    rng = np.random.default_rng(seed)
    # onnxruntime takes uint8 x with either weight, int8 x with int8 weights.
    w_dtype = "int8" if x_dtype == "int8" else w_dtype
    groups = int(rng.choice([1, 1, 2]))
    inputs, outputs = groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 5))
    kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
    count = outputs if per_channel else None
    constants = {
        "xs": np.float32(rng.uniform(0.3, 0.9)),
        "xz": point(rng, x_dtype),
        "w": codes(rng, w_dtype, (outputs, inputs // groups, *kernel)),
        "ws": np.asarray(rng.uniform(1e-3, 1e-2, count), np.float32),
        # one zero point for all channels: the only form onnxruntime takes
        "wz": np.full(count, point(rng, w_dtype)) if per_channel else point(rng, w_dtype),
        "ys": np.float32(rng.uniform(0.1, 0.9)),
        "yz": point(rng, x_dtype),
    }
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    if bias:
        constants["b"] = rng.integers(-5000, 5000, outputs).astype(np.int32)
        names.append("b")
    attributes = {
        "strides": [int(v) for v in rng.integers(1, 3, 2)],
        "pads": [int(v) for v in rng.integers(0, 3, 4)],
        "dilations": [int(v) for v in rng.integers(1, 3, 2)],
        "group": groups,
    }
    x = codes(rng, x_dtype, (int(rng.integers(1, 4)), inputs, 9, 8))
    folder = tmp_path_factory.mktemp("q")
    constants = {k: np.asarray(v) for k, v in constants.items()}
    compare(folder, [node("QLinearConv", names, ["y"], "conv", **attributes)], x, constants)


@settings(max_examples=40)
@given(seed=SEEDS, x_dtype=DTYPES, w_dtype=DTYPES, points=st.integers(0, 2))
def test_matmul_integer(
    tmp_path_factory: pytest.TempPathFactory, seed: int, x_dtype: str, w_dtype: str, points: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, inside, columns = (int(v) for v in rng.integers(1, 70, 3))
    constants = {"w": codes(rng, w_dtype, (inside, columns))}
    names = ["x", "w"]
    if points:
        constants["xz"] = point(rng, x_dtype)
        constants["wz"] = point(rng, w_dtype, None if points == 1 else columns)
        names += ["xz", "wz"]
    folder = tmp_path_factory.mktemp("q")
    x = codes(rng, x_dtype, (rows, inside))
    compare(folder, [node("MatMulInteger", names, ["y"], "fc")], x, constants)


@settings(max_examples=30)
@given(seed=SEEDS, zero=st.booleans())
def test_conv_integer(tmp_path_factory: pytest.TempPathFactory, seed: int, zero: bool) -> None:
    rng = np.random.default_rng(seed)
    constants = {"w": codes(rng, "uint8", (4, 3, 3, 2))}
    names = ["x", "w"]
    if zero:
        constants |= {"xz": point(rng, "uint8"), "wz": point(rng, "uint8")}
        names += ["xz", "wz"]
    pads = [int(v) for v in rng.integers(0, 3, 4)]
    folder = tmp_path_factory.mktemp("q")
    x = codes(rng, "uint8", (2, 3, 7, 6))
    compare(folder, [node("ConvInteger", names, ["y"], "c", pads=pads)], x, constants)


@settings(max_examples=40)
@given(seed=SEEDS, dtype=DTYPES, per_channel=st.booleans())
def test_quantize_and_dequantize(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dtype: str, per_channel: bool
) -> None:
    rng = np.random.default_rng(seed)
    count = 5 if per_channel else None
    scale = np.asarray(
        2.0 ** rng.integers(-4, 3, count) if seed % 2 else rng.uniform(0.01, 3, count)
    )
    constants = {"s": scale.astype(np.float32), "z": point(rng, dtype, count)}
    # Values beside the ties, where a product with the reciprocal would round otherwise.
    along = (
        np.reshape(scale.astype(np.float32), (-1, 1)) if per_channel else scale.astype(np.float32)
    )
    x = (rng.integers(-300, 300, (40, 5, 3)) * np.float32(0.5) * along).astype(np.float32)
    x[0, 0] = [np.float32(3.4e38), np.float32(-3.4e38), np.inf]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize", axis=1),
        node("DequantizeLinear", ["q", "s", "z"], ["y"], "dequantize", axis=1),
    ]
    compare(tmp_path_factory.mktemp("q"), nodes, x, constants, ("q", "y"))


def test_a_whole_network(tmp_path: Path) -> None:
    """Values in, values out, with every operator that moves codes between."""
    rng = np.random.default_rng(5)
    c = {
        "s0": np.float32(0.05), "z0": np.uint8(120),
        "w1": codes(rng, "int8", (6, 2, 3, 3)), "ws1": rng.uniform(0.001, 0.01, 6).astype(np.float32),
        "wz1": np.zeros(6, np.int8), "s1": np.float32(0.1), "z1": np.uint8(100),
        "b1": rng.integers(-900, 900, 6).astype(np.int32),
        "shape": np.array([0, 6, 8], np.int64), "flat": np.array([-1, 48], np.int64),
        "starts": np.array([1], np.int64), "ends": np.array([1 << 60], np.int64),
        "axes": np.array([1], np.int64),
        "w2": codes(rng, "int8", (40, 7)), "ws2": np.float32(0.004), "wz2": np.int8(0),
        "s2": np.float32(0.2), "z2": np.uint8(3),
    }  # fmt: skip
    c["w2"] = codes(rng, "int8", (56, 7))
    nodes = [
        node("QuantizeLinear", ["x", "s0", "z0"], ["q"]),
        node("QLinearConv", ["q", "s0", "z0", "w1", "ws1", "wz1", "s1", "z1", "b1"], ["c"], "conv",
             pads=[1, 1, 1, 1]),
        node("MaxPool", ["c"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Transpose", ["m"], ["t"], perm=[0, 1, 3, 2]),
        node("Reshape", ["t", "shape"], ["r"]),
        node("Split", ["r"], ["r1", "r2"], axis=1),
        node("Concat", ["r2", "r1", "r1"], ["k"], axis=1),
        node("Slice", ["k", "starts", "ends", "axes"], ["sl"]),
        node("Slice", ["sl", "starts", "ends", "axes"], ["sl2"]),
        node("Flatten", ["sl2"], ["f"]),
        node("QLinearMatMul", ["f", "s1", "z1", "w2", "ws2", "wz2", "s2", "z2"], ["o"], "fc"),
        node("DequantizeLinear", ["o", "s2", "z2"], ["y"]),
    ]  # fmt: skip
    x = rng.normal(0, 3, (4, 2, 7, 3)).astype(np.float32)
    c = {k: np.asarray(v) for k, v in c.items()}
    net = compare(tmp_path, nodes, x, c, ("y", "k"))
    assert [layer.name for layer in net.layers][:3] == ["q", "conv.acc", "conv"]
    assert "refuse" in str(net.layers[1].overflow)


def check_refused(folder: Path, match: str, *nodes: Any, **more: Any) -> None:
    constants = more.pop("constants", {})
    types = {"x": more.pop("type", 2)}
    made = model(nodes, {"x": [1, 4]}, ["y"], constants, keep_types=True, types=types, **more)
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(bittwin.NetworkError, match=match):
        load_onnx(path)


def test_refusals(tmp_path: Path) -> None:
    w = {"w": np.ones((4, 2), np.int8), "z": np.int8(1), "s": np.float32(1), "s0": np.float32(0)}
    w = {k: np.asarray(v) for k, v in w.items()}
    fc = node("MatMulInteger", ["x", "w"], ["y"], "fc")
    check_refused(tmp_path, "opset: found 12, wanted 13", fc, constants=w, opset=12)
    check_refused(tmp_path, r"'fc' \(MatMulInteger\).*found float32", fc, constants=w, type=1)
    point = node("MatMulInteger", ["x", "w", "z"], ["y"], "fc")
    check_refused(tmp_path, "int8 zero point of uint8 codes", point, constants=w)
    add = node("Gelu", ["y0"], ["y"], "g")
    first = node("MatMulInteger", ["x", "w"], ["y0"], "fc")
    check_refused(
        tmp_path, r"'g' \(Gelu\).*unsupported operator; supported: Concat", first, add, constants=w
    )
    zero = node("DequantizeLinear", ["x", "s0"], ["y"], "d")
    check_refused(tmp_path, "scale: wanted finite numbers above 0", zero, constants=w)
    other = node("MatMulInteger", ["x", "w"], ["y"], "fc", alpha=2)
    check_refused(
        tmp_path, "attribute 'alpha', which is not supported; supported: none", other, constants=w
    )
    values = node("DequantizeLinear", ["w", "s"], ["y"], "d")
    check_refused(tmp_path, r"'d' \(Dequan.*constant 'w'.*\(QDQ\) are not", values, constants=w)
    blocks = node("DequantizeLinear", ["x", "s"], ["y"], "d", block_size=2)
    check_refused(tmp_path, "block_size", blocks, constants=w)
    two = [fc, node("Scale", ["x"], ["y2"], "s", scale=1.0)]
    check_refused(tmp_path, r"'s' \(Scale\)", *two, constants=w)
