# SPDX-License-Identifier: Apache-2.0
"""Layers that move codes and change none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from bittwin.network.base import Layer


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """[frames, C, H, W] to [frames, C * H * W], as torch flattens: the width is the fastest axis."""

    kind: ClassVar[str] = "flatten"

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Reshape a batch."""
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Any shape to one axis."""
        return (math.prod(input_shape),)

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}
