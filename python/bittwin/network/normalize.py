# SPDX-License-Identifier: Apache-2.0
"""Layers that normalise codes, with float32 between them; see `bittwin.digital`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin import digital
from bittwin._check import dense_array
from bittwin.network.operation import Operation, frame_axes

_MOST_AXES = 8


def _probe_shape(axis: int, length: int) -> tuple[int, ...]:
    """A batch of no frames whose axis has that length."""
    return (0, *([1] * (min(axis, _MOST_AXES) - 1)), length)


@dataclass(frozen=True, eq=False)
class BatchNorm(Operation):
    """``(x * scale_in * gamma + beta) / scale_out``, float32 per step; see `bittwin.digital.batch_norm`.

    Attributes:
        gamma: [C] float32, folded (`bittwin.digital.fold_batch_norm`).
        beta: [C] float32, folded.
        axis: the one that counts the C channels, 1 or more: axis 0 counts frames.
    """

    kind: ClassVar[str] = "batch_norm"
    function: ClassVar[Any] = staticmethod(digital.batch_norm)
    array_fields: ClassVar[tuple[str, ...]] = ("gamma", "beta")
    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    scale_in: float = 1.0
    scale_out: float = 1.0
    axis: int = 1
    rounding: str = "half_away"
    dtype: str = "int8"
    cmodel: bool = False

    def _probe(self) -> None:
        frame_axes("axis", self.axis)
        channels = dense_array("gamma", self.gamma, ("float32",), 1).size
        options = self.options() | {"axis": min(self.axis, _MOST_AXES)}
        digital.batch_norm(np.zeros(_probe_shape(self.axis, channels), np.int8), **options)


@dataclass(frozen=True, eq=False)
class Softmax(Operation):
    """``softmax(x * scale_in) / scale_out``; see `bittwin.digital.softmax`.

    Attributes:
        axis: the one that is normalised, 1 or more: axis 0 counts frames.
    """

    kind: ClassVar[str] = "softmax"
    function: ClassVar[Any] = staticmethod(digital.softmax)
    scale_out: float
    scale_in: float = 1.0
    axis: int = 1
    subtract_max: bool = True
    rounding: str = "half_away"
    dtype: str = "uint8"

    def _probe(self) -> None:
        frame_axes("axis", self.axis)
        options = self.options() | {"axis": min(self.axis, _MOST_AXES)}
        digital.softmax(np.zeros(_probe_shape(self.axis, 1), np.int8), **options)


@dataclass(frozen=True, eq=False)
class SumNorm(Operation):
    """``x / sum x / scale_out``; see `bittwin.digital.sum_norm`.

    Attributes:
        axis: the one that is normalised, 1 or more: axis 0 counts frames.
    """

    kind: ClassVar[str] = "sum_norm"
    function: ClassVar[Any] = staticmethod(digital.sum_norm)
    scale_out: float
    scale_in: float = 1.0
    axis: int = 1
    zero_sum: str = "refuse"
    rounding: str = "half_away"
    dtype: str = "uint8"

    def _probe(self) -> None:
        frame_axes("axis", self.axis)
        options = self.options() | {"axis": min(self.axis, _MOST_AXES)}
        digital.sum_norm(np.zeros(_probe_shape(self.axis, 1), np.int8), **options)


@dataclass(frozen=True, eq=False)
class GroupNorm(Operation):
    """``(alpha * (x - mu) / sigma + beta) / scale_out`` by group; see `bittwin.digital.group_norm`."""

    kind: ClassVar[str] = "group_norm"
    function: ClassVar[Any] = staticmethod(digital.group_norm)
    array_fields: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    alpha: NDArray[np.float32]
    beta: NDArray[np.float32]
    num_groups: int = 1
    scale_out: float = 1.0
    epsilon: float = 1e-5
    rounding: str = "half_away"
    dtype: str = "int8"

    def _probe(self) -> None:
        channels = dense_array("alpha", self.alpha, ("float32",), 1).size
        self.run(np.zeros((0, channels), np.int8))
