# SPDX-License-Identifier: Apache-2.0
"""What an optimised layer must keep to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin.chips import WTM2101


@dataclass(frozen=True)
class Limits:
    """What an optimised layer must keep to; the defaults are the vendor's optimiser's.

    Attributes:
        lowest_gain: accumulator units per code.
        highest_gain: likewise.
        weight: largest magnitude of a cell.
        bias: largest magnitude of a bias, 16 rows of 275 cells driven with 128.
        rows: of one block of the array.
    """

    lowest_gain: int = WTM2101.mapper_gains[0]
    highest_gain: int = WTM2101.mapper_gains[-1]
    weight: int = 256
    bias: int = WTM2101.bias_rows * WTM2101.cell_limit * WTM2101.bias_input
    rows: int = WTM2101.rows_per_half


def within(name: str, numbers: NDArray[np.int64], limit: int) -> None:
    """Refuse numbers beyond +-limit, naming the largest."""
    if numbers.size and int(np.abs(numbers).max()) > limit:
        found = int(numbers.flat[int(np.abs(numbers).argmax())])
        raise ValueError(f"{name}: found {found} once optimised, wanted -{limit}..{limit}")
