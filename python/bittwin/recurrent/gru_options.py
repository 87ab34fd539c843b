# SPDX-License-Identifier: Apache-2.0
"""What the GRU forms share: their options, and the table that is read at a sum."""

from __future__ import annotations

from typing import Any

from bittwin._check import choice, integer
from bittwin.recurrent.blend import BLENDS
from bittwin.recurrent.cell import CLEAN_LIMIT
from bittwin.recurrent.rules import Shift, SumTable
from bittwin.requant import ROUNDINGS

ROW_ORDERS = ("hx", "xh")
SUM_BITS = (8, 9)
MAX_REACH = 1 << 20
"""Largest magnitude of a table's sum: enough for every shift that leaves something of the gates."""


def parts(row_order: str, hidden: int, inputs: int) -> tuple[slice, slice]:
    """Columns of a concatenated weight that see the state, and those that see the input."""
    if row_order == "hx":
        return slice(0, hidden), slice(hidden, hidden + inputs)
    return slice(inputs, inputs + hidden), slice(0, inputs)


def check_options(cell: Any) -> None:
    """Check the named options that the GRU forms share."""
    integer("clean_after", cell.clean_after, 0, CLEAN_LIMIT)
    integer("ones", cell.ones, 0, 255)
    choice("blend", cell.blend, BLENDS)
    choice("rounding", cell.rounding, ROUNDINGS)
    choice("blend_rounding", cell.blend_rounding, ROUNDINGS)
    integer("lowest", cell.lowest, -128, -127)
    if hasattr(cell, "row_order"):
        choice("row_order", cell.row_order, ROW_ORDERS)
    if hasattr(cell, "sum_bits"):
        integer("sum_bits", cell.sum_bits, *SUM_BITS)


def reset_and_table(
    cell: Any, shift: int, largest_gate: int, largest_code: int
) -> tuple[Shift, SumTable]:
    """The shift of r * b, which nothing limits, and the table that is read at its sum with a code."""
    product = largest_gate * largest_code
    reach = (product << shift if shift > 0 else (product >> -shift) + 1) + 128
    reset = Shift(shift, -(1 << 31), (1 << 31) - 1, cell.rounding)
    if reach > MAX_REACH:
        raise ValueError(
            f"shift_bits: found {shift} for the product of r and the hidden part, which reaches {reach}; "
            f"wanted at most {MAX_REACH}"
        )
    return reset, SumTable("tanh_table", cell.tanh_table, reach, cell.sum_bits)
