# SPDX-License-Identifier: Apache-2.0
"""What a chip can hold. Limits for mapping checks; the arithmetic itself does not depend on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChipSpec:
    """Geometry and register ranges of one chip."""

    name: str
    """Product name."""
    chip_id: str
    """Identifier of the die the figures were measured or documented for."""
    columns: int
    """Array columns: outputs one round can have."""
    rows: int
    """Usable array rows: inputs the whole array can hold."""
    rows_per_half: int
    """Rows of one half; one layer's block of rows never crosses the border between halves."""
    bias_rows: int
    """Logical bias rows; each is driven with the constant input `bias_input`."""
    bias_input: int
    """Input code of a bias row: biases are multiples of it."""
    x_bits: tuple[int, ...]
    """Input widths in bits; above 8 a layer takes two rounds (high/low split)."""
    weight_bits: int
    """Width of a weight code by default."""
    cell_limit: int
    """Largest magnitude of a cell, by the manual. The mapper's optimiser stays within 256."""
    gains: tuple[int, ...]
    """Gains the register takes, accumulator units per output code."""
    mapper_gains: tuple[int, ...]
    """Gains the vendor's mapper emits."""
    table_slots: int
    """Activation tables that can be loaded at once."""
    table_sizes: tuple[int, ...]
    """Entries a table may have."""
    register_file_bytes: int
    """Size of the register file."""

    @property
    def halves(self) -> int:
        """Number of row halves."""
        return self.rows // self.rows_per_half


WTM2101 = ChipSpec(
    name="WTM2101",
    chip_id="BB04P1",
    columns=1024,
    rows=1792,
    rows_per_half=896,
    bias_rows=16,
    bias_input=128,
    x_bits=(8, 9, 10, 11, 12),
    weight_bits=8,
    cell_limit=275,
    gains=tuple(256 << g for g in range(8)),
    mapper_gains=tuple(256 << g for g in range(6)),
    table_slots=2,
    table_sizes=(256, 1024),
    register_file_bytes=8192,
)
"""Witmem's flash compute-in-memory NPU (docs/spec/chip.md)."""
