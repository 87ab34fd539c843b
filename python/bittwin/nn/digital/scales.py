# SPDX-License-Identifier: Apache-2.0
"""Scales of a digital operator: powers of two from the largest magnitudes of a few training steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

from bittwin.nn.scales import LARGEST, SMALLEST, Scales, power_of_two_scale

NAMES = {"x": "input", "other": "second input", "w": "weight", "y": "output"}


def is_distributed() -> bool:
    """Whether other ranks calibrate the same operator."""
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


class DigitalScales(Scales):
    """Codes per real unit of each operand, and the statistics they come from; kept in `state_dict`.

    Buffers:
        codes_per_unit: [operands] float64; 0 means not calibrated.
        maxima: [operands] float64: largest magnitudes seen in this calibration.
        steps: [] int64: training forwards that have calibrated.
    """

    def __init__(self, operands: Sequence[str]) -> None:
        torch.nn.Module.__init__(self)
        self.operands = tuple(operands)
        self._start = (0.0,) * len(self.operands)
        for name in ("codes_per_unit", "maxima"):
            self.register_buffer(name, torch.zeros(len(self.operands), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def take(
        self, layer: str, found: Mapping[str, float], magnitude_bits: Mapping[str, int]
    ) -> dict[str, float]:
        """Take largest magnitudes of some operands into the statistics; returns their new scales.

        Under torch.distributed the magnitudes are reduced over the ranks, so that all have the same scales.

        Args:
            layer: its name, for messages.
            found: operand -> largest magnitude of this batch.
            magnitude_bits: operand -> bits of its codes without the sign.

        Raises:
            ValueError: NaN or infinity, or nothing but zeros.
        """
        batch = torch.tensor(list(found.values()), dtype=torch.float64)
        if is_distributed():
            batch = torch.nan_to_num(batch, nan=math.inf, posinf=math.inf)  # MAX may lose a NaN
            dist.all_reduce(batch, op=dist.ReduceOp.MAX)
        scales = {}
        with torch.no_grad():
            for operand, value in zip(found, batch.tolist(), strict=True):
                if not math.isfinite(value):
                    raise ValueError(
                        f"layer {layer!r}: found NaN or infinity in the {NAMES[operand]} during "
                        "calibration, wanted finite numbers"
                    )
                at = self.operands.index(operand)
                maximum = max(float(self.maxima[at]), value)
                if not SMALLEST <= maximum <= LARGEST:
                    what = f"the largest magnitude {maximum:g}" if maximum else "nothing but zeros"
                    raise ValueError(
                        f"layer {layer!r}: found {what} in the {NAMES[operand]} during calibration, "
                        f"wanted {SMALLEST:g}..{LARGEST:g}, or a fixed codes_per_unit_{operand}"
                    )
                scales[operand] = power_of_two_scale(magnitude_bits[operand], maximum)
                self.maxima[at] = maximum
                self.codes_per_unit[at] = scales[operand]
        return scales

    def step(self) -> None:
        """One training forward has calibrated."""
        with torch.no_grad():
            self.steps.add_(1)
