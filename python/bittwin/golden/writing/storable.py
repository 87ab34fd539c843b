# SPDX-License-Identifier: Apache-2.0
"""What the mapper's format can hold: biases in rows, names of folders, counts in int16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.params import BIAS_DRIVE
from bittwin.golden.reading.text import CELL_CODES, Range
from bittwin.golden.writing.placing import BIAS_ROWS

_BYTE = Range(-128, 127)


def split_bias(bias: NDArray[Any] | None, columns: int, what: str) -> NDArray[np.int64]:
    """Spread a bias over as few bias rows as it needs, at least one.

    Args:
        bias: `[columns]` accumulator units, or None.
        columns: number of columns.
        what: start of the error message.

    Returns:
        int8 codes as int64 `[rows, columns]`; 128 times their column sums is the bias.

    Raises:
        ValueError: not a multiple of 128, or more than the bias rows hold.

    >>> split_bias(np.array([128 * 130, -128]), 2, "bias").tolist()
    [[127, -1], [3, 0]]
    """
    left = np.zeros(columns, np.int64)
    if bias is not None:
        left, rest = np.divmod(np.asarray(bias, np.int64), BIAS_DRIVE)
        if rest.any():
            column = int(np.flatnonzero(rest)[0])
            raise ValueError(
                f"{what}: column {column}: found {int(bias[column])}, wanted a multiple of "
                f"{BIAS_DRIVE}, which is what bias rows can hold"
            )
        low, high = BIAS_ROWS * _BYTE.low, BIAS_ROWS * _BYTE.high
        outside = np.flatnonzero((left < low) | (left > high))
        if len(outside):
            column = int(outside[0])
            raise ValueError(
                f"{what}: column {column}: found {int(bias[column])}, wanted "
                f"{BIAS_DRIVE * low}..{BIAS_DRIVE * high} ({BIAS_ROWS} bias rows of int8)"
            )
    rows: list[NDArray[np.int64]] = []
    while left.any() or not rows:
        row = np.clip(left, _BYTE.low, _BYTE.high)
        rows.append(row)
        left = left - row
    return np.stack(rows)


def digital_rows(operator: Any, columns: int) -> NDArray[np.int64]:
    """Return the content of bias_high.txt: the digital bias of a split layer."""
    digital = getattr(operator, "bias_digital", None)
    if digital is None:
        return np.zeros(columns, np.int64)
    high, rest = np.divmod(digital.astype(np.int64), BIAS_DRIVE)
    bad = np.flatnonzero((rest != 0) | (high < CELL_CODES.low) | (high > CELL_CODES.high))
    if len(bad):
        column = int(bad[0])
        raise ValueError(
            f"layer {operator.name}: bias_digital: column {column}: found {int(digital[column])}, "
            f"wanted a multiple of {BIAS_DRIVE} within 16 bits of it"
        )
    return np.asarray(high)


def check_name(name: str) -> None:
    """Refuse a layer name that cannot name a folder.

    Raises:
        ValueError: separators, `..`, characters that do not print, or too long.
    """
    if (
        not name.isprintable()
        or any(part in name for part in ("/", "\\", ".."))
        or not 0 < len(name.encode()) <= 200
        or name != name.strip()
    ):
        raise ValueError(
            f"layer name: found {name[:80]!r}, wanted 1 to 200 printable characters without "
            "'/', '\\', '..' or spaces at the ends, because it names a folder"
        )


def check_counts(frames: Sequence[int], calibration_start: int, expected_frames: int) -> None:
    """Refuse frame counts that the files' int16 header cannot hold.

    Args:
        frames: frames of each net.
        calibration_start: first frame of the complete set.
        expected_frames: rows of the expected set.

    Raises:
        ValueError: naming the argument.
    """
    if not 0 <= expected_frames <= CELL_CODES.high:
        raise ValueError(
            f"expected_frames: found {expected_frames}, wanted 0..{CELL_CODES.high} (int16 header)"
        )
    for net, count in enumerate(frames):
        if not 0 <= calibration_start < count:
            raise ValueError(
                f"calibration_start: found {calibration_start}, wanted 0..{count - 1}, as net "
                f"{net} has {count} frames"
            )
        if count - calibration_start > CELL_CODES.high:
            raise ValueError(
                f"inputs of net {net}: found {count - calibration_start} frames after "
                f"calibration_start, wanted at most {CELL_CODES.high} (int16 header)"
            )
