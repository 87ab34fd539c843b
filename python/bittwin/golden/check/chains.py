# SPDX-License-Identifier: Apache-2.0
"""Which layers hang together for free running, and which rows of them belong to the same frame.

Expected rows are shuffled, layer by layer, with repeats; layers of one net are chained by the frame of
the recorded stream that each row belongs to. Nothing here computes codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bittwin.golden.dump import CodeSet, Dump, DumpLayer

Ints = NDArray[Any]


@dataclass(frozen=True)
class Chain:
    """Layers of one net that free running can pass through in one set.

    Attributes:
        set: name of the set.
        layers: the first one reads its own input of the dump, the others the one before.
        reason: why the chain starts here and not earlier; empty at the start of a net.
    """

    set: str
    layers: tuple[DumpLayer, ...]
    reason: str


def build_chains(dump: Dump, set_name: str) -> list[Chain]:
    """Cut every net into chains for free running in one set."""
    chains: list[Chain] = []
    for net in dump.nets:
        current: list[DumpLayer] = []
        reason = ""
        for layer in (x for x in dump.layers if x.net == net):
            if current:
                broken = _break_reason(current[0], current[-1], layer, set_name)
                if not broken:
                    current.append(layer)
                    continue
                chains.append(Chain(set_name, tuple(current), reason))
                current, reason = [], broken
            own = layer.set(set_name)
            if layer.operator is not None and own is not None and own.input is not None:
                current = [layer]
            elif not reason:
                missing = "weights" if layer.operator is None else "input"
                reason = f"the dump holds no {missing} of {layer.name}"
        if current:
            chains.append(Chain(set_name, tuple(current), reason))
    return chains


def _break_reason(head: DumpLayer, before: DumpLayer, layer: DumpLayer, set_name: str) -> str:
    """Why free running cannot go from ``before`` into ``layer``; empty when it can."""
    if layer.operator is None:
        return f"the dump holds no weights of {layer.name}"
    if not layer.linked:
        return layer.link_note or f"its input is not the output of {before.name}"
    if before.activation_label == "unknown":
        return f"the activation of {before.name} is unknown"
    if before.out_columns != layer.in_columns:
        return f"{before.name} has {before.out_columns} outputs, {layer.name} {layer.in_columns} inputs"
    first, own = head.set(set_name), layer.set(set_name)
    if first is None or first.frame_index is None:
        return f"the order of {head.name}'s rows is unknown"
    if own is not None and own.frame_index is None:
        return "the order of its rows is unknown"
    return ""


@dataclass(frozen=True)
class HeadRows:
    """The rows of a chain's first layer that are computed: one per frame, in file order."""

    rows: Ints
    frames: Ints

    @classmethod
    def of(cls, codes: CodeSet, needed: Ints) -> HeadRows:
        """One row for every needed frame that the set holds (the first one where it repeats)."""
        assert codes.frame_index is not None
        unique, first = np.unique(codes.frame_index, return_index=True)
        rows = np.sort(first[np.isin(unique, needed)])
        return cls(rows, codes.frame_index[rows])

    def positions(self, frames: Ints) -> Ints:
        """Where each frame is computed, -1 where it is not."""
        if self.frames.size == 0:
            return np.full(frames.shape, -1, np.int64)
        order = np.argsort(self.frames, kind="stable")
        ordered = self.frames[order]
        at = np.minimum(np.searchsorted(ordered, frames), ordered.size - 1)
        return np.where(ordered[at] == frames, order[at], -1).astype(np.int64)


@dataclass(frozen=True)
class Pairs:
    """Rows of one layer of a chain, ordered by where their frame is computed."""

    rows: Ints
    at: Ints
    left_out: int

    @classmethod
    def of(cls, codes: CodeSet, bounds: tuple[int, int], head: HeadRows) -> Pairs:
        """Match the rows of a set with the computed frames."""
        assert codes.frame_index is not None
        at = head.positions(codes.frame_index[bounds[0] : bounds[1]])
        found = np.flatnonzero(at >= 0)
        order = found[np.argsort(at[found], kind="stable")]
        return cls(order + bounds[0], at[order], int(at.size - found.size))

    def block(self, start: int, stop: int, size: int) -> Iterator[tuple[Ints, Ints]]:
        """Rows whose frames are computed in [start, stop), and where in it; ``size`` at a time."""
        first, last = np.searchsorted(self.at, (start, stop))
        for i in range(int(first), int(last), size):
            j = min(i + size, int(last))
            yield self.rows[i:j], self.at[i:j] - start
