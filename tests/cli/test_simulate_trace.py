# SPDX-License-Identifier: Apache-2.0
"""Traces: simulate writes them, ``verify --against`` names the first layer, frame and column that differ."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import bittwin
from bittwin.golden import compare_traces, write_trace
from bittwin.network import (
    Add,
    Clip,
    Conv2d,
    Flatten,
    Linear,
    Lookup,
    Mul,
    Network,
    Relu,
    Rescale,
    Reshape,
    Scale,
    Tdnn,
)
from bittwin.recurrent import TdnnCell

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


def image_network(seed=0):
    """Convolution, flatten, linear, memory, a branch, and a table that gives uint8."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return rng.integers(-127, 128, shape).astype(np.int8)

    layers = [
        Conv2d("/enc/conv", weight(3, 2, 2, 2), None, bittwin.readout(256), padding=(1, 0, 0, 0)),
        Relu("conv.relu"),
        Flatten("flat"),
        Linear("fc", weight(6, 3 * 3 * 2), None, bittwin.readout(512)),
        Tdnn("memory", TdnnCell(weight(6, 12), None, bittwin.readout(256), (-1, 0)), x_signed=True),
        Add("sum", bits=16),
        Mul("wide", constant=np.full(6, 100, np.int8), bits=16),
        Scale("small", factor=2**-7),
        Lookup("table", rng.integers(0, 256, 256).astype(np.uint8)),
    ]
    inputs = {"sum": ["memory", "fc"]}
    return Network(
        layers, "image", inputs=inputs, outputs=["table", "wide"], input_shapes={"x": (2, 3, 3)}
    )


def frames(count=9, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 3, 3)).astype(np.uint8)


@pytest.fixture
def trace(run, tmp_path):
    image_network().save(tmp_path / "n.npz")
    np.save(tmp_path / "x.npy", frames())
    found = run(
        "simulate", tmp_path / "n.npz", "--input", tmp_path / "x.npy", "--trace", tmp_path / "a"
    )
    assert found.code == 0, found.err
    return tmp_path / "a"


def rows_of(codes):
    """The layout of a dump, written out: [W][H][C], channel fastest."""
    if codes.ndim != 4:
        return codes.reshape(len(codes), -1)
    n, c, h, w = codes.shape
    return np.array(
        [
            [codes[i, k, j, t] for t in range(w) for j in range(h) for k in range(c)]
            for i in range(n)
        ]
    )


def read(path):
    return np.loadtxt(path, dtype=np.int64, ndmin=2)


def test_files_hold_every_layer_in_the_mappers_layout(trace):
    net, x = image_network(), frames()
    t = net.run(x, trace=True)
    base = trace / "layer_debug" / "net0"
    assert [p.name for p in sorted(base.iterdir())] == [
        "1__enc_conv", "2_fc", "3_memory", "4_sum", "5_wide", "6_small", "7_table",
    ]  # fmt: skip
    expected = {
        "1__enc_conv": ([x], t["conv.relu"]),
        "2_fc": ([t["conv.relu"]], t["fc"]),
        "3_memory": ([t["fc"]], t["memory"]),
        "4_sum": ([t["memory"], t["fc"]], t["sum"]),
        "5_wide": ([t["sum"]], t["wide"]),
        "6_small": ([t["wide"]], t["small"]),
        "7_table": ([t["small"]], t["table"].view(np.int8)),  # a byte is shown as int8
    }
    for name, (inputs, output) in expected.items():
        for i, codes in enumerate(inputs):
            assert np.array_equal(read(base / name / "round0" / f"input{i}.txt"), rows_of(codes)), (
                name
            )
        assert not (base / name / "round0" / f"input{len(inputs)}.txt").exists()
        assert np.array_equal(read(base / name / "round0" / "output0.txt"), rows_of(output)), name
    sidecar = json.loads((trace / "bittwin.json").read_text())
    assert sidecar["frames"] == 9
    listed = sidecar["nets"][0]["layers"]
    assert [x["name"] for x in listed][:2] == ["/enc/conv", "fc"]
    assert listed[1]["layers"] == [
        {"name": "flat", "kind": "flatten"},
        {"name": "fc", "kind": "linear"},
    ]
    assert listed[3]["from"] == ["memory", "fc"]
    assert listed[6]["output"] == {"shape": [6], "dtype": "uint8"}


