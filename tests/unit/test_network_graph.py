# SPDX-License-Identifier: Apache-2.0
"""Networks that are no chains: wiring, several inputs and outputs, files, streams, refusals."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import bittwin
from bittwin import digital
from bittwin.errors import NetworkError
from bittwin.network import (
    Add,
    Clip,
    Concat,
    Layer,
    Linear,
    Mul,
    Network,
    Relu,
    Scale,
    SplitPart,
)

RNG = np.random.default_rng(11)


def weight(out: int, inside: int) -> np.ndarray:
    return RNG.integers(-128, 128, (out, inside)).astype(np.int8)


def fc(name: str, out: int, inside: int, **more: Any) -> Linear:
    return Linear(name, weight(out, inside), None, bittwin.readout(512), **more)


def residual() -> Network:
    return Network(
        [fc("a", 6, 5), Relu("a.relu"), fc("b", 6, 6), Add("sum", shift_bit=-1), Relu("out")],
        name="residual",
        input_shape=(5,),
        inputs={"sum": ["a.relu", "b"]},
    )


def two_in_two_out() -> Network:
    return Network(
        [
            fc("left", 4, 5),
            fc("right", 4, 3),
            Mul("gate", shift_bit=-7),
            Concat("all"),
            SplitPart("head", (3, 9), 1),
        ],
        inputs={
            "left": ["x"],
            "right": ["y"],
            "gate": ["left", "right"],
            "all": ["gate", "left", "right"],
            "head": ["all"],
        },
        outputs=["head", "gate"],
        input_shapes={"x": (5,), "y": (3,)},
    )


def codes(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Counter(Layer):
    """Adds to every code how many frames came before; what a stateful layer looks like."""

    kind: ClassVar[str] = "counter"
    stateful: ClassVar[bool] = True

    def initial_state(self, input_shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        return (np.zeros(input_shape, np.int16),)

    def run_state(self, x: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        if x.size and int(x.max()) == 255:
            raise ValueError("x: found 255")
        steps = state[0] + np.arange(len(x), dtype=np.int16)[:, None]
        return x + steps, (state[0] + np.int16(len(x)),)

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.run_state(x, self.initial_state(x.shape[1:]))[0]

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def settings(self) -> dict[str, Any]:
        return {}


def test_a_residual_block_runs_as_by_hand() -> None:
    net = residual()
    x = codes(7, 5)
    trace = net.run(x, trace=True)
    a = np.maximum(net.layers[0].run(x), 0)
    b = net.layers[2].run(a)
    total = digital.add(a, b, -1)
    np.testing.assert_array_equal(trace["sum"], total)
    np.testing.assert_array_equal(net.run(x), np.maximum(total, 0))
    np.testing.assert_array_equal(trace.output, net.run(x))
    assert list(trace) == ["a", "a.relu", "b", "sum", "out"]
    assert net.shapes((5,))["sum"] == (6,)
    assert not net.is_chain
    assert net.inputs == {
        "a": ("input",), "a.relu": ("a",), "b": ("a.relu",), "sum": ("a.relu", "b"), "out": ("sum",),
    }  # fmt: skip


def test_several_inputs_and_outputs_by_name() -> None:
    net = two_in_two_out()
    x, y = codes(4, 5), codes(4, 3)
    got = net.run({"y": y, "x": x})
    left, right = net.layers[0].run(x), net.layers[1].run(y)
    gate = digital.mul(left, right, -7)
    assert list(got) == ["head", "gate"]
    np.testing.assert_array_equal(got["gate"], gate)
    np.testing.assert_array_equal(got["head"], np.concatenate([gate, left, right], axis=1)[:, 3:])
    trace = net.run({"x": x, "y": y}, trace=True)
    assert trace.output.keys() == got.keys()
    np.testing.assert_array_equal(trace.output["head"], got["head"])
    assert net.shapes({"x": (5,), "y": (3,)})["all"] == (12,)
    assert net.input_shape is None
    assert net.input_shapes == {"x": (5,), "y": (3,)}
    assert net.outputs == ("head", "gate")


def test_one_layer_may_feed_many_and_the_same_code_twice() -> None:
    net = Network([fc("a", 3, 3), Add("twice")], inputs={"twice": ["a", "a"]})
    x = codes(5, 3)
    a = net.layers[0].run(x)
    np.testing.assert_array_equal(net.run(x), digital.add(a, a))
    both = Network(
        [fc("a", 3, 3), Scale("b", 2), Add("sum")],
        inputs={"sum": ["b", "a"]},
        outputs=["a", "sum"],
    )
    assert set(both.run(x)) == {"a", "sum"}
    network_input = Network([Relu("r"), Add("sum")], inputs={"sum": ["r", "input"]})
    np.testing.assert_array_equal(network_input.run(-x.view(np.int8)).shape, x.shape)


def test_a_chain_may_name_what_it_consumes() -> None:
    layers = [fc("a", 3, 3), Relu("b")]
    plain = Network(layers)
    named = Network(layers, inputs={"a": ["input"], "b": ["a"]}, outputs=["b"])
    assert plain.is_chain
    assert named.is_chain
    assert plain == named
    assert plain != Network(layers, outputs=["b", "a"])
    assert plain != Network(layers, input_shapes={"x": None})
    assert Network([Relu("input")]).run(np.ones((1, 1), np.int8)).tolist() == [[1]]


@pytest.mark.parametrize("make", [residual, two_in_two_out])
def test_graphs_are_saved_and_loaded(make: Any, tmp_path: Path) -> None:
    net = make()
    path = tmp_path / "net.npz"
    net.save(path)
    loaded = bittwin.load_network(path)
    assert loaded == net
    assert header_of(path)[0]["version"] == 2
    x = {name: codes(3, *shape) for name, shape in net.input_shapes.items()}
    for one, other in zip(net.run(x, trace=True).items(), loaded.run(x, trace=True).items(),
                          strict=True):  # fmt: skip
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])


def test_a_chain_is_written_for_old_readers(tmp_path: Path) -> None:
    net = Network([fc("a", 3, 3), Relu("b")], input_shape=(3,))
    net.save(tmp_path / "net.npz")
    header, _ = header_of(tmp_path / "net.npz")
    assert (header["version"], header["input_shape"]) == (1, [3])
    assert set(header) == {"format", "version", "name", "input_shape", "layers"}
    named = Network([fc("a", 3, 3)], input_shapes={"sound": (3,)})
    named.save(tmp_path / "named.npz")
    assert header_of(tmp_path / "named.npz")[0]["version"] == 2
    assert bittwin.load_network(tmp_path / "named.npz") == named


def header_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("bittwin.json").tobytes()), arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "version: found 3, this bittwin reads 1 and 2"),
        ({"version": True}, "version: found True"),
        ({"inputs": None}, "inputs: found None, wanted an object"),
        ({"inputs": {"sum": "ab"}}, "inputs of layer 'sum': found 'ab', wanted a list of names"),
        ({"inputs": {"sum": [1, 2]}}, "inputs of layer 'sum'"),
        ({"inputs": {"sum": []}}, "wanted at least one name"),
        ({"inputs": {"sum": ["a"]}}, r"layer 'sum' \(add\): found 1 inputs, wanted 2"),
        ({"inputs": {"sum": ["out", "b"]}}, "wanted a layer that stands before it"),
        ({"inputs": {"sum": ["sum", "b"]}}, "wanted a layer that stands before it"),
        ({"inputs": {"nobody": ["a"]}}, "inputs: found 'nobody', which is no layer"),
        ({"outputs": ["nobody"]}, "outputs: found 'nobody'"),
        ({"outputs": "out"}, "outputs: found 'out', wanted a list"),
        ({"outputs": []}, "outputs: found"),
        ({"outputs": ["out", "out"]}, "none twice"),
        ({"outputs": ["b"]}, "layer 'sum': .* used by no layer|layer 'out'"),
        ({"input_shapes": {}}, "input_shapes"),
        ({"input_shapes": [3]}, "input_shapes: found"),
        ({"input_shapes": {"input": [-1]}}, "wanted a list of sizes or null"),
        ({"input_shapes": {"input": [6]}}, "found input shape"),
        ({"input_shapes": {"input": [5], "more": None}}, "network input 'more': found no layer"),
        ({"input_shapes": {"a": [5]}}, "layer 'a': found the name of a network input"),
    ],
)
def test_spoiled_graph_files_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.npz"
    residual().save(path)
    header, arrays = header_of(path)
    text = json.dumps(header | change).encode()
    np.savez(path, **arrays, **{"bittwin.json": np.frombuffer(text, np.uint8)})
    with pytest.raises(bittwin.NetworkError, match=message):
        bittwin.load_network(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {"sum": ["a", "c"]}}, r"found the input 'c', which is no layer .*\(input; name"),
        ({"inputs": ["a"]}, "inputs: found list"),
        ({"inputs": {"b": ["a", "a"]}}, r"layer 'b' \(linear\): found 2 inputs, wanted 1"),
        ({}, r"layer 'sum' \(add\): found 1 inputs, wanted 2"),
        ({"inputs": {"sum": ["b", "b"]}, "input_shapes": {"x": None, "y": None}}, "'a': found no inputs"),
        ({"inputs": {"sum": ["b", "b"]}, "input_shapes": {"x": (3,)}, "input_shape": (3,)}, "one of the two"),
        ({"inputs": {"sum": ["b", "b"]}, "input_shapes": {"": (3,)}}, "wanted a printable string"),
        ({"inputs": {"sum": ["b", "b"]}, "input_shape": (-3,)}, "no negative size"),
        ({"inputs": {"sum": ["a", "a"]}}, "layer 'b': its codes are used by no layer"),
        ({"inputs": {"sum": ["b", "b"]}, "outputs": ["a", "b"]}, "layer 'sum': its codes are used"),
        ({"inputs": {"sum": ["b", "input"]}, "input_shape": (3,)}, r"layer 'sum': b: found shape"),
    ],
)  # fmt: skip
def test_impossible_graphs_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(bittwin.NetworkError, match=message):
        Network([fc("a", 4, 3), fc("b", 4, 4, x_signed=True), Add("sum")], **arguments)


def test_run_refuses_inputs_that_are_not_the_networks() -> None:
    net = two_in_two_out()
    x, y = codes(4, 5), codes(4, 3)
    for given, message in (
        (x, "x: found one, wanted a mapping with x, y"),
        ({"x": x}, "found the inputs x, wanted x, y"),
        ({"x": x, "y": y, "z": y}, "found the inputs x, y, z"),
        ({"x": x, "y": y[:2]}, r"found inputs of \[2, 4\] frames"),
        ({"x": x, "y": y.astype(float)}, "layer 'right': x: found float64"),
    ):
        with pytest.raises(bittwin.NetworkError, match=message):
            net.run(given)
    with pytest.raises(bittwin.NetworkError, match="input_shape: found one"):
        net.shapes((5,))


def test_summary_of_a_graph_says_who_feeds_whom() -> None:
    text = residual().summary()
    assert "residual: 5 layers, input 5, output out" in text
    assert "a.relu, b" in text
    text = two_in_two_out().summary()
    assert "inputs x 5, y 3, output head, gate" in text
    chain = Network([Relu("r")], input_shape=(2,))
    assert "from" not in chain.summary()
    assert "output r" not in chain.summary()
    assert "inputs a -, b -" in str(
        Network([Add("s")], inputs={"s": ["a", "b"]}, input_shapes={"a": None, "b": None})
    )


def test_streaming_equals_one_run() -> None:
    layers = [fc("a", 3, 3), Relu("r"), Counter("n"), Add("sum")]
    net = Network(layers, inputs={"sum": ["n", "r"]}, outputs=["n", "sum"])
    x = codes(9, 3) // 2
    whole = net.run(x)
    stream = net.stream()
    for _ in range(2):
        steps = [stream.step(frame) for frame in x]
        for name in ("n", "sum"):
            np.testing.assert_array_equal(np.stack([s[name] for s in steps]), whole[name])
        stream.reset()
    cut = [stream.run(x[:4]), stream.run(x[4:4]), stream.run(x[4:])]
    np.testing.assert_array_equal(np.concatenate([c["sum"] for c in cut]), whole["sum"])
    np.testing.assert_array_equal(net.run(x)["sum"], whole["sum"])  # a run starts afresh
    stream.reset()
    traces = [stream.run(part, trace=True) for part in (x[:4], x[4:])]
    for name, wanted in net.run(x, trace=True).items():
        np.testing.assert_array_equal(np.concatenate([t[name] for t in traces]), wanted)


def test_a_refused_step_leaves_the_stream_as_it_was() -> None:
    net = Network([Counter("n"), Counter("m")])
    stream = net.stream()
    stream.step(np.zeros(1, np.uint8))
    with pytest.raises(bittwin.NetworkError, match="layer 'm': x: found 255"):
        stream.step(np.array([254], np.uint8))
    np.testing.assert_array_equal(stream.step(np.zeros(1, np.uint8)), [2])
    with pytest.raises(TypeError, match="frame: found list"):
        stream.step([1])


def test_a_stream_takes_several_inputs() -> None:
    net = two_in_two_out()
    x, y = codes(3, 5), codes(3, 3)
    whole = net.run({"x": x, "y": y})
    stream = net.stream()
    for i in range(3):
        step = stream.step({"x": x[i], "y": y[i]})
        np.testing.assert_array_equal(step["head"], whole["head"][i])


def test_codes_that_nothing_needs_are_let_go() -> None:
    net = residual()
    assert net._done_after == [(-1,), (0,), (), (1, 2), (3,)]
    alive: list[Any] = []

    def call(layer: Layer, xs: list[np.ndarray]) -> np.ndarray:
        result = layer.run_many(*xs)
        alive.append((layer.name, weakref.ref(result)))
        if layer.name == "out":
            assert [name for name, ref in alive if ref() is not None] == ["sum", "out"]
        return result

    net.run_with(call, codes(3, 5))
    assert len(alive) == 5


def test_a_dump_takes_no_graph(tmp_path: Path) -> None:
    net = residual()
    with pytest.raises(ValueError, match="found a graph, a dump holds chains"):
        bittwin.write_dump(tmp_path / "dump", net, codes(3, 5))


def test_a_part_is_the_layers_that_its_outputs_need() -> None:
    net = Network(
        [Relu("ra"), Relu("rb", 2), Add("sum"), Clip("end", 90)],
        inputs={"ra": ["a"], "rb": ["b"], "sum": ["ra", "ra"], "end": ["rb"]},
        outputs=["sum", "end"],
        input_shapes={"a": (3,), "b": None},
    )
    a = np.array([[-1, 2, 3]], np.int8)
    b = np.array([[5, -6]], np.int8)
    whole = net.run({"a": a, "b": b})
    first, second = net.part("sum"), net.part("end", name="second")
    assert [layer.name for layer in first.layers] == ["ra", "sum"]
    assert first.outputs == ("sum",)
    assert second.name == "second"
    np.testing.assert_array_equal(first.run(a), whole["sum"])
    np.testing.assert_array_equal(second.run(b), whole["end"])
    both = net.part("sum", "end")
    assert both.run({"a": a, "b": b}).keys() == {"sum", "end"}
    for wrong in ((), ("nothing",), ("a",)):
        with pytest.raises(NetworkError, match="wanted names of layers"):
            net.part(*wrong)
