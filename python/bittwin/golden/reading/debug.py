# SPDX-License-Identifier: Apache-2.0
"""The debug set: layer_debug/netN/<k>_<name>/round<r>/{input0,output0}.txt."""

from __future__ import annotations

import re

import numpy as np

from bittwin.golden.dump import Codes, CodeSet
from bittwin.golden.reading.codes import UnsignedView
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import Address, Key
from bittwin.golden.reading.shape import LayerShape
from bittwin.golden.reading.text import OUTPUT_CODES, open_text_codes

_ROUND = re.compile(r"round([0-9]{1,6})\Z")


def open_debug(
    folder: Folder,
    shapes: tuple[LayerShape, ...],
    folders: dict[Key, tuple[str, str]],
    addresses: tuple[Address, ...],
    notes: list[str],
) -> dict[Key, CodeSet]:
    """Open the debug set of each layer that has one.

    Args:
        folder: the dump.
        shapes: the layers.
        folders: path and layer name per layer, from `list_debug`.
        addresses: addr.csv, which says which of several rounds is the array's.
        notes: gets a sentence for each set that is left out.

    Raises:
        DumpError: the files of one net hold different numbers of frames.
    """
    result: dict[Key, CodeSet] = {}
    first_of_net: dict[int, Codes] = {}
    for shape in shapes:
        if shape.key not in folders:
            continue
        path, layer_name = folders[shape.key]
        chosen = _array_round(folder, path, shape, layer_name, addresses, notes)
        if chosen is None:
            continue
        inputs: Codes | None = None
        outputs: Codes | None = None
        if folder.has_file(f"{chosen}/input0.txt"):
            inputs = open_text_codes(
                folder, f"{chosen}/input0.txt", shape.in_columns, shape.in_codes
            )
        if folder.has_file(f"{chosen}/output0.txt"):
            # A byte is shown as int8 whatever it means.
            codes = OUTPUT_CODES if shape.unsigned_result else shape.result_codes
            outputs = open_text_codes(folder, f"{chosen}/output0.txt", shape.out_columns, codes)
            if shape.unsigned_result:
                outputs = UnsignedView(outputs)
        for codes_found in (inputs, outputs):
            if codes_found is None:
                continue
            first = first_of_net.setdefault(shape.net, codes_found)
            if codes_found.frames != first.frames:
                raise folder.error(
                    codes_found.source,
                    f"found {codes_found.frames} lines, wanted {first.frames} as in {first.source}",
                )
        if inputs is None and outputs is None:
            notes.append(f"{chosen} holds neither input0.txt nor output0.txt")
            continue
        frames = first_of_net[shape.net].frames
        result[shape.key] = CodeSet(
            "debug", inputs, outputs, activated=True, frame_index=np.arange(frames, dtype=np.int64)
        )
    return result


def _array_round(
    folder: Folder,
    path: str,
    shape: LayerShape,
    layer_name: str,
    addresses: tuple[Address, ...],
    notes: list[str],
) -> str | None:
    """Return the folder of the layer's array round, or None when it is not clear which."""
    rounds: dict[int, str] = {}
    for name in folder.names(path):
        match = _ROUND.match(name)
        if match is not None:
            rounds.setdefault(int(match.group(1)), f"{path}/{name}")
    if len(rounds) == 1:
        return next(iter(rounds.values()))
    if not rounds:
        notes.append(f"layer {shape.name}: layer_debug holds no round for it")
        return None
    named = {
        address.round_index
        for address in addresses
        if address.net == shape.net
        and address.layer_name == layer_name
        and address.round_type == "array"
        and address.round_index in rounds
    }
    if len(named) == 1:
        return rounds[named.pop()]
    notes.append(
        f"layer {shape.name}: layer_debug holds rounds {', '.join(map(str, sorted(rounds)))} and "
        f"addr.csv names {len(named)} of them as array rounds; its debug set is left out"
    )
    return None
