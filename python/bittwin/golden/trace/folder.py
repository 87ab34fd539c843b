# SPDX-License-Identifier: Apache-2.0
"""Reads the codes of every layer: of a trace of ours, of a mapper's folder, of anything with layer_debug."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bittwin.errors import DumpError
from bittwin.golden.dump import Codes, DumpLayer
from bittwin.golden.reading.codes import UnsignedView
from bittwin.golden.reading.fields import Fields
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import LAYER_LIMIT
from bittwin.golden.reading.layout import list_debug
from bittwin.golden.reading.lines import index_lines
from bittwin.golden.reading.sidecar import SIDECAR
from bittwin.golden.reading.text import Range, WideTextCodes, parse_rows
from bittwin.golden.trace.writer import FORMAT, HIGH, LOW, VERSION

_SIDECAR_LIMIT = 16 << 20
_ROUND = re.compile(r"round([0-9]{1,6})\Z")


@dataclass(frozen=True, eq=False)
class TracedLayer:
    """One layer of a trace."""

    net: int
    index: int
    name: str
    """As the sidecar says it, else as the folder is named."""
    label: str
    """The activations that are in it, ` + ` between them; `none`, or `-` where nobody says."""
    kind: str
    inputs: tuple[Codes, ...]
    output: Codes
    dtype: str | None
    """Of the output codes, where a sidecar says it; without one, bytes are shown as int8."""


@dataclass(frozen=True, eq=False)
class TraceFolder:
    """The codes of every layer that a folder holds."""

    path: Path
    layers: tuple[TracedLayer, ...]
    notes: tuple[str, ...] = ()
    names: dict[str, list[TracedLayer]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for layer in self.layers:
            self.names.setdefault(layer.name, []).append(layer)

    def like(self, other: TracedLayer) -> TracedLayer | None:
        """The layer of the same name: in the same net, or the only one of that name."""
        named = self.names.get(other.name, [])
        same = [layer for layer in named if layer.net == other.net]
        return same[0] if same else named[0] if len(named) == 1 else None


def read_trace(path: str | os.PathLike[str]) -> TraceFolder:
    """Open the codes of every layer of a folder; they stay in their files until they are read.

    Args:
        path: a folder of `write_trace`, a mapper's output folder, or one with a `layer_debug` in it.

    Raises:
        DumpError: no such folder, or files that are damaged or contradict each other.
    """
    folder = Folder(path)
    sidecar = _sidecar(folder)
    if sidecar is not None and sidecar.get("format") != FORMAT:
        return _of_dump(folder)
    notes: list[str] = []
    stated = {} if sidecar is None else _stated(folder, sidecar)
    listed = list_debug(folder, notes)
    if not listed:
        raise folder.error("layer_debug", "found no layer; wanted layer_debug/net0/1_<name>/round0")
    for key, facts in stated.items():
        if key not in listed:
            raise folder.error(f"layer_debug/net{key[0]}", f"found no folder of {facts['name']}")
    layers = []
    for key, (place, name) in sorted(listed.items()):
        facts = stated.get(key, {"name": name or f"layer{key[1]}"})
        layer = _layer(folder, key, place, facts, notes)
        if layer is not None:
            layers.append(layer)
    if not layers:
        raise folder.error("layer_debug", "found no codes in it")
    return TraceFolder(folder.root, tuple(layers), tuple(notes))


def _sidecar(folder: Folder) -> dict[str, Any] | None:
    if not folder.has_file(SIDECAR):
        return None
    try:
        content = json.loads(folder.read_text(SIDECAR, _SIDECAR_LIMIT))
    except (ValueError, RecursionError) as error:
        raise folder.error(SIDECAR, f"is no JSON: {str(error)[:200]}") from error
    return Fields(folder, SIDECAR, "").mapping(content)


def _stated(folder: Folder, top: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """What the sidecar of a trace says about its layers."""
    at = Fields(folder, SIDECAR, "")
    if top.get("version") != VERSION or isinstance(top.get("version"), bool):
        raise at.bad("version", top.get("version"), f"{VERSION}, which this release reads")
    stated: dict[tuple[int, int], dict[str, Any]] = {}
    for number, item in enumerate(at.sequence(top, "nets", 1, LAYER_LIMIT)):
        net = at.mapping(item, f"nets[{number}]")
        which = at.integer(net, "net", 0, 9999)
        for place, entry in enumerate(at.sequence(net, "layers", 1, LAYER_LIMIT)):
            here = Fields(folder, SIDECAR, f"nets[{number}].layers[{place}]")
            fields = here.mapping(entry)
            parts = [here.mapping(x, "layers") for x in here.sequence(fields, "layers", 1, 64)]
            kinds = [here.word(x, "kind") for x in parts]
            output = here.mapping(fields.get("output"), "output")
            key = which, here.integer(fields, "index", 1, LAYER_LIMIT)
            if key in stated:
                raise here.bad("index", key[1], "each layer once")
            stated[key] = {
                "name": here.word(fields, "name"),
                "kinds": kinds,
                "dtype": here.word(output, "dtype"),
                "inputs": len(here.sequence(fields, "inputs", 1, LAYER_LIMIT)),
            }
    return stated


def _layer(
    folder: Folder, key: tuple[int, int], place: str, facts: dict[str, Any], notes: list[str]
) -> TracedLayer | None:
    rounds = [name for name in folder.names(place) if _ROUND.match(name)]
    if len(rounds) != 1:
        notes.append(
            f"{facts['name']}: {place} holds {len(rounds)} rounds, of which none is the layer's "
            "alone; left out"
        )
        return None
    base = f"{place}/{rounds[0]}"
    inputs: list[Codes] = []
    while (codes := _open(folder, f"{base}/input{len(inputs)}.txt")) is not None:
        inputs.append(codes)
    output = _open(folder, f"{base}/output0.txt")
    if output is None:
        notes.append(f"{facts['name']}: {base} holds no output0.txt")
        return None
    dtype = facts.get("dtype")
    if dtype == "uint8":
        output = UnsignedView(output)
    kinds = [k for k in facts.get("kinds", ()) if k != "flatten"]
    label = (" + ".join(kinds[1:]) or "none") if kinds else "-"
    kind = kinds[0] if kinds else "flatten" if "kinds" in facts else "-"
    return TracedLayer(*key, str(facts["name"]), label, kind, tuple(inputs), output, dtype)


def _open(folder: Folder, path: str) -> Codes | None:
    """Open a file of codes; None where it is absent."""
    if not folder.has_file(path):
        return None
    lines = index_lines(folder, path)
    if not len(lines):
        raise folder.error(path, "found no line, wanted one per frame")
    begin, end = int(lines.bounds[0]), int(lines.bounds[1])
    allowed = Range(LOW, HIGH)
    first = parse_rows(
        folder, path, folder.read_range(path, begin, end), columns=-1, codes=allowed, max_rows=1
    )
    return WideTextCodes(folder, path, first.shape[1], lines, allowed)


def _of_dump(folder: Folder) -> TraceFolder:
    """The debug sets of a folder that `write_dump` wrote: its sidecar says what the bytes are."""
    from bittwin.golden.reading.reader import read_dump

    dump = read_dump(folder.root)
    layers = tuple(x for layer in dump.layers if (x := _of_dump_layer(layer)) is not None)
    if not layers:
        raise DumpError(f"{folder.root}: found no layer_debug with codes in it")
    return TraceFolder(folder.root, layers, dump.notes)


def _of_dump_layer(layer: DumpLayer) -> TracedLayer | None:
    codes = layer.set("debug")
    if codes is None:
        return None
    output = codes.output or codes.unexplained
    if output is None:
        return None
    inputs = () if codes.input is None else (codes.input,)
    result = np.zeros((1, 1), np.int8 if layer.operator is None else layer.operator.requant.dtype)
    for part in layer.activation:
        result = part.run(result)
    kind = "-" if layer.operator is None else str(layer.operator.kind)
    return TracedLayer(layer.net, layer.index, layer.name, layer.activation_label, kind, inputs,
                       output, result.dtype.name)  # fmt: skip
