# SPDX-License-Identifier: Apache-2.0
"""Thousands of damaged dumps: each reads, or is refused with DumpError; nothing else happens.

The damage is drawn from fixed seeds. To hunt for longer, call `fuzz(folder, files, rounds, seed)`.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bittwin
from bittwin import DumpError, read_dump, write_dump
from bittwin.network import Conv2d, Flatten, Linear, Lookup, Network, Relu, SplitLinear

ROUNDS = 400
Files = dict[str, bytes]


def make_dump(path: Path, kind: str) -> Files:
    """Write a tiny dump and return its files; `kind` says what it has."""
    rng = np.random.default_rng(2)

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-100, 101, shape).astype(np.int8)

    lines = Network(
        [
            Linear("in", weight(3, 4), np.array([128, 0, -256], np.int32), bittwin.readout(512)),
            Relu("relu", gain=2),
            Linear("out", weight(2, 3), None, bittwin.readout(256)),
            Lookup("table", np.arange(256, dtype=np.uint8)[::-1].copy()),
        ],
        name="lines",
    )
    images = Network(
        [
            Conv2d("conv", weight(2, 1, 2, 2), None, bittwin.readout(512), stride=(2, 1)),
            Relu("r"),
            Flatten("flat"),
            Linear("fc", weight(2, 4), None, bittwin.readout(256)),
        ],
        name="images",
    )
    split = Network([SplitLinear("split", weight(2, 3), None, bittwin.readout(256), x_bits=10,
                                 bias_digital=np.array([128, -128], np.int32))])  # fmt: skip
    x = rng.integers(0, 256, (9, 4)).astype(np.uint8)
    if kind == "sidecar":
        batches = [x, rng.integers(0, 256, (7, 1, 3, 3)).astype(np.uint8),
                   rng.integers(0, 1024, (6, 3)).astype(np.uint16)]  # fmt: skip
        write_dump(path, [lines, images, split], batches, calibration_start=2, expected_frames=5)
    else:
        write_dump(path, lines, x, calibration_start=2, expected_frames=5)
        (path / "bittwin.json").unlink()
    if kind == "map.csv":
        shutil.rmtree(path / "params")
        for name in ("expected_in.bin", "expected_out.bin"):
            (path / "map" / name).unlink()
    if kind == "counts":
        frames = [{"data": "0,0", "element_num": 2, "frame_idx": 2 + n} for n in range(7)]
        layer = {"complete_expected_input_data": frames, "complete_expected_output_data": frames}
        nets = [{"calibration_start": 2, "layer_num": 2, "layers": [layer, layer]}]
        (path / "map/map_complete.json").write_text(json.dumps({"net_num": 1, "nets": nets}))
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# --- damage ------------------------------------------------------------------------------------

HUGE = (b"9" * 30, b"-" + b"9" * 30, b"2147483648", b"-2147483649", b"65536", b"32768", b"1e9",
        b"0x10", b"nan", b"1.5", b"--1", b"", b"-0", b"+7", b"00012")  # fmt: skip


def flip_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def extend(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((b"\0", b"\n", b" ", b"1", b"\n1 2 3\n", b"\n" * 5000, data))


def drop_line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def repeat_line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place:place] = [lines[rng.randrange(len(lines))]] * rng.choice((1, 1, 1, 50))
    return b"\n".join(lines)


def change_number(data: bytes, rng: random.Random) -> bytes:
    numbers = list(re.finditer(rb"-?\d+", data))
    if not numbers:
        return data + b"7"
    chosen = rng.choice(numbers)
    small = b"%d" % (int(chosen.group()[:9]) + rng.choice((-1, 1, -256, 256)))
    return data[: chosen.start()] + rng.choice((*HUGE, small, small)) + data[chosen.end() :]


def insert_garbage(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    garbage = rng.choice((b"\0", b"\xff\xfe", b"\xc3\x28", b"\r", b"\t", b",", b'"', b"\x1b[31m",
                          b"net 0, layer 1\n", b"\n\n", b"{", b"]", "é".encode()))  # fmt: skip
    return data[:place] + garbage + data[place:]


ODD_VALUES = (
    None, True, -1, 0, 1, 2, 7, 255, 10**6, 10**12, 1 << 31, 10**40, 1.5, "", "x", "linear",
    "conv2d", "relu", "lookup", "int16", "wrap32", [], {}, [1], [2, 2], [[[]]], [1] * 300,
    {"rule": "floor"}, [10**6, 10**6], "\ud800",
)  # fmt: skip


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Replace one value somewhere in a JSON file."""
    try:
        content = json.loads(data)
    except ValueError:
        return flip_bytes(data, rng)
    holder = content
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return json.dumps(content).encode()
        key = rng.choice(keys)
        if not isinstance(holder[key], (dict, list)) or rng.random() < 0.15:
            break
        holder = holder[key]
    if rng.random() < 0.1:
        del holder[key]
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return json.dumps(content).encode()


