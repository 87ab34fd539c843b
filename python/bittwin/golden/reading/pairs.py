# SPDX-License-Identifier: Apache-2.0
"""Pairs of codes before and after a layer's activation, as they stand in a dump or simulated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.dump import Codes, CodeSet, DumpLayer
from bittwin.golden.reading.codes import take_rows

DEBUG = "layer_debug"
NEXT_INPUT = "next layer's input"
#: Added to a source where the codes before the activation are simulated, not the dump's.
SIMULATED = " against the simulation"

#: Codes that are read at a time.
_BLOCK_CODES = 1 << 20


@dataclass(frozen=True, eq=False)
class SimulatedCodes:
    """What a layer's own rule gives for a set's input, before the activation; computed when asked for."""

    layer: DumpLayer
    input: Codes

    @property
    def frames(self) -> int:
        """Number of rows."""
        return self.input.frames

    @property
    def columns(self) -> int:
        """Output columns of the layer."""
        return self.layer.out_columns

    @property
    def source(self) -> str:
        """Path of the input's file relative to the dump."""
        return self.input.source

    def block(self, start: int, stop: int) -> NDArray[np.int16]:
        """Compute the frames `start` to `stop`; see `Codes.block`.

        Raises:
            ValueError: also where the layer refuses these inputs.
        """
        codes: NDArray[np.int16] = self.layer.run_rows(self.input.block(start, stop))
        return codes.astype(np.int16)


@dataclass(frozen=True, eq=False)
class Pair:
    """Codes before and after the activation, and the stream frames of their rows."""

    before: Codes
    before_index: NDArray[np.int64] | None
    after: Codes
    after_index: NDArray[np.int64] | None
    source: str
    """Where the codes after it come from."""
    signed: bool
    """The codes after it are bytes that the file shows as int8."""

    def blocks(self) -> Iterator[tuple[NDArray[np.int16], NDArray[np.int16]]]:
        """Read the rows of all frames that both have, some at a time."""
        if self.before_index is None or self.after_index is None:
            return
        _, before, after = np.intersect1d(self.before_index, self.after_index, return_indices=True)
        size = max(1, _BLOCK_CODES // max(self.before.columns, 1))
        for start in range(0, len(before), size):
            part = slice(start, start + size)
            yield take_rows(self.before, before[part]), take_rows(self.after, after[part])


def golden_pairs(layer: DumpLayer, following: DumpLayer | None) -> Iterator[Pair]:
    """List the pairs of which the dump holds both sides."""
    befores = [
        (codes.output, codes.frame_index)
        for codes in (layer.set("complete"), layer.set("expected"))
        if codes is not None and codes.output is not None
    ]
    for after, index, source, signed in _afters(layer, following):
        for before, before_index in befores:
            yield Pair(before, before_index, after, index, source, signed)


def simulated_pairs(layer: DumpLayer, following: DumpLayer | None) -> Iterator[Pair]:
    """List the pairs whose codes before the activation are simulated from the layer's input.

    None where the layer has no weights, or codes before the activation that are no int8.
    """
    requant = None if layer.operator is None else layer.operator.requant
    if requant is None or requant.lo < -128 or requant.hi > 127:
        return
    befores: list[tuple[CodeSet, Codes]] = [
        (codes, SimulatedCodes(layer, codes.input))
        for codes in map(layer.set, ("debug", "complete", "expected"))
        if codes is not None and codes.input is not None
    ]
    for after, index, source, signed in _afters(layer, following):
        for codes, before in befores:
            yield Pair(before, codes.frame_index, after, index, source + SIMULATED, signed)


def _afters(
    layer: DumpLayer, following: DumpLayer | None
) -> Iterator[tuple[Codes, NDArray[np.int64] | None, str, bool]]:
    """List the codes after the activation: codes, frames, source, shown as int8."""
    debug = layer.set("debug")
    if debug is not None and debug.output is not None:
        yield debug.output, debug.frame_index, DEBUG, True
    if following is None or following.in_columns != layer.out_columns:
        return
    for name in ("complete", "expected", "debug"):
        codes = following.set(name)
        if codes is not None and codes.input is not None:
            yield codes.input, codes.frame_index, NEXT_INPUT, False
