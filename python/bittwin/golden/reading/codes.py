# SPDX-License-Identifier: Apache-2.0
"""Golden codes in int16 files, and the helpers that all kinds of codes share."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.dump import Codes
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.text import Range, check_block

_INT16 = np.dtype("<i2")


class BinaryFile:
    """A file of little-endian int16, mapped into memory when it is first read."""

    def __init__(self, folder: Folder, path: str) -> None:
        """Measure the file; an odd number of bytes is refused with `DumpError`."""
        self.folder = folder
        self.path = path
        self.size = folder.size(path)
        if self.size % 2:
            raise folder.error(path, f"found {self.size} bytes, wanted an even number (int16)")

    @cached_property
    def values(self) -> NDArray[np.int16]:
        """The whole file as a read-only view that costs no memory until it is touched."""
        if self.size == 0:
            return np.zeros(0, _INT16)
        with self.folder.open(self.path) as stream:
            try:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise self.folder.error(self.path, f"cannot be mapped: {error}") from error
        if len(mapped) != self.size:
            raise self.folder.error(
                self.path, f"found {len(mapped)} bytes, wanted {self.size}: it is changing"
            )
        return np.frombuffer(mapped, _INT16)

    def header(self) -> int:
        """Return the frame count at the head of the file.

        Raises:
            DumpError: the file is empty or the count negative.
        """
        if self.size < 2:
            raise self.folder.error(self.path, "found an empty file, wanted a frame count (int16)")
        frames = int(self.values[0])
        if frames < 0:
            raise self.folder.error(self.path, f"header: found {frames} frames, wanted 0..32767")
        return frames

    def require_size(self, header_bytes: int, parts: list[tuple[str, int, int]]) -> None:
        """Compare the file's size with what the layers need.

        Args:
            header_bytes: 2 or 0.
            parts: layer name, frames, columns.

        Raises:
            DumpError: with both sizes and how the wanted one comes about.
        """
        wanted = header_bytes + 2 * sum(frames * columns for _, frames, columns in parts)
        if wanted == self.size:
            return
        terms = " + ".join(f"{frames}*{columns}" for _, frames, columns in parts[:12])
        if len(parts) > 12:
            terms += f" + ... ({len(parts)} layers)"
        head = f"{header_bytes} header bytes + " if header_bytes else ""
        raise self.folder.error(
            self.path,
            f"found {self.size} bytes, wanted {wanted} = {head}2*({terms}), frames*columns per "
            "layer",
        )


@dataclass(frozen=True, eq=False)
class BinaryCodes:
    """The codes of one layer in an int16 file."""

    file: BinaryFile = field(repr=False)
    offset: int
    """Position of the first code, counted in int16."""
    frames: int
    columns: int
    codes: Range
    layer: str
    """Name of the layer, for messages."""

    @property
    def source(self) -> str:
        """Path of the file relative to the dump."""
        return self.file.path

    def block(self, start: int, stop: int) -> NDArray[np.int16]:
        """Read the frames `start` to `stop`; see `Codes.block`."""
        check_block(start, stop, self.frames)
        first = self.offset + start * self.columns
        flat = self.file.values[first : first + (stop - start) * self.columns]
        block = flat.reshape(stop - start, self.columns).astype(np.int16)
        if block.size and (block.min() < self.codes.low or block.max() > self.codes.high):
            bad = (block < self.codes.low) | (block > self.codes.high)
            frame, column = np.unravel_index(int(bad.argmax()), block.shape)
            raise self.file.folder.error(
                self.source,
                f"layer {self.layer}, row {start + int(frame)}, column {int(column)}: "
                f"found {int(block[frame, column])}, wanted "
                f"{self.codes.low}..{self.codes.high}",
            )
        return block


@dataclass(frozen=True, eq=False)
class UnsignedView:
    """Bytes that a file shows as int8, handed out as 0..255."""

    signed: Codes

    @property
    def frames(self) -> int:
        """Number of rows."""
        return self.signed.frames

    @property
    def columns(self) -> int:
        """Codes per row."""
        return self.signed.columns

    @property
    def source(self) -> str:
        """Path of the file relative to the dump."""
        return self.signed.source

    def block(self, start: int, stop: int) -> NDArray[np.int16]:
        """Read the frames `start` to `stop`; see `Codes.block`."""
        block: NDArray[np.int16] = self.signed.block(start, stop) & np.int16(255)
        return block


def take_rows(codes: Codes, wanted: NDArray[np.int64]) -> NDArray[np.int16]:
    """Read rows by number, in any order, in as few blocks as their spread allows.

    Args:
        codes: where to read.
        wanted: row numbers, 0-based; may repeat.

    Returns:
        int16 `[len(wanted), columns]`.
    """
    if not len(wanted):
        return np.zeros((0, codes.columns), np.int16)
    unique, place = np.unique(wanted, return_inverse=True)
    # Reading a few rows too many is cheaper than opening a text file once more.
    breaks = np.flatnonzero(np.diff(unique) > 16) + 1
    parts = []
    for run in np.split(unique, breaks):
        first = int(run[0])
        parts.append(codes.block(first, int(run[-1]) + 1)[run - first])
    rows: NDArray[np.int16] = np.concatenate(parts)[place.reshape(-1)]
    return rows
