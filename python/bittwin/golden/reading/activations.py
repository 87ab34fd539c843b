# SPDX-License-Identifier: Apache-2.0
"""Gives every layer of a dump its activation, and says which layers form a chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bittwin.golden.dump import Codes, CodeSet, DumpLayer
from bittwin.golden.reading.align import Aligned, align
from bittwin.golden.reading.codes import UnsignedView
from bittwin.golden.reading.infer import GOOD_FIT, Activation, infer_activation
from bittwin.golden.reading.links import link_layers
from bittwin.golden.reading.rows import input_range

DEBUG = "layer_debug"
NEXT_INPUT = "next layer's input"
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
    for place, layer in enumerate(layers):
        following = layers[place + 1] if place + 1 < len(layers) else None
        if following is not None and following.net != layer.net:
            following = None
        if layer.activation_source != "sidecar":
            layer = _with_activation(layer, _conclude(layer, following), notes)
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
    return tuple(result)


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
    """Find codes after the activation, and infer it from them.

    Where one pair of files does not fit well, another one may: only one of them need be at
    fault. The first that fits well is taken, else the one that fits best.
    """
    best: Activation | None = None
    for found in _conclusions(layer, following):
        if found.fit >= GOOD_FIT:
            return found
        if best is None or found.fit > best.fit:
            best = found
    if best is not None:
        return best
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


def _conclusions(layer: DumpLayer, following: DumpLayer | None) -> Iterator[Activation]:
    """Infer the activation from each pair of code files that has frames in common."""
    next_unsigned = following is not None and input_range(following.operator)[0] >= 0
    debug = layer.set("debug")
    if debug is not None and debug.output is not None:
        for data in _before_and_after(layer, debug.output, debug):
            yield infer_activation(
                layer.name, data, DEBUG, shown_signed=True, next_unsigned=next_unsigned,
                unsigned_hint=_read_as_unsigned(debug.output, following),
            )  # fmt: skip
    if following is None or following.in_columns != layer.out_columns:
        return
    for name in ("complete", "expected", "debug"):
        codes = following.set(name)
        if codes is None or codes.input is None:
            continue
        for data in _before_and_after(layer, codes.input, codes):
            yield infer_activation(
                layer.name, data, NEXT_INPUT, shown_signed=False, next_unsigned=next_unsigned,
                unsigned_hint=bool((data.second > 127).any()),
            )  # fmt: skip


def _before_and_after(layer: DumpLayer, after: Codes, source: CodeSet) -> Iterator[Aligned]:
    """Align codes before the activation with the codes `after` it."""
    for name in ("complete", "expected"):
        codes = layer.set(name)
        if codes is None or codes.output is None:
            continue
        data = align(codes.output, codes.frame_index, after, source.frame_index)
        if data is not None and data.first.size:
            yield data


def _read_as_unsigned(output: Codes, following: DumpLayer | None) -> bool:
    """Tell whether the next layer shows the same bytes as numbers above 127."""
    codes = None if following is None else following.set("debug")
    if codes is None or codes.input is None or codes.input.columns != output.columns:
        return False
    stop = min(output.frames, codes.input.frames, max(1, (1 << 20) // output.columns))
    ours, theirs = output.block(0, stop), codes.input.block(0, stop)
    return bool((theirs > 127).any() and np.array_equal(ours & np.int16(255), theirs))
