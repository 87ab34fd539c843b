# SPDX-License-Identifier: Apache-2.0
"""The small files that say which frame is which: random_idx.txt, addr.csv, map_complete.json."""

from __future__ import annotations

import csv
import io
import mmap
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.text import Range, parse_rows

#: Net and layer of a dump, the layer counted from 1 within its net.
Key = tuple[int, int]

RANDOM_INDEX = "map/random_idx.txt"
ADDRESSES = "addr.csv"
COMPLETE_COUNTS = "map/map_complete.json"

#: Largest random_idx.txt and addr.csv that are read, in bytes.
_SMALL_FILE_LIMIT = 32 << 20
#: Most layers a dump may have.
LAYER_LIMIT = 4096
#: Largest frame number that is believed.
FRAME_LIMIT = (1 << 31) - 1

_START = re.compile(r"calibration_start\s*=\s*([0-9]{1,9})\s*\Z")
_HEADING = re.compile(r"net\s+([0-9]{1,4})\s*,\s*layer\s+([0-9]{1,4})\s*\Z")


@dataclass(frozen=True)
class RandomIndex:
    """Content of random_idx.txt: which complete frame each expected row is."""

    calibration_start: int
    rows: dict[Key, NDArray[np.int64]] = field(repr=False)


def read_random_index(folder: Folder) -> RandomIndex | None:
    """Read map/random_idx.txt; None where it is absent.

    Raises:
        DumpError: naming the line and what was wanted.
    """
    if not folder.has_file(RANDOM_INDEX):
        return None
    text = folder.read_text(RANDOM_INDEX, _SMALL_FILE_LIMIT)
    if text.count("\n") > 8 * LAYER_LIMIT:
        raise folder.error(RANDOM_INDEX, f"found more than {8 * LAYER_LIMIT} lines")
    start: int | None = None
    key: Key | None = None
    rows: dict[Key, NDArray[np.int64]] = {}
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line:
            continue
        if start is None:
            match = _START.match(line)
            if match is None:
                raise _bad_line(folder, number, line, "calibration_start = <number>")
            start = int(match.group(1))
        elif key is None:
            match = _HEADING.match(line)
            if match is None:
                raise _bad_line(folder, number, line, "net <number>, layer <number>")
            key = int(match.group(1)), int(match.group(2))
            if key in rows:
                raise _bad_line(folder, number, line, "each layer once")
        else:
            table = parse_rows(
                folder,
                RANDOM_INDEX,
                line.encode(),
                columns=-1,
                codes=Range(0, FRAME_LIMIT),
                max_rows=1,
                where=f"net {key[0]}, layer {key[1]}: ",
                lines_before=number - 1,
            )
            rows[key] = table.reshape(-1).astype(np.int64)
            key = None
    if start is None:
        raise folder.error(RANDOM_INDEX, "found no line, wanted calibration_start = <number>")
    if key is not None:
        raise folder.error(
            RANDOM_INDEX, f"net {key[0]}, layer {key[1]}: found no list of indices after it"
        )
    if not rows:
        raise folder.error(RANDOM_INDEX, "found no layer, wanted net <number>, layer <number>")
    return RandomIndex(start, rows)


def _bad_line(folder: Folder, number: int, line: str, wanted: str) -> Exception:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return folder.error(RANDOM_INDEX, f"line {number}: found {shown!r}, wanted {wanted}")


@dataclass(frozen=True)
class Address:
    """One line of addr.csv, as far as it is used."""

    net: int
    layer_name: str
    round_type: str
    round_index: int


