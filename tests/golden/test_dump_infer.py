# SPDX-License-Identifier: Apache-2.0
"""read_dump: activations and links, concluded from sound and from faulty codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dump_cases import (
    EXPECTED,
    FRAMES,
    START,
    corrupt_int16,
    count_wrong,
    small_inputs,
    small_network,
)

import bittwin
from bittwin import DumpError, read_dump, verify, write_dump
from bittwin.network import Clip, Linear, Lookup, Network, Relu


def activation_dump(
    tmp_path: Path, activation: list[object], frames: int = 200, start: int = START
) -> Path:
    rng = np.random.default_rng(9)
    layers = [
        Linear("one", rng.integers(-99, 99, (6, 10)).astype(np.int8), None, bittwin.readout(512)),
        *activation,
        Linear("two", rng.integers(-99, 99, (3, 6)).astype(np.int8), None, bittwin.readout(256)),
    ]
    path = tmp_path / "dump"
    write_dump(path, Network(layers), small_inputs(frames=frames), calibration_start=start,
               expected_frames=EXPECTED)  # fmt: skip
    (path / "bittwin.json").unlink()
    return path


TABLE = np.random.default_rng(1).integers(0, 256, 256).astype(np.uint8)


@pytest.mark.parametrize("debug", [True, False], ids=["layer_debug", "next input"])
@pytest.mark.parametrize(
    ("activation", "label"),
    [
        ([Relu("r")], "relu"),
        ([Relu("r", gain=2)], "relu x2"),
        ([Clip("c", limit=33)], "clip 0..33"),
        ([Lookup("t", TABLE)], "table"),
        ([Lookup("t", (TABLE // 2).astype(np.int8))], "table"),
    ],
    ids=["relu", "relu x2", "clip", "table u8", "table s8"],
)
def test_activation_is_inferred(
    tmp_path: Path, activation: list[object], label: str, debug: bool
) -> None:
    # From frame 0 on: a table is known only where codes before it are known too.
    path = activation_dump(tmp_path, activation, start=0)
    if not debug:
        shutil.rmtree(path / "layer_debug")
    dump = read_dump(path)
    first = dump.layers[0]
    assert first.activation_label.startswith(label)
    assert first.activation_source == ("layer_debug" if debug else "next layer's input")
    assert first.inferred
    assert dump.layers[1].linked
    assert set(count_wrong(dump).values()) == {0}
    if label == "table":
        assert "of 256 codes seen" in first.activation_label
    if not debug:
        assert dump.layers[1].activation_source == "assumed"
        assert not dump.layers[1].inferred


def test_table_without_the_next_layer_shows_bytes_as_int8(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    layer = Linear("one", rng.integers(-99, 99, (6, 10)).astype(np.int8), None,
                   bittwin.readout(512))  # fmt: skip
    path = tmp_path / "dump"
    write_dump(path, Network([layer, Lookup("t", TABLE)]), small_inputs(frames=200))
    stated = read_dump(path)
    assert stated.layers[0].set("debug").output.block(0, 200).max() > 127
    (path / "bittwin.json").unlink()
    dump = read_dump(path)
    assert dump.layers[0].activation[0].table.dtype == np.int8
    assert set(count_wrong(dump).values()) == {0}


def test_a_faulty_golden_code_does_not_hide_the_activation(tmp_path: Path) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    corrupt_int16(path / "map/expected_out_complete.bin", 6 * 4 + 2, 99)
    corrupt_int16(path / "map/expected_out.bin", 6 * 2 + 1, 5)
    (path / "map/expected_out.txt").unlink()
    dump = read_dump(path)
    first, second = dump.layers
    assert first.activation_label == "relu"
    assert f"1 code differs, first at frame {START + 4} column 2" in first.note
    assert any("fits 99.91 %" in note for note in dump.notes)
    assert second.linked
    assert {key: n for key, n in count_wrong(dump).items() if n} == {
        ("one", "complete"): 1, ("one", "expected"): 1}  # fmt: skip


@pytest.mark.parametrize("fault", ["rounding", "dead column", "offset column", "noise"])
def test_faults_all_over_leave_activation_and_links(tmp_path: Path, fault: str) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    file = path / "map/expected_out_complete.bin"
    codes = np.fromfile(file, "<i2")
    layer = codes[: 193 * 6].reshape(193, 6)
    if fault == "rounding":
        layer[layer < 0] -= 1
        layer[::7] += 1
    elif fault == "dead column":
        layer[:, 3] = 0
    elif fault == "offset column":
        layer[:, 3] += 5
    else:
        layer += np.random.default_rng(2).integers(-1, 2, layer.shape).astype(np.int16)
    np.clip(codes, -128, 127).astype("<i2").tofile(file)
    dump = read_dump(path)
    # The expected files are not at fault: they decide.
    assert dump.layers[0].activation_label == "relu"
    assert dump.layers[1].linked
    for name in ("expected_in.bin", "expected_out.bin", "expected_in.txt", "expected_out.txt"):
        (path / "map" / name).unlink()
    dump = read_dump(path)
    assert dump.layers[0].activation_label == ("relu" if fault != "noise" else "unknown")
    assert any("fits" in note for note in dump.notes)


def test_unrelated_outputs_are_unknown_and_no_chain(tmp_path: Path) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    for file in (path / "map").glob("expected_out*"):
        if file.suffix == ".txt" or "complete" not in file.name:
            file.unlink()
            continue
        codes = np.fromfile(file, "<i2")
        np.random.default_rng(4).integers(-128, 128, codes.size).astype("<i2").tofile(file)
    dump = read_dump(path)
    assert dump.layers[0].activation_label == "unknown"
    assert "no activation explains" in dump.layers[0].note
    assert dump.layers[1].linked  # by layer_debug, which needs no activation
    with pytest.raises(DumpError, match="unknown activation"):
        dump.network()


def test_layers_that_form_no_chain_say_why(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    net = small_network()
    x = small_inputs()
    trace = net.run(x, trace=True)
    other = np.random.default_rng(8).integers(0, 50, (FRAMES, 6)).astype(np.uint8)
    third = net.layers[4]
    golden = {
        "first": (x, trace["first"], trace["relu"]),
        "second": (trace["relu"], trace["second"], trace["clip"]),
        "third": (other, third.run(other), third.run(other)),
    }
    write_dump(path, net, x, expected_frames=10, codes=golden)
    dump = read_dump(path)
    assert [layer.linked for layer in dump.layers] == [False, True, False]
    assert "first at frame" in dump.layers[2].link_note
    assert set(count_wrong(dump).values()) == {0}
    with pytest.raises(DumpError, match="does not read the layer before it"):
        dump.network()


def test_no_negative_code_prefers_relu_before_an_unsigned_reader(tmp_path: Path) -> None:
    weight = np.full((6, 10), 3, np.int8)
    layers = [Linear("one", weight, None, bittwin.readout(256)),
              Linear("two", np.full((3, 6), -3, np.int8), None, bittwin.readout(256))]  # fmt: skip
    path = tmp_path / "dump"
    write_dump(path, Network(layers), small_inputs(), expected_frames=10)
    assert read_dump(path).layers[0].activation_label == "none"
    (path / "bittwin.json").unlink()
    dump = read_dump(path)
    assert dump.layers[0].activation_label == "relu"
    assert any("none and relu both fit" in note for note in dump.notes)


def only_debug(path: Path) -> None:
    """Leave nothing but params, layers.txt and layer_debug."""
    for file in (path / "map").iterdir():
        if file.name != "layers.txt":
            file.unlink()


@pytest.mark.parametrize(
    ("activation", "label"),
    [
        ([], "none"),
        ([Relu("r")], "relu"),
        ([Relu("r", gain=2)], "relu x2"),
        ([Clip("c", limit=33)], "clip 0..33"),
        ([Lookup("t", TABLE)], "table"),
    ],
    ids=["none", "relu", "relu x2", "clip", "table"],
)
def test_debug_alone_is_compared_with_the_activation_the_simulation_shows(
    tmp_path: Path, activation: list[object], label: str
) -> None:
    path = activation_dump(tmp_path, activation or [Relu("r")])
    if not activation:  # an unsigned reader needs the relu; its own output has none
        shutil.rmtree(path)
        layer = Linear("one", np.full((2, 10), [[5], [-5]], np.int8), None, bittwin.readout(512))
        write_dump(path, Network([layer]), small_inputs())
        (path / "bittwin.json").unlink()
    only_debug(path)
    found = verify(path)
    assert found.equal
    assert found.facts[0].activation.startswith(label)
    assert found.facts[0].activation_source == "layer_debug against the simulation"
    assert found.facts[0].inferred
    assert {result.name for result in found.layers} == {facts.name for facts in found.facts}
    assert "* activation inferred from layer_debug against the simulation" in str(found)


def test_debug_that_no_activation_explains_is_left_out_visibly(tmp_path: Path) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    only_debug(path)
    file = path / "layer_debug/net0/2_two/round1/output0.txt"
    rng = np.random.default_rng(0)
    count = len(file.read_text().split())
    noise = rng.integers(-128, 128, (count // 3, 3))
    file.write_text("\n".join(" ".join(map(str, row)) for row in noise.tolist()) + "\n")
    dump = read_dump(path)
    last = dump.layers[1]
    assert last.activation_label == "unknown"
    debug = last.set("debug")
    assert debug is not None
    assert debug.output is None
    assert debug.unexplained is not None
    assert debug.unexplained.block(3, 4).tolist() == noise[3:4].tolist()
    found = verify(dump)
    assert {result.name for result in found.layers} == {"one"}
    assert any("so layer_debug is not compared" in note for note in found.notes)
    assert "not compared: two" in str(found)


def test_a_fault_in_debug_alone_is_reported_not_left_out(tmp_path: Path) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    only_debug(path)
    file = path / "layer_debug/net0/2_two/round1/output0.txt"
    lines = file.read_text().split("\n")
    lines[3] = "99, 99, 99"
    file.write_text("\n".join(lines))
    found = verify(path)
    assert not found.equal
    assert found.first_wrong is not None
    assert (found.first_wrong.name, found.first_wrong.first.frame) == ("two", 3)


def test_a_wrong_debug_output_is_found_by_the_next_input(tmp_path: Path) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    only_debug(path)
    file = path / "layer_debug/net0/1_one/round0/output0.txt"
    lines = file.read_text().split("\n")
    lines[3] = "99, 99, 99, 99, 99, 99"
    file.write_text("\n".join(lines))
    found = verify(path)
    assert found.facts[0].activation == "relu"
    assert found.facts[0].activation_source == "next layer's input against the simulation"
    assert not found.equal
    assert found.first_wrong is not None
    assert (found.first_wrong.name, found.first_wrong.first.frame) == ("one", 3)


@pytest.mark.parametrize("table", [TABLE, (TABLE // 2).astype(np.int8)], ids=["u8", "s8"])
@pytest.mark.parametrize("frames", [60, 200, 2200])
@pytest.mark.parametrize("debug", [True, False], ids=["layer_debug", "next input"])
def test_a_table_entry_that_was_not_seen_reports_nothing_wrong(
    tmp_path: Path, table: np.ndarray, frames: int, debug: bool
) -> None:
    path = activation_dump(tmp_path, [Lookup("t", table)], frames=frames, start=10)
    if not debug:
        shutil.rmtree(path / "layer_debug")
    found = verify(path)
    assert found.equal
    if frames == 60:  # too few codes to believe a table
        assert found.facts[0].activation == "unknown"
        assert any("activation: no activation explains" in note for note in found.notes)
    else:
        assert found.facts[0].activation.startswith("table")


def test_frames_that_only_debug_holds_show_a_clip(tmp_path: Path) -> None:
    weight = np.full((4, 4), 64, np.int8)
    layers = [Linear("one", weight, None, bittwin.readout(512)), Clip("c", limit=20),
              Linear("two", weight, None, bittwin.readout(512))]  # fmt: skip
    x = np.random.default_rng(2).integers(0, 120, (50, 4)).astype(np.uint8)
    x[10:] //= 8
    path = tmp_path / "dump"
    write_dump(path, Network(layers), x, calibration_start=10, expected_frames=20)
    (path / "bittwin.json").unlink()
    found = verify(path)
    assert found.equal
    assert found.facts[0].activation == "clip 0..20"


def test_an_assumed_activation_is_marked_in_the_report(tmp_path: Path) -> None:
    path = activation_dump(tmp_path, [Relu("r")])
    shutil.rmtree(path / "layer_debug")
    text = str(verify(path))
    assert "none*" in text
    assert "* activation of two assumed: no code after it is known" in text