DAMAGE: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bytes, truncate, extend, drop_line, repeat_line, change_number, insert_garbage,
)  # fmt: skip


def read_everything(path: Path) -> str:
    """Read a dump to the last code, run what can be run; return `read` or `refused`."""
    try:
        dump = read_dump(path)
        for layer in dump.layers:
            for codes in layer.sets:
                for side in (codes.input, codes.output):
                    if side is not None:
                        side.block(0, side.frames)
                if layer.operator is not None and codes.input is not None:
                    y = layer.run_rows(codes.input.block(0, codes.frames))
                    assert y.shape == (codes.frames, layer.out_columns)
                    layer.activate_rows(y)
        for net in dump.nets:
            dump.network(net)
    except DumpError as error:
        text = str(error)
        assert str(path) in text
        assert len(text) < 2000
        assert text.isprintable(), repr(text)
        return "refused"
    return "read"


def fuzz(path: Path, files: Files, rounds: int, seed: int) -> dict[str, int]:
    """Damage one or two files at a time, read, and put them back."""
    rng = random.Random(seed)
    names = sorted(files)
    count = {"read": 0, "refused": 0}
    for number in range(rounds):
        touched: list[str] = []
        for _ in range(rng.choice((1, 1, 1, 2))):
            # Every file gets its turn, small or large.
            name = names[number % len(names)] if not touched else rng.choice(names)
            target = path / name
            kind = rng.random()
            if kind < 0.04:
                target.unlink(missing_ok=True)
            elif kind < 0.08:
                target.write_bytes(files[rng.choice(names)])
            elif kind < 0.10:
                target.write_bytes(b"")
            elif kind < 0.7 and name.endswith(".json"):
                target.write_bytes(change_json(files[name], rng))
            else:
                target.write_bytes(rng.choice(DAMAGE)(files[name], rng))
            touched.append(name)
        try:
            count[read_everything(path)] += 1
        except BaseException:
            # Shows the damage beside the traceback.
            shown = {n: (path / n).read_bytes()[:300] for n in touched if (path / n).exists()}
            print(f"round {number} of seed {seed}: {shown}")
            raise
        finally:
            for name in touched:
                (path / name).write_bytes(files[name])
    return count


@pytest.mark.parametrize("kind", ["plain", "sidecar", "map.csv", "counts"])
@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str, seed: int) -> None:
    path = tmp_path / "dump"
    files = make_dump(path, kind)
    assert read_everything(path) == "read"
    before = peak_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count = fuzz(path, files, ROUNDS, seed)
    assert sum(count.values()) == ROUNDS
    # Some damage is invisible (a blank line) or only wrong numbers; most of it must be noticed.
    assert count["refused"] > ROUNDS // 3
    assert read_everything(path) == "read"
    assert peak_memory() - before < 200 << 20


def peak_memory() -> int:
    """Most memory that the process has had, in bytes; 0 where that is not known."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@pytest.mark.parametrize("kind", ["plain", "sidecar"])
def test_any_part_may_be_missing(tmp_path: Path, kind: str) -> None:
    """Random subsets of the files: a partial folder reads or is refused."""
    path = tmp_path / "dump"
    files = make_dump(path, kind)
    rng = random.Random(7)
    for _ in range(150):
        keep = rng.choice((0.2, 0.5, 0.8, 0.95))
        shutil.rmtree(path)
        path.mkdir()
        for name, data in files.items():
            if rng.random() < keep:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        read_everything(path)


def test_any_file_may_be_a_folder_or_a_link(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    outside = tmp_path / "outside.txt"
    outside.write_text("0 0 0\n")
    files = make_dump(path, "sidecar")
    del files["map/map.csv"]  # not opened beside params/
    for name, data in files.items():
        target = path / name
        target.unlink()
        target.mkdir()
        assert read_everything(path) == "refused"
        target.rmdir()
        for goal in (outside, tmp_path / "nowhere", target, Path("/dev/zero")):
            try:
                target.symlink_to(goal)
            except OSError:  # pragma: no cover
                pytest.skip("no symbolic links here")
            assert read_everything(path) == "refused"
            target.unlink()
        target.write_bytes(data)
    assert read_everything(path) == "read"


@pytest.mark.skipif(not hasattr(__import__("os"), "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    import os

    path = tmp_path / "dump"
    make_dump(path, "plain")
    for name in ("map/layers.txt", "params/net0/layer1/weight.txt"):
        (path / name).unlink()
        os.mkfifo(path / name)
        assert read_everything(path) == "refused"
        (path / name).unlink()