def read_addresses(folder: Folder) -> tuple[Address, ...]:
    """Read addr.csv; empty where it is absent. Blank lines, which occur, are skipped.

    Raises:
        DumpError: naming the line and the field.
    """
    if not folder.has_file(ADDRESSES):
        return ()
    text = folder.read_text(ADDRESSES, _SMALL_FILE_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""))
    fields: dict[str, int] | None = None
    found = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            cells = [cell.strip() for cell in row]
            if fields is None:
                fields = {name: place for place, name in enumerate(cells)}
                for name in ("net_idx", "layer_name", "round_type", "round_idx"):
                    if name not in fields:
                        raise folder.error(
                            ADDRESSES, f"header: found {', '.join(cells)[:80]}, wanted {name} in it"
                        )
                continue
            where = f"line {reader.line_num}"
            if len(cells) < len(fields):
                raise folder.error(
                    ADDRESSES, f"{where}: found {len(cells)} fields, wanted {len(fields)}"
                )
            numbers = []
            for name in ("net_idx", "round_idx"):
                cell = cells[fields[name]]
                if not re.fullmatch(r"[0-9]{1,6}", cell):
                    raise folder.error(
                        ADDRESSES, f"{where}, {name}: found {cell[:40]!r}, wanted a number"
                    )
                numbers.append(int(cell))
            found.append(
                Address(
                    numbers[0], cells[fields["layer_name"]], cells[fields["round_type"]], numbers[1]
                )
            )
    except csv.Error as error:
        raise folder.error(ADDRESSES, f"line {reader.line_num}: {error}") from error
    return tuple(found)


_COUNT_TOKENS = re.compile(
    rb'"(?:(layers)"\s*:\s*\[|complete_expected_(input|output)_data"\s*:\s*\[|'
    rb'frame_idx"\s*:\s*(-?[0-9]{1,10})(?![0-9.eE])|calibration_start"\s*:\s*(-?[0-9]{1,10}))'
)


@dataclass(frozen=True)
class CompleteCounts:
    """Frames of each layer in the complete files, as map_complete.json lists them."""

    calibration_start: int | None
    frames: dict[Key, tuple[int, int]]
    """Input and output frames."""


def read_complete_counts(folder: Folder) -> CompleteCounts | None:
    """Count the frames in map/map_complete.json; None where it is absent.

    The file repeats all codes as text and can be large. It is mapped and scanned for the few
    keys that matter; the `*_frame_num` fields in it are one too high and not used.

    Raises:
        DumpError: frames out of order, too many layers, or no layer at all.
    """
    if not folder.has_file(COMPLETE_COUNTS):
        return None
    with folder.open(COMPLETE_COUNTS) as stream:
        try:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise folder.error(COMPLETE_COUNTS, f"cannot be read: {error}") from error
    start: int | None = None
    net, layers = -1, 0
    counts: dict[Key, dict[bytes, int]] = {}
    part: dict[bytes, int] | None = None
    side = b""
    with data:
        for match in _COUNT_TOKENS.finditer(data):
            opens_net, opens_side, frame, calibration = match.groups()
            if opens_net is not None:
                net, layers, part = net + 1, 0, None
            elif opens_side is not None:
                # Either key may come first; a repeated one opens the next layer.
                if part is None or opens_side in part:
                    layers += 1
                    part = counts.setdefault((max(net, 0), layers), {})
                    if len(counts) > LAYER_LIMIT:
                        raise folder.error(COMPLETE_COUNTS, f"found more than {LAYER_LIMIT} layers")
                side = opens_side
                part[side] = 0
            elif frame is not None:
                if part is None:
                    raise folder.error(COMPLETE_COUNTS, "frame_idx: found outside of a layer")
                wanted = part[side] + (start or 0)
                if start is not None and int(frame) != wanted:
                    raise folder.error(
                        COMPLETE_COUNTS,
                        f"net {max(net, 0)} layer {layers} {side.decode()}: found frame_idx "
                        f"{int(frame)}, wanted {wanted}",
                    )
                part[side] += 1
            else:
                value = int(calibration)
                if not 0 <= value <= FRAME_LIMIT or start not in (None, value):
                    raise folder.error(
                        COMPLETE_COUNTS,
                        f"calibration_start: found {value}, wanted "
                        f"{'0 or more' if start is None else start}",
                    )
                start = value
    if not counts:
        raise folder.error(COMPLETE_COUNTS, "found no complete_expected_input_data in it")
    frames = {}
    for key, part in counts.items():
        if set(part) != {b"input", b"output"} or part[b"input"] != part[b"output"]:
            raise folder.error(
                COMPLETE_COUNTS,
                f"net {key[0]} layer {key[1]}: found {part.get(b'input', 0)} input and "
                f"{part.get(b'output', 0)} output frames, wanted equally many",
            )
        frames[key] = (part[b"input"], part[b"output"])
    return CompleteCounts(start, frames)