def test_equal_traces(run, trace, tmp_path):
    write_trace(tmp_path / "b", image_network(), frames())
    found = run("verify", trace, "--against", tmp_path / "b")
    assert found.code == 0, found.err
    assert found.out.rstrip().endswith("7 layers: 486 codes compared, 0 differ")
    for part in ("/enc/conv", "conv2d", "18 -> 18", "18 -> 6", "6+6 -> 6"):
        assert part in found.out
    assert compare_traces(trace, tmp_path / "b").equal


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=25)
def test_one_flipped_code_is_named(tmp_path_factory, data):
    """Round trip: equal; then one code of one file is another one, and nothing else is blamed."""
    seed = data.draw(st.integers(0, 50))
    count = data.draw(st.integers(1, 6))
    folder = tmp_path_factory.mktemp("flip")
    net, x = image_network(seed), frames(count, seed)
    write_trace(folder / "a", net, x)
    write_trace(folder / "b", net, x)
    assert compare_traces(folder / "a", folder / "b").equal
    places = sorted((folder / "a" / "layer_debug" / "net0").iterdir())
    place = data.draw(st.sampled_from(places))
    output = place / "round0" / "output0.txt"
    table = read(output)
    frame = data.draw(st.integers(0, table.shape[0] - 1))
    column = data.draw(st.integers(0, table.shape[1] - 1))
    old = int(table[frame, column])
    new = data.draw(st.sampled_from([v for v in (-128, -1, 0, 1, 127) if v != old]))
    table[frame, column] = new
    np.savetxt(output, table, fmt="%d")
    found = compare_traces(folder / "a", folder / "b")
    index = places.index(place)
    assert [r.mismatches for r in found.layers] == [int(i == index) for i in range(len(places))]
    wrong = found.first_wrong
    assert wrong is not None
    assert wrong.first is not None
    as_stored = (lambda v: v & 255) if place.name == "7_table" else (lambda v: v)
    assert (wrong.first.frame, wrong.first.column) == (frame, column)
    assert (wrong.first.expected, wrong.first.actual) == (as_stored(old), as_stored(new))
    assert [d.kind for d in wrong.diagnosis] == ["own"]


def test_the_first_wrong_layer_and_what_it_passes_on(run, tmp_path):
    """Another weight in the second layer: the first is equal, the second's own, the rest inherited."""
    net = image_network()
    write_trace(tmp_path / "b", net, frames())
    layers = list(net.layers)
    weight = layers[3].weight.copy()
    weight[2] = -weight[2]
    layers[3] = Linear("fc", weight, None, bittwin.readout(512))
    other = Network(layers, inputs=net.inputs, outputs=net.outputs, input_shapes=net.input_shapes)
    write_trace(tmp_path / "a", other, frames())
    found = compare_traces(tmp_path / "a", tmp_path / "b")
    kinds = {
        r.name: {d.kind: d.explains for d in r.diagnosis} for r in found.layers if r.mismatches
    }
    assert found.first_wrong.name == "fc"
    assert kinds["fc"] == {"own": 1.0}
    assert "inherited" in kinds["sum"]
    assert all(kinds[k].get("own", 0) < 1 for k in kinds if k != "fc")
    shown = run("verify", tmp_path / "a", "--against", tmp_path / "b")
    assert shown.code == 1
    assert "first wrong layer: fc (net 0), frame 0, column 2: expected" in shown.out
    assert "its inputs are equal, so the difference arises here" in shown.out
    assert shown.out.isascii()
    narrow = run("verify", tmp_path / "a", "--against", tmp_path / "b", "--layer", "/enc/conv")
    assert narrow.code == 0
    assert "1 layer: 162 codes compared, 0 differ" in narrow.out


