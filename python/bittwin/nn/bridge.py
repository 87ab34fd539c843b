# SPDX-License-Identifier: Apache-2.0
"""Integer layers for what stands between two modules: activations, and the step from scale to scale.

A training module writes real numbers and the next one quantises them anew. Between the two stand at most
65536 codes, so nothing here is argued: what torch makes of every single code is computed, and a form in
integers is taken only if it makes the same of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import Clip, Layer, Lookup, Relu, Rescale
from bittwin.nn.nodes import MapCall

Codes = NDArray[np.int32]
BYTES = ("int8", "uint8")


@dataclass(frozen=True)
class Grid:
    """Codes on a wire, and the real values that they stand for."""

    name: str
    """Of the layer that writes them."""
    units: float
    """Codes per real unit."""
    low: int
    high: int
    dtype: str

    def codes(self) -> NDArray[Any]:
        """Every code there is."""
        return np.arange(self.low, self.high + 1).astype(self.dtype)

    def values(self) -> torch.Tensor:
        """What they stand for: the forward pass' own division."""
        return torch.from_numpy(self.codes().astype(np.float32) / np.float32(self.units))


@dataclass(frozen=True, eq=False)
class Reader:
    """How the next step turns real values into codes."""

    name: str
    """Of the step."""
    quantize: Callable[[torch.Tensor], NDArray[Any]]
    units: float
    limits: tuple[int, int]
    shift: int = 0
    """Codes that are added to every input."""
    dtypes: tuple[str, ...] | None = None
    """Which the step takes; None: any."""
    maps: tuple[MapCall, ...] = ()
    """Functions that come before it."""
    exact: str = ""
    """Other than '': values that are no codes at its scale are refused with this text."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Readers with one key make the same codes of the same values."""
        maps = tuple(id(step) for step in self.maps)
        return self.units, self.limits, self.shift, self.dtypes, maps, bool(self.exact)

    def after(self, step: MapCall) -> Reader:
        """The reader of what a function reads."""
        return replace(self, maps=(step, *self.maps))

    def wants(self, *dtypes: str) -> Reader:
        """The reader, with codes of one of these dtypes."""
        return replace(self, dtypes=dtypes)

    def codes(self, values: torch.Tensor) -> Codes:
        """What it makes of values."""
        try:
            found: Codes = self.quantize(apply_maps(self.maps, values)).astype(np.int32)
        except ValueError as error:  # an activation made NaN of some code
            raise NetworkError(f"layer {self.name!r}: {error}") from None
        return found

    def keeps_order(self, values: torch.Tensor) -> bool:
        """Whether a larger one of these values never becomes a smaller code."""
        ordered = torch.unique(values)
        return bool((np.diff(self.codes(ordered)) >= 0).all())


def apply_maps(maps: Sequence[MapCall], values: torch.Tensor) -> torch.Tensor:
    """Values behind functions."""
    with torch.no_grad():
        for step in maps:
            values = step.apply(values)
    return values


def exact_reader(
    name: str, values: torch.Tensor, units: float, maps: Sequence[MapCall], refusal: str
) -> Reader:
    """A reader of these values that loses nothing at `units`; maps: for its message only."""
    scale = np.float32(units)
    limit = np.float32(1 << 15)

    def quantize(real: torch.Tensor) -> NDArray[Any]:
        v = np.nan_to_num(real.numpy() * scale, nan=limit)
        found: Codes = np.rint(v.clip(-limit, limit)).astype(np.int32)
        return found

    codes = quantize(values)
    if not np.array_equal(codes.astype(np.float32) / scale, values.numpy()):
        raise NetworkError(refusal)
    return Reader(name, quantize, units, (int(codes.min()), int(codes.max())), exact=refusal)


def between(grid: Grid, reader: Reader) -> list[Layer]:
    """Layers that turn the codes of `grid` into the codes that `reader` makes of their values.

    Raises:
        NetworkError: no integer layers do exactly that.
    """
    wanted = reader.codes(grid.values())
    ratio = float(np.float32(reader.units)) / float(np.float32(grid.units))
    log2 = _log2(ratio)
    for form in _forms(grid, reader, wanted, log2):
        if _equals(form, grid, reader, wanted):
            return form
    if reader.exact:
        raise NetworkError(reader.exact)
    if log2 is None:
        raise NetworkError(
            f"layer {reader.name!r}: reads {reader.units:g} codes per unit where {grid.name!r} writes "
            f"{grid.units:g}: found the ratio {ratio:g}, wanted a power of two in "
            "2^-16..2^16; give both the same fixed scale, or let them calibrate"
        )
    wide = (_bits(grid.low, grid.high), _bits(*reader.limits))
    raise NetworkError(
        f"layer {reader.name!r}: found {titles(reader.maps) or 'a step of scale'} after {grid.name!r} that "
        f"no integer layer equals on all codes; a table wants y_bits=8 and x_bits=8 (found {wide[0]} and "
        f"{wide[1]}) and results in one byte"
    )


