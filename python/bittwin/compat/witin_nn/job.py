# SPDX-License-Identifier: Apache-2.0
"""What a quantised forward is given and what it hands over to its backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bittwin.compat.witin_nn.operators import Operator
from bittwin.compat.witin_nn.quantizers import Codes, Mask, Quantized, Reals
from bittwin.compat.witin_nn.settings import Rules, Scales, Settings


@dataclass(frozen=True)
class Job:
    """One forward of one layer.

    Attributes:
        operator: the product.
        rules: where this operator differs from the others.
        settings: the layer's configuration.
        scales: codes per real unit in force.
        g: G_algo as a number.
        observe: called with the largest real output before rounding; returns the output scale of whatever
            comes after the output quantiser (automatic scales may change in between).
    """

    operator: Operator
    rules: Rules
    settings: Settings
    scales: Scales
    g: float
    observe: Callable[[float], float]

    @property
    def unit(self) -> float:
        """Accumulator units per real unit of the product."""
        return self.scales.x * self.scales.weight

    @property
    def product(self) -> float:
        """Accumulator units per real unit of the output: divided by G_algo on the way."""
        return self.scales.x * self.scales.weight * self.g


@dataclass
class Part:
    """One product of a forward, for its backward: ``sign * factor * (x_unit * x) * w``.

    Attributes:
        x: input codes.
        w: weight codes and mask.
        x_passes: mask of the input's gradient; None: this product gives the input none.
        factor: real units against those of the single round.
        x_unit: what one code of x counts.
        sign: -1 where both factors are negated.
        low: this product goes through the low round's limit.
    """

    x: Codes
    w: Quantized
    x_passes: Mask | None
    factor: float = 1.0
    x_unit: int = 1
    sign: int = 1
    low: bool = False


@dataclass
class Result:
    """Output values, and what the backward needs.

    Attributes:
        y: output in real units.
        passes: which outputs pass a gradient.
        parts: the products.
        bias_passes: [out] which biases do, or None (all).
        low_passes: which outputs of the low round do, or None (all).
        offset: what Shift added to the input, in codes.
    """

    y: Reals
    passes: Mask
    parts: list[Part]
    bias_passes: Mask | None = None
    low_passes: Mask | None = None
    offset: float = 0.0