def test_json_has_the_shape_of_a_verification(run, trace, tmp_path):
    write_trace(tmp_path / "b", image_network(), frames(seed=2))
    found = run("verify", trace, "--against", tmp_path / "b", "--json", "-")
    assert found.code == 1
    data = json.loads(found.out)
    assert data["equal"] is False
    assert data["against"] == str(tmp_path / "b")
    entry = data["layers"][0]
    assert set(entry) >= {"name", "net", "set", "mode", "activation", "codes", "mismatches", "max_abs",
                          "first", "histogram", "diagnosis"}  # fmt: skip
    assert (entry["set"], entry["mode"], entry["activation"]) == ("debug", "free_running", "relu")
    assert sum(entry["histogram"].values()) == entry["mismatches"]
    assert any("the first layer's inputs differ" in note for note in data["notes"])


def test_a_dump_is_a_trace_too(run, network, dump, tmp_path):
    """simulate on a dump's own input gives the dump's layer_debug, with and without its sidecar."""
    x = dump / "layer_debug" / "net0" / "1_first" / "round0" / "input0.txt"
    assert run("simulate", dump, "--input", x, "--trace", tmp_path / "t").code == 0
    for sidecar in (True, False):
        if not sidecar:
            (dump / "bittwin.json").unlink()
        for a, b in ((tmp_path / "t", dump), (dump, tmp_path / "t")):
            found = run("verify", a, "--against", b)
            assert found.code == 0, found.err + found.out
            assert "2 layers: 800 codes compared, 0 differ" in found.out


def test_bytes_of_unknown_sign_follow_the_other_trace(tmp_path):
    """A mapper shows an unsigned byte as int8; our sidecar says which it is."""
    write_trace(tmp_path / "a", image_network(), frames())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "bittwin.json").unlink()
    (tmp_path / "b/layer_debug/net0/1__enc_conv").rename(tmp_path / "b/layer_debug/net0/1_other")
    for first, second in (("a", "b"), ("b", "a")):
        found = compare_traces(tmp_path / first, tmp_path / second)
        assert found.equal
        assert len(found.layers) == 6
        assert any("not compared: /enc/conv (only in" in note for note in found.notes)
        assert any("not compared: other (only in" in note for note in found.notes)


def test_wide_codes_and_blocks(tmp_path, monkeypatch):
    """16-bit codes keep their value, and the result does not depend on the blocks."""
    from bittwin.golden.trace import compare

    net, x = image_network(), frames(30)
    for name in "ab":
        write_trace(tmp_path / name, net, x)
    path = tmp_path / "a/layer_debug/net0/5_wide/round0/output0.txt"
    table = read(path)
    assert np.abs(table).max() > 255
    table[11:13, 3] += 40000
    np.savetxt(path, table, fmt="%d")
    whole = compare_traces(tmp_path / "a", tmp_path / "b")
    assert whole.first_wrong.histogram == {40000: 2}
    seen = []
    monkeypatch.setattr(compare, "_BLOCK", 20)
    small = compare_traces(
        tmp_path / "a", tmp_path / "b", progress=lambda n, m: seen.append((n, m))
    )
    assert small.to_json() == whole.to_json()
    assert seen[-1][0] == seen[-1][1] == whole.codes
    assert compare_traces(tmp_path / "a", tmp_path / "b", frames=11).equal
    assert not compare_traces(tmp_path / "a", tmp_path / "b", frames=slice(11, 12)).equal


