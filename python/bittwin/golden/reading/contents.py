# SPDX-License-Identifier: Apache-2.0
"""The small files of a dump: which layers there are, and which frames."""

from __future__ import annotations

from dataclasses import dataclass, field

from bittwin.golden.reading.expected import ExpectedText, open_text
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import (
    ADDRESSES,
    COMPLETE_COUNTS,
    RANDOM_INDEX,
    Address,
    CompleteCounts,
    Key,
    RandomIndex,
    read_addresses,
    read_complete_counts,
    read_random_index,
)
from bittwin.golden.reading.layout import (
    LAYERS,
    Placement,
    assign_layers,
    list_debug,
    list_params,
    read_placements,
)
from bittwin.golden.reading.sidecar import SIDECAR, Sidecar, read_sidecar


@dataclass(eq=False)
class Contents:
    """The small files of a dump, and what they say about its layers."""

    folder: Folder
    notes: list[str] = field(default_factory=list)
    sidecar: Sidecar | None = None
    placements: tuple[Placement, ...] | None = None
    random: RandomIndex | None = None
    counts: CompleteCounts | None = None
    addresses: tuple[Address, ...] = ()
    texts: dict[str, ExpectedText] = field(default_factory=dict)
    params: dict[Key, str] = field(default_factory=dict)
    debug: dict[Key, tuple[str, str]] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()


def read_contents(folder: Folder) -> Contents:
    """Read everything but the weights and codes, and find out which layers there are."""
    found = Contents(folder)
    found.sidecar = read_sidecar(folder)
    found.placements = read_placements(folder)
    if found.placements is None and found.sidecar is None:
        what = "the gains are in no other file" if folder.names("map") else "this is no dump"
        raise folder.error(LAYERS, f"is missing, and so is {SIDECAR}; {what}")
    found.random = read_random_index(folder)
    found.counts = read_complete_counts(folder)
    found.addresses = read_addresses(folder)
    found.texts = open_text(folder)
    found.params = list_params(folder, found.notes)
    found.debug = list_debug(folder, found.notes)
    sources = [("params", set(found.params))]
    if found.sidecar is not None:
        sources.insert(0, (SIDECAR, set(found.sidecar.layers)))
    if found.random is not None:
        sources.append((RANDOM_INDEX, set(found.random.rows)))
    sources += [(text.path, set(text.sections)) for text in found.texts.values()]
    if found.counts is not None:
        sources.append((COMPLETE_COUNTS, set(found.counts.frames)))
    lines = None if found.placements is None else len(found.placements)
    found.keys = assign_layers(folder, sources, set(found.debug), lines, found.notes)
    nets = {net for net, _ in found.keys}
    for address in found.addresses:
        if address.net not in nets:
            raise folder.error(
                ADDRESSES, f"net_idx: found net {address.net}, wanted one of {sorted(nets)}"
            )
    return found


def calibration_start(contents: Contents) -> int | None:
    """Return the one calibration_start that all files agree on; None when none says it."""
    claims: list[tuple[str, int]] = []
    if contents.random is not None:
        claims.append((RANDOM_INDEX, contents.random.calibration_start))
    if contents.counts is not None and contents.counts.calibration_start is not None:
        claims.append((COMPLETE_COUNTS, contents.counts.calibration_start))
    if contents.sidecar is not None:
        claims.append((SIDECAR, contents.sidecar.calibration_start))
    for path, value in claims[1:]:
        if value != claims[0][1]:
            raise contents.folder.error(
                path,
                f"calibration_start: found {value}, wanted {claims[0][1]} as in {claims[0][0]}",
            )
    return claims[0][1] if claims else None
