# SPDX-License-Identifier: Apache-2.0
"""Which activation follows a layer, concluded from its codes before and after it.

A dump does not name its activations. All that can be known is in the joint
histogram of the codes before and after: 256 x 256 counts, on which every
candidate is a function from byte to byte. A candidate need not fit everywhere,
because a dump with faults in it is the main thing that is verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.align import Aligned, compare

#: Share of positions that a candidate must fit when none fits all of them.
GOOD_FIT = 0.99
#: Times that a code must have been seen before a table is believed against a simpler rule.
TABLE_SUPPORT = 3

_CODES = np.arange(-128, 128)


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation and how it became known."""

    layers: tuple[Any, ...]
    label: str
    source: str
    note: str = ""
    unsigned: bool = False
    """Its result is a byte 0..255."""
    fit: float = 1.0
    """Share of the codes that were looked at and agree with it."""
    certain: bool = True
    """Nothing but this activation fits, and all frames were looked at."""
    seen: NDArray[np.bool_] | None = None
    """`[256]`, of a table: which codes -128..127 were seen; the others' entries are guesses."""
    undecided: bool = False
    """Unknown for want of codes, not because codes contradict each other: nothing is wrong yet."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One function from code (-128..127, by position) to value."""

    kind: str
    label: str
    values: NDArray[np.int64]
    fits: int
    limit: int = 0


def infer_activation(
    name: str,
    data: Aligned,
    source: str,
    *,
    shown_signed: bool,
    next_unsigned: bool,
    unsigned_hint: bool = False,
) -> Activation:
    """Choose the activation that explains the codes after it.

    Args:
        name: the layer's name; the activation's layer is called `<name>.<kind>`.
        data: codes before (`first`, int8 range) and after (`second`) the activation.
        source: where the codes after it come from, for the result.
        shown_signed: the codes after it are bytes that the file shows as int8.
        next_unsigned: a next layer exists and takes unsigned bytes.
        unsigned_hint: the next layer read the codes after it as unsigned bytes above 127.

    Returns:
        The activation; label `unknown` and no layers when nothing fits.
    """
    before = data.first.astype(np.int64)
    after = data.second.astype(np.int64) & 255
    counts = np.bincount(((before + 128) * 256 + after).ravel(), minlength=65536)
    table = counts.reshape(256, 256)
    seen = table.sum(axis=1)
    simple = _simple_candidates(table, before, data.second, shown_signed)
    lookup = _table_candidate(table, seen)
    chosen, extra = _choose(simple, lookup, table, seen, next_unsigned)
    if chosen is None:
        best = max(simple, key=lambda candidate: candidate.fits)
        share = 100 * best.fits / before.size
        return Activation(
            (), "unknown", source,
            f"no activation explains {data.scope} ({source}): the best, {best.label}, fits "
            f"{share:.2f} %", fit=0.0, certain=False, undecided=lookup.fits == before.size,
        )  # fmt: skip
    unsigned = chosen.kind == "relu x2" or (chosen.kind == "table" and unsigned_hint)
    note = f"{chosen.label} from {data.scope} ({source})"
    if chosen.fits < before.size:
        expected = chosen.values[data.first.astype(np.int64) + 128]
        found = after if unsigned or not shown_signed else data.second.astype(np.int64)
        if not unsigned and shown_signed:
            expected = ((expected + 128) & 255) - 128
        likeness = compare(found.astype(np.int16), expected.astype(np.int16), data.frames)
        note += f", {likeness.describe()}"
    if extra:
        note += f"; {extra}"
    fit = chosen.fits / before.size
    certain = fit == 1 and not extra and data.total == len(data.frames)
    layers = _layers(name, chosen, unsigned)
    known = seen > 0 if chosen.kind == "table" else None
    return Activation(layers, chosen.label, source, note, unsigned, fit, certain, known)


def table_label(seen: int) -> str:
    """Name a table of which so many codes were seen."""
    return f"table ({seen} of 256 codes seen)"


