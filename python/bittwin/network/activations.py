# SPDX-License-Identifier: Apache-2.0
"""Layers that map each code by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array, integer
from bittwin.activation import TABLE_SIZES, clip, lookup, relu
from bittwin.network.base import Layer, frozen


@dataclass(frozen=True, eq=False)
class Activation(Layer):
    """A layer that keeps its input's shape."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Any shape, unchanged."""
        return input_shape


@dataclass(frozen=True, eq=False)
class Relu(Activation):
    """``max(x, 0) * gain``; see `bittwin.relu`."""

    kind: ClassVar[str] = "relu"
    gain: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("gain", self.gain, 1, 2)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        return relu(x, self.gain)

    def settings(self) -> dict[str, Any]:
        """The gain."""
        return {"gain": self.gain}

    def describe(self) -> str:
        """The gain, where it is not 1."""
        return "" if self.gain == 1 else f"x{self.gain}"


@dataclass(frozen=True, eq=False)
class Clip(Activation):
    """Limit codes to ``0..limit``; see `bittwin.clip`."""

    kind: ClassVar[str] = "clip"
    limit: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("limit", self.limit, 0, 255)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        return clip(x, self.limit)

    def settings(self) -> dict[str, Any]:
        """The limit."""
        return {"limit": self.limit}

    def describe(self) -> str:
        """The range."""
        return f"0..{self.limit}"


@dataclass(frozen=True, eq=False)
class Lookup(Activation):
    """A table of 256 or 1024 int8 or uint8 entries; see `bittwin.lookup`."""

    kind: ClassVar[str] = "lookup"
    table: NDArray[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        table = dense_array("table", self.table, ("int8", "uint8"), 1)
        if table.size not in TABLE_SIZES:
            raise ValueError(f"table: found {table.size} entries, wanted 256 or 1024")
        object.__setattr__(self, "table", frozen(table))

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        return lookup(x, self.table)

    def settings(self) -> dict[str, Any]:
        """Nothing beyond the table."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The table."""
        return {"table": self.table}

    def describe(self) -> str:
        """Number of entries and the range they span."""
        low, high = int(np.min(self.table)), int(np.max(self.table))
        return f"{self.table.size} entries, {low}..{high}"
