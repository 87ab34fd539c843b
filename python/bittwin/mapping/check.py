# SPDX-License-Identifier: Apache-2.0
"""The mapping check: every layer against the limits of a chip (docs/spec/chip.md)."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bittwin.chips import WTM2101, ChipSpec
from bittwin.golden.dump import Region
from bittwin.golden.writing.placing import Block, place_blocks
from bittwin.mapping.needs import Matrix, layer_matrices
from bittwin.mapping.registers import register_bytes
from bittwin.mapping.results import ERROR, WARNING, Finding, LayerUse, Mapping, PlacedBlock
from bittwin.optimize import Optimization

if TYPE_CHECKING:
    from bittwin.golden import Dump
    from bittwin.network import Network

MAPPER = "map/layers.txt"
ESTIMATE = "estimate"
#: (layer, number of its net, register bytes or None)
_Listed = list[tuple[Any, int, "int | None"]]


def check_mapping(
    network: Network | Sequence[Network],
    *,
    chip: ChipSpec = WTM2101,
    plans: MappingOf[str, Optimization] | None = None,
    split_inputs: MappingOf[str, int] | None = None,
) -> Mapping:
    """Check whether networks fit a chip together, and find them a place on the array.

    Rows of a block are products per output, times 2 where the inputs are signed (sign halves), times
    2^duplicate of the layer's plan; they must lie in one half of the array. A layer with more outputs than
    the array has columns is cut into several blocks. The placement is a plain one, by shelves: where it
    finds none, the vendor's mapper may still find one.

    Args:
        network: a network, or several that share the array.
        chip: whose limits.
        plans: the mapper's optimisations by layer name; their weights, biases, rows and gains are checked.
        split_inputs: by layer name, how many leading inputs (channels of a convolution) of a layer with
            signed inputs are split by sign; the others are shifted by 128, which costs bias. Default all.
            -1: nobody says whether the inputs are signed, and they are counted as unsigned.

    Returns:
        Blocks, occupancy and findings; `Mapping.fits`.

    Raises:
        ValueError: a plan for a layer that is not there.

    Source: docs/spec/chip.md.

    >>> import numpy as np, bittwin
    >>> from bittwin.mapping import check_mapping
    >>> from bittwin.network import Linear, Network
    >>> wide = Linear("wide", np.ones((4, 1000), np.int8), None, bittwin.readout(256))
    >>> found = check_mapping(Network([wide]))
    >>> found.fits, found.findings[0].text
    (False, 'found 1000, wanted at most 896 (one half of the array)')
    """
    from bittwin.network import Network

    networks = [network] if isinstance(network, Network) else list(network)
    listed: _Listed = []
    for net, one in enumerate(networks):
        needed = register_bytes(one)
        listed += [(layer, net, needed.get(layer.name)) for layer in one.layers]
    names = {layer.name for layer, _, _ in listed}
    splits, changes = dict(split_inputs or {}), dict(plans or {})
    for what, given in (("plans", changes), ("split_inputs", splits)):
        for name in given:
            if name not in names:
                raise ValueError(f"{what}: found the layer {name!r}, which no network has")
    findings: list[Finding] = []
    matrices: list[Matrix] = []
    for layer, _, _ in listed:
        found, wrong = layer_matrices(layer, chip, changes.get(layer.name), splits.get(layer.name))
        matrices += found
        findings += wrong
    blocks = _place(matrices, chip, findings)
    return _finish(listed, blocks, findings, chip, ESTIMATE)


def check_dump(dump: Dump, *, chip: ChipSpec = WTM2101) -> Mapping:
    """Check the layers of a dump; their places are the mapper's own where the dump holds them.

    Args:
        dump: a dump; layers without weights are left out.
        chip: whose limits.
    """
    layers = [layer for layer in dump.layers if layer.operator is not None]
    listed: _Listed = []
    for layer in layers:
        listed.append((layer.operator, layer.net, layer.in_columns + layer.out_columns))
        listed += [(part, layer.net, None) for part in layer.activation]
        if layer.operator.weight.ndim == 4:  # an image passes by in columns: not known from a dump
            listed[-1 - len(layer.activation)] = (layer.operator, layer.net, None)
    findings: list[Finding] = []
    matrices: list[Matrix] = []
    for layer in layers:
        found, wrong = layer_matrices(layer.operator, chip, None)
        matrices += found
        findings += wrong
    regions = [layer.region for layer in layers]
    if layers and all(region is not None for region in regions):
        blocks = []
        for matrix, region in zip(matrices, regions, strict=True):
            assert region is not None
            blocks.append(_given(matrix, region, chip, findings))
        return _finish(listed, blocks, findings, chip, MAPPER)
    return _finish(listed, _place(matrices, chip, findings), findings, chip, ESTIMATE)


def _place(
    matrices: Sequence[Matrix], chip: ChipSpec, findings: list[Finding]
) -> list[PlacedBlock]:
    """Find a place for each matrix; one that is wider than the array is cut."""
    pieces = [
        (matrix, min(chip.columns, matrix.weight.shape[0] - first))
        for matrix in matrices
        for first in range(0, max(matrix.weight.shape[0], 1), chip.columns)
    ]
    wanted = [Block(m.weight.shape[1], columns, m.bias_rows) for m, columns in pieces]
    regions, outside = place_blocks(wanted, chip)
    blocks = [
        _block(m, region, i not in outside)
        for i, ((m, _), region) in enumerate(zip(pieces, regions, strict=True))
    ]
    lost = [blocks[i] for i in outside if blocks[i].rows <= chip.rows_per_half]
    needed = sum(b.cells for b in blocks)
    if needed > chip.columns * chip.rows:
        text = f"found {needed:,} cells, wanted at most {chip.columns * chip.rows:,}"
        findings.append(Finding("", "placement", ERROR, text))
    for b in lost:
        text = (
            f"found no place for {b.rows} rows x {b.columns} columns beside the others "
            "(a simple estimate: the mapper may find one)"
        )
        findings.append(Finding(b.name, "placement", WARNING, text))
    return blocks


def _block(matrix: Matrix, region: Region, inside: bool) -> PlacedBlock:
    weight = matrix.weight
    ends = (int(weight.min()), int(weight.max())) if weight.size else (0, 0)
    return PlacedBlock(
        matrix.layer, matrix.part, region.rows, region.columns, region.bias_rows, matrix.gain, ends,
        region, inside,
    )  # fmt: skip


def _given(matrix: Matrix, region: Region, chip: ChipSpec, findings: list[Finding]) -> PlacedBlock:
    """A block where the mapper put it, checked against the array's borders."""
    half = chip.rows_per_half
    inside = region.column_last < chip.columns and region.row_last < chip.rows
    if not inside:
        text = (
            f"found columns to {region.column_last} and rows to {region.row_last}, wanted at most "
            f"{chip.columns - 1} and {chip.rows - 1}"
        )
        findings.append(Finding(matrix.layer, "placement", ERROR, text))
    elif region.row_first // half != region.row_last // half:
        text = f"found rows {region.row_first}..{region.row_last}, wanted one half (border {half})"
        findings.append(Finding(matrix.layer, "placement", ERROR, text))
    if region.bias_last >= chip.bias_rows:
        text = f"found bias rows to {region.bias_last}, wanted at most {chip.bias_rows - 1}"
        findings.append(Finding(matrix.layer, "bias rows", ERROR, text))
    return _block(matrix, region, inside)


