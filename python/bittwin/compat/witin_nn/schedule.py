# SPDX-License-Identifier: Apache-2.0
"""When a layer's statistics and scales move: the schedule that all layers of the tool share.

Training forward i since train(), with n = auto_scale_updata_step: up to i = n it takes part in the running
maxima; from i = n on the scales follow them, for the forwards after it. In eval() the scales follow the
maxima at each forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from bittwin.compat.witin_nn.autoscale import AutoScale

Layer = TypeVar("Layer", bound="Scheduled")


def largest(x: Tensor) -> float:
    """The largest magnitude."""
    return float(x.detach().abs().max())


class Scheduled(torch.nn.Module):
    """Counts training forwards; subclasses own the statistics and the scales.

    Attributes:
        use_quantization: quantised forward; may be switched afterwards.
        auto_scale_updata_step: training forwards that take part in the scales' estimate.
    """

    use_quantization: bool
    auto_scale_updata_step: int
    _forwards: int  # training forwards since train()

    def _statistics(self) -> Sequence[AutoScale]:
        raise NotImplementedError

    def _rescale(self) -> None:
        """Scales from the maxima."""
        raise NotImplementedError

    def train(self: Layer, mode: bool = True) -> Layer:
        """Switch the mode; True also forgets the maxima, those of a loaded checkpoint included.

        Every call does, through a container too. The scales in force stay until they are estimated anew.
        """
        super().train(mode)
        if mode:
            self._forwards = 0
            for statistic in self._statistics():
                statistic.reset()
        return self

    def _advance(self, maxima: Callable[[], Sequence[float]]) -> None:
        """One training forward is done; `maxima` gives its own, in the order of the statistics."""
        self._forwards += 1
        if self._forwards <= self.auto_scale_updata_step:
            for statistic, maximum in zip(self._statistics(), maxima(), strict=True):
                statistic.observe(maximum)
        if self._forwards >= self.auto_scale_updata_step:
            self._rescale()
