# SPDX-License-Identifier: Apache-2.0
"""Layers that join, cut and reorder codes; see `bittwin.digital`. Axis 0 counts frames and stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin import digital
from bittwin._check import choice, dense_array, integer
from bittwin.activation import CODE_DTYPES
from bittwin.digital.movement import ORDERS
from bittwin.network.operation import ManyInputs, Operation, frame_axes

_MOST_AXES = 8


@dataclass(frozen=True, eq=False)
class Concat(ManyInputs):
    """Any number of inputs joined along an axis; see `bittwin.digital.concat`.

    Attributes:
        axis: 1 or more; the chip has axis 1 alone.
    """

    kind: ClassVar[str] = "concat"
    axis: int = 1

    @property
    def n_inputs(self) -> None:
        """One or more."""

    def _probe(self) -> None:
        frame_axes("axis", self.axis)

    def run_many(self, *xs: NDArray[Any]) -> NDArray[Any]:
        """Join the batches."""
        return digital.concat(xs, self.axis)


@dataclass(frozen=True, eq=False)
class Slice(Operation):
    """A part cut out; see `bittwin.digital.slice`.

    Attributes:
        starts: per axis.
        ends: per axis.
        axes: 1 or more each.
        steps: per axis, 1 or more; 1 when None.
    """

    kind: ClassVar[str] = "slice"
    function: ClassVar[Any] = staticmethod(digital.slice)
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    axes: tuple[int, ...]
    steps: tuple[int, ...] | None = None

    def _probe(self) -> None:
        for name in ("starts", "ends", "axes", "steps"):
            value = getattr(self, name)
            if not isinstance(value, tuple) and not (name == "steps" and value is None):
                raise TypeError(f"{name}: found {value!r}, wanted a list of integers")
        frame_axes("axes", self.axes)
        if max(self.axes, default=0) <= _MOST_AXES:
            self.run(np.zeros((0, *([1] * _MOST_AXES)), np.int8))


@dataclass(frozen=True, eq=False)
class SplitPart(Operation):
    """One of the parts that Split makes; see `bittwin.digital.split`.

    Attributes:
        sections: the number of even parts, or the length of every part.
        index: which part, from 0.
        axis: 1 or more.
    """

    kind: ClassVar[str] = "split_part"
    sections: int | tuple[int, ...]
    index: int
    axis: int = 1

    def _probe(self) -> None:
        frame_axes("axis", self.axis)
        sizes = self.sections if isinstance(self.sections, tuple) else (self.sections,)
        for size in sizes:
            integer("sections", size, 0 if isinstance(self.sections, tuple) else 1, 1 << 31)
        count = len(sizes) if isinstance(self.sections, tuple) else self.sections
        integer("index", self.index, 0, count - 1)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Cut the part out of a batch."""
        return digital.split(x, self.sections, self.axis)[self.index]


@dataclass(frozen=True, eq=False)
class Permute(Operation):
    """Axes in another order; see `bittwin.digital.permute`.

    Attributes:
        dims: starts with 0, the axis that counts frames.
    """

    kind: ClassVar[str] = "permute"
    dims: tuple[int, ...]

    def _probe(self) -> None:
        dims = self.dims
        if not isinstance(dims, tuple) or not all(type(d) is int for d in dims):
            raise TypeError(f"dims: found {dims!r}, wanted a list of integers")
        if sorted(dims) != list(range(len(dims))) or dims[:1] != (0,):
            raise ValueError(f"dims: found {dims}, wanted 0 and then the other axes, each once")

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Reorder a batch."""
        return digital.permute(x, self.dims)


@dataclass(frozen=True, eq=False)
class Transpose(Permute):
    """`Permute` under ONNX's name; see `bittwin.digital.transpose`."""

    kind: ClassVar[str] = "transpose"


@dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """Another shape for every frame; see `bittwin.digital.reshape`.

    Attributes:
        shape: of one frame, without the frame axis; 0 keeps that axis' length, one -1 takes what is left.
        order: ``torch``, or ``chip``: frames of [C, H, W] are stored as [W][H][C], before and after.
    """

    kind: ClassVar[str] = "reshape"
    shape: tuple[int, ...]
    order: str = "torch"

    def _probe(self) -> None:
        if not isinstance(self.shape, tuple):
            raise TypeError(f"shape: found {self.shape!r}, wanted a list of sizes")
        for size in self.shape:
            integer("shape", size, -1, 1 << 31)
        choice("order", self.order, ORDERS)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Reshape a batch."""
        x = dense_array("x", x, CODE_DTYPES)
        if not x.ndim:
            raise ValueError("x: found a single number, wanted [frames, ...]")
        # One frame says what 0 and -1 stand for: a batch of no frames could not.
        frame = np.broadcast_to(np.int8(0), (1, *x.shape[1:]))
        whole = digital.reshape(np.ascontiguousarray(frame), (1, *self.shape))
        sizes = whole.shape[1:]
        if math.prod(x.shape) == 0:
            return np.zeros((x.shape[0], *sizes), x.dtype)
        return digital.reshape(x, (x.shape[0], *sizes), order=self.order)


@dataclass(frozen=True, eq=False)
class PnSplit(Operation):
    """Signed codes as the array's unsigned inputs; see `bittwin.digital.pn_split`.

    Attributes:
        count: channels that are split by sign; -1 or 0: none, x + 128 for all.
        axis: the one that counts channels, 1 or more.
    """

    kind: ClassVar[str] = "pn_split"
    function: ClassVar[Any] = staticmethod(digital.pn_split)
    count: int = -1
    axis: int = 1

    def _probe(self) -> None:
        frame_axes("axis", self.axis)
        integer("count", self.count, -1, 1 << 31)
