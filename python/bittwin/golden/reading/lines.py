# SPDX-License-Identifier: Apache-2.0
"""Where the lines of a text file are, so that a block of them can be read alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.folder import Folder

#: Bytes that are scanned at a time.
SCAN_BYTES = 1 << 20
#: Longest line that is accepted, in bytes: far above any layer's width.
LINE_BYTES = 64 << 20
#: Most lines that one file may have: frames of a stream, at 8 bytes each.
LINE_COUNT = 1 << 24

_NEWLINE = ord("\n")
_RETURN = ord("\r")


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a file that are not blank."""

    bounds: NDArray[np.int64]
    """`[count + 1]`: line i lies between bounds i and i + 1, with its line end and blank lines."""
    first_bytes: NDArray[np.uint8]
    """`[count]`: what each line begins with."""

    def part(self, start: int, stop: int) -> Lines:
        """Return the lines `start` to `stop` (exclusive) of the list."""
        return Lines(self.bounds[start : stop + 1], self.first_bytes[start:stop])

    def __len__(self) -> int:
        """Number of lines that are not blank."""
        return len(self.first_bytes)


def index_lines(folder: Folder, path: str, shortest: int = 1) -> Lines:
    """Find the lines of a file, one MiB at a time.

    Args:
        folder: the dump.
        path: the file.
        shortest: fewest bytes that a line of this file can have.

    Raises:
        DumpError: a line shorter than `shortest` or longer than `LINE_BYTES`, or more than
            `LINE_COUNT` lines.
    """
    size = folder.size(path)
    starts: list[NDArray[np.int64]] = []
    firsts: list[NDArray[np.uint8]] = []
    count = line_start = position = 0
    first_byte = _NEWLINE
    with folder.open(path) as stream:
        while position < size:
            chunk = stream.read(min(SCAN_BYTES, size - position))
            if not chunk:
                raise folder.error(path, f"ends at byte {position}, wanted {size}: it changed")
            codes = np.frombuffer(chunk, np.uint8)
            if position == line_start:
                first_byte = int(codes[0])
            position += len(chunk)
            ends = np.flatnonzero(codes == _NEWLINE).astype(np.int64) + (position - len(chunk))
            if position == size and (not len(ends) or ends[-1] != size - 1):
                ends = np.append(ends, size)  # the last line lacks its line end
            if len(ends):
                begins = np.concatenate([[line_start], ends[:-1] + 1])
                # The first of these lines may have begun in an earlier chunk.
                begun = codes[np.maximum(begins - (position - len(chunk)), 0)].copy()
                begun[0] = first_byte
                length = ends - begins
                full = (length > 1) | ((length == 1) & (begun != _RETURN))
                short = np.flatnonzero(full & (length < shortest))
                if len(short):
                    raise folder.error(
                        path,
                        f"line {line_number(folder, path, int(begins[short[0]]))}: found "
                        f"{length[short[0]]} bytes, wanted at least {shortest} for the layer's "
                        "columns",
                    )
                starts.append(begins[full])
                firsts.append(begun[full])
                count += len(starts[-1])
                if count > LINE_COUNT:
                    raise folder.error(path, f"found more than {LINE_COUNT} lines")
                line_start = int(ends[-1]) + 1
                if line_start < position:
                    first_byte = chunk[line_start - position]
            if position - line_start > LINE_BYTES:
                number = line_number(folder, path, line_start)
                raise folder.error(path, f"line {number}: longer than {LINE_BYTES} bytes")
    bounds = np.concatenate([*starts, np.array([size], np.int64)])
    return Lines(bounds, np.concatenate([*firsts, np.zeros(0, np.uint8)]))


def line_number(folder: Folder, path: str, position: int) -> int:
    """Count which line, from 1, begins at a byte; for messages only."""
    lines = 1
    with folder.open(path) as stream:
        while position > 0:
            chunk = stream.read(min(SCAN_BYTES, position))
            if not chunk:
                break
            lines += chunk.count(b"\n")
            position -= len(chunk)
    return lines