def test_streamed_trace_equals_the_whole(tmp_path):
    from bittwin.golden.trace.writer import TraceWriter
    from bittwin.simulation import Simulation, open_input

    net = image_network()
    np.save(tmp_path / "x.npy", frames())
    run = Simulation(net, {"x": open_input(tmp_path / "x.npy")}, trace=True, block=2)
    with TraceWriter(tmp_path / "a", net, 3) as writer:
        for _, trace in run.run():
            writer.add(trace)
    write_trace(tmp_path / "b", net, frames(), net=3)
    files = [p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file()]
    assert len(files) == 16
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )


def test_only_the_activations_right_behind_belong_to_a_layer(tmp_path):
    """An output, a branch, or something that is no activation ends the folding."""
    from bittwin.golden.trace.stages import stages

    w = np.ones((2, 2), np.int8)
    fc = Linear("fc", w, None, bittwin.readout(256))
    rest = [Relu("r"), Clip("c"), Rescale("m"), Reshape("v", shape=(2,)), Relu("r2")]

    def names(layers, **how):
        return [tuple(n for n, _ in s.layers) for s in stages(Network(layers, **how))]

    assert names([fc, *rest]) == [("fc", "r", "c", "m"), ("v",), ("r2",)]
    assert names([fc, *rest], outputs=["r2", "r"]) == [("fc", "r"), ("c",), ("m",), ("v",), ("r2",)]
    assert names([fc, Relu("r"), Add("s")], inputs={"s": ["fc", "r"]}) == [("fc",), ("r",), ("s",)]
    flat = [Flatten("f"), fc]
    assert names(flat) == [("f", "fc")]
    assert names([*flat, Add("s")], inputs={"s": ["f", "fc"]}) == [("f",), ("fc",), ("s",)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("{a}",),
            "found 'bittwin trace', wanted 'bittwin dump'; a trace is compared with another one",
        ),
        (("{a}", "--against", "{tmp}/no"), "No such file or directory; wanted a dump folder"),
        (("{a}", "--against", "{tmp}/empty"), "found no layer; wanted layer_debug/net0"),
        (("{a}", "--against", "{b}", "--rounding", "half_even"), "nothing is run"),
        (("{a}", "--against", "{b}", "--measured", "{b}"), "nothing is run"),
        (("{a}", "--against", "{b}", "--layer", "x"), "found 'x', wanted one of /enc/conv, fc"),
        (("{a}", "--against", "{b}", "--frames", "10"), "found 0:10, wanted A:B"),
        (("{a}", "--against", "{short}"), "found 9 frames in"),
        (("{a}", "--against", "{other}"), "found the layers x, wanted at least one of /enc/conv"),
        (("{a}", "--against", "{wider}"), "found 6 codes per frame in"),
        (("{a}", "--against", "{letters}"), "output0.txt"),
        (("{a}", "--against", "{version}"), "version: found 2"),
        (("{a}", "--against", "{lost}"), "found no folder of fc"),
        (("{a}", "--against", "{blank}"), "found no line"),
    ],
)
def test_refusals(run, trace, tmp_path, arguments, words):
    places = {
        name: tmp_path / name
        for name in ("b", "short", "other", "wider", "letters", "version", "lost", "blank")
    }
    write_trace(places["b"], image_network(), frames())
    write_trace(places["short"], image_network(), frames(4))
    fc = Linear("x", np.ones((2, 3), np.int8), None, bittwin.readout(256))
    write_trace(places["other"], Network([fc]), np.ones((9, 3), np.uint8))
    fc = Linear("fc", np.ones((7, 3), np.int8), None, bittwin.readout(256))
    write_trace(places["wider"], Network([fc]), np.ones((9, 3), np.uint8))
    for name in ("letters", "version", "lost", "blank"):
        shutil.copytree(places["b"], places[name])
    (places["letters"] / "layer_debug/net0/2_fc/round0/output0.txt").write_text("1 2 3 4 5 x\n" * 9)
    text = (places["version"] / "bittwin.json").read_text()
    (places["version"] / "bittwin.json").write_text(text.replace('"version": 1', '"version": 2'))
    shutil.rmtree(places["lost"] / "layer_debug/net0/2_fc")
    (places["blank"] / "layer_debug/net0/2_fc/round0/output0.txt").write_text("\n")
    (tmp_path / "empty").mkdir()
    found = run("verify", *(x.format(a=trace, tmp=tmp_path, **places) for x in arguments))
    assert found.code == 2
    assert found.out == ""
    assert len(found.err.splitlines()) == 1
    assert words in found.err


