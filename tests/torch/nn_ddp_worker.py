# SPDX-License-Identifier: Apache-2.0
"""What one rank of the distributed tests does; `test_nn_distributed.py` starts two of them.

Run as: python nn_ddp_worker.py RANK WORLD FOLDER. One pair of processes runs all scenarios one after the
other, because starting torch takes longer than any of them.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bittwin.nn import Conv2d, Linear, QATConfig

STEPS = 5
ROWS = 8  # of the whole batch
RESUMED = [256.0, 8.0, 8.0]  # scales of the checkpoint
SCENARIOS = ("train", "epoch", "uneven", "nan", "resume")


def network(**fields: Any) -> torch.nn.Sequential:
    """Two layers with 4-bit weights: all sums of their gradients are exact in float32."""
    torch.manual_seed(7)
    config = QATConfig(weight_bits=4, calibration_steps=3, **fields)
    net = torch.nn.Sequential(
        Conv2d(1, 2, 3, config=config),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        Linear(2 * 2 * 2, 3, config=config),
    )
    with torch.no_grad():
        net[0].weight.abs_()  # so that the ReLU passes something
    return net


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and upstream gradient of one step; the largest input moves from half to half."""
    generator = torch.Generator().manual_seed(step)
    x = torch.rand(ROWS, 1, 4, 4, generator=generator)
    x[(3 * step) % ROWS] *= 5.0
    gy = torch.randint(-3, 4, (ROWS, 3), generator=generator).float()
    return x, gy


def train(net: torch.nn.Module, rank: int, world: int) -> None:
    """A few steps on this rank's share; the loss is a sum, so DDP's mean is taken times `world`."""
    optimiser = torch.optim.SGD(net.parameters(), 2.0**-12)
    for step in range(STEPS):
        x, gy = batch(step)
        part = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
        optimiser.zero_grad()
        (net(x[part]) * gy[part]).sum().mul(world).backward()
        optimiser.step()


def run_train(rank: int, world: int) -> dict[str, torch.Tensor]:
    """DDP training from scratch."""
    net = network()
    train(torch.nn.parallel.DistributedDataParallel(net), rank, world)
    return net.state_dict()


def run_epoch(rank: int, world: int) -> dict[str, torch.Tensor]:
    """The same with a second calibration after an evaluation."""
    net = network(recalibrate="epoch")
    wrapped = torch.nn.parallel.DistributedDataParallel(net)
    train(wrapped, rank, world)
    wrapped.eval()
    wrapped.train()
    train(wrapped, rank, world)
    return net.state_dict()


def run_resume(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Only rank 0 has the checkpoint; DDP hands it to the others when it wraps the model."""
    net = network()
    if rank == 0:
        kept = network()
        for layer in (kept[0], kept[3]):
            layer.scales.codes_per_unit.copy_(torch.tensor(RESUMED))
            layer.scales.steps.fill_(3)
        net.load_state_dict(kept.state_dict())
    train(torch.nn.parallel.DistributedDataParallel(net), rank, world)
    return net.state_dict()


def run_uneven(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Ranks with an empty batch, and with nothing but zeros, in the middle of a calibration."""
    layer = Linear(4, 2, config=QATConfig(calibration_steps=4))
    shares = (
        [torch.full((2, 4), 0.7), torch.zeros(2, 4), torch.full((2, 4), 0.2), torch.rand(2, 4)],
        [torch.full((2, 4), 0.3), torch.zeros(0, 4), torch.zeros(0, 4), torch.full((1, 4), 3.0)],
    )
    for x in shares[rank]:
        layer(x)
    return {k: v for k, v in layer.state_dict().items() if k.startswith("scales")}


def run_nan(rank: int, world: int) -> dict[str, torch.Tensor]:
    """A NaN on one rank is an error on both, so that none waits for the other."""
    layer = Linear(4, 2, config=QATConfig())
    x = torch.rand(2, 4)
    if rank == 1:
        x[0, 0] = float("nan")
    try:
        layer(x)
    except ValueError as error:
        return {"refused": torch.tensor("NaN or infinity in the input" in str(error))}
    return {"refused": torch.tensor(False)}


def main() -> None:
    """Join the others, run every scenario, save its result as soon as it is there."""
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "store").as_uri(),
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=20),
    )
    for scenario in SCENARIOS:
        torch.save(globals()[f"run_{scenario}"](rank, world), folder / f"{scenario}{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
