# SPDX-License-Identifier: Apache-2.0
"""Compares two traces, layer by layer: which one differs first, and whether its inputs differ already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import DumpError
from bittwin.golden.check.compare import Tally
from bittwin.golden.check.results import (
    FREE_RUNNING,
    Diagnosis,
    First,
    LayerFacts,
    LayerResult,
    Verification,
)
from bittwin.golden.check.selection import SelectionError, check_frames
from bittwin.golden.dump import Codes
from bittwin.golden.reading.codes import UnsignedView
from bittwin.golden.trace.folder import TracedLayer, TraceFolder, read_trace

#: Codes that are compared at a time.
_BLOCK = 1 << 20
Pair = tuple[TracedLayer, TracedLayer]


def compare_traces(
    actual: str | os.PathLike[str],
    golden: str | os.PathLike[str],
    *,
    layers: Iterable[str] | None = None,
    frames: slice | int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Compare the codes of two traces, layer by layer.

    Layers are matched by name. What only one of the two holds is not compared, and a note says so. A
    difference is *inherited* in frames in which the layer's inputs differ too, and its *own* in the others.

    Args:
        actual: the trace in question: a folder of `write_trace`, or any with the mapper's layer_debug.
        golden: the one that is taken for right; likewise.
        layers: names of the layers to compare; all of them by default.
        frames: frames to compare: the first N, or ``slice(A, B)``.
        progress: called with (work done, work in all) after every block.

    Returns:
        The comparison, one entry per layer, in the order of `actual`.

    Raises:
        DumpError: a folder holds no trace; no layer in common; other numbers of frames or of columns.
        ValueError: no such layer or frame.

    >>> import tempfile
    >>> import numpy as np, bittwin
    >>> from bittwin.golden import compare_traces, write_trace
    >>> from bittwin.network import Linear, Network
    >>> x = np.array([[100, 20], [20, 100]], np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, weight in (("a", 64), ("b", 66)):
    ...         fc = Linear("fc", np.array([[weight, -64]], np.int8), None, bittwin.readout(256))
    ...         write_trace(f"{folder}/{name}", Network([fc]), x)
    ...     found = compare_traces(f"{folder}/a", f"{folder}/b")
    >>> found.equal, found.first_wrong.name, found.first_wrong.first.frame
    (False, 'fc', 0)
    """
    mine, theirs = read_trace(actual), read_trace(golden)
    pairs, notes = _pairs(mine, theirs, layers)
    most = max(_frames(a, b) for a, b in pairs)
    cut = check_frames(frames, most)
    comparisons = [_Comparison(a, b, *_range(a, b, cut)) for a, b in pairs]
    total = max(sum(c.work for c in comparisons), 1)
    done = 0
    for comparison in comparisons:
        for work in comparison.run():
            done += work
            if progress is not None:
                progress(done, total)
    notes += _other_inputs(comparisons)
    found = tuple(c.result() for c in comparisons)
    return Verification(
        equal=not any(r.mismatches for r in found),
        rounding="-",
        layers=found,
        notes=tuple(dict.fromkeys([*mine.notes, *theirs.notes, *notes])),
        facts=tuple(c.facts() for c in comparisons),
        path=str(mine.path),
        against=str(theirs.path),
    )


def _pairs(
    mine: TraceFolder, theirs: TraceFolder, names: Iterable[str] | None
) -> tuple[list[Pair], list[str]]:
    """The layers that both hold, in the order of the first, and notes on the others."""
    wanted = None if names is None else [names] if isinstance(names, str) else list(names)
    for name in wanted or ():
        if name not in mine.names:
            known = ", ".join(mine.names)
            raise SelectionError(f"layers: found {name!r}, wanted one of {known}")
    pairs: list[Pair] = []
    only: list[str] = []
    for layer in mine.layers:
        if wanted is not None and layer.name not in wanted:
            continue
        other = theirs.like(layer)
        if other is None:
            only.append(layer.name)
        else:
            pairs.append((layer, other))
    if not pairs:
        raise DumpError(
            f"{theirs.path}: found the layers {_listed(x.name for x in theirs.layers)}, wanted at least "
            f"one of {_listed(only)} as in {mine.path}"
        )
    notes = [f"not compared: {_listed(only)} (only in {mine.path})"] if only else []
    taken = {id(b) for _, b in pairs}
    left = [x.name for x in theirs.layers if id(x) not in taken]
    if left and wanted is None:
        notes.append(f"not compared: {_listed(left)} (only in {theirs.path})")
    return pairs, notes


def _listed(names: Iterable[str], most: int = 12) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _frames(a: TracedLayer, b: TracedLayer) -> int:
    return min(a.output.frames, b.output.frames)


def _range(a: TracedLayer, b: TracedLayer, cut: slice | None) -> tuple[int, int]:
    """The frames to compare; both must hold as many, unless some were chosen."""
    if cut is not None:
        return cut.start, min(cut.stop, _frames(a, b))
    if a.output.frames != b.output.frames:
        raise DumpError(
            f"layer {a.name}: found {a.output.frames} frames in {a.output.source}, wanted "
            f"{b.output.frames} as in the other trace (choose frames that both hold: frames=, --frames)"
        )
    return 0, a.output.frames


