# SPDX-License-Identifier: Apache-2.0
"""Layers that remember: LSTM, the GRU forms, TDNN, and convolutions over time.

They take frames in time order. ``run(x)`` starts from the initial state; ``run_state(x, state)`` goes on
where a state was left, with the same codes, however the frames are cut into calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bittwin.bounds import AccumulatorBound
from bittwin.errors import NetworkError
from bittwin.network.base import Layer, State, as_codes, code_width, config_name
from bittwin.recurrent import (
    Gru2ArrayCell,
    GruCell,
    GruNewCell,
    LstmCell,
    TdnnCell,
)

R = TypeVar("R", bound="RecurrentLayer")


class AnyCell(Protocol):
    """What a layer needs of its cell."""

    @property
    def inputs(self) -> int: ...  # noqa: D102
    @property
    def x_bits(self) -> int: ...  # noqa: D102
    def initial_state(self) -> State: ...  # noqa: D102
    def run(self, x: NDArray[Any], state: State | None = None) -> tuple[NDArray[Any], State]: ...  # noqa: D102
    def bound(self) -> AccumulatorBound: ...  # noqa: D102
    def arrays(self) -> dict[str, NDArray[Any]]: ...  # noqa: D102
    def settings(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class RecurrentLayer(Layer):
    """A layer around a cell of `bittwin.recurrent`: input [frames, in], output [frames, out].

    Attributes:
        name: unique within its network.
        cell: weights, rules, tables and options.
        x_signed: input codes are sign and magnitude, +-(2^x_bits - 1); else 0..2^x_bits - 1.
    """

    cell: Any
    x_signed: bool = False

    stateful: ClassVar[bool] = True
    cell_type: ClassVar[type[Any]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.cell, self.cell_type):
            raise TypeError(
                f"cell: found {type(self.cell).__name__}, wanted a {self.cell_type.__name__}"
            )
        code_width(self._cell.x_bits, self.x_signed)

    @property
    def _cell(self) -> AnyCell:
        cell: AnyCell = self.cell
        return cell

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """The state before the first frame of shape [in]."""
        self.output_shape(input_shape)
        return self._cell.initial_state()

    def run_state(self, x: NDArray[Any], state: State) -> tuple[NDArray[Any], State]:
        """Compute frames in time order, going on from a state; return the codes and the next state."""
        return self._cell.run(as_codes(x, self._cell.x_bits, self.x_signed), state)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute frames in time order from the initial state."""
        return self.run_state(x, self._cell.initial_state())[0]

    def _outputs(self) -> int:
        return int(self.cell.hidden)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[in] -> [out]."""
        if tuple(input_shape) != (self._cell.inputs,):
            raise NetworkError(
                f"layer {self.name!r}: found input shape {tuple(input_shape)}, wanted "
                f"({self._cell.inputs},)"
            )
        return (self._outputs(),)

    def bound(self) -> AccumulatorBound:
        """The proven range of the accumulator that comes nearest to an end of INT32."""
        return self._cell.bound()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The cell's weights, biases and tables."""
        return self._cell.arrays()

    def settings(self) -> dict[str, Any]:
        """The cell's rules and options, and the sign of the input."""
        return self._cell.settings() | {"x_signed": self.x_signed}

    @classmethod
    def from_config(cls: type[R], config: Mapping[str, Any], arrays: Mapping[str, Any]) -> R:
        """Build the layer from `to_config` and `arrays`; anything unknown or impossible is refused."""
        settings = {k: v for k, v in config.items() if k not in ("name", "kind", "x_signed")}
        try:
            cell = cls.cell_type.from_settings(settings, dict(arrays))
            return cls(config_name(config), cell, config.get("x_signed", False))
        except (TypeError, ValueError) as error:
            raise NetworkError(f"layer {config.get('name')!r}: {error}") from None

    def describe(self) -> str:
        """Sizes and the state's arrays."""
        return f"{self._cell.inputs} -> {self._outputs()}"


@dataclass(frozen=True, eq=False)
class Tdnn(RecurrentLayer):
    """A linear layer over several frames; see `bittwin.recurrent.TdnnCell`."""

    kind: ClassVar[str] = "tdnn"
    cell_type: ClassVar[type[Any]] = TdnnCell

    def _outputs(self) -> int:
        return int(self.cell.outputs)

    def describe(self) -> str:
        """Sizes and offsets."""
        return f"{super().describe()}, offsets {list(self.cell.offsets)}"


@dataclass(frozen=True, eq=False)
class _Gated(RecurrentLayer):
    """Layers whose frames have internals worth tracing."""

    def internals(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All that the cell computes for frames from the initial state: gates, products, sums, states."""
        codes = as_codes(x, self._cell.x_bits, self.x_signed)
        found: dict[str, NDArray[np.integer[Any]]] = self.cell.run(codes, internals=True)[2]
        return found


@dataclass(frozen=True, eq=False)
class Lstm(_Gated):
    """The chip's LSTM; see `bittwin.recurrent.LstmCell`."""

    kind: ClassVar[str] = "lstm"
    cell_type: ClassVar[type[Any]] = LstmCell


@dataclass(frozen=True, eq=False)
class Gru(_Gated):
    """The chip's GRU with five operands; see `bittwin.recurrent.GruCell`."""

    kind: ClassVar[str] = "gru"
    cell_type: ClassVar[type[Any]] = GruCell


@dataclass(frozen=True, eq=False)
class GruNew(_Gated):
    """The chip's GRU with seven operands; see `bittwin.recurrent.GruNewCell`."""

    kind: ClassVar[str] = "gru_new"
    cell_type: ClassVar[type[Any]] = GruNewCell


@dataclass(frozen=True, eq=False)
class Gru2Array(_Gated):
    """The chip's GRU with a product for the input and one for the state; see `Gru2ArrayCell`."""

    kind: ClassVar[str] = "gru2array"
    cell_type: ClassVar[type[Any]] = Gru2ArrayCell
