# SPDX-License-Identifier: Apache-2.0
"""read_dump: the real dumps, and folders that hold only part of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dump_cases import EXPECTED, FRAMES, START, count_wrong, plain_dump, small_inputs, small_network

from bittwin import DumpError, read_dump, write_dump


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dump of one net without a sidecar."""
    return plain_dump(tmp_path)


# --- the real ones ---------------------------------------------------------------------------


@pytest.mark.dumps
def test_kws_dump_is_read_completely(shared_dir: Path) -> None:
    dump = read_dump(shared_dir / "data/dumps/kws_dnn")
    assert [layer.name for layer in dump.layers] == [f"linear_{n}" for n in range(1, 6)]
    assert [layer.activation_label for layer in dump.layers] == ["relu"] * 4 + ["none"]
    assert {layer.activation_source for layer in dump.layers} == {"layer_debug"}
    assert [layer.linked for layer in dump.layers] == [False, True, True, True, True]
    assert (dump.calibration_start, dump.nets, dump.sidecar) == (10, (0,), False)
    assert [len(layer.bias_rows) for layer in dump.layers] == [9, 9, 7, 9, 9]
    assert {layer.gain for layer in dump.layers} == {1024}
    for layer in dump.layers:
        assert [(codes.name, codes.frames) for codes in layer.sets] == [
            ("expected", 100), ("complete", 90), ("debug", 100)]  # fmt: skip
    assert set(count_wrong(dump).values()) == {0}
    assert dump.network().layers[1].name == "linear_1.relu"


@pytest.mark.dumps
def test_attention_dump_has_two_nets_of_different_length(shared_dir: Path) -> None:
    dump = read_dump(shared_dir / "data/dumps/attention")
    assert [(layer.net, layer.name, layer.gain) for layer in dump.layers] == [
        (0, "qkvmat", 2048), (1, "head", 8192)]  # fmt: skip
    assert [layer.set("complete").frames for layer in dump.layers] == [190, 90]
    assert [layer.operator.weight.dtype.name for layer in dump.layers] == ["int8", "int16"]
    assert set(count_wrong(dump).values()) == {0}
    with pytest.raises(DumpError, match="nets 0, 1; say which"):
        dump.network()
    assert dump.network(1).layers[0].name == "head"


