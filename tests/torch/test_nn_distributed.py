# SPDX-License-Identifier: Apache-2.0
"""Two processes find the same scales, and the same model as one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import nn_ddp_worker
import pytest
import torch
import torch.distributed as dist

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)
WORLD = 2
LIMIT = 60  # seconds; a hang is a failure


Saved = list[dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two ranks saved what they found, scenario by scenario, and what they said."""
    made = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":  # a host name that resolves to nowhere is no matter of ours
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    ranks = []
    for rank in range(WORLD):
        command = [sys.executable, str(Path(nn_ddp_worker.__file__)), str(rank), str(WORLD), made]
        with (made / f"log{rank}.txt").open("w") as log:
            ranks.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    deadline = time.monotonic() + LIMIT
    for process in ranks:
        try:
            process.wait(max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return made


def on_two_ranks(folder: Path, scenario: str) -> Saved:
    """What each rank saved."""
    outs = [folder / f"{scenario}{rank}.pt" for rank in range(WORLD)]
    if not all(out.is_file() for out in outs):
        said = [(folder / f"log{rank}.txt").read_text() for rank in range(WORLD)]
        pytest.fail(f"{scenario}: not done after {LIMIT} s\n" + "\n".join(said))
    return [torch.load(out, weights_only=True) for out in outs]


def alone(**fields: object) -> torch.nn.Module:
    torch.set_num_threads(1)
    net = nn_ddp_worker.network(**fields)
    nn_ddp_worker.train(net, 0, 1)
    return net


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_training_equals_one_process(folder: Path) -> None:
    first, second = on_two_ranks(folder, "train")
    assert_same(first, second)
    one = alone()
    assert_same(first, one.state_dict())
    start = nn_ddp_worker.network().state_dict()
    assert not torch.equal(start["0.weight"], first["0.weight"])
    assert int(first["0.scales.steps"]) == 3
    assert (first["3.scales.codes_per_unit"] > 0).all()


def test_recalibration_equals_one_process(folder: Path) -> None:
    first, second = on_two_ranks(folder, "epoch")
    assert_same(first, second)
    one = alone(recalibrate="epoch")
    one.eval()
    one.train()
    nn_ddp_worker.train(one, 0, 1)
    assert_same(first, one.state_dict())


def test_a_checkpoint_that_only_rank_0_has(folder: Path) -> None:
    """No rank starts a calibration of its own, which the others would not take part in."""
    first, second = on_two_ranks(folder, "resume")
    assert_same(first, second)
    assert first["0.scales.codes_per_unit"].tolist() == nn_ddp_worker.RESUMED


def test_empty_and_zero_batches_on_one_rank(folder: Path) -> None:
    first, second = on_two_ranks(folder, "uneven")
    assert_same(first, second)
    assert int(first["scales.steps"]) == 4
    assert float(first["scales.maxima"][0]) == 3.0


def test_nan_on_one_rank_is_an_error_on_both(folder: Path) -> None:
    assert [bool(saved["refused"]) for saved in on_two_ranks(folder, "nan")] == [True, True]