def _fits(table: NDArray[np.int64], values: NDArray[np.int64], any_byte: bool) -> int:
    """Count the positions where `values` gives the byte that was seen."""
    usable = np.ones(256, bool) if any_byte else (values >= 0) & (values <= 255)
    rows = np.flatnonzero(usable)
    return int(table[rows, values[rows] & 255].sum())


def _simple_candidates(
    table: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int16],
    shown_signed: bool,
) -> list[_Candidate]:
    """Return none, relu, relu x2 and, where the data show a limit, clip; in this order."""
    positive = np.maximum(_CODES, 0)
    rules: list[tuple[str, str, NDArray[np.int64], int]] = [
        ("none", "none", _CODES, 0),
        ("relu", "relu", positive, 0),
        ("relu x2", "relu x2", 2 * positive, 0),
    ]
    # Where a clip cut something off, the result is its limit; the middle one stands up to faults.
    cut = after[(before > after) & (after >= 0) & (before > 0)]
    if cut.size:
        limit = int(np.sort(cut)[cut.size // 2])
        rules.append(("clip", f"clip 0..{limit}", np.clip(_CODES, 0, limit), limit))
    # An unsigned reader never sees a negative code, whatever its byte looks like.
    return [
        _Candidate(kind, label, values, _fits(table, values, shown_signed), limit)
        for kind, label, values, limit in rules
    ]


def _table_candidate(table: NDArray[np.int64], seen: NDArray[np.int64]) -> _Candidate:
    """Return the table that gives each code what it gave most often."""
    known = np.flatnonzero(seen)
    best = table.argmax(axis=1)
    nearest = known[np.abs(known[None, :] - np.arange(256)[:, None]).argmin(axis=1)]
    values = best[nearest].astype(np.int64)
    return _Candidate("table", table_label(len(known)), values, int(table.max(axis=1).sum()))


def _choose(
    simple: list[_Candidate],
    lookup: _Candidate,
    table: NDArray[np.int64],
    seen: NDArray[np.int64],
    next_unsigned: bool,
) -> tuple[_Candidate | None, str]:
    """Pick a candidate, and say what else must be known about the choice."""
    total = int(seen.sum())
    # max keeps the first of equals, and the simplest candidates come first.
    best = max(simple, key=lambda candidate: candidate.fits)
    extra = ""
    if best.kind == "none" and not seen[:128].any():
        # No negative code: none and relu are the same here.
        if next_unsigned:
            best = simple[1]
        extra = f"no negative code was seen, so none and relu both fit; {best.label} is taken"
    if best.fits == total:
        return best, extra
    supported = total >= 4 * int((seen > 0).sum())
    if best.fits >= GOOD_FIT * total:
        other = (best.values & 255) != lookup.values
        convincing = (seen[other & (seen > 0)] >= TABLE_SUPPORT).all()
        if lookup.fits == total and supported and convincing:
            return lookup, ""
        return best, extra
    if lookup.fits >= GOOD_FIT * total and supported:
        return lookup, ""
    # Not even a table explains it, so the codes are at fault, not the rule: a wrong rounding or a
    # dead column leaves most positions alone, and still says which rule it was.
    zero = int(table[128, 0])
    if best.fits >= 0.75 * total and 2 * (total - best.fits) <= total - zero:
        return best, extra
    return None, ""


def _layers(name: str, chosen: _Candidate, unsigned: bool) -> tuple[Any, ...]:
    """Build the network layers of a candidate."""
    from bittwin.network import Clip, Lookup, Relu

    if chosen.kind == "none":
        return ()
    if chosen.kind == "relu":
        return (Relu(f"{name}.relu", gain=1),)
    if chosen.kind == "relu x2":
        return (Relu(f"{name}.relu", gain=2),)
    if chosen.kind == "clip":
        return (Clip(f"{name}.clip", limit=chosen.limit),)
    # A 256-entry table is indexed by the byte, so the negative codes come last.
    entries = np.roll(chosen.values, 128).astype(np.uint8)
    return (Lookup(f"{name}.table", table=entries if unsigned else entries.view(np.int8)),)
