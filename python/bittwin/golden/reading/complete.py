# SPDX-License-Identifier: Apache-2.0
"""The complete set: every frame of every layer from calibration_start on."""

from __future__ import annotations

import numpy as np

from bittwin.golden.dump import CodeSet
from bittwin.golden.reading.codes import BinaryFile
from bittwin.golden.reading.expected import slice_file
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import COMPLETE_COUNTS, CompleteCounts, Key
from bittwin.golden.reading.shape import LayerShape

_FILES = {"in": "map/expected_in_complete.bin", "out": "map/expected_out_complete.bin"}


def open_complete_files(folder: Folder) -> dict[str, BinaryFile]:
    """Return those of the two complete files that are there."""
    return {
        side: BinaryFile(folder, path) for side, path in _FILES.items() if folder.has_file(path)
    }


def complete_frames(
    folder: Folder,
    shapes: tuple[LayerShape, ...],
    files: dict[str, BinaryFile],
    counts: CompleteCounts | None,
    debug: dict[Key, CodeSet],
    start: int | None,
    notes: list[str],
) -> dict[Key, int]:
    """Find out how many complete frames each layer has; empty where nothing says so.

    The header of the input file counts one net only. So the counts come from
    map_complete.json, else from the lines of layer_debug, else, with one net, from the header.

    Args:
        folder: the dump.
        shapes: the layers.
        files: from `open_complete_files`.
        counts: map_complete.json.
        debug: the debug sets.
        start: calibration_start, None where nothing says it.
        notes: gets a sentence when the complete files cannot be used.

    Raises:
        DumpError: two of these sources contradict each other.
    """
    nets = sorted({shape.net for shape in shapes})
    by_debug: dict[int, int] = {}
    if start is not None:
        for shape in shapes:
            if shape.key in debug:
                by_debug[shape.net] = debug[shape.key].frames - start
                if by_debug[shape.net] < 0:
                    raise folder.error(
                        f"layer_debug/net{shape.net}",
                        f"found {debug[shape.key].frames} frames, wanted at least "
                        f"calibration_start = {start}",
                    )
    if counts is not None:
        frames = {shape.key: counts.frames[shape.key][0] for shape in shapes}
        for shape in shapes:
            lines = by_debug.get(shape.net)
            if lines is not None and lines != frames[shape.key]:
                raise folder.error(
                    COMPLETE_COUNTS,
                    f"net {shape.net} layer {shape.index}: found {frames[shape.key]} frames, "
                    f"wanted {lines} = layer_debug lines - calibration_start",
                )
    elif set(by_debug) == set(nets):
        frames = {shape.key: by_debug[shape.net] for shape in shapes}
    elif len(nets) == 1 and files:
        frames = dict.fromkeys((s.key for s in shapes), _count_by_file(folder, shapes, files))
    else:
        if files:
            notes.append(
                f"{' and '.join(sorted(file.path for file in files.values()))}: not used, because "
                "with several nets the frame counts must come from map_complete.json or from "
                "layer_debug with a calibration_start, and these are not complete here"
            )
            files.clear()
        return {}
    if "in" in files:
        header = files["in"].header()
        if header not in frames.values():
            wanted = ", ".join(str(count) for count in sorted(set(frames.values())))
            raise folder.error(files["in"].path, f"header: found {header} frames, wanted {wanted}")
    return frames


def _count_by_file(
    folder: Folder, shapes: tuple[LayerShape, ...], files: dict[str, BinaryFile]
) -> int:
    """Return the frames of a single net from the header, or from the output file's size."""
    if "in" in files:
        return files["in"].header()
    columns = sum(shape.out_columns for shape in shapes)
    frames, rest = divmod(files["out"].size, 2 * columns)
    if rest:
        raise folder.error(
            files["out"].path,
            f"found {files['out'].size} bytes, wanted a multiple of {2 * columns} = 2*{columns} "
            "outputs of all layers",
        )
    return frames


def open_complete(
    shapes: tuple[LayerShape, ...],
    files: dict[str, BinaryFile],
    frames: dict[Key, int],
    start: int,
) -> dict[Key, CodeSet]:
    """Open the complete set of every layer; empty where there is none.

    Raises:
        DumpError: a file's size is not what the counts need.
    """
    if not files or not frames:
        return {}
    sides = {side: slice_file(file, shapes, side, frames) for side, file in files.items()}
    result = {}
    for shape in shapes:
        index = start + np.arange(frames[shape.key], dtype=np.int64)
        inputs, outputs = (sides.get(side, {}).get(shape.key) for side in ("in", "out"))
        result[shape.key] = CodeSet("complete", inputs, outputs, False, index)
    return result
