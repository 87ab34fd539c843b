# SPDX-License-Identifier: Apache-2.0
"""`Cell`: what all recurrent cells share. Frames in, codes out, the state explicit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import WEIGHT_DTYPES, bias_array, choice, dense_array, input_codes, integer
from bittwin.bounds import AccumulatorBound, prove_fits
from bittwin.functional import OVERFLOWS
from bittwin.recurrent.rules import frozen, packed, state_codes
from bittwin.requant import Requant

State: TypeAlias = tuple[NDArray[Any], ...]
"""The codes kept between frames, and last the number of frames since the state was cleaned (0-d int64)."""
Internals: TypeAlias = dict[str, NDArray[Any]]
Values: TypeAlias = tuple[NDArray[Any], ...]
Frame: TypeAlias = Callable[..., Values]

X_BITS_MAX = 12
CLEAN_LIMIT = 1 << 31


@dataclass(frozen=True, eq=False)
class Cell(ABC):
    """Base of the cells. Subclasses are frozen dataclasses of weights, biases, requantisers and tables."""

    array_fields: ClassVar[tuple[str, ...]]
    """Fields that are arrays."""
    state_names: ClassVar[tuple[str, ...]]
    """Names of the state's arrays, the output first."""
    internal_names: ClassVar[tuple[str, ...]]
    """Names of what one frame computes; the state's arrays come first."""

    x_bits: int = field(default=8, kw_only=True)
    """Width of the input codes, 1..12: +-(2^x_bits - 1), of whatever dtype."""
    overflow: str = field(default="refuse", kw_only=True)
    """``refuse``: accumulators are proven to stay in INT32, or the cell is refused; ``wrap32``."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Codes of one input frame."""

    @property
    @abstractmethod
    def hidden(self) -> int:
        """Codes of one output frame."""

    @property
    @abstractmethod
    def clean_after(self) -> int:
        """Frames after which the state is set to 0; 0: never."""

    @abstractmethod
    def matrices(self) -> dict[str, tuple[NDArray[Any], NDArray[np.int32] | None]]:
        """Weight [out, rows] and bias of every array product, by the weight's field."""

    @abstractmethod
    def _frames(self, x: NDArray[Any]) -> Frame:
        """Compute what needs no state for all frames at once; return the step of frame t: f(t, *state)."""

    def _weight(self, name: str, rows: int | None = None) -> NDArray[Any]:
        """Check a weight field and freeze it."""
        weight = dense_array(name, getattr(self, name), WEIGHT_DTYPES, 2)
        if 0 in weight.shape or rows not in (None, weight.shape[0]):
            wanted = "at least one row and column" if rows is None else f"{rows} rows"
            raise ValueError(f"{name}: found shape {weight.shape}, wanted [out, in] with {wanted}")
        weight = frozen(weight)
        object.__setattr__(self, name, weight)
        return weight

    def _bias(self, name: str, columns: int) -> None:
        bias = bias_array(getattr(self, name), columns, name)
        object.__setattr__(self, name, None if bias is None else frozen(bias))

    def _prove(self) -> None:
        """Check the input width, and prove that no accumulator leaves INT32."""
        integer("x_bits", self.x_bits, 1, X_BITS_MAX)
        if choice("overflow", self.overflow, OVERFLOWS) == "refuse":
            for name, (weight, bias) in self.matrices().items():
                prove_fits(name, weight, bias, *self._range())

    def _range(self) -> tuple[int, int]:
        # Inputs are +-(2^x_bits - 1), which holds unsigned codes too; fed-back states are int8.
        reach = max((1 << self.x_bits) - 1, 128)
        return -reach, reach

    def bound(self) -> AccumulatorBound:
        """The range that the weights prove for the accumulators: of the one nearest to an end of INT32."""
        found = (
            AccumulatorBound(*_core.accumulator_bound(weight, bias, *self._range()))
            for weight, bias in self.matrices().values()
        )
        return max(found, key=lambda bound: bound.share)

    def _packed(self, name: str, make: Callable[[], NDArray[Any]]) -> Any:
        """A part of a weight, packed at its first use and kept."""
        kept: dict[str, Any] = self.__dict__.setdefault("_parts", {})
        if name not in kept:
            kept[name] = packed(make())
        return kept[name]

    def initial_state(self) -> State:
        """The state before the first frame: zeros."""
        zeros = (np.zeros(self.hidden, np.int8) for _ in self.state_names)
        return (*zeros, np.zeros((), np.int64))

    def _checked_state(self, state: Any) -> State:
        names = (*self.state_names, "calls")
        if not isinstance(state, tuple | list) or len(state) != len(names):
            raise ValueError(f"state: found {type(state).__name__}, wanted ({', '.join(names)})")
        codes = (
            state_codes(f"state {name}", value, (self.hidden,))
            for name, value in zip(names[:-1], state, strict=False)
        )
        calls = dense_array("state calls", state[-1], ("int64",), 0)
        integer("state calls", int(calls), 0, max(self.clean_after - 1, 0))
        return (*codes, calls)

    @overload
    def run(
        self, x: NDArray[Any], state: State | None = None, *, internals: Literal[False] = False
    ) -> tuple[NDArray[Any], State]: ...
    @overload
    def run(
        self, x: NDArray[Any], state: State | None = None, *, internals: Literal[True]
    ) -> tuple[NDArray[Any], State, Internals]: ...

    def run(
        self, x: NDArray[Any], state: State | None = None, *, internals: bool = False
    ) -> tuple[NDArray[Any], State] | tuple[NDArray[Any], State, Internals]:
        """Compute frames in time order; the same codes as one `step` per frame.

        Args:
            x: [frames, inputs] uint8, int8, uint16 or int16 codes of x_bits.
            state: what the run before returned; default `initial_state`.
            internals: also return everything that each frame computes on the way.

        Returns:
            [frames, hidden] int8 codes; the state after the last frame; with `internals` a dictionary
            ``internal_names -> [frames, ...]``.

        Raises:
            TypeError: a wrong dtype.
            ValueError: shapes that do not match, codes outside x_bits.
        """
        codes, _, _ = input_codes(x, self.x_bits, 2)
        if codes.shape[1] != self.inputs:
            raise ValueError(f"x: found shape {codes.shape}, wanted [frames, {self.inputs}]")
        *arrays, counter = self._checked_state(self.initial_state() if state is None else state)
        kept, calls = tuple(arrays), int(counter)
        y = np.empty((codes.shape[0], self.hidden), np.int8)
        every, seen = self.clean_after, []
        count = len(kept)
        frame = self._frames(codes)
        for t in range(codes.shape[0]):
            values = frame(t, *kept)
            kept = values[:count]
            y[t] = kept[0]
            if internals:
                seen.append(values)
            if every:
                calls += 1
                if calls == every:
                    *arrays, counter = self.initial_state()
                    kept, calls = tuple(arrays), 0
        after: State = (*(np.array(v) for v in kept), np.array(calls, np.int64))
        return (y, after, self._stacked(seen)) if internals else (y, after)

    def _stacked(self, seen: list[Values]) -> Internals:
        some = seen
        if not seen:  # a frame of zeros tells the shapes
            start = self.initial_state()[:-1]
            some = [self._frames(np.zeros((1, self.inputs), np.uint8))(0, *start)]
        columns = zip(self.internal_names, zip(*some, strict=True), strict=True)
        return {name: np.stack(values)[: len(seen)] for name, values in columns}

    def step(self, x: NDArray[Any], state: State | None = None) -> tuple[NDArray[Any], State]:
        """Compute one frame.

        Args:
            x: [inputs] codes.
            state: what the step before returned; default `initial_state`.

        Returns:
            [hidden] int8 codes and the state for the next frame.

        Raises:
            TypeError: a wrong dtype.
            ValueError: as `run`.
        """
        if not isinstance(x, np.ndarray) or x.ndim != 1:
            found = f"shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"x: found {found}, wanted one frame [{self.inputs}]")
        y, after = self.run(x[None], state)
        return y[0], after

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights, biases and tables by field; those that are None are left out."""
        given = {name: getattr(self, name) for name in self.array_fields}
        return {name: array for name, array in given.items() if array is not None}

    def settings(self) -> dict[str, Any]:
        """Everything else as JSON types; `from_settings` reads it back."""
        result: dict[str, Any] = {}
        for entry in fields(self):
            if entry.name not in self.array_fields:
                value = getattr(self, entry.name)
                if isinstance(value, Requant):
                    value = value.to_config()
                result[entry.name] = list(value) if isinstance(value, tuple) else value
        return result

    @classmethod
    def from_settings(cls, settings: dict[str, Any], arrays: dict[str, Any]) -> Cell:
        """Build a cell from `settings` and `arrays`.

        Raises:
            TypeError: an unknown or missing entry, a wrong dtype.
            ValueError: an impossible value.
        """
        known = {entry.name for entry in fields(cls)}
        for name in (*settings, *arrays):
            if name not in known:
                raise TypeError(f"{name}: found this entry, a {cls.__name__} has none")
        optional = {name: None for name in cls.array_fields if name.startswith("bias")}
        plain = {
            name: Requant.from_config(value) if name.startswith("requant") else value
            for name, value in settings.items()
        }
        return cls(**{**optional, **arrays, **plain})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_settings, (self.settings(), self.arrays())
