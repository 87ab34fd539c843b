# SPDX-License-Identifier: Apache-2.0
"""Files that lie: they are read, or refused with one of our errors, and nothing large is allocated."""

from __future__ import annotations

import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="property tests need hypothesis")
pytest.importorskip("onnx", reason="reading ONNX files needs the package onnx")

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_cases import gemm, model, node, weights, write

from bittwin.errors import BittwinError, NetworkError
from bittwin.onnx import OnnxWarning, load_onnx

RNG = np.random.default_rng(2)


def lie(folder: Path, made: Any, match: str) -> None:
    with pytest.raises(NetworkError, match=match):
        load_onnx(write(folder, made))


def one_gemm() -> Any:
    return model(gemm("fc", "x", "y"), {"x": [1, 3]}, ["y"], weights(RNG, "fc", 3, 2))


def test_tensors_that_lie_about_their_size(tmp_path: Path) -> None:
    made = one_gemm()
    made.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    tracemalloc.start()
    lie(tmp_path, made, rf"'fc_w': found 24 bytes, wanted {4 << 80} for shape")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    made.graph.initializer[0].dims[:] = [2, 2]
    lie(tmp_path, made, "found 24 bytes, wanted 16")
    made.graph.initializer[0].dims[:] = [-1, 3]
    lie(tmp_path, made, "none < 0")
    made.graph.initializer[0].dims[:] = [1] * 9
    lie(tmp_path, made, "at most 8 axes")
    made = one_gemm()
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].float_data.extend([1.0, 2.0])
    lie(tmp_path, made, "found 2 entries, wanted 6")
    made.graph.initializer[0].data_type = 8
    lie(tmp_path, made, "data type 8")
    made = one_gemm()
    made.graph.initializer[0].data_type = onnx.TensorProto.INT8
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].int32_data.extend([1, 2, 3, 4, 5, 128])
    lie(tmp_path, made, "outside int8")


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("../secret", "in the folder of the model"),
        ("/etc/hostname", "in the folder of the model"),
        ("inside/../../secret", "in the folder of the model"),
        ("link", "in the folder of the model"),
        ("", "in the folder of the model"),
        (".", "in the folder of the model"),
        ("absent", "no file 'absent'"),
        ("short", "in a file of 3, wanted 24"),
        ("nul\0", "unusable|no file"),
    ],
)
def test_external_data(tmp_path: Path, location: str, match: str) -> None:
    folder = tmp_path / "models"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(24))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "short").write_bytes(bytes(3))
    lie(folder, external(location), match)


def external(location: str, **entries: str) -> Any:
    made = one_gemm()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": location} | entries).items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return made


