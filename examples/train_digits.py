# SPDX-License-Identifier: Apache-2.0
"""From a float model to a verified dump: train, train quantised, export, write the dump, verify it.

    pip install 'bittwin[torch,examples]'
    python examples/train_digits.py                     # well under a minute on one core
    python examples/train_digits.py --keep FOLDER       # keeps the dump, for `bittwin verify FOLDER/dump`
    python examples/train_digits.py --weight-bits 4     # where training makes more of a difference

A small convolutional network learns scikit-learn's 8x8 digits.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import bittwin
from bittwin.nn import QATConfig, prepare_qat, to_network

SEED = 2101
FLOAT_EPOCHS = 12
QAT_EPOCHS = 4
BATCH = 64
FRAMES = 100  # of the test images, in the dump


class Digits(nn.Module):
    """Two convolutions with BatchNorm and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, bias=False)
        self.norm2 = nn.BatchNorm2d(12)
        self.drop = nn.Dropout(0.1)
        self.fc = nn.Linear(12 * 3 * 3, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, 8, 8] pixels in 0..1 to [N, 10] scores."""
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.fc(self.drop(x.flatten(1)))


def load() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images, test images, training labels, test labels."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    parts = train_test_split(
        images, digits.target, test_size=0.3, random_state=SEED, stratify=digits.target
    )
    x_train, x_test, y_train, y_test = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
    return x_train, x_test, y_train, y_test


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float) -> None:
    """Adam with a rate that falls to zero."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()


def accuracy(scores: torch.Tensor, y: torch.Tensor) -> str:
    """Share of right answers, in percent."""
    return f"{100 * (scores.argmax(dim=1) == y).double().mean().item():.2f} %"


def main(folder: Path, weight_bits: int) -> None:
    """All steps; the dump goes to folder / "dump"."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    x_train, x_test, y_train, y_test = load()

    model = Digits()
    train(model, x_train, y_train, FLOAT_EPOCHS, lr=5e-3)
    print(f"float                 {accuracy(model(x_test), y_test)}")

    # The chip's arithmetic in every layer; BatchNorm goes into the convolutions.
    config = QATConfig(weight_bits=weight_bits)
    model = prepare_qat(model, config, fold_batchnorm=True, report=print)
    with torch.no_grad():  # in train mode the first forwards calibrate the scales
        for batch in torch.arange(len(x_train)).split(BATCH):
            model.train()(x_train[batch])
    print(f"quantised, untrained  {accuracy(model.eval()(x_test), y_test)}")
    train(model, x_train, y_train, QAT_EPOCHS, lr=1e-3)
    scores = model(x_test)
    print(f"quantised, trained    {accuracy(scores, y_test)}")

    network = to_network(model, x_test[:1])
    codes = model.conv1.quantize_input(x_test).numpy()
    integers = torch.from_numpy(network.run(codes))
    print(f"integers alone        {accuracy(integers, y_test)}")
    same = torch.equal(integers / model.fc.codes_per_unit[2], scores)
    print(f"equal to torch's output, all {integers.numel()} numbers: {same}")
    print(network)

    bittwin.write_dump(folder / "dump", network, codes[:FRAMES], expected_frames=40, seed=SEED)
    found = bittwin.verify(bittwin.read_dump(folder / "dump"))
    print(f"dump: {found.codes:,} codes compared")
    print(f"{found.mismatches} codes differ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an existing folder")
    parser.add_argument("--weight-bits", type=int, default=8, metavar="N")
    options = parser.parse_args()
    if options.keep is not None:
        main(options.keep, options.weight_bits)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary), options.weight_bits)