def output_dtype(grid: Grid, form: Sequence[Layer]) -> str:
    """Dtype of the codes that layers make of a grid's."""
    codes = grid.codes()[:1].reshape(1, 1)
    for layer in form:
        codes = layer.run(codes)
    return str(codes.dtype.name)


def titles(maps: Sequence[MapCall]) -> str:
    """The functions, for a message."""
    return ", ".join(f"{m.name!r} ({m.function})" for m in maps)


def code_dtype(low: int, high: int) -> str:
    """The smallest of int8, uint8 and int16 that holds low..high; int32 where none does."""
    for name in ("int8", "uint8", "int16"):
        info = np.iinfo(name)
        if info.min <= low and high <= info.max:
            return name
    return "int32"


def _bits(low: int, high: int) -> int:
    return max(high.bit_length() + (low < 0), (-low - 1).bit_length() + 1 if low < 0 else 0)


def _log2(ratio: float) -> int | None:
    mantissa, exponent = math.frexp(ratio)
    return exponent - 1 if mantissa == 0.5 and abs(exponent - 1) <= 16 else None


def _equals(form: Sequence[Layer], grid: Grid, reader: Reader, wanted: Codes) -> bool:
    result = grid.codes().reshape(1, -1)
    for layer in form:
        result = layer.run(result)
    if reader.dtypes is not None and result.dtype.name not in reader.dtypes:
        return False
    return bool(np.array_equal(result[0].astype(np.int32), wanted))


def _forms(grid: Grid, reader: Reader, wanted: Codes, log2: int | None) -> Iterator[list[Layer]]:
    """Forms that may fit, the chip's own first."""
    maps, limits = reader.maps, reader.limits
    low, high = int(wanted.min()), int(wanted.max())
    bytes_in = grid.dtype in BYTES
    if all(m.function == "relu" for m in maps):
        relu: list[Layer] = [Relu(m.name) for m in maps[:1]]
        yield relu
        if maps and bytes_in:
            yield [Relu(maps[0].name, gain=2)]
        for move in _moves(f"{reader.name}.rescale", log2, reader.shift, limits):
            yield relu + move
        for move in _moves(f"{reader.name}.rescale", log2, reader.shift, (low, high)):
            yield relu + move  # a quantiser with limits of its own
        return
    own = maps[-1].name
    if high <= 255:
        yield [Clip(own, max(high, 0))]
    # An activation that only limits: quantising keeps the order, so the limits are codes.
    yield from _moves(own, log2, reader.shift, (low, high))
    if bytes_in and low >= -128 and high <= (127 if low < 0 else 255):
        # Indexed by the code's byte: 0..127, then -128..-1. Codes that never come stay 0.
        table = np.zeros(256, np.int8 if low < 0 or reader.dtypes == ("int8",) else np.uint8)
        table[grid.codes().astype(np.int64) & 255] = wanted
        yield [Lookup(own, table)]


def _moves(
    name: str, log2: int | None, shift: int, limits: tuple[int, int]
) -> Iterator[list[Layer]]:
    """Codes to another scale, plus the shift."""
    if log2 is None or not -(1 << 15) <= limits[0] <= limits[1] < 1 << 15:
        return
    yield [Rescale(name, log2, shift, *limits)]
    scaled = shift << max(-log2, 0)
    if scaled < 1 << 15:
        # Where codes are divided, an odd shift moves the ties: training adds it before it rounds.
        yield [
            Rescale(f"{name}.shift", 0, scaled, -(1 << 15), (1 << 15) - 1),
            Rescale(name, log2, 0, *limits),
        ]


def first_input(maps: Sequence[MapCall], reader: Reader, zero: int) -> list[Layer]:
    """Layers for activations before the first module; the network's input is quantised before them.

    Args:
        maps: the activations.
        reader: the module that quantises.
        zero: its code of 0.0.
    """
    if not maps:
        return []
    if any(m.function != "relu" for m in maps):
        raise NetworkError(
            f"model: found {titles(maps)} before the first layer, wanted at most a ReLU there; apply it to "
            "the data instead"
        )
    low, high = reader.limits
    if low == zero:
        return []  # the quantiser limits at zero itself
    return [Rescale(maps[0].name, 0, 0, zero, high)]
