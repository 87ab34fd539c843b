# SPDX-License-Identifier: Apache-2.0
"""Automatic scales: powers of two from running maxima (docs/guide/from_witin_nn.md, "Auto-scale")."""

from __future__ import annotations

import math

import numpy as np
import torch

from bittwin.compat.witin_nn.fields import refuse

#: What train() sets every maximum to, whatever a checkpoint had loaded before.
MAX_AFTER_TRAIN = 8.0


def power_of_two_scale(bits: int, maximum: float) -> float:
    """Codes per real unit: ``2^(bits - 1) / 2^ceil(log2(maximum))``, the logarithm in float32.

    The float32 logarithm takes a maximum just above a power of two for the power itself, as soon as its
    exponent leaves no room for the difference.

    Raises:
        AssertionError: a maximum of 0.

    >>> from bittwin.compat.witin_nn.autoscale import power_of_two_scale
    >>> power_of_two_scale(9, 1.0), power_of_two_scale(8, 1.001)
    (256.0, 64.0)
    """
    if maximum == 0:
        refuse("Unable to determine quant scale, because max_v = 0")
    if not maximum > 0:
        return math.nan
    if math.isinf(maximum):
        return 0.0
    exponent = math.ceil(np.float32(math.log2(np.float32(maximum))))
    return float(2.0 ** (bits - 1 - exponent))


class AutoScale(torch.nn.Module):
    """The running maximum of one tensor of a layer: parameter `io_max`, part of the state_dict."""

    io_max: torch.nn.Parameter

    def __init__(self, io_max: float) -> None:
        super().__init__()
        self.io_max = torch.nn.Parameter(torch.tensor(float(io_max)), requires_grad=False)
        self._seen: list[float] = []

    def reset(self) -> None:
        """What train() does: forget the maxima."""
        self._seen.clear()
        self._set(MAX_AFTER_TRAIN)

    def observe(self, maximum: float) -> None:
        """Take one forward's maximum into account."""
        self._seen.append(maximum)
        self._set(float(np.max(self._seen)))  # unlike max(), it does not lose a NaN

    def scale(self, bits: int) -> float:
        """Codes per real unit for a code of `bits` bits."""
        return power_of_two_scale(bits, float(self.io_max))

    def _set(self, value: float) -> None:
        with torch.no_grad():
            self.io_max.fill_(value)
