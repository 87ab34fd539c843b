# SPDX-License-Identifier: Apache-2.0
"""`read_dump`: from a mapper's output folder to a `Dump`."""

from __future__ import annotations

import os
from dataclasses import replace

from bittwin.golden.dump import CodeSet, Dump, DumpLayer
from bittwin.golden.reading.activations import complete_layers
from bittwin.golden.reading.align import recover_order
from bittwin.golden.reading.building import build_layers
from bittwin.golden.reading.complete import complete_frames, open_complete, open_complete_files
from bittwin.golden.reading.contents import Contents, calibration_start, read_contents
from bittwin.golden.reading.debug import open_debug
from bittwin.golden.reading.expected import open_expected
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import RANDOM_INDEX, Key
from bittwin.golden.reading.shape import LayerShape


def read_dump(path: str | os.PathLike[str]) -> Dump:
    """Read a mapper's output folder.

    Parts may be absent: without `params/` (and `map/map.csv`) the layers have no operator,
    without `layer_debug/` there is no debug set, and so on. Golden codes stay in their files
    until they are asked for. A `bittwin.json`, which `write_dump` adds, states what the format
    cannot say; without it activations are inferred from the codes.

    Args:
        path: the folder that holds `map/`, `params/`, `layer_debug/`.

    Returns:
        The dump. `Dump.notes` says what was left out or concluded.

    Raises:
        DumpError: not a dump, or files that are damaged or contradict each other; the message
            names the file, what was found and what was wanted.
    """
    folder = Folder(path)
    contents = read_contents(folder)
    drafts = build_layers(contents)
    shapes = tuple(shape for shape, _ in drafts)
    sets, start = _open_sets(contents, shapes, calibration_start(contents))
    layers = [
        _with_sets(layer, [codes[shape.key] for codes in sets if shape.key in codes])
        for shape, layer in drafts
    ]
    completed = complete_layers(layers, contents.notes)
    sidecar = contents.sidecar
    return Dump(
        path=folder.root,
        layers=completed,
        calibration_start=start,
        sidecar=sidecar is not None,
        notes=tuple(contents.notes),
        net_names=() if sidecar is None else sidecar.net_names,
        net_shapes=() if sidecar is None else sidecar.net_shapes,
    )


def _open_sets(
    contents: Contents, shapes: tuple[LayerShape, ...], start: int | None
) -> tuple[list[dict[Key, CodeSet]], int]:
    """Open the golden codes; return the sets per layer, and calibration_start."""
    folder, notes = contents.folder, contents.notes
    debug = open_debug(folder, shapes, contents.debug, contents.addresses, notes)
    files = open_complete_files(folder)
    frames = complete_frames(folder, shapes, files, contents.counts, debug, start, notes)
    if start is None:
        start = _derive_start(folder, frames, debug)
        if files:
            source = "layer_debug has so many frames more" if debug else "assumed"
            notes.append(f"no file says calibration_start: {start} ({source})")
    complete = open_complete(shapes, files, frames, start)
    expected = open_expected(folder, shapes, contents.texts, contents.random, frames, notes)
    if expected and contents.random is None:
        _recover(shapes, expected, complete, debug, notes)
    return [expected, complete, debug], start


def _derive_start(folder: Folder, frames: dict[Key, int], debug: dict[Key, CodeSet]) -> int:
    """Work out calibration_start: the debug frames that the complete set lacks, else 0."""
    starts = {debug[key].frames - count for key, count in frames.items() if key in debug}
    if not starts:
        return 0
    if len(starts) > 1 or min(starts) < 0:
        found = ", ".join(str(value) for value in sorted(starts))
        raise folder.error(
            "layer_debug",
            f"found {found} frames more than the complete files, wanted one number of 0 or more",
        )
    return starts.pop()


def _recover(
    shapes: tuple[LayerShape, ...],
    expected: dict[Key, CodeSet],
    complete: dict[Key, CodeSet],
    debug: dict[Key, CodeSet],
    notes: list[str],
) -> None:
    """Without random_idx.txt, find the expected rows' frames by their content."""
    lost = []
    for shape in shapes:
        codes, index = expected[shape.key], None
        for known in (complete.get(shape.key), debug.get(shape.key)):
            if index is None and known is not None and known.input is not None and codes.input:
                index = recover_order(codes.input, known.input, known.frame_index)
        expected[shape.key] = replace(codes, frame_index=index)
        if index is None:
            lost.append(shape.name)
    text = "the expected frames were found by their inputs"
    if lost:
        text = f"the order of the expected frames of {', '.join(lost[:20])} is unknown"
    notes.append(f"{RANDOM_INDEX} is missing: {text}")


def _with_sets(layer: DumpLayer, sets: list[CodeSet]) -> DumpLayer:
    return replace(layer, sets=tuple(sets))