@dataclass
class _Comparison:
    """One layer's comparison, and what it found."""

    mine: TracedLayer
    golden: TracedLayer
    first: int
    last: int

    def __post_init__(self) -> None:
        a, b = self.mine, self.golden
        if a.output.columns != b.output.columns:
            raise DumpError(
                f"layer {a.name}: found {a.output.columns} codes per frame in {a.output.source}, wanted "
                f"{b.output.columns} as in the other trace"
            )
        self.tally = Tally()
        self.own = self.inherited = 0
        self.input_codes = 0
        self.first_input: First | None = None
        self.knows_inputs = 0 < len(a.inputs) == len(b.inputs) and all(
            (x.columns, x.frames >= self.last) == (y.columns, y.frames >= self.last)
            for x, y in zip(a.inputs, b.inputs, strict=True)
        )
        widest = max(x.columns for x in (a.output, *(a.inputs if self.knows_inputs else ())))
        self.size = max(1, _BLOCK // max(widest, 1))

    @property
    def work(self) -> int:
        """Codes in all."""
        return (self.last - self.first) * self.mine.output.columns

    def run(self) -> Iterable[int]:
        """Compare block by block; yields the codes of each."""
        unsigned = "uint8" in (self.mine.dtype, self.golden.dtype)
        mine, golden = (_output(x, unsigned) for x in (self.mine, self.golden))
        for start in range(self.first, self.last, self.size):
            stop = min(start + self.size, self.last)
            rows = np.arange(start, stop)
            a, b = mine.block(start, stop), golden.block(start, stop)
            self.tally.update(rows, b, a)
            if self.knows_inputs:
                changed = self._inputs(start, stop)
                wrong = (a != b).sum(axis=1)
                self.inherited += int(wrong[changed].sum())
                self.own += int(wrong[~changed].sum())
            yield a.size

    def _inputs(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which frames have inputs that differ."""
        changed = np.zeros(stop - start, np.bool_)
        # Without a sidecar nobody says whether 255 or -1 is meant by a byte.
        bytes_only = None in (self.mine.dtype, self.golden.dtype)
        for x, y in zip(self.mine.inputs, self.golden.inputs, strict=True):
            a, b = x.block(start, stop).astype(np.int64), y.block(start, stop).astype(np.int64)
            wrong = (a - b) & 255 if bytes_only else a - b
            where = np.argwhere(wrong)
            if len(where) and self.first_input is None:
                frame, column = map(int, where[0])
                codes = int(b[frame, column]), int(a[frame, column])
                self.first_input = First(start + frame, column, *codes)
            self.input_codes += len(where)
            changed |= wrong.any(axis=1)
        return changed

    def result(self) -> LayerResult:
        """What was found."""
        t = self.tally
        return LayerResult(
            name=self.mine.name,
            net=self.mine.net,
            set="debug",
            mode=FREE_RUNNING,
            activation=self._label(),
            rule="-",
            frames=t.frames,
            left_out=0,
            codes=t.codes,
            mismatches=t.mismatches,
            max_abs=t.max_abs,
            first=t.first,
            histogram=dict(sorted(t.histogram.items())),
            diagnosis=self._diagnosis(),
        )

    def _label(self) -> str:
        return self.mine.label if self.mine.label != "-" else self.golden.label

    def _diagnosis(self) -> tuple[Diagnosis, ...]:
        wrong = self.tally.mismatches
        if not wrong or not self.knows_inputs:
            return ()
        found = []
        if self.own:
            which = (
                "in these frames its inputs are equal" if self.inherited else "its inputs are equal"
            )
            cause = f"{which}, so the difference arises here"
            found.append(Diagnosis(cause, self.own / wrong, "own"))
        if self.inherited:
            assert self.first_input is not None
            cause = (
                f"its inputs differ too, first in frame {self.first_input.frame}, "
                f"column {self.first_input.column}"
            )
            found.append(Diagnosis(cause, self.inherited / wrong, "inherited"))
        return tuple(found)

    def facts(self) -> LayerFacts:
        """What the layer is."""
        kind = self.mine.kind if self.mine.kind != "-" else self.golden.kind
        columns = "+".join(str(x.columns) for x in self.mine.inputs) or "?"
        return LayerFacts(
            name=self.mine.name,
            net=self.mine.net,
            shape=f"{columns} -> {self.mine.output.columns}",
            gain=0,
            rule=kind,
            activation=self._label(),
            activation_source="trace",
            inferred=False,
        )


def _output(layer: TracedLayer, unsigned: bool) -> Codes:
    """The output codes; bytes of which nobody says what they are follow the other trace."""
    return UnsignedView(layer.output) if unsigned and layer.dtype is None else layer.output


def _other_inputs(comparisons: list[_Comparison]) -> list[str]:
    """A note where the networks were fed with other codes."""
    for c in comparisons[:1]:
        if c.first_input is not None:
            f = c.first_input
            return [
                f"{c.mine.name}: the first layer's inputs differ in {c.input_codes} codes, first in frame "
                f"{f.frame}, column {f.column}: expected {f.expected}, found {f.actual}"
            ]
    return []
