# SPDX-License-Identifier: Apache-2.0
"""Whether a layer reads what the layer before it gave, code by code."""

from __future__ import annotations

from dataclasses import dataclass

from bittwin.golden.dump import CodeSet, DumpLayer
from bittwin.golden.reading.align import Aligned, Likeness, align, compare

# The same set on both sides first: no row has to be searched for.
_PAIRS = (
    ("complete", "complete"),
    ("debug", "debug"),
    ("expected", "expected"),
    ("complete", "debug"),
    ("complete", "expected"),
    ("debug", "complete"),
    ("debug", "expected"),
    ("expected", "complete"),
    ("expected", "debug"),
)


@dataclass(frozen=True)
class Link:
    """Whether two layers form a chain, and why."""

    linked: bool
    note: str
    contradicted: bool = False
    exact: bool = True
    """No code that was compared differs."""


def link_layers(before: DumpLayer, layer: DumpLayer) -> Link:
    """Compare the activated output of one layer with the input of the next.

    They are linked when the codes are equal on the frames that both have; in a dump with
    faults, when they are mostly equal, which the note then says.
    """
    if before.out_columns != layer.in_columns:
        return Link(
            False,
            f"input has {layer.in_columns} columns, {before.name} gives {before.out_columns}",
            contradicted=True,
        )
    best: tuple[Likeness, Aligned, str] | None = None
    for left_name, right_name in _PAIRS:
        left, right = before.set(left_name), layer.set(right_name)
        found = _compare_sets(before, left, right)
        if found is None:
            continue
        if best is None or found[0].differing * best[0].size < best[0].differing * found[0].size:
            best = found
        if best[0].equal:
            break
    if best is None:
        return Link(False, f"not checked: no frame is known of both {before.name} and this layer")
    likeness, data, where = best
    if likeness.equal:
        return Link(True, f"input equals {before.name}'s output on {data.scope} ({where})")
    text = f"{before.name}'s output {likeness.describe()} ({data.scope}, {where})"
    if likeness.alike:
        return Link(True, f"input nearly equals {text}", exact=False)
    return Link(False, f"input is not {text}", contradicted=True, exact=False)


def _compare_sets(
    before: DumpLayer, left: CodeSet | None, right: CodeSet | None
) -> tuple[Likeness, Aligned, str] | None:
    """Compare one output set with one input set; None where that says nothing."""
    if left is None or right is None or left.output is None or right.input is None:
        return None
    if not left.activated and before.activation_label == "unknown":
        return None
    data = align(left.output, left.frame_index, right.input, right.frame_index)
    if data is None:
        return None
    given = data.first if left.activated else before.activate_rows(data.first)
    likeness = compare(data.second, given.astype(data.second.dtype), data.frames)
    return likeness, data, f"{left.output.source} and {right.input.source}"
