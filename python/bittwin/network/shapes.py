# SPDX-License-Identifier: Apache-2.0
"""Layers that move codes and change none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin.network.base import Layer


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """[frames, C, H, W] to [frames, C * H * W], as torch flattens: the width is the fastest axis."""

    kind: ClassVar[str] = "flatten"

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Reshape a batch."""
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or not x.ndim:
            found = f"{x.dtype.name} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"x: found {found}, wanted a numpy array of integers, [frames, ...]")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Any shape to one axis."""
        return (math.prod(input_shape),)

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}
