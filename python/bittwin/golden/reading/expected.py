# SPDX-License-Identifier: Apache-2.0
"""The expected set: some frames of every layer, shuffled, as int16 and as text."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import DumpError
from bittwin.golden.dump import Codes, CodeSet
from bittwin.golden.reading.codes import BinaryCodes, BinaryFile
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import RANDOM_INDEX, Key, RandomIndex
from bittwin.golden.reading.lines import Lines, index_lines, line_number
from bittwin.golden.reading.shape import LayerShape
from bittwin.golden.reading.text import TextCodes

#: Text of at most this size is compared with the int16 file in full, in bytes.
COMPARE_LIMIT = 64 << 20
#: Frames that are compared at a time.
_BLOCK = 4096

_COUNT = re.compile(rb"num\s*=\s*([0-9]{1,9})\s*\Z")
_HEADING = re.compile(rb"net\s+([0-9]{1,4})\s+layer\s+([0-9]{1,4})\s+(input|output)\s+0\s*\Z")


class ExpectedText:
    """The sections of expected_in.txt or expected_out.txt."""

    def __init__(self, folder: Folder, side: str) -> None:
        """Index the file; `side` is `in` or `out`."""
        self.folder = folder
        self.path = f"map/expected_{side}.txt"
        self._word = b"input" if side == "in" else b"output"
        # A heading has 20 bytes, a line of codes at least one: anything goes here.
        self.lines: Lines = index_lines(folder, self.path)
        self.sections: dict[Key, tuple[int, int]] = {}
        self.frames = self._read_headings()

    def _read_headings(self) -> int:
        """Find the sections and return the number of lines in each."""
        places = np.flatnonzero(self.lines.first_bytes == ord("n"))
        stated: int | None = None
        if len(places) and places[0] == 0:
            line = self._line(0)
            match = _COUNT.match(line)
            if match is not None:
                stated = int(match.group(1))
                places = places[1:]
            elif line.startswith(b"num"):
                raise self._bad(0, f"found {_shown(line)}, wanted 'num = <number of frames>'")
        start = 0 if stated is None else 1
        if not len(places) or places[0] != start:
            wanted = f"'net 0 layer 0 {self._word.decode()} 0'"
            if start >= len(self.lines):
                raise self.folder.error(self.path, f"found no layer, wanted a line {wanted}")
            raise self._bad(start, f"found {_shown(self._line(start))}, wanted {wanted}")
        ends = np.append(places[1:], len(self.lines))
        frames = stated if stated is not None else int(ends[0] - places[0] - 1)
        for place, end in zip(places.tolist(), ends.tolist(), strict=True):
            match = _HEADING.match(self._line(place))
            if match is None or match.group(3) != self._word:
                raise self._bad(
                    place,
                    f"found {_shown(self._line(place))}, wanted "
                    f"'net <n> layer <l> {self._word.decode()} 0'",
                )
            # Nets and layers are both counted from 0 here, layers from 1 everywhere else.
            key = int(match.group(1)), int(match.group(2)) + 1
            if key in self.sections:
                raise self._bad(place, "this layer comes twice")
            if end - place - 1 != frames:
                raise self._bad(
                    place,
                    f"net {key[0]} layer {key[1]}: found {end - place - 1} lines after it, "
                    f"wanted {frames}",
                )
            self.sections[key] = place + 1, end
        return frames

    def _line(self, place: int) -> bytes:
        start, end = (int(bound) for bound in self.lines.bounds[place : place + 2])
        return self.folder.read_range(self.path, start, min(end, start + 200)).rstrip()

    def _bad(self, place: int, text: str) -> DumpError:
        number = line_number(self.folder, self.path, int(self.lines.bounds[place]))
        return self.folder.error(self.path, f"line {number}: {text}")

    def codes(self, shape: LayerShape) -> TextCodes:
        """Return the codes of one layer; the layer must be one of `sections`."""
        first, stop = self.sections[shape.key]
        into = self._word == b"input"
        return TextCodes(
            self.folder,
            self.path,
            shape.in_columns if into else shape.out_columns,
            self.lines.part(first, stop),
            shape.in_codes if into else shape.out_codes,
        )


def _shown(line: bytes) -> str:
    """Quote the beginning of a line, as text."""
    return repr(line[:60].decode("utf-8", "replace"))


def open_text(folder: Folder) -> dict[str, ExpectedText]:
    """Index those of expected_in.txt and expected_out.txt that are there."""
    return {
        side: ExpectedText(folder, side)
        for side in ("in", "out")
        if folder.has_file(f"map/expected_{side}.txt")
    }


def open_expected(
    folder: Folder,
    shapes: tuple[LayerShape, ...],
    texts: dict[str, ExpectedText],
    random: RandomIndex | None,
    complete_frames: dict[Key, int],
    notes: list[str],
) -> dict[Key, CodeSet]:
    """Open the expected set of every layer; empty where no file of it is there.

    Args:
        folder: the dump.
        shapes: the layers in the order of the files.
        texts: from `open_text`.
        random: random_idx.txt.
        complete_frames: frames that the indices choose from, where known.
        notes: gets a sentence where the frames' order is unknown.

    Raises:
        DumpError: sizes, counts or indices contradict each other.
    """
    files = {
        side: BinaryFile(folder, f"map/expected_{side}.bin")
        for side in ("in", "out")
        if folder.has_file(f"map/expected_{side}.bin")
    }
    if not files and not texts:
        return {}
    frames = _frame_count(folder, shapes, files, texts)
    sides: dict[str, dict[Key, Codes]] = {}
    for side in ("in", "out"):
        if side in files:
            sides[side] = slice_file(
                files[side], shapes, side, dict.fromkeys(_keys(shapes), frames)
            )
            if side in texts:
                _compare(folder, shapes, sides[side], texts[side], notes)
        elif side in texts:
            sides[side] = {shape.key: texts[side].codes(shape) for shape in shapes}
    result = {}
    for shape in shapes:
        index = None
        if random is not None:
            index = _frame_index(folder, shape, random, frames, complete_frames.get(shape.key))
        inputs, outputs = (sides.get(side, {}).get(shape.key) for side in ("in", "out"))
        result[shape.key] = CodeSet("expected", inputs, outputs, False, index)
    return result


def _keys(shapes: tuple[LayerShape, ...]) -> list[Key]:
    return [shape.key for shape in shapes]


def _frame_count(
    folder: Folder,
    shapes: tuple[LayerShape, ...],
    files: dict[str, BinaryFile],
    texts: dict[str, ExpectedText],
) -> int:
    """Return the frames per layer, on which all files must agree."""
    claims: list[tuple[str, int]] = []
    if "in" in files:
        claims.append((files["in"].path, files["in"].header()))
    claims += [(text.path, text.frames) for text in texts.values()]
    if not claims:
        file = files["out"]
        columns = sum(shape.out_columns for shape in shapes)
        frames, rest = divmod(file.size, 2 * columns)
        if rest:
            raise folder.error(
                file.path,
                f"found {file.size} bytes, wanted a multiple of {2 * columns} = 2*{columns} "
                "outputs of all layers",
            )
        claims.append((file.path, frames))
    first_path, frames = claims[0]
    for path, other in claims[1:]:
        if other != frames:
            raise folder.error(path, f"found {other} frames, wanted {frames} as in {first_path}")
    return frames


def slice_file(
    file: BinaryFile, shapes: tuple[LayerShape, ...], side: str, frames: dict[Key, int]
) -> dict[Key, Codes]:
    """Cut an int16 file into layers; input files start with a frame count.

    Raises:
        DumpError: the file's size is not what the layers need.
    """
    header = 1 if side == "in" else 0
    widths = [shape.in_columns if side == "in" else shape.out_columns for shape in shapes]
    file.require_size(
        2 * header,
        [(s.name, frames[s.key], width) for s, width in zip(shapes, widths, strict=True)],
    )
    offset = header
    result: dict[Key, Codes] = {}
    for shape, width in zip(shapes, widths, strict=True):
        codes = shape.in_codes if side == "in" else shape.out_codes
        result[shape.key] = BinaryCodes(file, offset, frames[shape.key], width, codes, shape.name)
        offset += frames[shape.key] * width
    return result


def _compare(
    folder: Folder,
    shapes: tuple[LayerShape, ...],
    binary: dict[Key, Codes],
    text: ExpectedText,
    notes: list[str],
) -> None:
    """Refuse a dump whose int16 and text files disagree: one of them is out of date."""
    whole = folder.size(text.path) <= COMPARE_LIMIT
    if not whole:
        notes.append(f"{text.path} is large: only the first frame of each layer was compared")
    for shape in shapes:
        codes = text.codes(shape)
        for start in range(0, codes.frames, _BLOCK):
            stop = min(start + _BLOCK, codes.frames) if whole else min(1, codes.frames)
            ours, theirs = binary[shape.key].block(start, stop), codes.block(start, stop)
            if not np.array_equal(ours, theirs):
                frame, column = np.argwhere(ours != theirs)[0]
                raise folder.error(
                    binary[shape.key].source,
                    f"net {shape.net} layer {shape.index}, row {start + int(frame)}, column "
                    f"{int(column)}: found {int(ours[frame, column])}, but {text.path} has "
                    f"{int(theirs[frame, column])}; remove the file that is out of date",
                )
            if not whole:
                break


def _frame_index(
    folder: Folder,
    shape: LayerShape,
    random: RandomIndex,
    frames: int,
    available: int | None,
) -> NDArray[np.int64]:
    """Turn the indices of one layer into stream frames."""
    where = f"net {shape.net}, layer {shape.index}"
    indices = random.rows[shape.key]
    if len(indices) != frames:
        raise folder.error(
            RANDOM_INDEX,
            f"{where}: found {len(indices)} indices, wanted {frames}, the expected frames",
        )
    if available is not None and len(indices) and indices.max() >= available:
        raise folder.error(
            RANDOM_INDEX,
            f"{where}: found index {int(indices.max())}, wanted 0..{available - 1}, the complete "
            "frames",
        )
    return random.calibration_start + indices
