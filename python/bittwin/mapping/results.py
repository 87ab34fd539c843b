# SPDX-License-Identifier: Apache-2.0
"""What a mapping check found, as plain immutable data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bittwin.chips import ChipSpec
from bittwin.golden.dump import Region

ERROR = "error"
WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """Something that does not fit, or may not.

    Attributes:
        layer: name of the layer; empty for the network as a whole.
        resource: ``rows``, ``columns``, ``bias rows``, ``weights``, ``gain``, ``rule``, ``inputs``,
            ``signed inputs``, ``optimise config``, ``tables``, ``register file``
            or ``placement``.
        level: ``error``: does not fit; ``warning``: fits with a condition, or may not.
        text: what was found and what was wanted.
    """

    layer: str
    resource: str
    level: str
    text: str


@dataclass(frozen=True)
class PlacedBlock:
    """One block of weights on the array.

    Attributes:
        layer: name of the layer.
        part: which of its matrices, where it has several; else empty.
        rows: array rows, copies and sign halves included.
        columns: array columns; a layer wider than the array has several blocks.
        bias_rows: logical bias rows.
        gain: accumulator units per output code; None without a gain register.
        weights: lowest and highest cell.
        region: where it lies, or would lie.
        inside: it has a place on the array; else the region is beyond the last column.
    """

    layer: str
    part: str
    rows: int
    columns: int
    bias_rows: int
    gain: int | None
    weights: tuple[int, int]
    region: Region
    inside: bool

    @property
    def name(self) -> str:
        """Layer and part."""
        return f"{self.layer}.{self.part}" if self.part else self.layer

    @property
    def cells(self) -> int:
        """Weights on the array, bias rows not counted."""
        return self.rows * self.columns


@dataclass(frozen=True)
class LayerUse:
    """What a layer takes beside its blocks.

    Attributes:
        name: of the layer.
        kind: of the layer.
        net: number of its net.
        tables: activation tables that it reads.
        register_bytes: estimate of the register file bytes while it runs; None where shapes are unknown.
    """

    name: str
    kind: str
    net: int
    tables: int
    register_bytes: int | None


@dataclass(frozen=True)
class Mapping:
    """Everything that a check found.

    Attributes:
        chip: whose limits.
        layers: in order.
        blocks: in order; only layers with weights on the array have some.
        findings: what does not fit, errors first.
        placement: ``map/layers.txt``: the mapper's own; ``estimate``: ours.
        tables: distinct activation tables in all.
    """

    chip: ChipSpec
    layers: tuple[LayerUse, ...]
    blocks: tuple[PlacedBlock, ...]
    findings: tuple[Finding, ...]
    placement: str
    tables: int

    @property
    def fits(self) -> bool:
        """There is no error among the findings."""
        return not any(f.level == ERROR for f in self.findings)

    @property
    def cells(self) -> int:
        """Cells in use."""
        return sum(b.cells for b in self.blocks)

    @property
    def capacity(self) -> int:
        """Cells that the array has."""
        return self.chip.columns * self.chip.rows

    @property
    def columns(self) -> int:
        """Columns in which at least one cell is in use."""
        used: set[int] = set()
        for b in self.blocks:
            if b.inside:
                used.update(range(b.region.column_first, b.region.column_last + 1))
        return len(used)

    @property
    def register_peak(self) -> LayerUse | None:
        """The layer that needs most of the register file."""
        known = [x for x in self.layers if x.register_bytes is not None]
        return max(known, key=lambda x: x.register_bytes or 0) if known else None

    def to_json(self) -> dict[str, Any]:
        """Plain objects, the `mapping` of ``inspect --json``."""
        peak = self.register_peak
        return {
            "chip": self.chip.name,
            "fits": self.fits,
            "placement": self.placement,
            "cells": self.cells,
            "capacity": self.capacity,
            "columns": self.columns,
            "tables": self.tables,
            "register_bytes": None if peak is None else peak.register_bytes,
            "layers": [vars(x) for x in self.layers],
            "blocks": [
                {
                    "layer": b.layer,
                    "part": b.part or None,
                    "rows": b.rows,
                    "columns": b.columns,
                    "bias_rows": b.bias_rows,
                    "gain": b.gain,
                    "weights": list(b.weights),
                    "inside": b.inside,
                    "region": {
                        "columns": [b.region.column_first, b.region.column_last],
                        "rows": [b.region.row_first, b.region.row_last],
                        "bias_rows": [b.region.bias_first, b.region.bias_last],
                    },
                }
                for b in self.blocks
            ],
            "findings": [vars(f) for f in self.findings],
        }
