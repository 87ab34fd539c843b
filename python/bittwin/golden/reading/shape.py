# SPDX-License-Identifier: Apache-2.0
"""What the code files of a layer must look like, before its golden codes are opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bittwin.golden.reading.indices import Key
from bittwin.golden.reading.text import CELL_CODES, INPUT_CODES, OUTPUT_CODES, Range


@dataclass(frozen=True)
class LayerShape:
    """Columns and code ranges of one layer's files."""

    net: int
    index: int
    name: str
    in_columns: int
    out_columns: int
    in_codes: Range = INPUT_CODES
    """What the layer reads."""
    out_codes: Range = OUTPUT_CODES
    """What it gives before the activation."""
    result_codes: Range = OUTPUT_CODES
    """What it gives after it."""
    unsigned_result: bool = False
    """The result is a byte 0..255, which layer_debug shows as int8."""

    @property
    def key(self) -> Key:
        """Net and layer number."""
        return self.net, self.index


def clipped(low: int, high: int) -> Range:
    """Return a range of codes, limited to what the int16 files can hold.

    >>> clipped(0, 65535)
    Range(low=0, high=32767)
    """
    return Range(max(low, CELL_CODES.low), min(high, CELL_CODES.high))


def dtype_codes(dtype: np.dtype[np.int8] | np.dtype[np.uint8]) -> Range:
    """Return the range of an integer dtype, limited to what the files can hold."""
    info = np.iinfo(dtype)
    return clipped(int(info.min), int(info.max))