def _finish(
    listed: _Listed,
    blocks: list[PlacedBlock],
    findings: list[Finding],
    chip: ChipSpec,
    placement: str,
) -> Mapping:
    """Check what the layers share, and put it all together."""
    uses = [LayerUse(x.name, x.kind, net, len(_tables(x)), size) for x, net, size in listed]
    tables = _check_tables([x for x, _, _ in listed], chip, findings)
    for use in uses:
        if use.register_bytes is not None and use.register_bytes > chip.register_file_bytes:
            text = (
                f"found {use.register_bytes:,} bytes (estimate), wanted at most "
                f"{chip.register_file_bytes:,}"
            )
            findings.append(Finding(use.name, "register file", ERROR, text))
    ordered = sorted(findings, key=lambda f: f.level != ERROR)
    return Mapping(chip, tuple(uses), tuple(blocks), tuple(ordered), placement, tables)


def _tables(layer: Any) -> set[bytes]:
    """The distinct tables that a layer reads."""
    return {a.tobytes() for name, a in layer.arrays().items() if name.endswith("table")}


def _check_tables(layers: list[Any], chip: ChipSpec, findings: list[Finding]) -> int:
    """Tables of the activations must be loaded side by side; recurrent operators load their own.

    Returns how many tables there are in all.
    """
    own = {table for x in layers if not x.stateful for table in _tables(x)}
    every = {table for x in layers for table in _tables(x)}
    if len(own) > chip.table_slots:
        text = f"found {len(own)} tables, wanted at most {chip.table_slots} in one flow"
        findings.append(Finding("", "tables", ERROR, text))
    elif len(every) > chip.table_slots:
        text = (
            f"found {len(every)} tables with those of the recurrent layers, for {chip.table_slots} "
            "slots: they are loaded anew on the way"
        )
        findings.append(Finding("", "tables", WARNING, text))
    return len(every)
