# SPDX-License-Identifier: Apache-2.0
"""Places layers on the array by shelves; a plain mapper, for dumps that we write ourselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bittwin.chips import WTM2101, ChipSpec
from bittwin.golden.dump import Region

BIAS_ROWS = WTM2101.bias_rows


@dataclass(frozen=True)
class Block:
    """What a layer needs on the array."""

    rows: int
    columns: int
    bias_rows: int


@dataclass
class _Shelf:
    """A strip of one half, filled from the left."""

    row: int
    height: int
    end: int = 0


def place_blocks(
    blocks: Sequence[Block], chip: ChipSpec = WTM2101
) -> tuple[list[Region], list[int]]:
    """Find a place for each block.

    The tallest come first. What does not fit is put beyond the array's last column, each block
    beside the one before.

    Args:
        blocks: the layers' needs.
        chip: whose array.

    Returns:
        Regions in the order of `blocks`, and the numbers of the blocks that did not fit.
    """
    shelves: list[list[_Shelf]] = [[] for _ in range(chip.halves)]
    bias_used = [0] * chip.columns
    regions: dict[int, Region] = {}
    outside: list[int] = []
    edge = chip.columns
    for number in sorted(range(len(blocks)), key=lambda n: -blocks[n].rows):
        block = blocks[number]
        found = _find(block, shelves, bias_used, chip)
        if found is None:
            outside.append(number)
            regions[number] = _region(block, edge, 0, 0)
            edge += block.columns
        else:
            regions[number] = found
    return [regions[number] for number in range(len(blocks))], sorted(outside)


def _region(block: Block, column: int, row: int, bias: int) -> Region:
    return Region(
        column,
        column + block.columns - 1,
        row,
        row + block.rows - 1,
        bias,
        bias + block.bias_rows - 1,
    )


def _find(
    block: Block, shelves: list[list[_Shelf]], bias_used: list[int], chip: ChipSpec
) -> Region | None:
    """Take the first place where the block fits with its bias rows."""
    half_rows, bias_rows = chip.rows_per_half, chip.bias_rows
    if block.columns > chip.columns or block.rows > half_rows or block.bias_rows > bias_rows:
        return None
    for half, filled in enumerate(shelves):
        top = sum(shelf.height for shelf in filled)
        fresh = [_Shelf(top, block.rows)] if top + block.rows <= half_rows else []
        for shelf in filled + fresh:
            if block.rows > shelf.height:
                continue
            # Layers one above the other share columns, and so the bias rows of these columns.
            for column in range(shelf.end, chip.columns - block.columns + 1):
                span = slice(column, column + block.columns)
                bias = max(bias_used[span])
                if bias + block.bias_rows > bias_rows:
                    continue
                bias_used[span] = [bias + block.bias_rows] * block.columns
                shelf.end = column + block.columns
                if shelf in fresh:
                    filled.append(shelf)
                return _region(block, column, half * half_rows + shelf.row, bias)
    return None
