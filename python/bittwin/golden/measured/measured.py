# SPDX-License-Identifier: Apache-2.0
"""Measured codes: reading them, and the statistics a bring-up engineer knows.

A measured file has no tolerance and no model: its codes are compared with the golden ones of the dump.
Error is measured - golden, in LSB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import BittwinError
from bittwin.golden.check.results import MeasuredResult
from bittwin.golden.check.selection import row_range
from bittwin.golden.measured.error_statistics import Source, Statistics

if TYPE_CHECKING:
    from bittwin.golden.dump import CodeSet, Dump, DumpLayer

Ints = NDArray[Any]


class MeasuredError(BittwinError, ValueError):
    """A measured file that cannot be read or does not fit the dump."""


@dataclass(frozen=True)
class Measured:
    """A measured file that fits the dump."""

    path: Path
    sources: tuple[Source, ...]
    notes: tuple[str, ...]


def open_measured(dump: Dump, path: str | Path) -> Measured:
    """Open measured codes and check that they fit.

    Args:
        dump: the dump whose golden codes they belong to.
        path: an int16 little-endian file in expected_out.bin's layout, or an npz with one integer array
            [frames, columns] per layer.

    Raises:
        MeasuredError: unreadable, or another size, name, type or shape than the dump's.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        size = path.stat().st_size
    except OSError as error:
        raise MeasuredError(f"{path}: {error.strerror or error}") from error
    if path.suffix.lower() == ".npz" or magic == b"PK\x03\x04":
        return _open_npz(dump, path)
    return _open_binary(dump, path, size)


def _open_binary(dump: Dump, path: Path, size: int) -> Measured:
    parts: list[tuple[DumpLayer, CodeSet, int]] = []
    at = 0
    for layer in dump.layers:
        codes = layer.set("expected")
        if codes is None or codes.output is None:
            raise MeasuredError(
                f"{path}: the layout of expected_out.bin is unknown, the dump holds no expected codes of "
                f"{layer.name}; use an npz with one array per layer"
            )
        parts.append((layer, codes, at))
        at += codes.output.frames * codes.output.columns
    if size != 2 * at:
        raise MeasuredError(
            f"{path}: found {size} bytes, wanted {2 * at} "
            f"(int16 codes of {len(parts)} layers in expected_out.bin's layout)"
        )
    stored = np.memmap(path, "<i2", "r") if size else np.empty(0, "<i2")

    def reader(codes: CodeSet, at: int) -> Callable[[int, int], Ints]:
        assert codes.output is not None
        columns = codes.output.columns

        def read(start: int, stop: int) -> Ints:
            flat = np.array(stored[at + start * columns : at + stop * columns])
            return flat.reshape(stop - start, columns)

        return read

    return Measured(path, tuple(Source(x, c, reader(c, a)) for x, c, a in parts), ())


def _open_npz(dump: Dump, path: Path) -> Measured:
    from bittwin._npz import load_npz

    arrays = load_npz(path)
    known = [layer.name for layer in dump.layers]
    for name in arrays:
        if name not in known:
            raise MeasuredError(
                f"{path}: found array {name!r}, wanted layer names of the dump: {', '.join(known)}"
            )
    if not arrays:
        raise MeasuredError(f"{path}: found no array, wanted one per layer: {', '.join(known)}")
    sources = tuple(
        _npz_source(path, layer, arrays[layer.name])
        for layer in dump.layers
        if layer.name in arrays
    )
    missing = [name for name in known if name not in arrays]
    notes = (f"measured: the file holds no codes of {', '.join(missing)}",) if missing else ()
    return Measured(path, sources, notes)


def _npz_source(path: Path, layer: DumpLayer, array: Ints) -> Source:
    where = f"{path}: array {layer.name!r}"
    if array.dtype.kind not in "iu":
        raise MeasuredError(f"{where}: found type {array.dtype}, wanted integers")
    sets = [
        s
        for n in ("expected", "complete")
        if (s := layer.set(n)) is not None and s.output is not None
    ]
    if not sets:
        raise MeasuredError(
            f"{where}: the dump holds no expected or complete codes to compare with"
        )
    shapes = {s.name: (s.frames, layer.out_columns) for s in sets}
    fitting = [s for s in sets if array.shape == shapes[s.name]]
    if not fitting:
        wanted = " or ".join(f"[{f}, {c}] ({name})" for name, (f, c) in shapes.items())
        raise MeasuredError(f"{where}: found shape {list(array.shape)}, wanted {wanted}")
    if array.size and (int(array.min()) < -(1 << 15) or int(array.max()) >= 1 << 15):
        raise MeasuredError(
            f"{where}: found codes {array.min()}..{array.max()}, wanted -32768..32767"
        )
    return Source(layer, fitting[0], lambda start, stop: array[start:stop])


def compare_measured(
    measured: Measured,
    chosen: tuple[DumpLayer, ...],
    frames: slice | None,
    block: int | None = None,
) -> tuple[tuple[MeasuredResult, ...], list[str]]:
    """Compare the measured codes of the chosen layers with the golden ones.

    Args:
        measured: an opened file.
        chosen: the layers to compare.
        frames: the rows to compare; None for all.
        block: frames per block.

    Returns:
        One result per layer that the file holds, and notes.
    """
    from bittwin.golden.measured.faults import faults

    found: list[MeasuredResult] = []
    notes = list(measured.notes)
    for source in measured.sources:
        if source.layer not in chosen:
            continue
        s = Statistics(source, row_range(source.codes, frames), block)
        if s.n == 0:
            notes.append(f"measured: {source.layer.name}: no frame of its set was chosen")
            continue
        found.append(
            MeasuredResult(
                name=source.layer.name,
                net=source.layer.net,
                set=source.codes.name,
                frames=s.n,
                codes=s.tally.codes,
                mismatches=s.tally.mismatches,
                max_abs=s.tally.max_abs,
                first=s.tally.first,
                raw=s.raw(),
                corrected=s.corrected(),
                diagnosis=faults(s),
            )
        )
    return tuple(found), notes
