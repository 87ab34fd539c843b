# SPDX-License-Identifier: Apache-2.0
"""The files that `write_dump` makes, one function per part of the folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.dump import Region
from bittwin.golden.reading.params import FIRST_BIAS_Y
from bittwin.golden.writing.collect import StoredLayer

_INT16 = np.dtype("<i2")
# The header of addr.csv.
_ADDRESS_FIELDS = (
    "net_idx", "layer_name", "layer_type", "round_type", "round_idx", "flow_idx",
    "in/out", "addr", "type", "len", "file",
)  # fmt: skip


def table_lines(table: NDArray[np.generic], separator: str = " ", end: str = "") -> str:
    """Write a table of integers, one row per line."""
    return "".join(separator.join(map(str, row)) + end + "\n" for row in table.tolist())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_params(folder: Path, layers: Sequence[StoredLayer]) -> None:
    """Write params/netN/layerK/{weight,bias,bias_high}.txt."""
    for layer in layers:
        base = folder / "params" / f"net{layer.net}" / f"layer{layer.index}"
        _write(base / "weight.txt", table_lines(layer.weight_rows))
        _write(base / "bias.txt", table_lines(layer.bias_rows))
        _write(base / "bias_high.txt", table_lines(layer.bias_high[None, :]))


def write_map(folder: Path, layers: Sequence[StoredLayer], regions: Sequence[Region]) -> None:
    """Write map/layers.txt and map/map.csv."""
    placed = [
        f"{r.column_first}, {r.column_last}, {r.row_first}, {r.row_last}, "
        f"{r.bias_first}, {r.bias_last}, {layer.operator.requant.gain}\n"
        for layer, r in zip(layers, regions, strict=True)
    ]
    _write(folder / "map" / "layers.txt", "".join(placed))
    with (folder / "map" / "map.csv").open("w", encoding="ascii", newline="\n") as stream:
        for layer, region in zip(layers, regions, strict=True):
            # From y = 2048 on the file means bias rows: a layer that reaches there is left out.
            if region.row_last < FIRST_BIAS_Y:
                stream.writelines(_cells(layer.weight_rows, region.column_first, region.row_first))
        for layer, region in zip(layers, regions, strict=True):
            first = FIRST_BIAS_Y + 1 + 2 * region.bias_first
            stream.writelines(_cells(layer.bias_rows, region.column_first, first, step=2))


def _cells(table: NDArray[np.generic], x: int, y: int, step: int = 1) -> Iterator[str]:
    """Yield the lines `x,y,value` of a table."""
    for number, row in enumerate(table.tolist()):
        place = y + number * step
        yield "".join(f"{x + column},{place},{value}\n" for column, value in enumerate(row))


def write_golden(
    folder: Path,
    layers: Sequence[StoredLayer],
    calibration_start: int,
    expected_frames: int,
    rng: np.random.Generator,
) -> None:
    """Write the expected and complete files and random_idx.txt."""
    base = folder / "map"
    chosen = _draw(layers, calibration_start, expected_frames, rng)
    text = f"calibration_start = {calibration_start}\n\n"
    for layer, index in zip(layers, chosen, strict=True):
        if expected_frames:
            text += f"net {layer.net}, layer {layer.index}\n{table_lines(index[None, :], ',', ',')}"
    if expected_frames:
        _write(base / "random_idx.txt", text)
        for side, word in (("in", "input"), ("out", "output")):
            rows = [
                (layer.inputs if side == "in" else layer.outputs)[calibration_start + index]
                for layer, index in zip(layers, chosen, strict=True)
            ]
            _write_int16(base / f"expected_{side}.bin", rows, side, expected_frames)
            text = f"num = {expected_frames}\n" if side == "in" else ""
            for layer, table in zip(layers, rows, strict=True):
                text += f"net {layer.net} layer {layer.index - 1} {word} 0\n"
                text += table_lines(table, ",", ",")
            _write(base / f"expected_{side}.txt", text)
    for side in ("in", "out"):
        rows = [
            (layer.inputs if side == "in" else layer.outputs)[calibration_start:]
            for layer in layers
        ]
        # With several nets the mapper's header counts one of them only: the last.
        _write_int16(base / f"expected_{side}_complete.bin", rows, side, len(rows[-1]))


def _draw(
    layers: Sequence[StoredLayer],
    calibration_start: int,
    expected_frames: int,
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Choose the expected frames of each net, and shuffle them for each layer."""
    drawn: dict[int, NDArray[np.int64]] = {}
    for layer in layers:
        if layer.net in drawn:
            continue
        available = len(layer.inputs) - calibration_start
        if expected_frames <= available:
            index = rng.permutation(available)[:expected_frames]
        else:  # the mapper repeats frames too when it has fewer than it wants
            index = rng.integers(0, available, expected_frames)
        drawn[layer.net] = index.astype(np.int64)
    return [rng.permutation(drawn[layer.net]) for layer in layers]


def _write_int16(path: Path, rows: Sequence[NDArray[np.int16]], side: str, frames: int) -> None:
    with path.open("wb") as stream:
        if side == "in":
            stream.write(np.array(frames, _INT16).tobytes())
        for table in rows:
            stream.write(table.astype(_INT16).tobytes())


def _round_path(layer: StoredLayer) -> str:
    return f"layer_debug/net{layer.net}/{layer.index}_{layer.name}/round{layer.index - 1}"


def write_debug(folder: Path, layers: Sequence[StoredLayer]) -> None:
    """Write layer_debug: every frame's input, and its output after the activation."""
    for layer in layers:
        base = folder / _round_path(layer)
        _write(base / "input0.txt", table_lines(layer.inputs))
        _write(base / "output0.txt", table_lines(layer.results))


def write_addresses(folder: Path, layers: Sequence[StoredLayer]) -> None:
    """Write addr.csv; the register file addresses are ours, one buffer after the other."""
    with (folder / "addr.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_ADDRESS_FIELDS)
        net, address = -1, 0
        for layer in layers:
            if layer.net != net:
                net, address = layer.net, 0
                stream.write("\n\n")
            for side, count in (("in", layer.inputs.shape[1]), ("out", layer.outputs.shape[1])):
                name = f"{_round_path(layer)}/{side}put0.txt"
                place = (layer.index - 1, 1, side, address, "regfile", count, name)
                writer.writerow((layer.net, layer.name, "OpType::MV_OP", "array", *place))
                if side == "in":
                    address += count
