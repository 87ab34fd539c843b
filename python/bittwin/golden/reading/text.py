# SPDX-License-Identifier: Apache-2.0
"""Integers in text files: whole tables, and large files read block by block."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin.errors import DumpError
from bittwin.golden.reading.folder import WHOLE_FILE_LIMIT, Folder
from bittwin.golden.reading.lines import Lines, index_lines, line_number

_LINE = re.compile(r"\Aline ([0-9]+)")
#: What may stand between two numbers of a line.
SEPARATORS = ", \t"


@dataclass(frozen=True)
class Range:
    """Inclusive range of the codes in a file."""

    low: int
    high: int


#: A byte as the array reads it.
INPUT_CODES = Range(0, 255)
#: A byte as the array's readout writes it.
OUTPUT_CODES = Range(-128, 127)
#: What a cell may hold in the C-model.
CELL_CODES = Range(-32768, 32767)


def parse_rows(
    folder: Folder,
    path: str,
    data: bytes,
    *,
    columns: int,
    codes: Range,
    max_rows: int,
    where: str = "",
    lines_before: int = 0,
) -> NDArray[np.int32]:
    """Parse lines of integers; `columns` -1 takes the width of the first line.

    Args:
        folder: the dump.
        path: the file, for messages.
        data: its bytes, or some whole lines of them.
        columns: numbers per line.
        codes: range of the numbers.
        max_rows: most lines that are not blank.
        where: put before the line number in messages.
        lines_before: lines of the file before `data`, so that messages count from its start.

    Returns:
        int32 `[rows, columns]`.

    Raises:
        DumpError: naming the file, the line and the field.
    """
    if not data.strip():
        return np.zeros((0, max(columns, 0)), np.int32)
    try:
        table = _core.parse_int_rows(data, columns, codes.low, codes.high, SEPARATORS, max_rows)
    except (ValueError, MemoryError, OverflowError) as error:
        text = _LINE.sub(lambda found: f"line {int(found[1]) + lines_before}", str(error))
        raise folder.error(path, f"{where}{text}") from error
    return np.asarray(table, np.int32)


def read_table(
    folder: Folder,
    path: str,
    *,
    columns: int = -1,
    codes: Range = CELL_CODES,
    max_rows: int = 1 << 20,
    limit: int = WHOLE_FILE_LIMIT,
) -> NDArray[np.int32]:
    """Read a whole text file of integers as int32 `[rows, columns]`."""
    data = folder.read(path, limit)
    return parse_rows(folder, path, data, columns=columns, codes=codes, max_rows=max_rows)


@dataclass(frozen=True, eq=False)
class TextCodes:
    """Codes in a text file, one line per frame; only the lines asked for are parsed."""

    folder: Folder = field(repr=False)
    source: str
    columns: int
    lines: Lines = field(repr=False)
    codes: Range

    @property
    def frames(self) -> int:
        """Number of lines."""
        return len(self.lines)

    def block(self, start: int, stop: int) -> NDArray[np.int16]:
        """Parse the lines `start` to `stop`; see `Codes.block`."""
        return self._rows(start, stop).astype(np.int16)

    def _rows(self, start: int, stop: int) -> NDArray[np.int32]:
        check_block(start, stop, self.frames)
        if start == stop:
            return np.zeros((0, self.columns), np.int32)
        begin, end = (int(self.lines.bounds[place]) for place in (start, stop))
        data = self.folder.read_range(self.source, begin, end)
        try:
            table = self._parse(data, stop - start)
        except DumpError:
            # The parser counts from the block's first line: say which one that is.
            before = line_number(self.folder, self.source, begin) - 1
            if not before:
                raise
            table = self._parse(data, stop - start, before)
        if len(table) != stop - start:
            raise self.folder.error(
                self.source, f"frame {start} on: found {len(table)} rows, wanted {stop - start}"
            )
        return table

    def _parse(self, data: bytes, rows: int, lines_before: int = 0) -> NDArray[np.int32]:
        return parse_rows(
            self.folder,
            self.source,
            data,
            columns=self.columns,
            codes=self.codes,
            max_rows=rows,
            lines_before=lines_before,
        )


class WideTextCodes(TextCodes):
    """The same for codes beyond 16 bits, which a trace may hold."""

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Parse the lines `start` to `stop` as int32."""
        return self._rows(start, stop)


def open_text_codes(folder: Folder, path: str, columns: int, codes: Range) -> TextCodes:
    """Index a file that holds nothing but one line of codes per frame."""
    lines = index_lines(folder, path, shortest=2 * columns - 1)
    return TextCodes(folder, path, columns, lines, codes)


def check_block(start: int, stop: int, frames: int) -> None:
    """Raise IndexError unless `0 <= start <= stop <= frames`."""
    if not 0 <= start <= stop <= frames:
        raise IndexError(f"frames {start}..{stop}: wanted a part of 0..{frames}")