@pytest.mark.dumps
def test_attention_weights_from_map_csv_are_the_same(shared_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dump"
    shutil.copytree(shared_dir / "data/dumps/attention", copy,
                    ignore=shutil.ignore_patterns("params"))  # fmt: skip
    whole, partial = read_dump(shared_dir / "data/dumps/attention"), read_dump(copy)
    assert any("map.csv" in note for note in partial.notes)
    for one, other in zip(whole.layers, partial.layers, strict=True):
        assert one.operator == other.operator
        assert np.array_equal(one.bias_rows, other.bias_rows)


@pytest.mark.dumps
def test_attention_counts_without_map_complete_json(shared_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dump"
    shutil.copytree(shared_dir / "data/dumps/attention", copy,
                    ignore=shutil.ignore_patterns("map_complete.json"))  # fmt: skip
    assert [layer.set("complete").frames for layer in read_dump(copy).layers] == [190, 90]
    shutil.rmtree(copy / "layer_debug")
    dump = read_dump(copy)
    assert [layer.set("complete") for layer in dump.layers] == [None, None]
    assert any("expected_in_complete.bin" in note and "not used" in note for note in dump.notes)


# --- partial folders -------------------------------------------------------------------------


def test_plain_folder_gives_operators_codes_and_a_network(folder: Path) -> None:
    dump = read_dump(folder)
    assert set(count_wrong(dump).values()) == {0}
    assert not dump.sidecar
    assert dump.calibration_start == START
    x = small_inputs()
    assert np.array_equal(dump.network().run(x), small_network().run(x))
    expected = dump.layer("first").set("expected")
    assert expected.frame_index.min() >= START
    assert np.array_equal(expected.input.block(0, EXPECTED), x[expected.frame_index])
    with pytest.raises(DumpError, match="no layer 'fourth'; the layers are first, second, third"):
        dump.layer("fourth")


@pytest.mark.parametrize(
    "absent",
    [
        ["params"],
        ["params", "map/map.csv"],
        ["layer_debug"],
        ["map/random_idx.txt"],
        ["map/expected_in.bin", "map/expected_out.bin"],
        ["map/expected_in.txt", "map/expected_out.txt"],
        ["map/expected_out.bin", "map/expected_out.txt"],
        ["map/expected_in.bin", "map/expected_in.txt"],
        ["map/expected_in_complete.bin"],
        ["map/expected_out_complete.bin"],
        ["map/expected_in_complete.bin", "map/expected_out_complete.bin", "layer_debug"],
        ["addr.csv"],
        ["addr.csv", "layer_debug"],
        ["layer_debug", "map/random_idx.txt"],
        ["layer_debug/net0/2_second"],
        ["layer_debug/net0/1_first/round0/input0.txt"],
        ["layer_debug/net0/1_first/round0/output0.txt"],
        ["params/net0/layer1/bias_high.txt"],
    ],
    ids=lambda names: "+".join(name.rsplit("/", 1)[-1] for name in names),
)
def test_partial_folder_reads(folder: Path, absent: list[str]) -> None:
    for name in absent:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    dump = read_dump(folder)
    assert len(dump.layers) == 3
    weights = "params" not in absent or "map/map.csv" not in absent
    for layer in dump.layers:
        assert (layer.operator is not None) == weights
        for codes in layer.sets:
            if not weights or codes.input is None or codes.output is None:
                continue
            y = layer.run_rows(codes.input.block(0, codes.frames))
            if codes.activated:
                y = layer.activate_rows(y)
            assert np.array_equal(y, codes.output.block(0, codes.frames))
    assert [layer.activation_label for layer in dump.layers] == ["relu", "clip 0..4", "none"]
    assert [layer.linked for layer in dump.layers] == [False, True, True]
    if weights:
        assert dump.network().run(small_inputs()).shape == (FRAMES, 4)
    else:
        with pytest.raises(DumpError, match="no weights for first, second, third"):
            dump.network()
        with pytest.raises(DumpError, match="holds no weights"):
            dump.layers[0].run_rows(np.zeros((1, 10), np.int16))


def test_expected_order_is_found_by_content_without_random_idx(folder: Path) -> None:
    stated = read_dump(folder).layers[0].set("expected").frame_index
    (folder / "map/random_idx.txt").unlink()
    dump = read_dump(folder)
    assert np.array_equal(dump.layers[0].set("expected").frame_index, stated)
    assert dump.calibration_start == START  # layer_debug has that many frames more
    for name in ("expected_in_complete.bin", "expected_out_complete.bin"):
        (folder / "map" / name).unlink()
    shutil.rmtree(folder / "layer_debug")
    dump = read_dump(folder)
    assert dump.layers[0].set("expected").frame_index is None
    assert any("order of the expected frames of first, second" in note for note in dump.notes)
    assert dump.layers[0].activation_label == "unknown"
    with pytest.raises(DumpError, match="layer first: unknown activation"):
        dump.network()


def test_layer_names_fall_back_and_stay_unique(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    nets = [small_network("a"), small_network("b", seed=4)]
    write_dump(path, nets, [small_inputs(), small_inputs(seed=6)], expected_frames=5)
    assert [layer.name for layer in read_dump(path).layers][::3] == ["net0/first", "net1/first"]
    (path / "bittwin.json").unlink()
    shutil.rmtree(path / "layer_debug")
    assert read_dump(path).layers[3].name == "net1/first"
    (path / "addr.csv").unlink()
    assert read_dump(path).layers[3].name == "net1.layer1"


def test_several_rounds_need_addr_csv(folder: Path) -> None:
    base = folder / "layer_debug/net0/2_second"
    shutil.copytree(base / "round1", base / "round9")
    assert (
        read_dump(folder).layer("second").set("debug").output.source.endswith("round1/output0.txt")
    )
    (folder / "addr.csv").unlink()
    dump = read_dump(folder)
    assert dump.layer("second").set("debug") is None
    assert any("rounds 1, 9" in note for note in dump.notes)


def test_nonzero_bias_high_is_kept_but_not_applied(folder: Path) -> None:
    (folder / "params/net0/layer1/bias_high.txt").write_text("0 0 3 0 0 0 0 -1\n")
    dump = read_dump(folder)
    assert dump.layers[0].bias_high.tolist() == [0, 0, 3, 0, 0, 0, 0, -1]
    assert any("bias_high.txt is not all zero" in note for note in dump.notes)
    assert set(count_wrong(dump).values()) == {0}


def test_blocks_read_only_what_is_asked_for(folder: Path) -> None:
    codes = read_dump(folder).layers[0].set("debug").input
    whole = codes.block(0, codes.frames)
    assert np.array_equal(codes.block(5, 9), whole[5:9])
    assert codes.block(4, 4).shape == (0, 10)
    for start, stop in ((-1, 2), (3, 2), (0, codes.frames + 1)):
        with pytest.raises(IndexError):
            codes.block(start, stop)
