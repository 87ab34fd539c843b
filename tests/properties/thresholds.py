# SPDX-License-Identifier: Apache-2.0
"""A second, vectorised form of the readout, from where its codes begin and from nothing else.

Measured on the chip model: a code y >= 1 is reached from `(y - 1/2) * gain` up, a code y <= -1 from
`(y + 1/4) * gain` down. No division, no rounding: the codes are laid out between those borders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def borders(gain: int, lo: int = -128, hi: int = 127) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (first, code): ascending accumulators at which a new code begins, and that code.

    The code before the first border is `lo`.
    """
    codes = np.arange(lo + 1, hi + 1, dtype=np.int64)
    positive = codes >= 1
    # Code y (y <= 0) begins one above the last accumulator of y - 1, which is (y - 1 + 1/4) * gain.
    first = np.where(positive, (2 * codes - 1) * gain // 2, (4 * codes - 3) * gain // 4 + 1)
    return first, codes


def repeated(
    first: NDArray[Any], codes: NDArray[Any], start: int, stop: int, dtype: Any
) -> NDArray[Any]:
    """Codes of the accumulators start..stop-1, by repeating each code between its borders."""
    edges = np.clip(np.concatenate(([start], first, [stop])), start, stop)
    every = np.concatenate((codes[:1] - 1, codes)).astype(dtype)
    return np.repeat(every, np.diff(edges))


def readout_block(start: int, stop: int, gain: int) -> NDArray[np.int8]:
    """Readout codes of the accumulators start..stop-1."""
    return repeated(*borders(gain), start, stop, np.int8)


def readout_codes(acc: NDArray[Any], gain: int, lo: int = -128, hi: int = 127) -> NDArray[Any]:
    """Codes of any accumulators, by searching the borders."""
    first, codes = borders(gain, lo, hi)
    every = np.concatenate(([lo], codes))
    return every[np.searchsorted(first, acc.astype(np.int64), side="right")]
