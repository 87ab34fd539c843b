# SPDX-License-Identifier: Apache-2.0
"""Weights and bias rows of a dump: params/netN/layerK, or map.csv in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin.chips import WTM2101
from bittwin.golden.dump import Region
from bittwin.golden.reading.folder import WHOLE_FILE_LIMIT, Folder
from bittwin.golden.reading.text import CELL_CODES, Range, read_table

MAP_CSV = "map/map.csv"
#: First bias row in map.csv; logical row z is the physical rows 2048+2z and 2049+2z.
FIRST_BIAS_Y = 2048
#: Constant input code that drives the bias rows.
BIAS_DRIVE = WTM2101.bias_input
#: Most rows of weights a layer may have.
ROW_LIMIT = 1 << 20
#: Most cells that map.csv may list: the array has 2080 x 1024.
CELL_LIMIT = 1 << 23

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, eq=False)
class Params:
    """What the array and the digital part hold for one layer."""

    weight_rows: NDArray[np.int16]
    """`[in, out]`, one array row per input."""
    bias_rows: NDArray[np.int16]
    """`[rows, out]`, each driven with 128."""
    bias_high: NDArray[np.int16] | None
    """`[out]`, None when it is all zero."""
    source: str
    """File of the weights, relative to the dump."""


def read_params(folder: Folder, path: str, region: Region | None) -> Params:
    """Read weight.txt, bias.txt and bias_high.txt of one layer.

    Args:
        folder: the dump.
        path: the layer's folder.
        region: its line of layers.txt, which must agree; None where that is absent.

    Raises:
        DumpError: a file is missing or contradicts another one.
    """
    weight_path, bias_path = f"{path}/weight.txt", f"{path}/bias.txt"
    limit = WHOLE_FILE_LIMIT
    if region is not None:  # no number needs more than 7 bytes with its separator
        limit = min(limit, 16 * region.rows * region.columns + 4096)
        size = folder.size(weight_path) if folder.has_file(weight_path) else 0
        if limit < size <= WHOLE_FILE_LIMIT:
            raise folder.error(
                weight_path,
                f"found {size} bytes, wanted {region.rows} lines of {region.columns} numbers, "
                f"at most {limit} bytes, as {_place(region)}",
            )
    weight = read_table(folder, weight_path, codes=CELL_CODES, max_rows=ROW_LIMIT, limit=limit)
    if weight.size == 0:
        raise folder.error(weight_path, "found no number, wanted one line per input")
    rows, columns = weight.shape
    if region is not None and (rows, columns) != (region.rows, region.columns):
        raise folder.error(
            weight_path,
            f"found {rows} lines of {columns} numbers, wanted {region.rows} of {region.columns}, "
            f"as {_place(region)}",
        )
    bias = read_table(folder, bias_path, columns=columns, codes=CELL_CODES, max_rows=ROW_LIMIT)
    if region is not None and len(bias) != region.bias_rows:
        raise folder.error(
            bias_path,
            f"found {len(bias)} bias rows, wanted {region.bias_rows}, as map/layers.txt gives this "
            f"layer the bias rows zs..ze {region.bias_first}..{region.bias_last}",
        )
    high_path = f"{path}/bias_high.txt"
    high: NDArray[np.int16] | None = None
    if folder.has_file(high_path):
        table = read_table(folder, high_path, columns=columns, codes=CELL_CODES, max_rows=2)
        if len(table) != 1:
            raise folder.error(high_path, f"found {len(table)} lines, wanted 1")
        high = table[0].astype(np.int16) if table.any() else None
    return Params(weight.astype(np.int16), bias.astype(np.int16), high, weight_path)


def _place(region: Region) -> str:
    """Say what layers.txt claims about a layer; a line in another place makes it wrong."""
    return (
        f"map/layers.txt gives this layer the rows ys..ye {region.row_first}..{region.row_last} "
        f"and the columns xs..xe {region.column_first}..{region.column_last}"
    )


def read_map_csv(folder: Folder, regions: list[tuple[str, Region]]) -> list[Params]:
    """Read the cells of all layers from map/map.csv (`x,y,value` per used cell).

    Args:
        folder: the dump.
        regions: label for messages and place of each layer.

    Raises:
        DumpError: a cell of a layer is missing or listed twice.
    """
    cells = read_table(
        folder, MAP_CSV, columns=3, codes=Range(-32768, (1 << 24) - 1), max_rows=CELL_LIMIT
    )
    x, y, value = cells[:, 0], cells[:, 1], cells[:, 2]
    if cells.size and (cells[:, :2].min() < 0 or value.max() > CELL_CODES.high):
        line = int(np.flatnonzero((x < 0) | (y < 0) | (value > CELL_CODES.high))[0])
        raise folder.error(
            MAP_CSV, f"cell {line + 1}: found {cells[line].tolist()}, wanted x,y >= 0 and an int16"
        )
    result = []
    for label, region in regions:
        inside = (x >= region.column_first) & (x <= region.column_last)
        mine = cells[inside]
        weight = _fill(folder, label, mine, mine[:, 1] - region.row_first, region.rows, region)
        # Both physical rows of a logical bias row are driven; the mapper fills the odd one.
        odd = cells[inside & (y >= FIRST_BIAS_Y) & (y % 2 == 1)]
        odd_rows = (odd[:, 1] - FIRST_BIAS_Y) // 2 - region.bias_first
        bias = _fill(folder, f"{label}, bias rows", odd, odd_rows, region.bias_rows, region)
        even = cells[inside & (y >= FIRST_BIAS_Y) & (y % 2 == 0)]
        even_rows = (even[:, 1] - FIRST_BIAS_Y) // 2 - region.bias_first
        used = (even_rows >= 0) & (even_rows < region.bias_rows) & (even[:, 2] != 0)
        if used.any():
            raise folder.error(
                MAP_CSV,
                f"{label}: found a value in bias row y={int(even[used][0, 1])}, wanted only odd "
                "ones",
            )
        result.append(Params(weight, bias, None, MAP_CSV))
    return result


def _fill(
    folder: Folder,
    label: str,
    cells: NDArray[np.int32],
    row: NDArray[np.int32],
    rows: int,
    region: Region,
) -> NDArray[np.int16]:
    """Put listed cells into a table and insist that each one is listed once."""
    columns = region.columns
    inside = (row >= 0) & (row < rows)
    found = int(inside.sum())
    if found != rows * columns:
        raise folder.error(
            MAP_CSV, f"{label}: found {found} cells, wanted {rows}*{columns} as in map/layers.txt"
        )
    row, column = row[inside], cells[inside, 0] - region.column_first
    listed = np.zeros((rows, columns), bool)
    listed[row, column] = True
    if not listed.all():
        r, c = np.argwhere(~listed)[0]
        raise folder.error(
            MAP_CSV, f"{label}: row {int(r)} column {int(c)} is missing, another is listed twice"
        )
    table = np.zeros((rows, columns), np.int16)
    table[row, column] = cells[inside, 2]
    return table


def bias_of(folder: Folder, params: Params) -> NDArray[np.int32]:
    """Return the bias `[out]` in accumulator units: 128 times the column sums.

    Raises:
        DumpError: a column does not fit int32.
    """
    total = BIAS_DRIVE * params.bias_rows.astype(np.int64).sum(axis=0)
    if total.size and (total.min() < _INT32.min or total.max() > _INT32.max):
        column = int(np.argmax(np.abs(total)))
        raise folder.error(
            params.source, f"bias of column {column}: found {int(total[column])}, wanted an int32"
        )
    return np.asarray(total, np.int32)


def narrow(weight: NDArray[np.int16]) -> NDArray[np.int8] | NDArray[np.int16]:
    """Return the weights as int8 when all of them fit, which is the usual case."""
    if weight.size and (weight.min() < -128 or weight.max() > 127):
        return weight
    return weight.astype(np.int8)
