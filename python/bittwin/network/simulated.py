# SPDX-License-Identifier: Apache-2.0
"""Layers that compute the training tool's digital operators; see `bittwin.digital.simulated`.

They make whole trained models run as integers. Nobody has seen the chip compute them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array
from bittwin.digital import simulated
from bittwin.network.operation import ManyInputs, Operation

_BYTES, _SIGNED = np.zeros((0, 1), np.uint8), np.zeros((0, 1), np.int8)


@dataclass(frozen=True, eq=False)
class _Pair(ManyInputs):
    """Two inputs."""

    @property
    def n_inputs(self) -> int:
        """Two."""
        return 2

    def _probe(self) -> None:
        self.run_many(_SIGNED, _SIGNED)

    def run_many(self, *xs: NDArray[Any]) -> NDArray[Any]:
        """Combine two batches."""
        a, b = xs
        result: NDArray[Any] = type(self).function(a, b, **self.options())
        return result


@dataclass(frozen=True, eq=False)
class Divide(_Pair):
    """The quotient of codes as a whole number; see `bittwin.digital.simulated.divide`."""

    kind: ClassVar[str] = "divide"
    function: ClassVar[Any] = staticmethod(simulated.divide)
    units_a: float
    units_b: float
    units_y: float
    y_bits: int = 8
    limit: float | None = None


@dataclass(frozen=True, eq=False)
class MatMul(_Pair):
    """The matrix product of two inputs, frame by frame; see `bittwin.digital.simulated.matmul`."""

    kind: ClassVar[str] = "matmul"
    function: ClassVar[Any] = staticmethod(simulated.matmul)
    units_a: float
    units_b: float
    units_y: float
    y_bits: int = 8

    def _probe(self) -> None:
        self.run_many(np.zeros((0, 1, 1), np.int8), np.zeros((0, 1, 1), np.int8))


@dataclass(frozen=True, eq=False)
class Hypot(_Pair):
    """The root of a sum of squares; see `bittwin.digital.simulated.hypot`."""

    kind: ClassVar[str] = "hypot"
    function: ClassVar[Any] = staticmethod(simulated.hypot)
    units_x: float
    units_y: float
    shift_bits: int = 8
    x_bits: int = 8
    y_bits: int = 8
    limit: float | None = None


@dataclass(frozen=True, eq=False)
class Sqrt(Operation):
    """The square root of unsigned codes; see `bittwin.digital.simulated.sqrt`."""

    kind: ClassVar[str] = "sqrt"
    function: ClassVar[Any] = staticmethod(simulated.sqrt)
    units_x: float
    units_y: float
    shift_bits: int = 8
    x_bits: int = 8
    y_bits: int = 8
    limit: float | None = None

    def _probe(self) -> None:
        self.run(_BYTES)


@dataclass(frozen=True, eq=False)
class InvSqrt(Sqrt):
    """One over the square root; see `bittwin.digital.simulated.inv_sqrt`."""

    kind: ClassVar[str] = "inv_sqrt"
    function: ClassVar[Any] = staticmethod(simulated.inv_sqrt)


@dataclass(frozen=True, eq=False)
class FactorOffset(Operation):
    """A factor and an offset per channel; see `bittwin.digital.simulated.factor_and_offset`.

    Attributes:
        factor: [C] int8 or int16 codes.
        offset: [C] int32, accumulator units.
    """

    kind: ClassVar[str] = "factor_offset"
    function: ClassVar[Any] = staticmethod(simulated.factor_and_offset)
    array_fields: ClassVar[tuple[str, ...]] = ("factor", "offset")
    factor: NDArray[Any]
    offset: NDArray[np.int32]
    units: float
    units_y: float
    y_bits: int = 8

    def _probe(self) -> None:
        channels = dense_array("factor", self.factor, ("int8", "int16"), 1).size
        self.run(np.zeros((0, channels), np.int8))


@dataclass(frozen=True, eq=False)
class LayerNorm(Operation):
    """[c, t, f] normalised over c and f; see `bittwin.digital.simulated.layer_norm`."""

    kind: ClassVar[str] = "layer_norm"
    function: ClassVar[Any] = staticmethod(simulated.layer_norm)
    units_y: float
    shift_bits: int = 8
    sum_bits: int = 55
    simple: bool = False
    x_bits: int = 8
    y_bits: int = 8
    limit: float | None = None

    def _probe(self) -> None:
        self.run(np.zeros((0, 1, 1, 1), np.int8))


@dataclass(frozen=True, eq=False)
class PRelu(Operation):
    """A slope per channel for what is not above 0; see `bittwin.digital.simulated.prelu`.

    Attributes:
        slope: [1] or [C] int8 or int16 codes.
    """

    kind: ClassVar[str] = "prelu"
    function: ClassVar[Any] = staticmethod(simulated.prelu)
    array_fields: ClassVar[tuple[str, ...]] = ("slope",)
    slope: NDArray[Any]
    units_x: float
    units_w: float
    units_y: float
    y_bits: int = 8
    limit: float | None = None

    def _probe(self) -> None:
        channels = dense_array("slope", self.slope, ("int8", "int16"), 1).size
        self.run(np.zeros((0, channels), np.int8))


#: All of them, for the table of layers.
SIMULATED = (Divide, MatMul, Hypot, Sqrt, InvSqrt, FactorOffset, LayerNorm, PRelu)
