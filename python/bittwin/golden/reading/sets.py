# SPDX-License-Identifier: Apache-2.0
"""Sets of golden codes, and where a layer sits on the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: The three sets of golden codes, in the order in which a layer lists them.
SET_NAMES = ("expected", "complete", "debug")


@runtime_checkable
class Codes(Protocol):
    """Golden codes `[frames, columns]` that stay in their file until they are read."""

    @property
    def frames(self) -> int:
        """Number of rows."""
        ...

    @property
    def columns(self) -> int:
        """Codes per row."""
        ...

    @property
    def source(self) -> str:
        """Path of the file relative to the dump, for messages."""
        ...

    def block(self, start: int, stop: int) -> NDArray[np.int16]:
        """Read the rows `start` to `stop` (exclusive), and only those.

        Returns:
            int16 `[stop - start, columns]`, checked against the codes' range.

        Raises:
            DumpError: the file holds something else than such codes.
            IndexError: not `0 <= start <= stop <= frames`.
        """
        ...


@dataclass(frozen=True)
class Region:
    """Where a layer sits on the array; both ends inclusive, as layers.txt has it."""

    column_first: int
    column_last: int
    row_first: int
    row_last: int
    bias_first: int
    bias_last: int

    @property
    def columns(self) -> int:
        """Number of array columns (outputs)."""
        return self.column_last - self.column_first + 1

    @property
    def rows(self) -> int:
        """Number of array rows (inputs)."""
        return self.row_last - self.row_first + 1

    @property
    def bias_rows(self) -> int:
        """Number of logical bias rows."""
        return self.bias_last - self.bias_first + 1


@dataclass(frozen=True, eq=False)
class CodeSet:
    """One set of golden codes of one layer."""

    name: str
    """`expected`, `complete` or `debug`."""
    input: Codes | None
    """What the layer read, or None where the dump does not hold it."""
    output: Codes | None
    """What the layer gave, or None; before the activation unless `activated`."""
    activated: bool
    """True when `output` is the code after the activation (`debug`)."""
    frame_index: NDArray[np.int64] | None
    """Stream frame (row of layer_debug) of each row; None when the order is unknown."""
    unexplained: Codes | None = None
    """Output after an activation of which nothing is known; `output` is None then."""

    @property
    def frames(self) -> int:
        """Number of rows; input and output have the same number."""
        for codes in (self.input, self.output, self.unexplained):
            if codes is not None:
                return codes.frames
        return 0