def test_external_data_beside_the_file(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(3, 2)
    (tmp_path / "data").write_bytes(bytes(8) + numbers.tobytes())
    path = write(tmp_path, external("data", offset="8", length="24"))
    np.testing.assert_array_equal(load_onnx(path).layers[0].weight, numbers.T)
    lie(tmp_path, external("data", offset="-8", length="24"), "at -8")
    lie(tmp_path, external("data", offset="9", length="24"), "in a file of 32")
    lie(tmp_path, external("data", offset="x"), "unusable")
    lie(tmp_path, external("data", length=str(1 << 60)), "wanted 24")


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "without nodes"), (b"\xff" * 99, "no readable ONNX"), (b"PK\x03\x04 no", "ONNX")],
)
def test_no_onnx_files(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(NetworkError, match=match):
        load_onnx(path)
    with pytest.raises(OSError, match=r"absent\.onnx"):
        load_onnx(tmp_path / "absent.onnx")


def test_duplicate_initializers(tmp_path: Path) -> None:
    made = one_gemm()
    made.graph.initializer.append(made.graph.initializer[0])
    assert load_onnx(write(tmp_path, made)).layers[0].name == "fc"
    made.graph.initializer[2].raw_data = bytes(24)
    lie(tmp_path, made, "'fc_w': found twice with different numbers")


def test_graphs_that_lie(tmp_path: Path) -> None:
    relu = node("Relu", ["x"], ["y"], "r")
    lie(tmp_path, model([relu], {"x": [1, 1 << 40]}, ["y"]), "wanted at most")
    lie(tmp_path, model([relu], {"x": [1, 4]}, ["z"]), "output 'z': found no layer")
    lie(tmp_path, model([relu], {"x": [1, 4]}, ["x"]), "output 'x': found no layer")
    lie(tmp_path, model([relu, relu], {"x": [1, 4]}, ["y"]), "made twice")
    late = node("Relu", ["later"], ["y"], "r")
    lie(tmp_path, model([late], {"x": [1, 4]}, ["y"]), "'later', which no node before it makes")
    grow = [node("Concat", [f"t{i}"] * 16, [f"t{i + 1}"], axis=1) for i in range(12)]
    grow[0].input[:] = ["x"] * 16
    lie(tmp_path, model(grow, {"x": [1, 4]}, ["t12"]), "codes in a frame, wanted at most")
    c = {"w": np.ones((1, 1, 1, 1)), "b": np.zeros(1)}
    wide = [node("Conv", ["x", "w", "b"], ["a"], "c", pads=[1 << 20] * 4),
            node("Scale", ["a"], ["s"], scale=2.0**-8), node("Flatten", ["s"], ["y"])]  # fmt: skip
    lie(
        tmp_path,
        model(wide, {"x": [1, 1, 1, 1]}, ["y"], c),
        "codes in a frame, wanted at most|found",
    )
    body = onnx.helper.make_graph([], "b", [], [])
    loop = onnx.helper.make_node("Relu", ["x"], ["y"], name="r", body=body)
    lie(tmp_path, model([loop], {"x": [1, 4]}, ["y"]), "'body', which is not supported")
    twice = node("Scale", ["x"], ["y"], "s", scale=0.5)
    twice.attribute.append(twice.attribute[0])
    lie(tmp_path, model([twice], {"x": [1, 4]}, ["y"]), "'scale' twice")


def test_small_files_that_want_much_work(tmp_path: Path) -> None:
    """Neither huge windows nor thousands of nameless nodes cost time or memory before the first frame."""
    count = 5000
    nameless = [onnx.helper.make_node("Relu", ["x"], [], name="n") for _ in range(count)]
    row = [node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"], f"n{i}") for i in range(count)]
    whole = [node("Relu", ["x"], ["y"], "r")]
    start = time.process_time()
    with pytest.warns(OnnxWarning, match="which no output needs"):
        load_onnx(write(tmp_path, model([*nameless, *whole], {"x": [1, 4]}, ["y"])))
    load_onnx(write(tmp_path, model(row, {"x": [1, 4]}, [f"t{count}"])))
    for op, wide in (("MaxPool", 1 << 12), ("AveragePool", 1 << 12), ("MaxPool", 1 << 20)):
        options = {"kernel_shape": [wide, wide], "pads": [wide // 2] * 4}
        made = model([node(op, ["x"], ["y"], "p", **options)], {"x": [1, 1, 8, 8]}, ["y"])
        if wide > 1 << 12:
            lie(tmp_path, made, r"'p' \(MaxPool\): attribute 'pads': found \(1, 1048584.*at most")
            continue
        counted = {"p": {"count_padding": False}} if op == "AveragePool" else None
        tracemalloc.start()
        assert load_onnx(write(tmp_path, made), settings=counted).layers[0].kernel == (wide, wide)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
        tracemalloc.stop()
    assert time.process_time() - start < 20  # seconds; minutes where work grows with the square


def test_names_do_not_reach_a_terminal_raw(tmp_path: Path) -> None:
    made = model([node("Re\x1b[31mlu", ["x"], ["y"], "a\nb")], {"x": [1, 4]}, ["y"])
    with pytest.raises(NetworkError) as caught:
        load_onnx(write(tmp_path, made))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "no readable JSON"), ("[" * 100_000, "JSON"), ("[]", "wanted an object"),
        ('{"layers": {"r": {"kind": "lstm"}}}', "settings of layer 'r'"),
        ('{"layers": {"r": {"gain": 3}}}', "gain"), ('{"layers": {"r": []}}', "settings|"),
        ('{"layers": {"r": {"dtypes": {"weight": "object"}}}}', "dtypes"),
        ('{"layers": {"r": {"dtypes": 5}}}', "settings of layer"),
        ('{"layers": {"r": {"without": ["weight"]}}}', "wanted a bias"),
        ('{"layers": {"r": {"name": "other"}}}', "another name"),
        ('{"layers": {"nobody": {}}}', "'nobody', which is no layer"),
    ],
)  # fmt: skip
def test_metadata_that_lies(tmp_path: Path, text: str, match: str) -> None:
    made = model([node("Relu", ["x"], ["y"], "r")], {"x": [1, 4]}, ["y"])
    entry = made.metadata_props.add()
    entry.key, entry.value = "bittwin", text
    if text.endswith("[]}}"):  # an empty list changes nothing
        load_onnx(write(tmp_path, made))
        return
    lie(tmp_path, made, match)


# ---------------------------------------------------------------- fuzzing


def everything() -> bytes:
    """One file with many operators."""
    rng = np.random.default_rng(0)
    c = weights(rng, "fc", 6, 4) | {
        "cw": rng.integers(-9, 9, (2, 1, 2, 2)), "cb": 128 * rng.integers(-9, 9, 2),
        "shape": np.array([1, 6]), "lw1": rng.integers(-9, 9, (6, 6)), "lw2": rng.integers(-9, 9, (6, 2)),
        "lb1": np.zeros(6), "lb2": np.zeros(2), "k": np.array([3]), "st": np.array([0]), "en": np.array([4]),
        "ax": np.array([1]),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "cw", "cb"], ["a"], "conv", pads=[0, 0, 1, 0], strides=[1, 1]),
        node("Scale", ["a"], ["s"], scale=2.0**-8),
        node("MaxPool", ["s"], ["m"], "pool", kernel_shape=[1, 1], strides=[1, 1]),
        node("Reshape", ["m", "shape"], ["r"], "reshape"),
        *gemm("fc", "r", "g"),
        node("Lstm", ["g", "lw1", "lw2", "lb1", "lb2"], ["h"], "lstm", scale_ioft=1024, scale_ct=1024,
             activate_table=rng.integers(-128, 128, (3, 256)), activate_type=["sigmoid", "tanh", "tanh"],
             shift_bits=[-7, -7]),
        node("Split", ["h"], ["h1", "h2"], axis=1),
        node("Add", ["h1", "h2"], ["sum"], "add", shift_bit=-1),
        node("Concat", ["sum", "h"], ["cat"], "cat", axis=1),
        node("Mul", ["cat", "k"], ["mul"], "mul", shift_bit=-2),
        node("Slice", ["mul", "st", "en", "ax"], ["cut"], "cut"),
        node("Softmax", ["cut"], ["y"], "softmax", scale_in=0.1, scale_out=0.0078),
    ]  # fmt: skip
    return model(nodes, {"x": [1, 1, 3, 2]}, ["y"], c).SerializeToString()  # type: ignore[no-any-return]