@pytest.mark.parametrize(
    "bad", [None, -1, 1.5, True, "", "x" * 300, "a\x1b[31m", [], [[]], {}, {"a": 1}]
)
def test_a_damaged_sidecar_is_refused_in_words(trace, bad):
    """Every field in turn, with values of every kind: a refusal in words, or no harm."""
    path = trace / "bittwin.json"
    right = path.read_text()

    def places(value, way=()):
        yield way
        if isinstance(value, list):
            value = dict(enumerate(value[:2]))
        for key, inner in value.items() if isinstance(value, dict) else ():
            yield from places(inner, (*way, key))

    refused = 0
    for way in places(json.loads(right)):
        content = json.loads(right)
        if not way:
            content = bad
        else:
            inner = content
            for key in way[:-1]:
                inner = inner[key]
            inner[way[-1]] = bad
        path.write_text(json.dumps(content))
        try:
            compare_traces(trace, trace)
        except bittwin.DumpError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused >= 8


def test_layers_are_matched_across_nets_where_the_name_is_the_only_one(tmp_path):
    """A mapper numbers the nets of its array; a trace of one file starts at 0."""
    for name, net in (("a", 0), ("b", 1)):
        write_trace(tmp_path / name, image_network(), frames(), net=net)
    assert len(compare_traces(tmp_path / "a", tmp_path / "b").layers) == 7
    # With the name in two other nets nobody knows which one is meant; in the same net it is clear.
    (tmp_path / "b/bittwin.json").unlink()
    (tmp_path / "a/bittwin.json").unlink()
    shutil.copytree(tmp_path / "b/layer_debug/net1/2_fc", tmp_path / "b/layer_debug/net2/1_fc")
    found = compare_traces(tmp_path / "a", tmp_path / "b")
    assert "fc" not in [r.name for r in found.layers]
    shutil.copytree(tmp_path / "b/layer_debug/net2/1_fc", tmp_path / "b/layer_debug/net0/1_fc")
    found = compare_traces(tmp_path / "a", tmp_path / "b")
    assert "fc" in [r.name for r in found.layers]
    assert found.equal


def test_several_rounds_are_left_out_with_a_note(trace, tmp_path):
    shutil.copytree(trace, tmp_path / "b")
    shutil.copytree(
        tmp_path / "b/layer_debug/net0/2_fc/round0", tmp_path / "b/layer_debug/net0/2_fc/round1"
    )
    found = compare_traces(trace, tmp_path / "b")
    assert found.equal
    assert [r.name for r in found.layers] == [
        "/enc/conv",
        "memory",
        "sum",
        "wide",
        "small",
        "table",
    ]
    assert any("holds 2 rounds" in note for note in found.notes)


@pytest.mark.dumps
def test_real_dumps_are_reproduced(run, shared_dir, tmp_path):
    """The KWS network: the dump's own layer_debug against the trace of its network."""
    dump = shared_dir / "data" / "dumps" / "kws_dnn"
    if not dump.is_dir():
        pytest.skip(f"no dump: {dump} is not a folder")
    x = dump / "layer_debug" / "net0" / "1_linear_1" / "round0" / "input0.txt"
    assert run("simulate", dump, "--input", x, "--trace", tmp_path / "t").code == 0
    found = run("verify", tmp_path / "t", "--against", dump)
    assert found.code == 0, found.out
    assert "5 layers: 102,600 codes compared, 0 differ" in found.out
