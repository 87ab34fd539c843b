# SPDX-License-Identifier: Apache-2.0
"""The first pass of a verification: run every layer in both modes and count differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bittwin.golden.check.chains import Chain, HeadRows, Pairs
from bittwin.golden.check.compare import Tally
from bittwin.golden.check.selection import row_range
from bittwin.golden.check.simulate import Simulator
from bittwin.golden.reading.codes import take_rows

if TYPE_CHECKING:
    from bittwin.golden.dump import Dump, DumpLayer

Key = tuple[str, str]  # layer name, set name


@dataclass
class Run:
    """State of one verification: the tallies and what was left out."""

    dump: Dump
    chosen: tuple[DumpLayer, ...]
    sims: dict[str, Simulator]
    frames: slice | None
    block: int | None
    step: Callable[[int], None]

    def __post_init__(self) -> None:
        self.own: dict[Key, Tally] = {}
        self.free: dict[Key, Tally] = {}
        self.left_out: dict[Key, int] = {}
        self.chains: list[Chain] = []

    def size(self, layer: DumpLayer) -> int:
        """Frames per block."""
        return self.block or self.sims[layer.name].block


def run_teacher_forced(run: Run, layer: DumpLayer, name: str) -> None:
    """Feed a layer with the dump's own input."""
    codes = layer.set(name)
    if layer.operator is None or codes is None or codes.input is None or codes.output is None:
        return
    sim, tally = run.sims[layer.name], Tally()
    first, last = row_range(codes, run.frames)
    for start in range(first, last, run.size(layer)):
        stop = min(start + run.size(layer), last)
        rows = np.arange(start, stop)
        before = sim.before(codes.input.block(start, stop), codes.input.source)
        stream = None if codes.frame_index is None else codes.frame_index[start:stop]
        tally.update(rows, codes.output.block(start, stop), sim.compared(before, codes), stream)
        run.step((stop - start) * layer.in_columns * layer.out_columns)
    if tally.codes:
        run.own[layer.name, name] = tally


def run_free(run: Run, chain: Chain) -> None:
    """Feed only the first layer of a chain, every other one with the simulated output before it."""
    head = chain.layers[0]
    if head in run.chosen and (head.name, chain.set) in run.own:
        run.free[head.name, chain.set] = run.own[head.name, chain.set]
    for key, tally in run_chain(run, chain, run.sims).items():
        run.free[key] = tally


def run_chain(run: Run, chain: Chain, sims: dict[str, Simulator]) -> dict[Key, Tally]:
    """Tallies of the layers after the first one of a chain (those that were chosen)."""
    wanted = [x for x in chain.layers[1:] if x in run.chosen and _has_output(x, chain.set)]
    if not wanted:
        return {}
    through = chain.layers[: chain.layers.index(wanted[-1]) + 1]
    head = through[0]
    source = head.set(chain.set)
    assert source is not None
    assert source.input is not None
    needed = [np.empty(0, np.int64)]
    for layer in wanted:
        codes = layer.set(chain.set)
        assert codes is not None
        assert codes.frame_index is not None
        needed.append(codes.frame_index[slice(*row_range(codes, run.frames))])
    heads = HeadRows.of(source, np.unique(np.concatenate(needed)))
    tallies: dict[Key, Tally] = {}
    pairs: dict[str, Pairs] = {}
    for layer in wanted:
        codes = layer.set(chain.set)
        assert codes is not None
        tallies[layer.name, chain.set] = Tally()
        pairs[layer.name] = Pairs.of(codes, row_range(codes, run.frames), heads)
        run.left_out[layer.name, chain.set] = pairs[layer.name].left_out
    size = run.block or min(run.sims[layer.name].block for layer in through)
    for start in range(0, heads.rows.size, size):
        stop = min(start + size, heads.rows.size)
        flow = take_rows(source.input, heads.rows[start:stop])
        origin = source.input.source
        for layer in through:
            before = sims[layer.name].before(flow, origin)
            flow = sims[layer.name].after(before)
            origin = f"output of {layer.name}"
            run.step((stop - start) * layer.in_columns * layer.out_columns)
            codes = layer.set(chain.set)
            if layer.name not in pairs or codes is None or codes.output is None:
                continue
            result = flow if codes.activated else before
            for rows, at in pairs[layer.name].block(start, stop, size):
                stream = None if codes.frame_index is None else codes.frame_index[rows]
                golden = take_rows(codes.output, rows)
                tallies[layer.name, chain.set].update(rows, golden, result[at], stream)
    return {key: tally for key, tally in tallies.items() if tally.codes}


def _has_output(layer: DumpLayer, name: str) -> bool:
    codes = layer.set(name)
    return codes is not None and codes.output is not None