WHOLE = everything()


def read(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OnnxWarning)
        try:
            net = load_onnx(path, time="image")
        except (BittwinError, OSError):
            return
        shapes = net.input_shapes
        if all(v is not None and np.prod(v) < 10**5 for v in shapes.values()) and all(
            np.prod(v) < 10**6 for v in net.shapes(shapes).values()
        ):
            try:
                net.run({k: np.zeros((2, *v), np.uint8) for k, v in shapes.items()})
            except BittwinError:
                return


def test_the_whole_file_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(WHOLE)
    net = load_onnx(path, time="image")
    assert net.run(np.zeros((5, 1, 3, 2), np.uint8)).shape[0] == 5


CHANGE = st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))


@settings(max_examples=300)
@given(changes=st.lists(CHANGE, min_size=1, max_size=6), cut=st.integers(0, len(WHOLE)))
def test_mutated_bytes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    raw = bytearray(WHOLE)
    for at, value in changes:
        raw[at] = value
    path = tmp_path_factory.getbasetemp() / "mutated.onnx"
    path.write_bytes(raw if cut % 4 else raw[:cut])
    read(path)


NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 3, 7, 8, 127, 128, -128, 255, 1 << 31, -(1 << 31), (1 << 63) - 1, 40]
)
ATTRIBUTES = sorted({a.name for n in onnx.load_from_string(WHOLE).graph.node for a in n.attribute})


@settings(max_examples=300)
@given(data=st.data())
def test_mutated_fields(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Attributes, operators, names and sizes of a well-formed file, changed at random."""
    made = onnx.load_from_string(WHOLE)
    graph = made.graph
    for _ in range(data.draw(st.integers(1, 4))):
        chosen = data.draw(st.sampled_from(list(graph.node)))
        what = data.draw(st.integers(0, 6))
        if what == 0 and chosen.attribute:
            attribute = data.draw(st.sampled_from(list(chosen.attribute)))
            attribute.i = data.draw(NUMBERS)
            attribute.f = data.draw(st.floats(width=32))
            attribute.ints[:] = data.draw(st.lists(NUMBERS, max_size=5))
            attribute.s = data.draw(st.binary(max_size=6))
            attribute.type = data.draw(st.integers(0, 14))
        elif what == 1:
            chosen.op_type = data.draw(st.sampled_from([n.op_type for n in graph.node]))
        elif what == 2:
            chosen.input[:] = data.draw(st.permutations(list(chosen.input)))[
                : data.draw(st.integers(0, 5))
            ]
        elif what == 3:
            tensor = data.draw(st.sampled_from(list(graph.initializer)))
            tensor.dims[:] = data.draw(st.lists(NUMBERS, max_size=4))
        elif what == 4:
            tensor = data.draw(st.sampled_from(list(graph.initializer)))
            tensor.data_type = data.draw(st.integers(0, 20))
            tensor.raw_data = (
                data.draw(st.binary(max_size=40)) if data.draw(st.booleans()) else tensor.raw_data
            )
        elif what == 5:
            dims = graph.input[0].type.tensor_type.shape.dim
            data.draw(st.sampled_from(list(dims))).dim_value = data.draw(NUMBERS)
        else:
            chosen.name = data.draw(st.text(max_size=4))
    path = tmp_path_factory.getbasetemp() / "fields.onnx"
    path.write_bytes(made.SerializeToString())
    read(path)
