# SPDX-License-Identifier: Apache-2.0
"""Layers that pool and average codes; see `bittwin.digital`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from bittwin import digital
from bittwin._check import pair
from bittwin.network.operation import Operation, frame_axes

Size: TypeAlias = "int | tuple[int, ...]"


@dataclass(frozen=True, eq=False)
class Pool(Operation):
    """Windows of [frames, C, H, W].

    Attributes:
        kernel: (height, width).
        stride: (height, width); the kernel's when None.
        padding: one number, (height, width) or (top, left, bottom, right).
    """

    kernel: Size
    stride: Size | None = None
    padding: Size = 0

    def _probe(self) -> None:
        self.run(np.zeros((0, *pair("kernel", self.kernel, 1)), np.int8))


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """The rounded mean of every window; see `bittwin.digital.average_pool`."""

    kind: ClassVar[str] = "average_pool"
    function: ClassVar[Any] = staticmethod(digital.average_pool)
    scale_in: float = 1.0
    scale_out: float = 1.0
    count_padding: bool = True
    rounding: str = "half_away"
    dtype: str = "int8"
    cmodel: bool = False


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """The largest code of every window; see `bittwin.digital.max_pool`."""

    kind: ClassVar[str] = "max_pool"
    function: ClassVar[Any] = staticmethod(digital.max_pool)
    pad_code: int | None = 0
    unit: str = "event"
    cmodel: bool = False


@dataclass(frozen=True, eq=False)
class MinPool(Pool):
    """The smallest code of every window; see `bittwin.digital.min_pool`."""

    kind: ClassVar[str] = "min_pool"
    function: ClassVar[Any] = staticmethod(digital.min_pool)
    pad_code: int | None = 0
    cmodel: bool = False


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Operation):
    """[frames, C, H, W] to [frames, C, 1, 1]; see `bittwin.digital.global_average_pool`."""

    kind: ClassVar[str] = "global_average_pool"
    function: ClassVar[Any] = staticmethod(digital.global_average_pool)
    scale_in: float = 1.0
    scale_out: float = 1.0
    rounding: str = "half_away"
    dtype: str = "int8"
    cmodel: bool = False

    def _probe(self) -> None:
        self.run(np.zeros((0, 1, 1), np.int8))


@dataclass(frozen=True, eq=False)
class GlobalMaxPool(Operation):
    """[frames, C, H, W] to [frames, C, 1, 1]; see `bittwin.digital.global_max_pool`."""

    kind: ClassVar[str] = "global_max_pool"
    function: ClassVar[Any] = staticmethod(digital.global_max_pool)

    def _probe(self) -> None:
        """Nothing to refuse."""


@dataclass(frozen=True, eq=False)
class ReduceMean(Operation):
    """The rounded mean over axes; see `bittwin.digital.reduce_mean`.

    Attributes:
        axes: one or several, 1 or more: axis 0 counts frames.
    """

    kind: ClassVar[str] = "reduce_mean"
    function: ClassVar[Any] = staticmethod(digital.reduce_mean)
    axes: Size
    keepdims: bool = False
    rounding: str = "half_away"
    dtype: str = "int8"
    cmodel: bool = False

    def _probe(self) -> None:
        frame_axes("axes", self.axes)
        most = max(self.axes, default=1) if isinstance(self.axes, tuple) else self.axes
        if most <= 8:  # an axis beyond is refused by the shape check
            self.run(np.zeros((0, *([1] * most)), np.int8))
