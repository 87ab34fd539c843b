# SPDX-License-Identifier: Apache-2.0
"""The array as a picture: both halves, the bias rows, and every block in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bittwin._files import write_atomic
from bittwin.errors import BittwinError
from bittwin.mapping.results import Mapping, PlacedBlock

#: Rows of the picture that the gap before the bias rows and one bias row take.
_GAP, _BIAS_HEIGHT = 60, 24
#: Told apart in grey and by readers with weak colour vision, light enough for dark text.
_COLOURS = (
    "#a6cee3", "#fdbf6f", "#b2df8a", "#cab2d6", "#fb9a99",
    "#ffed6f", "#8dd3c7", "#d9d9d9", "#e5c494", "#bebada",
)  # fmt: skip
ENDINGS = (".svg", ".png")
#: Most blocks that the list beside the array names.
_LISTED = 45


class PictureError(BittwinError, ValueError):
    """A picture that cannot be drawn: a missing extra, an ending that means no picture."""


def draw_mapping(mapping: Mapping, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw where the blocks lie on the array.

    Rows grow downwards, as in map/layers.txt; below them are the bias rows. The list beside the array names
    every block, and those that have no place in red.

    Args:
        mapping: of `check_mapping` or `check_dump`.
        path: a file that ends in .svg or .png; an existing one is replaced.
        title: above the picture.

    Raises:
        PictureError: another ending, or matplotlib (extra ``report``) is missing.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise PictureError(f"{path}: found the ending {path.suffix!r}, wanted .svg or .png")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError(
            f"{path}: drawing needs the extra report: pip install 'bittwin[report]' ({error})"
        ) from None
    # Text stays text in an SVG, and the same mapping gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bittwin"}):
        figure = Figure(figsize=(11, 9), layout="constrained")
        _draw(figure.add_subplot(), mapping, title)
        kind = path.suffix.lower()[1:]
        metadata = {"Date": None} if kind == "svg" else {}

        def save(stream: Any) -> None:
            figure.savefig(stream, format=kind, dpi=120, metadata=metadata)

        write_atomic(path, save)


def _draw(axes: Any, m: Mapping, title: str) -> None:
    from matplotlib.patches import Rectangle

    chip = m.chip
    bottom = chip.rows + _GAP
    depth = chip.bias_rows * _BIAS_HEIGHT
    frame: dict[str, Any] = {"fill": False, "edgecolor": "#333333", "linewidth": 1.2}
    for half in range(chip.halves):
        first = half * chip.rows_per_half
        axes.add_patch(Rectangle((0, first), chip.columns, chip.rows_per_half, **frame))
    axes.add_patch(Rectangle((0, bottom), chip.columns, depth, **frame))
    names = list(dict.fromkeys(b.layer for b in m.blocks))
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    for b in m.blocks:
        if b.inside:
            _draw_block(axes, b, colours[b.layer], bottom)
    _list_blocks(axes, m, colours)
    axes.set_xlim(-8, chip.columns + 8)
    axes.set_ylim(bottom + depth + 8, -8)
    ticks = [half * chip.rows_per_half for half in range(chip.halves + 1)]
    middle = bottom + depth / 2
    axes.set_yticks([*ticks, middle], [*map(str, ticks), f"bias rows\n0..{chip.bias_rows - 1}"])
    axes.set_xticks([0, *(chip.columns * i // 4 for i in (1, 2, 3, 4))])
    axes.set_xlabel("column (output)")
    axes.set_ylabel("row (input)")
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    where = "places: map/layers.txt" if m.placement != "estimate" else "places: an estimate"
    share = 100 * m.cells / m.capacity
    head = f"{title}\n" if title else ""
    axes.set_title(
        f"{head}{chip.name}: {m.cells:,} of {m.capacity:,} cells ({share:.1f} %), "
        f"{m.columns} of {chip.columns} columns; {where}",
        fontsize=10,
    )


def _draw_block(axes: Any, b: PlacedBlock, colour: str, bottom: int) -> None:
    """Draw one block and its bias rows."""
    from matplotlib.patches import Rectangle

    r = b.region
    style: dict[str, Any] = {"facecolor": colour, "edgecolor": "#222222", "linewidth": 0.8}
    axes.add_patch(Rectangle((r.column_first, r.row_first), r.columns, r.rows, **style))
    top = bottom + r.bias_first * _BIAS_HEIGHT
    axes.add_patch(Rectangle((r.column_first, top), r.columns, r.bias_rows * _BIAS_HEIGHT, **style))
    # Roughly: a letter is 14 columns wide and a line 36 rows high at this size of figure.
    long = 14 * len(b.name)
    font = {"fontsize": 8, "ha": "center", "va": "center", "color": "#111111"}
    middle = (r.column_first + r.columns / 2, r.row_first + r.rows / 2)
    if r.columns >= long and r.rows >= 36:
        axes.text(*middle, b.name, **font)
    elif r.rows >= 2 * long and r.columns >= 22:
        axes.text(*middle, b.name, rotation=90, **font)


def _list_blocks(axes: Any, m: Mapping, colours: dict[str, str]) -> None:
    """Name every block beside the array, those without a place last and in red."""
    from matplotlib.patches import Patch

    ordered = sorted(m.blocks, key=lambda b: not b.inside)
    shown, left = ordered[:_LISTED], len(ordered) - _LISTED
    if not shown:
        return
    handles, labels = [], []
    for b in shown:
        gain = "" if b.gain is None else f", gain {b.gain}"
        where = "" if b.inside else " - no place"
        handles.append(Patch(facecolor=colours[b.layer], edgecolor="#222222", linewidth=0.6))
        labels.append(f"{b.name}: {b.rows} x {b.columns}{gain}{where}")
    title = "rows x columns" + (f" ({left} more not listed)" if left > 0 else "")
    legend = axes.legend(handles, labels, title=title, loc="upper left", bbox_to_anchor=(1.01, 1),
                         fontsize=8, title_fontsize=8, frameon=False, borderaxespad=0)  # fmt: skip
    legend._legend_box.align = "left"
    for b, text in zip(shown, legend.get_texts(), strict=True):
        text.set_color("#111111" if b.inside else "#c00000")
