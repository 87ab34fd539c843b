# SPDX-License-Identifier: Apache-2.0
"""The protocol of analog noise in a layer; noise models live elsewhere."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class NoiseHook(Protocol):
    """Disturbs the accumulators of one layer's analog round, before truncation and saturation."""

    def __call__(
        self, acc: NDArray[np.int32], *, layer: str, gain: float, **context: Any
    ) -> NDArray[np.int32]:
        """Return disturbed accumulators.

        Args:
            acc: int32 accumulators, the channel on axis 1; may be changed in place.
            layer: name of the layer.
            gain: accumulator units per output code.
            context: more that later versions may tell.

        Returns:
            int32, acc's shape. Returning acc itself is the exact path.
        """
        ...
