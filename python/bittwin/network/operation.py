# SPDX-License-Identifier: Apache-2.0
"""What the layers over `bittwin.digital` share: settings are their fields, shapes come from empty runs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network.base import Layer, frozen


@dataclass(frozen=True, eq=False)
class Operation(Layer):
    """A layer that calls one function with its own fields as the arguments of the same names."""

    function: ClassVar[Any]
    """The function of `bittwin.digital`."""
    array_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that hold arrays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in self.array_fields:
                if isinstance(value, np.ndarray):
                    object.__setattr__(self, field.name, frozen(value))
            elif isinstance(field.default, bool) and not isinstance(value, bool):
                raise TypeError(f"{field.name}: found {value!r}, wanted True or False")
            else:
                object.__setattr__(self, field.name, _plain(value))
        self._probe()

    @abstractmethod
    def _probe(self) -> None:
        """Run on nothing, so that the function refuses what it would refuse later."""

    def options(self) -> dict[str, Any]:
        """The function's keyword arguments."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes; the first axis counts frames."""
        result: NDArray[Any] = type(self).function(x, **self.options())
        return result

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one frame of `run`; refuses what the function refuses."""
        return self.output_shape_many(input_shape)

    def output_shape_many(self, *input_shapes: tuple[int, ...]) -> tuple[int, ...]:
        """As `output_shape`, one shape per input."""
        empty = [np.zeros((0, *shape), np.int8) for shape in input_shapes]
        try:
            codes = self.run_many(*empty)
        except (TypeError, ValueError) as error:
            raise NetworkError(f"layer {self.name!r}: {error}") from None
        shape: tuple[int, ...] = codes.shape[1:]
        return shape

    def settings(self) -> dict[str, Any]:
        """The fields, as JSON types."""
        return {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v
            for f in fields(self)
            if f.name != "name" and f.name not in self.array_fields
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields that hold arrays."""
        found = {name: getattr(self, name) for name in self.array_fields}
        return {name: array for name, array in found.items() if array is not None}

    def describe(self) -> str:
        """The settings that differ from their defaults."""
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in self.array_fields:
                if value is not None:
                    parts.append(f"{field.name} {'x'.join(map(str, value.shape)) or 1}")
            elif field.name != "name" and value != field.default:
                parts.append(f"{field.name}={value}")
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class ManyInputs(Operation):
    """An operation on several arrays."""

    @abstractmethod
    def run_many(self, *xs: NDArray[Any]) -> NDArray[Any]:
        """Compute the output codes of a batch; the first axis of every input counts frames."""

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """`run_many` of one array, where one is enough."""
        return self.run_many(x)


def _plain(value: Any) -> Any:
    """Lists as tuples and numpy's numbers as Python's, which JSON takes."""
    if isinstance(value, list | tuple):
        return tuple(_plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def frame_axes(name: str, axes: Any) -> None:
    """Refuse an axis of a layer that is, or could be, the one that counts frames."""
    for axis in axes if isinstance(axes, tuple) else (axes,):
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise TypeError(f"{name}: found {axis!r}, wanted an integer, 1 or more")
        if axis < 1:
            raise ValueError(f"{name}: found {axis}, wanted 1 or more (axis 0 counts frames)")
