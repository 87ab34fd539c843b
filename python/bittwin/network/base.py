# SPDX-License-Identifier: Apache-2.0
"""What a layer is, and how its settings are read back from a file that nobody vouches for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import in_range, integer
from bittwin.bounds import AccumulatorBound
from bittwin.errors import NetworkError

L = TypeVar("L", bound="Layer")
State: TypeAlias = "tuple[NDArray[Any], ...]"


@dataclass(frozen=True, eq=False)
class Layer(ABC):
    """One integer layer. A new operator is a new subclass, registered in `bittwin.network.layers`.

    Attributes:
        name: unique within its network.
    """

    name: str
    kind: ClassVar[str]
    """Word that names the operator in files."""
    optional_arrays: ClassVar[tuple[str, ...]] = ()
    """Arrays that a file may leave out: None then."""
    stateful: ClassVar[bool] = False
    """Output codes depend on earlier frames too: the frames of a batch are frames in time order."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise NetworkError(f"name: found {self.name!r}, wanted a non-empty printable string")

    @abstractmethod
    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute the output codes of a batch; the first axis counts frames."""

    @abstractmethod
    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one frame's output for one frame's input; refuses a shape the layer cannot take."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything but name, kind and arrays, as JSON types; the constructor's keyword arguments."""

    @property
    def n_inputs(self) -> int | None:
        """How many arrays the layer consumes; None: one or more."""
        return 1

    def run_many(self, *xs: NDArray[Any]) -> NDArray[Any]:
        """`run` for a layer with any number of inputs; what `Network` calls."""
        (x,) = xs
        return self.run(x)

    def output_shape_many(self, *input_shapes: tuple[int, ...]) -> tuple[int, ...]:
        """`output_shape` for a layer with any number of inputs; what `Network` calls."""
        (shape,) = input_shapes
        return self.output_shape(shape)

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """What a stateful layer remembers before the first frame; `input_shape` is one frame's."""
        return ()

    def run_state(self, x: NDArray[Any], state: State) -> tuple[NDArray[Any], State]:
        """Frames in time order and what is remembered of those before: the codes, and what to remember.

        A stateful layer implements this one, and ``run(x)`` is ``run_state(x, initial_state(...))[0]``.
        """
        return self.run(x), state

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The layer's arrays by constructor argument."""
        return {}

    def bound(self) -> AccumulatorBound | None:
        """The proven range of the accumulator; None for a layer that has none."""
        return None

    def describe(self) -> str:
        """A few words for a summary."""
        return ""

    def to_config(self) -> dict[str, Any]:
        """Return name, kind and settings as JSON types."""
        return {"name": self.name, "kind": self.kind, **self.settings()}

    @classmethod
    def from_config(cls: type[L], config: Mapping[str, Any], arrays: Mapping[str, Any]) -> L:
        """Build the layer from `to_config` and `arrays`; anything unknown or impossible is refused."""
        settings = {k: v for k, v in config.items() if k not in ("name", "kind")}
        try:
            given = {**dict.fromkeys(cls.optional_arrays), **arrays}
            return cls(config_name(config), **given, **cls._parse(settings))
        except (TypeError, ValueError) as error:
            raise NetworkError(f"layer {config.get('name')!r}: {error}") from None

    @classmethod
    def _parse(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Turn JSON settings into constructor arguments."""
        return settings

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layer) or type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.arrays(), other.arrays()
        return (
            self.to_config() == other.to_config()
            and mine.keys() == theirs.keys()
            and all(
                v.dtype == theirs[k].dtype and np.array_equal(v, theirs[k]) for k, v in mine.items()
            )
        )

    __hash__ = None  # type: ignore[assignment]


def config_name(config: Mapping[str, Any]) -> str:
    """The layer name of a config, refusing anything but text."""
    name = config.get("name")
    if not isinstance(name, str):
        raise TypeError(f"name: found {name!r}, wanted a non-empty printable string")
    return name


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy, so that a layer cannot change under a network."""
    kept: NDArray[Any] = np.array(array)
    kept.flags.writeable = False
    return kept


def as_codes(x: Any, bits: int, signed: bool) -> NDArray[Any]:
    """Hand codes to a layer in the dtype its kernel takes, refusing any that the layer cannot see.

    Unsigned codes run 0..2^bits - 1, signed ones +-(2^bits - 1) (docs/spec/split.md, negative inputs).
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
        found = x.dtype.name if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"x: found {found}, wanted a numpy array of integers")
    high = (1 << bits) - 1
    low = -high if signed else 0
    info = np.iinfo(x.dtype)
    if info.min < low or info.max > high:
        in_range("x", x, low, high)
    dtype: np.dtype[Any] = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    if signed:
        dtype = np.dtype(np.int8 if x.dtype == np.int8 else np.int16)
    codes: NDArray[Any] = x.astype(dtype, copy=False)
    return codes


def code_width(bits: Any, signed: Any, widest: int = 12) -> None:
    """Check x_bits and x_signed."""
    integer("x_bits", bits, 1, widest)
    if not isinstance(signed, bool):
        raise TypeError(f"x_signed: found {signed!r}, wanted True or False")
