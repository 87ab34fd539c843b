# SPDX-License-Identifier: Apache-2.0
"""A small dump on disk, and a way to call the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import bittwin
from bittwin.cli.main import main
from bittwin.network import Linear, Network, Relu


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Call ``bittwin`` with arguments."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture(scope="session")
def network() -> Network:
    """Two linear layers."""
    rng = np.random.default_rng(0)
    return Network(
        [
            Linear(
                "first", rng.integers(-40, 40, (16, 12)).astype(np.int8), None, bittwin.readout(256)
            ),
            Relu("first.relu"),
            Linear(
                "second",
                rng.integers(-40, 40, (4, 16)).astype(np.int8),
                (128 * rng.integers(-20, 20, 4)).astype(np.int32),
                bittwin.readout(512),
            ),
        ],
        name="small",
        input_shape=(12,),
    )


@pytest.fixture
def dump(tmp_path: Path, network: Network) -> Path:
    """A right dump folder."""
    rng = np.random.default_rng(1)
    path = tmp_path / "dump"
    x = rng.integers(0, 256, (40, 12)).astype(np.uint8)
    bittwin.write_dump(path, network, x, calibration_start=4, expected_frames=30)
    return path


@pytest.fixture
def wrong_dump(dump: Path) -> Path:
    """The same with one golden code off by one: frame 2, column 5 of the first layer."""
    codes = np.fromfile(dump / "map" / "expected_out.bin", "<i2")
    codes[2 * 16 + 5] += 1
    codes.tofile(dump / "map" / "expected_out.bin")
    text = dump / "map" / "expected_out.txt"
    text.unlink(missing_ok=True)
    return dump
