# SPDX-License-Identifier: Apache-2.0
"""write_dump: what is written reads back the same, or is refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin import DumpError, read_dump, write_dump
from bittwin.golden.writing.placing import Block, place_blocks
from bittwin.network import (
    Clip,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    Lookup,
    Network,
    Relu,
    Rescale,
    SplitConv2d,
    SplitConvTranspose2d,
    SplitLinear,
)

RNG = np.random.default_rng(11)


def weight(*shape: int, dtype: type = np.int8, limit: int = 120) -> np.ndarray:
    return RNG.integers(-limit, limit + 1, shape).astype(dtype)


def bias(columns: int, limit: int = 300) -> np.ndarray:
    return (RNG.integers(-limit, limit + 1, columns) * 128).astype(np.int32)


def codes(*shape: int, low: int = 0, high: int = 255) -> np.ndarray:
    return RNG.integers(low, high + 1, shape).astype(np.int16)


LINEAR = Network(
    [
        Linear("a", weight(12, 20), bias(12), bittwin.readout(1024)),
        Relu("r"),
        Linear(
            "b",
            weight(6, 12),
            np.full(6, 128 * 200, np.int32),
            bittwin.readout(256, overflow="wrap16"),
        ),
        Relu("r2", gain=2),
        Linear("c", weight(5, 6, dtype=np.int16, limit=275), bias(5), bittwin.half_even(256)),
        Lookup("t", RNG.integers(0, 256, 1024).astype(np.uint8)),
        Linear("d", weight(4, 5), bias(4, 0), bittwin.readout(256)),
        Clip("cl", limit=90),
    ],
    name="a linear net",
)
CONV = Network(
    [
        Conv2d("c1", weight(4, 2, 3, 2), bias(4), bittwin.readout(1024), stride=(2, 1),
               padding=(1, 1, 0, 0)),
        Relu("r"),
        Conv2d("c2", weight(6, 2, 2, 3), None, bittwin.readout(2048), dilation=(1, 2), groups=2),
        Relu("r2"),
        ConvTranspose2d("d1", weight(6, 3, 3, 2), bias(3), bittwin.readout(1024), stride=(2, 1),
                        padding=(1, 0, 1, 0), output_padding=(1, 0)),
    ],
    name="images",
    input_shape=(2, 5, 6),
)  # fmt: skip
SPLIT = Network(
    [
        SplitLinear("s", weight(7, 9), bias(7), bittwin.readout(1024), x_bits=10,
                    bias_digital=bias(7)),
        Relu("r"),
        Linear("s2", weight(3, 7, dtype=np.int16), None, bittwin.readout(256)),
    ]
)  # fmt: skip
FLAT = Network(
    [
        Conv2d("c", weight(3, 2, 2, 2), bias(3), bittwin.readout(1024)),
        Relu("r"),
        Flatten("flat"),
        Linear("fc", weight(4, 3 * 4 * 5), bias(4), bittwin.readout(1024)),
    ],
    name="flattened",
    input_shape=(2, 5, 6),
)
SPLIT_CONV = Network(
    [
        SplitConv2d("sc", weight(3, 2, 2, 2), bias(3), bittwin.readout(1024), x_bits=11,
                    x_signed=True, bias_digital=bias(3)),
        Relu("r"),
        SplitConvTranspose2d("st", weight(3, 2, 2, 3), None, bittwin.readout(1024), x_bits=9),
    ],
)  # fmt: skip
RESCALE = Network(
    [
        Flatten("flat"),
        Linear("a", weight(5, 12), None, bittwin.readout(1024)),
        Rescale("wide", log2_factor=2, low=-512, high=511),
        SplitLinear("b", weight(3, 5), None, bittwin.readout(512), x_bits=10, x_signed=True),
    ],
)
SIGNED = Network(
    [Linear("n", weight(5, 8), bias(5), bittwin.readout(512), x_bits=8, x_signed=True)],
    name="signed",
)
CASES: dict[str, tuple[Network, np.ndarray]] = {
    "linear": (LINEAR, codes(40, 20)),
    "conv": (CONV, codes(33, 2, 5, 6)),
    "split": (SPLIT, codes(50, 9, high=1023)),
    "flatten": (FLAT, codes(20, 2, 5, 6)),
    "flatten first": (RESCALE, codes(20, 3, 2, 2)),
    "split conv": (SPLIT_CONV, codes(12, 2, 4, 5, low=-2047, high=2047)),
    "signed": (SIGNED, codes(30, 8, low=-255)),
    "one frame": (LINEAR, codes(1, 20)),
}


def check_same(path: Path, networks: list[Network], batches: list[np.ndarray], start: int) -> None:
    """Networks, codes and their order must come back."""
    dump = read_dump(path)
    assert dump.sidecar
    assert dump.calibration_start == start
    assert dump.notes == ()
    for net, (network, x) in enumerate(zip(networks, batches, strict=True)):
        assert dump.network(net) == network
        trace = network.run(x, trace=True)
        before = x  # Flatten does not change what is stored: the image's rows
        for layer in (layer for layer in dump.layers if layer.net == net):
            after = trace[layer.activation[-1].name if layer.activation else layer.operator.name]
            assert layer.activation_source == "sidecar"
            assert not layer.inferred
            for name in ("expected", "complete", "debug"):
                found = layer.set(name)
                rows = found.frame_index
                given, wanted = to_rows(before)[rows], trace[layer.operator.name]
                wanted = to_rows(after if found.activated else wanted)[rows]
                assert np.array_equal(found.input.block(0, found.frames), given)
                assert np.array_equal(found.output.block(0, found.frames), wanted)
                y = layer.run_rows(given.astype(np.int16))
                assert np.array_equal(layer.activate_rows(y) if found.activated else y, wanted)
            assert np.array_equal(layer.set("debug").frame_index, np.arange(len(x)))
            assert np.array_equal(layer.set("complete").frame_index, np.arange(start, len(x)))
            before = after
        assert [layer.linked for layer in dump.layers if layer.net == net] == [False] + [True] * (
            sum(layer.net == net for layer in dump.layers) - 1
        )


def to_rows(tensor: np.ndarray) -> np.ndarray:
    """Rows [W][H][C], written down differently than in the package."""
    if tensor.ndim == 2:
        return tensor
    frames, channels, height, width = tensor.shape
    rows = np.empty((frames, channels * height * width), tensor.dtype)
    for w in range(width):
        for h in range(height):
            for c in range(channels):
                rows[:, (w * height + h) * channels + c] = tensor[:, c, h, w]
    return rows


@pytest.mark.parametrize("name", CASES)
def test_round_trip(tmp_path: Path, name: str) -> None:
    network, x = CASES[name]
    start = min(3, len(x) - 1)
    write_dump(tmp_path / "dump", network, x, calibration_start=start, expected_frames=45)
    check_same(tmp_path / "dump", [network], [x], start)
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


def test_round_trip_of_several_nets(tmp_path: Path) -> None:
    cases = [CASES[name] for name in ("linear", "conv", "split")]
    networks, batches = [case[0] for case in cases], [case[1] for case in cases]
    write_dump(tmp_path / "dump", networks, batches, calibration_start=2, expected_frames=20)
    check_same(tmp_path / "dump", networks, batches, 2)
    assert read_dump(tmp_path / "dump").net_names == ("a linear net", "images", "net")


def test_convolution_weights_lie_as_the_rows_they_read(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump", CONV, CASES["conv"][1], expected_frames=5)
    params = tmp_path / "dump/params/net0"
    for number, layer in ((1, CONV.layers[0]), (3, CONV.layers[4])):
        table = np.loadtxt(params / f"layer{number}/weight.txt", dtype=int, ndmin=2)
        kernel = layer.weight if number == 1 else layer.weight.transpose(1, 0, 2, 3)
        outputs, inputs, height, width = kernel.shape
        for w in range(width):
            for h in range(height):
                for c in range(inputs):
                    row = (w * height + h) * inputs + c
                    assert table[row].tolist() == kernel[:, c, h, w].tolist()
        assert table.shape == (inputs * height * width, outputs)


def test_files_are_the_mappers(tmp_path: Path) -> None:
    x = CASES["linear"][1]
    write_dump(tmp_path / "dump", LINEAR, x, calibration_start=10, expected_frames=25, seed=1)
    base = tmp_path / "dump"
    files = {str(p.relative_to(base)) for p in base.rglob("*") if p.is_file()}
    assert {
        "params/net0/layer1/bias_high.txt", "map/layers.txt", "map/map.csv", "map/random_idx.txt",
        "map/expected_in.txt", "map/expected_out_complete.bin", "addr.csv", "bittwin.json",
        "layer_debug/net0/2_b/round1/output0.txt",
    } <= files  # fmt: skip
    assert (
        (base / "map/random_idx.txt")
        .read_text()
        .startswith("calibration_start = 10\n\nnet 0, layer 1\n")
    )
    assert (
        (base / "map/expected_in.txt").read_text().startswith("num = 25\nnet 0 layer 0 input 0\n")
    )
    assert np.fromfile(base / "map/expected_in.bin", "<i2")[0] == 25
    assert np.fromfile(base / "map/expected_in_complete.bin", "<i2")[0] == 30
    assert (base / "addr.csv").read_text().splitlines()[1:3] == ["", ""]
    # A gain-2 ReLU gives bytes above 127, which layer_debug shows as int8.
    shown = np.loadtxt(base / "layer_debug/net0/2_b/round1/output0.txt", dtype=int)
    assert shown.min() < 0
    assert np.array_equal(shown & 255, LINEAR.run(x, trace=True)["r2"])
    lines = (base / "map/map.csv").read_text().splitlines()
    assert len(lines) == len({line.rsplit(",", 1)[0] for line in lines})


def test_seed_decides_the_order(tmp_path: Path) -> None:
    x = CASES["linear"][1]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dump(tmp_path / name, LINEAR, x, seed=seed, expected_frames=30)
    index = [(tmp_path / name / "map/random_idx.txt").read_bytes() for name in "abc"]
    assert index[0] == index[1] != index[2]
    rows = read_dump(tmp_path / "a").layers
    frames = [set(layer.set("expected").frame_index.tolist()) for layer in rows]
    assert all(chosen == frames[0] for chosen in frames)  # so that layers can be chained
    assert not np.array_equal(rows[0].set("expected").frame_index,
                              rows[1].set("expected").frame_index)  # fmt: skip


def test_no_expected_frames(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump", LINEAR, CASES["linear"][1], expected_frames=0)
    dump = read_dump(tmp_path / "dump")
    assert [codes.name for codes in dump.layers[0].sets] == ["complete", "debug"]


def test_linear_on_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layer fc: found an input of shape .* put a flatten"):
        write_dump(tmp_path / "dump", one(), codes(5, 2, 3, 6))


def test_given_codes_are_written_instead(tmp_path: Path) -> None:
    network = Network([LINEAR.layers[0], LINEAR.layers[1]])
    x = CASES["linear"][1]
    trace = network.run(x, trace=True)
    wrong = trace["a"].copy()
    wrong[4, 7] ^= 1
    golden = {"a": (x, wrong, trace["r"])}
    write_dump(tmp_path / "dump", network, x, expected_frames=10, codes=golden)
    found = read_dump(tmp_path / "dump").layers[0].set("complete").output.block(0, 40)
    assert np.argwhere(found != trace["a"]).tolist() == [[4, 7]]
    for broken, error in (
        ({}, "codes: found none for layer a"),
        ({"a": (x + 1, wrong, wrong)}, "its input codes are not `inputs`"),
        ({"a": (x, wrong[:, :3], wrong)}, r"found shape \(40, 3\), wanted \(40, 12\)"),
        ({"a": (x, wrong.astype(np.int16) + 200, wrong)}, r"wanted -128\.\.127"),
    ):
        with pytest.raises(ValueError, match=error):
            write_dump(tmp_path / "other", network, x, codes=broken)
    with pytest.raises(TypeError, match="wanted integers"):
        write_dump(tmp_path / "other", network, x, codes={"a": (x, wrong * 1.0, wrong)})
    assert not (tmp_path / "other").exists()


# --- refusals ----------------------------------------------------------------------------------


def one(requant: Any = None, name: str = "fc", b: Any = None) -> Network:
    return Network([Linear(name, weight(4, 6), b, requant or bittwin.readout(512))])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (one(b=np.array([0, 128, 64, 0], np.int32)), "layer fc: bias: column 2: found 64, wanted a"),
        (one(b=np.array([0, 0, 0, 128 * 2033], np.int32)), "column 3: found 260224, wanted -262144"),
        (one(b=np.array([-128 * 2049, 0, 0, 0], np.int32)), r"260096 \(16 bias rows of int8\)"),
        (one(bittwin.half_even(128)), "single gain, a power of two 256..32768"),
        (one(bittwin.half_even_f32(3.0, 2.0)), "layer fc: found requantiser"),
        (one(bittwin.requant.bm1684(5)), "layer fc: found requantiser"),
        (one(name="a/b"), "layer name: found 'a/b'"),
        (one(name="a\\b"), "layer name"),
        (one(name=".."), "layer name"),
        (one(name="x" * 300), "layer name"),
        (one(name=" x"), "layer name"),
        (Network([Relu("r"), *one().layers]), "layer r: found no array layer before"),
        (Network([*one().layers, Flatten("f"), Relu("r")]), "layer f: wanted an array layer right"),
        (Network([*one().layers, Flatten("f")]), "layer f: wanted an array layer right"),
    ],
    ids=["bias step", "bias high", "bias low", "gain", "f32", "multiplier", "slash", "backslash",
         "dots", "long", "space", "activation first", "flatten and relu", "flatten last"],
)  # fmt: skip
def test_what_the_format_cannot_hold_is_refused(
    tmp_path: Path, network: Network, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_dump(tmp_path / "dump", network, codes(5, 6, high=100))
    assert list(tmp_path.iterdir()) == []


def test_bias_at_the_ends_of_the_rows(tmp_path: Path) -> None:
    ends = np.array([128 * 127 * 16, -128 * 128 * 16, 128 * 128, 0], np.int32)
    write_dump(tmp_path / "dump", one(b=ends), codes(5, 6), expected_frames=2)
    layer = read_dump(tmp_path / "dump").layers[0]
    assert np.array_equal(layer.operator.bias, ends)
    assert layer.bias_rows.shape == (16, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calibration_start": 5}, r"calibration_start: found 5, wanted 0\.\.4"),
        ({"calibration_start": -1}, "calibration_start: found -1"),
        ({"expected_frames": 40000}, r"wanted 0\.\.32767"),
        ({"expected_frames": -1}, "expected_frames: found -1"),
    ],
)
def test_counts_are_checked(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_dump(tmp_path / "dump", one(), codes(5, 6), **arguments)


def test_arguments_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    with pytest.raises(TypeError, match="inputs of net 0: found float64"):
        write_dump(path, one(), np.zeros((5, 6)))
    with pytest.raises(ValueError, match=r"found shape \(6,\)"):
        write_dump(path, one(), np.zeros(6, np.uint8))
    with pytest.raises(ValueError, match="found 2 networks, 1 inputs"):
        write_dump(path, [one(), one()], [codes(5, 6)])
    with pytest.raises(ValueError, match="network: found none"):
        write_dump(path, [], [])
    with pytest.raises(ValueError, match="at most 32767"):
        write_dump(path, one(), np.zeros((32768, 6), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="wanted a new name or an empty folder"):
        write_dump(path, one(), codes(5, 6))
    assert (path / "mine.txt").read_text() == "mine"
    (path / "mine.txt").unlink()
    write_dump(path, one(), codes(5, 6))
    assert len(read_dump(path).layers) == 1


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("bittwin.golden.writing.writer.write_sidecar", fail)
    with pytest.raises(OSError, match="disk full"):
        write_dump(tmp_path / "dump", one(), codes(5, 6))
    assert list(tmp_path.iterdir()) == []


# --- the array -----------------------------------------------------------------------------------


def test_placing_never_overlaps() -> None:
    rng = np.random.default_rng(5)
    blocks = [Block(int(rng.integers(1, 700)), int(rng.integers(1, 400)), int(rng.integers(1, 7)))
              for _ in range(30)]  # fmt: skip
    regions, outside = place_blocks(blocks)
    cells = np.zeros((1792, 1024), int)
    bias_cells = np.zeros((16, 1024), int)
    for number, region in enumerate(regions):
        assert (region.rows, region.columns, region.bias_rows) == (
            blocks[number].rows, blocks[number].columns, blocks[number].bias_rows)  # fmt: skip
        if number in outside:
            assert region.column_first >= 1024
            continue
        assert region.row_first // 896 == region.row_last // 896
        span = slice(region.column_first, region.column_last + 1)
        cells[region.row_first : region.row_last + 1, span] += 1
        bias_cells[region.bias_first : region.bias_last + 1, span] += 1
    assert cells.max() == 1
    assert bias_cells.max() == 1
    assert 0 < len(outside) < 30


def test_too_many_rows_are_placed_beyond_the_edge(tmp_path: Path) -> None:
    big = Network([Linear("tall", weight(3, 3000, limit=3), None, bittwin.readout(1024))])
    x = codes(4, 3000)
    with pytest.warns(UserWarning, match="layer tall: 3000 rows x 3 columns do not fit"):
        write_dump(tmp_path / "dump", big, x, expected_frames=2)
    check_same(tmp_path / "dump", [big], [x], 0)


def test_what_fits_gives_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_dump(tmp_path / "dump", LINEAR, CASES["linear"][1])


# --- the sidecar is not trusted ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (["format"], "other", "format: found 'other'"),
        (["version"], 2, "version: found 2, this release reads 1"),
        (["version"], True, "version: found True"),
        (["calibration_start"], 3, "calibration_start: found 3, wanted 0"),
        (["calibration_start"], "0", "calibration_start: found '0'"),
        (["nets"], {}, "nets: found {}, wanted a list"),
        (["nets", 0, "name"], "a\nb", r"nets\[0\].name"),
        (["nets", 0, "layers"], [], r"nets\[0\].layers"),
        (["nets", 0, "layers", 0, "name"], "b", "has the same name as layer 1"),
        (["nets", 0, "layers", 0, "input_shape"], [21], "layer 1"),
        (["nets", 0, "layers", 0, "input_shape"], [1 << 40], "wanted an integer 1"),
        (["nets", 0, "layers", 0, "weight", "shape"], [20, 12], "wanted 20 of 12 as in"),
        (["nets", 0, "layers", 0, "weight", "dtype"], "float64", "weight.dtype"),
        (["nets", 0, "layers", 2, "weight", "dtype"], "int8", "int8 cannot hold"),
        (["nets", 0, "layers", 0, "bias"], False, "says that there is no bias"),
        (["nets", 0, "layers", 0, "bias"], 1, "wanted true or false"),
        (["nets", 0, "layers", 0, "operator", "kind"], "relu", "found 'relu', wanted one of"),
        (["nets", 0, "layers", 0, "operator", "kind"], ["linear"], "wanted one of"),
        (["nets", 0, "layers", 0, "operator", "x_bits"], 99, "x_bits"),
        (["nets", 0, "layers", 0, "operator", "stride"], 9, "operator"),
        (["nets", 0, "layers", 0, "operator", "requant", "gain"], 512, "wanted 1024 as in"),
        (["nets", 0, "layers", 0, "operator", "requant", "gain"], 1024.0, "wanted an integer"),
        (["nets", 0, "layers", 0, "operator", "requant", "shift1"], [-4], "shift1"),
        (["nets", 0, "layers", 0, "activation"], "relu", "wanted a list"),
        (["nets", 0, "layers", 0, "activation", 0, "config", "gain"], 3, "gain"),
        (["nets", 0, "layers", 0, "activation", 0, "config", "kind"], "linear", "wanted one of"),
        (["nets", 0, "layers", 2, "activation", 0, "arrays", "table", "data"], [1], "table"),
        (["nets", 0, "layers", 2, "activation", 0, "arrays", "table", "data", 5], 256, "found 256"),
        (["nets", 0, "layers", 2, "activation", 0, "arrays", "table", "dtype"], "O", "dtype"),
    ],
)  # fmt: skip
def test_impossible_sidecar_is_refused(
    tmp_path: Path, where: list[Any], value: Any, message: str
) -> None:
    path = tmp_path / "dump"
    write_dump(path, LINEAR, CASES["linear"][1], expected_frames=4)
    content = json.loads((path / "bittwin.json").read_text())
    target = content
    for step in where[:-1]:
        target = target[step]
    target[where[-1]] = value
    (path / "bittwin.json").write_text(json.dumps(content))
    with pytest.raises(DumpError, match=message) as caught:
        read_dump(path)
    assert "bittwin.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[" * 100000, "{}", "[1]", '{"format": NaN}', "\0", "nul"])
def test_broken_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dump"
    write_dump(path, LINEAR, CASES["linear"][1], expected_frames=4)
    (path / "bittwin.json").write_text(text)
    with pytest.raises(DumpError, match=r"bittwin\.json"):
        read_dump(path)


def test_sidecar_makes_up_for_layers_txt_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    write_dump(path, CONV, CASES["conv"][1], expected_frames=4)
    (path / "map/layers.txt").unlink()
    assert read_dump(path).network() == CONV
    shutil.rmtree(path / "params")
    (path / "map/map.csv").unlink()
    dump = read_dump(path)
    assert [layer.operator for layer in dump.layers] == [None] * 3
    assert dump.layers[2].set("debug").output.columns == dump.layers[2].out_columns
    with pytest.raises(DumpError, match="no weights for c1, c2, d1"):
        dump.network()
