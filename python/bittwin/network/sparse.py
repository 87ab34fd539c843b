# SPDX-License-Identifier: Apache-2.0
"""Linear layers in one of the mapper's sparse modes; see `bittwin.optimize.sparse_linear`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin.network.arrays import Linear
from bittwin.optimize import sparse_linear


@dataclass(frozen=True, eq=False)
class SparseLinear(Linear):
    """A linear layer whose weights the array holds in part, or not at all.

    Attributes:
        mode: ``SIM``, ``MIX`` or ``DIG``.
        bits: width of MIX's low part.
        low: ``signed`` or ``unsigned``.
        bias_side: ``array`` or ``digital``.
        add: ``after rounding`` or ``before rounding``.
        high_rounding: of the digital part.
    """

    kind: ClassVar[str] = "sparse_linear"
    mode: str = "SIM"
    bits: int = 8
    low: str = "signed"
    bias_side: str = "array"
    add: str = "after rounding"
    high_rounding: str = "half_even"

    def _check_geometry(self) -> None:
        self.run(np.zeros((0, self.weight.shape[1]), np.int8))

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute the output codes of a batch; the first axis counts frames."""
        return sparse_linear(
            self._codes(x),
            self.weight,
            self.bias,
            self.requant,
            mode=self.mode,
            bits=self.bits,
            low=self.low,
            bias_side=self.bias_side,
            add=self.add,
            high_rounding=self.high_rounding,
            x_bits=self.x_bits,
        )

    def settings(self) -> dict[str, Any]:
        """The settings of the linear layer and the mode's own."""
        own = ("mode", "bits", "low", "bias_side", "add", "high_rounding")
        return super().settings() | {name: getattr(self, name) for name in own}
