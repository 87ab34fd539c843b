# SPDX-License-Identifier: Apache-2.0
"""Gives every layer of a dump its activation, and says which layers form a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from bittwin.errors import DumpError
from bittwin.golden.dump import Codes, CodeSet, DumpLayer
from bittwin.golden.reading.align import Aligned, align
from bittwin.golden.reading.codes import UnsignedView
from bittwin.golden.reading.infer import GOOD_FIT, Activation, infer_activation
from bittwin.golden.reading.links import link_layers
from bittwin.golden.reading.pairs import Pair, golden_pairs, simulated_pairs
from bittwin.golden.reading.rows import input_range
from bittwin.golden.reading.tables import complete_table

ASSUMED = "assumed"


def complete_layers(layers: Sequence[DumpLayer], notes: list[str]) -> tuple[DumpLayer, ...]:
    """Fill in activation and link of each layer.

    Args:
        layers: all layers, nets in order; those with a stated activation have source `sidecar`.
        notes: gets a sentence per conclusion that is not certain.

    Returns:
        The same layers, completed.
    """
    result: list[DumpLayer] = []
    undecided: set[str] = set()
    for place, layer in enumerate(layers):
        following = layers[place + 1] if place + 1 < len(layers) else None
        if following is not None and following.net != layer.net:
            following = None
        if layer.activation_source != "sidecar":
            found = _conclude(layer, following)
            layer = _with_activation(layer, found, notes)
            if found.undecided and layer.operator is not None:
                undecided.add(layer.name)
        before = result[-1] if result and result[-1].net == layer.net else None
        if before is None:
            layer = replace(layer, linked=False, link_note="first layer of its net")
        else:
            link = link_layers(before, layer)
            layer = replace(
                layer,
                linked=link.linked,
                link_note=link.note,
                link_contradicted=link.contradicted,
            )
            if link.linked and not link.exact:
                notes.append(f"layer {layer.name}: {link.note}")
        result.append(layer)
    # Only now: links were found with these codes too.
    return tuple(_hold_back(x) if x.name in undecided else x for x in result)


def _with_activation(layer: DumpLayer, found: Activation, notes: list[str]) -> DumpLayer:
    if not found.certain:
        notes.append(f"layer {layer.name}: activation: {found.note}")
    sets = layer.sets
    if found.unsigned:
        sets = tuple(_as_unsigned(codes) if codes.activated else codes for codes in sets)
    return replace(
        layer,
        activation=found.layers,
        activation_label=found.label,
        activation_source=found.source,
        inferred=found.source != ASSUMED,
        note=found.note,
        sets=sets,
    )


def _as_unsigned(codes: CodeSet) -> CodeSet:
    if codes.output is None:
        return codes
    return replace(codes, output=UnsignedView(codes.output))


def _conclude(layer: DumpLayer, following: DumpLayer | None) -> Activation:
    """Find codes before and after the activation, and infer it from them.

    Where one pair of files does not fit well, another one may: only one of them need be at
    fault. The first that fits well is taken, else the one that fits best.
    """
    best: Activation | None = None
    used: Pair | None = None
    for pair in golden_pairs(layer, following):
        found = _infer(layer, following, pair)
        if found is None:
            continue
        if best is None or found.fit > best.fit:
            best, used = found, pair
        if best.fit >= GOOD_FIT:
            break
    if best is not None and used is not None and best.fit == 1 and best.seen is None:
        best = _conclude_with_rest(layer, following, best, used)
    if best is None or best.undecided:
        best = _conclude_by_simulation(layer, following) or best
    if best is not None:
        if best.undecided and _has_debug_output(layer):
            return replace(best, note=f"{best.note}, so layer_debug is not compared")
        more = chain(golden_pairs(layer, following), simulated_pairs(layer, following))
        return complete_table(best, more)
    if layer.operator is not None and _has_debug_output(layer):
        note = (
            "no code is known both before and after it, and none, relu, clip or a table on the "
            "simulated codes does not explain layer_debug, so layer_debug is not compared"
        )
        return Activation((), "unknown", ASSUMED, note, fit=0.0, certain=False, undecided=True)
    if following is None:
        return Activation(
            (), "none", ASSUMED, "none is assumed: the last layer, and no code after it is known"
        )
    if following.in_columns != layer.out_columns:
        why = f"{following.name} reads {following.in_columns} columns, not {layer.out_columns}"
    else:
        why = "no frame is known both before and after it"
    note = f"nothing to infer the activation from: {why}"
    return Activation((), "unknown", ASSUMED, note, fit=0.0, certain=False)


def _conclude_by_simulation(layer: DumpLayer, following: DumpLayer | None) -> Activation | None:
    """Infer the activation with simulated codes before it.

    What explains all codes wins. Else a simple rule that explains most of them is taken, as with golden
    codes: what it does not explain is a fault that `verify` has to report. A table could explain a fault
    away, so it must fit all.
    """
    nearly: Activation | None = None
    for pair in simulated_pairs(layer, following):
        try:
            found = _infer(layer, following, pair)
        except DumpError:
            raise
        except (ValueError, OverflowError):
            continue  # the layer refuses these inputs, which says nothing about its activation
        if found is None:
            continue
        if found.fit == 1:
            return found
        simple = found.label != "unknown" and not found.label.startswith("table")
        if simple and (nearly is None or found.fit > nearly.fit):
            nearly = found
    return nearly


def _conclude_with_rest(
    layer: DumpLayer, following: DumpLayer | None, best: Activation, used: Pair
) -> Activation:
    """Let the frames that only layer_debug holds decide between rules that fit all the others.

    A clip whose limit no other frame reached looks like a relu. Another rule is taken only when
    it explains the codes that were looked at before and these.
    """
    known = align(used.before, used.before_index, used.after, used.after_index)
    for pair in simulated_pairs(layer, following):
        if known is None or pair.before_index is None or used.before_index is None:
            continue
        rest = np.where(np.isin(pair.before_index, used.before_index), -1, pair.before_index)
        try:
            data = align(pair.before, rest, pair.after, pair.after_index)
        except DumpError:
            raise
        except (ValueError, OverflowError):
            continue
        if data is None or not data.first.size:
            continue
        both = Aligned(
            np.concatenate([known.first, data.first]),
            np.concatenate([known.second, data.second]),
            np.concatenate([known.frames, data.frames]),
            known.total + data.total,
        )
        found = _infer_aligned(layer, following, pair, both)
        if found.fit == 1:
            return best if found.label == best.label else found
    return best


def _infer(layer: DumpLayer, following: DumpLayer | None, pair: Pair) -> Activation | None:
    """Infer the activation from one pair; None when it has no frames in common."""
    data = align(pair.before, pair.before_index, pair.after, pair.after_index)
    if data is None or not data.first.size:
        return None
    return _infer_aligned(layer, following, pair, data)


def _infer_aligned(
    layer: DumpLayer, following: DumpLayer | None, pair: Pair, data: Aligned
) -> Activation:
    hint = (
        _read_as_unsigned(pair.after, following) if pair.signed else bool((data.second > 127).any())
    )
    return infer_activation(
        layer.name,
        data,
        pair.source,
        shown_signed=pair.signed,
        next_unsigned=following is not None and input_range(following.operator)[0] >= 0,
        unsigned_hint=hint,
    )


def _has_debug_output(layer: DumpLayer) -> bool:
    debug = layer.set("debug")
    return debug is not None and debug.output is not None


def _hold_back(layer: DumpLayer) -> DumpLayer:
    """Take the codes after an activation of which nothing is known out of comparison.

    Not so where the dump holds codes before and after it that contradict each other: those stay,
    and are reported as wrong.
    """
    sets = tuple(
        replace(codes, output=None, unexplained=codes.output) if codes.activated else codes
        for codes in layer.sets
    )
    return replace(layer, sets=sets)


def _read_as_unsigned(output: Codes, following: DumpLayer | None) -> bool:
    """Tell whether the next layer shows the same bytes as numbers above 127."""
    codes = None if following is None else following.set("debug")
    if codes is None or codes.input is None or codes.input.columns != output.columns:
        return False
    stop = min(output.frames, codes.input.frames, max(1, (1 << 20) // output.columns))
    ours, theirs = output.block(0, stop), codes.input.block(0, stop)
    return bool((theirs > 127).any() and np.array_equal(ours & np.int16(255), theirs))
