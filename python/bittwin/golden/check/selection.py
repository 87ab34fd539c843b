# SPDX-License-Identifier: Apache-2.0
"""Which layers and rows to compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bittwin.errors import BittwinError

if TYPE_CHECKING:
    from bittwin.golden.dump import CodeSet, Dump, DumpLayer


class SelectionError(BittwinError, ValueError):
    """A choice of layers, frames or rule that this dump cannot serve."""


def select_layers(dump: Dump, names: Iterable[str] | None) -> tuple[DumpLayer, ...]:
    """The named layers in the dump's order; all of them for None.

    Raises:
        SelectionError: a name is not in the dump; the message lists those that are.
    """
    if names is None:
        return dump.layers
    wanted = [names] if isinstance(names, str) else list(names)
    known = [layer.name for layer in dump.layers]
    for name in wanted:
        if name not in known:
            raise SelectionError(f"layers: found {name!r}, wanted one of {', '.join(known)}")
    return tuple(layer for layer in dump.layers if layer.name in wanted)


def check_frames(frames: slice | int | None, most: int) -> slice | None:
    """Turn a choice of rows into a slice with plain bounds.

    Args:
        frames: the first N rows, a slice ``A:B`` without step, or None for all.
        most: rows of the longest set.

    Raises:
        SelectionError: the range is empty or reaches beyond the longest set.

    >>> check_frames(3, 10), check_frames(slice(2, None), 10)
    (slice(0, 3, None), slice(2, 10, None))
    """
    if frames is None:
        return None
    if isinstance(frames, int):
        frames = slice(0, frames)
    start = 0 if frames.start is None else int(frames.start)
    stop = most if frames.stop is None else int(frames.stop)
    if frames.step not in (None, 1) or not 0 <= start < stop <= most:
        step = "" if frames.step in (None, 1) else f":{frames.step}"
        raise SelectionError(
            f"frames: found {start}:{stop}{step}, wanted A:B with 0 <= A < B <= {most} "
            f"(the longest set has {most} frames)"
        )
    return slice(start, stop)


def row_range(codes: CodeSet, frames: slice | None) -> tuple[int, int]:
    """First row of a set and the row after its last one; (0, 0) when the choice leaves none."""
    if frames is None:
        return 0, codes.frames
    start, stop = min(frames.start, codes.frames), min(frames.stop, codes.frames)
    return (start, stop) if start < stop else (0, 0)
