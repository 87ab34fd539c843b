# SPDX-License-Identifier: Apache-2.0
"""Small dumps, and helpers that the tests of reading and writing them share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import bittwin
from bittwin import write_dump
from bittwin.golden import Dump
from bittwin.network import Clip, Linear, Network, Relu

FRAMES, START, EXPECTED = 60, 7, 20


def count_wrong(dump: Dump) -> dict[tuple[str, str], int]:
    """Number of golden codes that the kernels do not reproduce, per layer and set."""
    wrong = {}
    for layer in dump.layers:
        for codes in layer.sets:
            assert codes.input is not None
            assert codes.output is not None
            y = layer.run_rows(codes.input.block(0, codes.frames))
            if codes.activated:
                y = layer.activate_rows(y)
            wrong[layer.name, codes.name] = int((y != codes.output.block(0, codes.frames)).sum())
    return wrong


def small_network(name: str = "net", seed: int = 3) -> Network:
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-100, 101, shape).astype(np.int8)

    bias = (rng.integers(-20, 21, 8) * 128).astype(np.int32)
    return Network(
        [
            Linear("first", weight(8, 10), bias, bittwin.readout(1024)),
            Relu("relu"),
            Linear("second", weight(6, 8), None, bittwin.readout(512)),
            Clip("clip", limit=4),
            Linear("third", weight(4, 6), None, bittwin.readout(256)),
        ],
        name=name,
    )


def small_inputs(columns: int = 10, seed: int = 5, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, columns)).astype(np.uint8)


def plain_dump(tmp_path: Path) -> Path:
    """Write a dump of one net without a sidecar, as the mapper would leave it."""
    path = tmp_path / "dump"
    write_dump(path, small_network(), small_inputs(), calibration_start=START,
               expected_frames=EXPECTED)  # fmt: skip
    (path / "bittwin.json").unlink()
    return path


def corrupt_int16(path: Path, place: int, value: int) -> None:
    data = bytearray(path.read_bytes())
    data[2 * place : 2 * place + 2] = int(value).to_bytes(2, "little", signed=True)
    path.write_bytes(bytes(data))
