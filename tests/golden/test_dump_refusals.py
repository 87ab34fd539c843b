# SPDX-License-Identifier: Apache-2.0
"""read_dump: what is damaged or contradicts itself is refused, with file and field named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dump_cases import EXPECTED, corrupt_int16, count_wrong, plain_dump

from bittwin import DumpError, read_dump
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.lines import index_lines, line_number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dump of one net without a sidecar."""
    return plain_dump(tmp_path)


def rewrite(path: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / path).write_text(change((folder / path).read_text()))

    return apply


def cut(path: str, by: int) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[:-by] if by > 0 else data + b"\0" * -by)

    return apply


def header(path: str, value: int) -> Callable[[Path], None]:
    return lambda folder: corrupt_int16(folder / path, 0, value)


def remove(path: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        full = folder / path
        shutil.rmtree(full) if full.is_dir() else full.unlink()

    return apply


LAYERS, WEIGHT = "map/layers.txt", "params/net0/layer1/weight.txt"
REFUSALS = {
    "no layers.txt": (remove(LAYERS), "map/layers.txt: is missing.*bittwin.json"),
    "a line of layers.txt is missing": (
        rewrite(LAYERS, lambda t: t.split("\n", 1)[1]), "found 2 layers, wanted 3"),
    "gain no power of two": (
        rewrite(LAYERS, lambda t: t.replace("1024", "1000")), "layer 1, gain G: found 1000"),
    "gain too small": (
        rewrite(LAYERS, lambda t: t.replace(" 1024", " 128")), "gain G: found 128"),
    "seven numbers": (
        rewrite(LAYERS, lambda t: t.replace(", 1024", "")), "line 1: found 6 numbers, wanted 7"),
    "words": (rewrite(LAYERS, lambda t: t.replace("1024", "lots")), "found 'lots'"),
    "region and weights": (
        rewrite(WEIGHT, lambda t: t.split("\n", 1)[1]), "found 9 lines of 8 numbers, wanted 10"),
    "ragged weights": (
        rewrite(WEIGHT, lambda t: "1 " + t), "line 2: found 8 numbers, wanted 9"),
    "weight too large": (
        rewrite(WEIGHT, lambda t: "99999" + t[t.index(" ") :]), "found '99999', wanted an integer"),
    "huge weight": (
        rewrite(WEIGHT, lambda t: "9" * 400 + t[t.index(" ") :]), "line 1, field 1: found '9999"),
    "empty weights": (rewrite(WEIGHT, lambda _: ""), "weight.txt: found no number"),
    "bias rows": (
        rewrite("params/net0/layer1/bias.txt", lambda t: t + t), "bias rows, wanted 1, as map"),
    "bias missing": (remove("params/net0/layer2/bias.txt"), "layer2/bias.txt: is missing"),
    "layer missing": (
        remove("params/net0/layer3"), "params: net 0 layer 3 is missing; map/random_idx.txt has"),
    "gap": (remove("params/net0/layer2"), "found layers 1, 3; layer 2 is missing"),
    "expected cut": (
        cut("map/expected_in.bin", 2),
        r"found \d+ bytes, wanted \d+ = 2 header bytes \+ 2\*\(20\*10 \+ 20\*8 \+ 20\*6\)"),
    "expected long": (cut("map/expected_out.bin", -2), "expected_out.bin: found"),
    "odd": (cut("map/expected_out_complete.bin", 1), "wanted an even number"),
    "complete cut": (cut("map/expected_in_complete.bin", 4), "expected_in_complete.bin: found"),
    "negative header": (header("map/expected_in.bin", -5), "header: found -5 frames"),
    "wrong header": (header("map/expected_in.bin", 21), "found 20 frames, wanted 21"),
    "complete header": (
        header("map/expected_in_complete.bin", 52), "header: found 52 frames, wanted 53"),
    "empty int16": (lambda f: (f / "map/expected_in.bin").write_bytes(b""), "found an empty file"),
    "text and int16 disagree": (
        lambda f: corrupt_int16(f / "map/expected_in.bin", 1 + 10 * 3 + 4, 7),
        r"net 0 layer 1, row 3, column 4: found 7, but map/expected_in.txt has \d+"),
    "text code": (
        rewrite("map/expected_in.txt", lambda t: t.replace("\nnet 0 layer 1 input 0", ",5\n"
                "net 0 layer 1 input 0")), "found 11 numbers, wanted 10"),
    "text heading": (
        rewrite("map/expected_out.txt", lambda t: t.replace("layer 1 output", "layer 1 outpt")),
        "line 22: found 'net 0 layer 1 outpt 0'"),
    "text count": (
        rewrite("map/expected_in.txt", lambda t: t.replace("num = 20", "num = 19")),
        "line 2: net 0 layer 1: found 20 lines after it, wanted 19"),
    "indices": (
        rewrite("map/random_idx.txt", lambda t: t[: t.rindex(",", 0, -3)] + "\n"),
        "net 0, layer 3: found 19 indices, wanted 20"),
    "index too large": (
        rewrite("map/random_idx.txt", lambda t: t.rstrip(",\n").rsplit(",", 1)[0] + ",53,\n"),
        r"found index 53, wanted 0\.\.52"),
    **{
        f"text count {name}": (
            rewrite("map/expected_in.txt", lambda t, count=count: t.replace("= 20", f"={count}", 1)),
            f"line 1: found 'num ={count}', wanted 'num = <number of frames>'")
        for name, count in {"word": " abc", "negative": " -3", "empty": "", "huge": "9" * 30}.items()
    },
    "index no number": (
        rewrite("map/random_idx.txt", lambda t: t.rstrip(",\n").rsplit(",", 1)[0] + ",x,\n"),
        "random_idx.txt: net 0, layer 3: line 8, field 20: found 'x'"),
    "layers.txt in another order": (
        rewrite(LAYERS, lambda t: "\n".join([*t.split("\n")[1::-1], *t.split("\n")[2:]])),
        r"wanted 8 of 6, as map/layers.txt gives this layer the rows ys..ye \d+\.\.\d+ and the "
        r"columns xs\.\.xe \d+\.\.\d+"),
    "index negative": (
        rewrite("map/random_idx.txt", lambda t: t.rstrip(",\n").rsplit(",", 1)[0] + ",-1,\n"),
        "field 20: found '-1'"),
    "calibration": (
        rewrite("map/random_idx.txt", lambda t: t.replace("= 7", "= x")),
        "line 1: found 'calibration_start = x'"),
    "no indices": (
        rewrite("map/random_idx.txt", lambda t: t.split("net", 1)[0]), "found no layer, wanted net"),
    "calibration too large": (
        rewrite("map/random_idx.txt", lambda t: t.replace("= 7", "= 70")),
        "found 60 frames, wanted at least calibration_start = 70"),
    "debug shorter": (
        rewrite("layer_debug/net0/2_second/round1/input0.txt", lambda t: t.split("\n", 1)[1]),
        "found 59 lines, wanted 60 as in layer_debug/net0/1_first/round0/input0.txt"),
    "debug words": (
        rewrite("layer_debug/net0/1_first/round0/output0.txt", lambda t: t.replace("0", "O")),
        "wanted an integer in -128..127"),
    "two folders": (
        lambda f: (f / "layer_debug/net0/1_zweite").mkdir(), "layer 1: found two folders"),
    "addr.csv": (
        rewrite("addr.csv", lambda t: t.replace("array,0", "array,zero")),
        "line 4, round_idx: found 'zero'"),
    "addr.csv header": (
        rewrite("addr.csv", lambda t: t.replace("layer_name", "name")), "wanted layer_name in it"),
    "no UTF-8": (
        lambda f: (f / "addr.csv").write_bytes(b"\xff\xfe"), "byte 0: found 0xff, wanted UTF-8"),
    "directory for file": (
        lambda f: ((f / "map/layers.txt").unlink(), (f / "map/layers.txt").mkdir()),
        "no regular file"),
    "file for directory": (
        lambda f: (shutil.rmtree(f / "params"), (f / "params").write_text("")),
        "found a file, wanted a directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_names_file_and_field(folder: Path, name: str) -> None:
    damage, message = REFUSALS[name]
    damage(folder)
    with pytest.raises(DumpError, match=message) as caught:
        count_wrong(read_dump(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_out_of_range_codes_are_refused_when_they_are_read(folder: Path) -> None:
    (folder / "map/expected_in.txt").unlink()
    corrupt_int16(folder / "map/expected_in.bin", 1 + 10 * 2 + 5, 256)
    with pytest.raises(
        DumpError, match=r"layer first, row 2, column 5: found 256, wanted 0\.\.255"
    ):
        read_dump(folder).layers[0].set("expected").input.block(0, EXPECTED)


def test_map_csv_needs_every_cell_once(folder: Path) -> None:
    shutil.rmtree(folder / "params")
    file = folder / "map/map.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[1:]))
    with pytest.raises(DumpError, match=r"map.csv: first: found 79 cells, wanted 10\*8"):
        read_dump(folder)
    file.write_text("".join([lines[1], *lines[1:]]))
    with pytest.raises(DumpError, match="row 0 column 0 is missing, another is listed twice"):
        read_dump(folder)


@pytest.mark.parametrize("what", ["absent", "file", "empty"])
def test_no_dump_says_what_was_looked_for(tmp_path: Path, what: str) -> None:
    path = tmp_path / "there"
    if what == "file":
        path.write_text("")
    elif what == "empty":
        path.mkdir()
    with pytest.raises(DumpError, match=r"wanted a dump folder|bittwin\.json"):
        read_dump(path)


@pytest.mark.parametrize("target", ["map/layers.txt", "layer_debug", "params/net0/layer1"])
def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    shutil.move(folder / target, outside)
    try:
        (folder / target).symlink_to(outside)
    except OSError:  # pragma: no cover
        pytest.skip("no symbolic links here")
    with pytest.raises(DumpError, match="leads out of the dump folder"):
        read_dump(folder)


def test_links_within_the_folder_are_fine(folder: Path) -> None:
    shutil.move(folder / "map/layers.txt", folder / "elsewhere.txt")
    try:
        (folder / "map/layers.txt").symlink_to(folder / "elsewhere.txt")
    except OSError:  # pragma: no cover
        pytest.skip("no symbolic links here")
    assert len(read_dump(folder).layers) == 3


def test_a_gain_that_overflows_the_accumulator_is_refused(folder: Path) -> None:
    weight = folder / WEIGHT
    rows, columns = 40000, 1
    weight.write_text("32767\n" * rows)
    for name in ("bias.txt", "bias_high.txt"):
        (folder / "params/net0/layer1" / name).write_text("0\n")
    lines = (folder / LAYERS).read_text().splitlines()
    lines[0] = f"0, {columns - 1}, 0, {rows - 1}, 0, 0, 1024"
    (folder / LAYERS).write_text("\n".join(lines))
    with pytest.raises(DumpError, match=r"weight\.txt: layer first: .*can leave INT32"):
        read_dump(folder)


@pytest.mark.parametrize("scan", [1, 2, 3, 7, 64])
@pytest.mark.parametrize(
    "text", ["", "\n", "12\n34", "12\n34\n", "\n\n1 2 3\n\r\n\n4 5\r\n6\n\n", "9" * 50 + "\n8\n\n7"]
)
def test_lines_are_found_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, scan: int
) -> None:
    monkeypatch.setattr("bittwin.golden.reading.lines.SCAN_BYTES", scan)
    (tmp_path / "file.txt").write_bytes(text.encode())
    folder = Folder(tmp_path)
    lines = index_lines(folder, "file.txt")
    wanted = [line for line in text.split("\n") if line.strip()]
    found = [text[a:b].strip() for a, b in zip(lines.bounds[:-1], lines.bounds[1:], strict=True)]
    assert found == [line.strip() for line in wanted]
    assert bytes(lines.first_bytes).decode() == "".join(line[0] for line in wanted)
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = len("\n".join(text.split("\n")[: number - 1])) + (number > 1)
            assert line_number(folder, "file.txt", place) == number


def test_short_and_endless_lines_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.txt").write_text("1 2 3\n\n1 2\n")
    with pytest.raises(DumpError, match="line 3: found 3 bytes, wanted at least 5"):
        index_lines(Folder(tmp_path), "file.txt", shortest=5)
    monkeypatch.setattr("bittwin.golden.reading.lines.LINE_BYTES", 4)
    monkeypatch.setattr("bittwin.golden.reading.lines.SCAN_BYTES", 2)
    (tmp_path / "file.txt").write_text("1 2 3 4")
    with pytest.raises(DumpError, match="line 1: longer than 4 bytes"):
        index_lines(Folder(tmp_path), "file.txt")
    monkeypatch.setattr("bittwin.golden.reading.lines.LINE_COUNT", 2)
    (tmp_path / "file.txt").write_text("1\n2\n3\n")
    with pytest.raises(DumpError, match="more than 2 lines"):
        index_lines(Folder(tmp_path), "file.txt")


def read_blocks(folder: Path) -> None:
    for layer in read_dump(folder).layers:
        for codes in layer.sets:
            assert codes.output is not None
            for start in range(0, codes.frames, 10):
                codes.output.block(start, min(start + 10, codes.frames))


@pytest.mark.parametrize(
    ("path", "line"),
    [("layer_debug/net0/1_first/round0/output0.txt", 21), ("map/expected_out.txt", 35)],
)
def test_a_block_of_a_text_file_counts_lines_from_the_file_start(
    folder: Path, path: str, line: int
) -> None:
    for name in ("expected_in", "expected_out"):
        (folder / f"map/{name}.bin").unlink()
    lines = (folder / path).read_text().split("\n")
    lines[line - 1] = re.sub(r"^-?[0-9]+", "abc", lines[line - 1])
    lines.insert(0, "")  # a blank line counts too
    (folder / path).write_text("\n".join(lines))
    with pytest.raises(DumpError) as caught:
        read_blocks(folder)
    assert str(caught.value).count("line ") == 1
    assert f"{path}: line {line + 1}, field 1: " in str(caught.value)
    assert "found 'abc'" in str(caught.value)
