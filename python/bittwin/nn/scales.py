# SPDX-License-Identifier: Apache-2.0
"""Scales of a layer: fixed, or powers of two that a few training steps calibrate. Kept in `state_dict`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist

from bittwin.nn.config import QATConfig

TENSORS = ("input", "weight", "output")
#: Largest magnitudes outside these have no scale whose products stay normal float32 numbers.
SMALLEST, LARGEST = 2.0**-60, 2.0**60


class Scales(torch.nn.Module):
    """Codes per real unit of x, weight and y, and the statistics they come from.

    Buffers (all in `state_dict`, so that a checkpoint keeps its scales):
        codes_per_unit: [3] float64: x, weight, y; 0 means not calibrated.
        maxima: [3] float64: largest magnitudes seen in this calibration.
        steps: [] int64: training forwards that have calibrated.
    """

    codes_per_unit: torch.Tensor
    maxima: torch.Tensor
    steps: torch.Tensor

    def __init__(self, config: QATConfig) -> None:
        super().__init__()
        self._start = tuple(value or 0.0 for value in config.fixed_scales)
        self.register_buffer("codes_per_unit", torch.tensor(self._start, dtype=torch.float64))
        self.register_buffer("maxima", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def adopt(self, config: QATConfig) -> bool:
        """Put the config's fixed scales in force; says whether one of them had another value."""
        self._start = tuple(value or 0.0 for value in config.fixed_scales)
        if self.codes_per_unit.is_meta:
            return False
        changed = False
        for i, value in enumerate(config.fixed_scales):
            if value is not None and float(self.codes_per_unit[i]) != value:
                changed = changed or float(self.codes_per_unit[i]) != 0
                with torch.no_grad():
                    self.codes_per_unit[i] = value
        return changed

    def restart(self) -> None:
        """Begin a new calibration; the scales in force stay until its first batch."""
        self.maxima.zero_()
        self.steps.zero_()

    def observe(
        self, config: QATConfig, layer: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor
    ) -> None:
        """Take one batch into the statistics and set the scales from them.

        Under torch.distributed the maxima are reduced over the ranks, so that all have the same scales.

        Args:
            config: the layer's settings.
            layer: its name, for messages.
            x: the layer's input, real units.
            weight: its weight.
            y: its float output.

        Raises:
            ValueError: NaN or infinity, or nothing but zeros, naming the layer and the tensor.
        """
        usable = x.clamp_min(0) if config.negative_input == "clamp" else x.abs()
        found = [_largest(usable), _largest(weight.abs()), _largest(y.abs()), float(x.numel() > 0)]
        batch = torch.tensor(found, dtype=torch.float64)
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # MAX may lose a NaN on the way; send it as infinity, which the check below refuses.
            batch = torch.nan_to_num(batch, nan=math.inf, posinf=math.inf)
            dist.all_reduce(batch, op=dist.ReduceOp.MAX)
        *largest, filled = batch.tolist()
        if not filled:
            return  # an empty batch, on every rank, says nothing
        for tensor, value in zip(TENSORS, largest, strict=True):
            if not math.isfinite(value):
                raise ValueError(
                    f"layer {layer!r}: found NaN or infinity in the {tensor} during calibration, "
                    "wanted finite numbers"
                )
        maxima = torch.maximum(self.maxima.cpu(), batch[:3])
        self._refuse_useless(config, layer, maxima.tolist())
        x_scale, w_scale, y_scale = choose(config, layer, maxima.tolist())
        # Refuses a gain that the rounding cannot have before anything is kept.
        config.spec(layer, "linear").with_scales(x_scale, w_scale, y_scale)
        with torch.no_grad():
            self.maxima.copy_(maxima)
            self.steps.add_(1)
            self.codes_per_unit.copy_(torch.tensor([x_scale, w_scale, y_scale]))

    def _refuse_useless(self, config: QATConfig, layer: str, maxima: list[float]) -> None:
        fixed = config.fixed_scales
        for tensor, axis, value, given in zip(TENSORS, "xwy", maxima, fixed, strict=True):
            if given is not None or SMALLEST <= value <= LARGEST:
                continue
            if value == 0:
                clamped = tensor == "input" and config.negative_input == "clamp"
                found = "nothing above zero" if clamped else "nothing but zeros"
                wanted = "another number"
            else:
                found, wanted = f"the largest magnitude {value:g}", f"{SMALLEST:g}..{LARGEST:g}"
            raise ValueError(
                f"layer {layer!r}: found {found} in the {tensor} during calibration, wanted {wanted}, "
                f"or a fixed codes_per_unit_{axis}"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # .half() and the like must not round the scales; only a move to another device applies.
        device = fn(self.steps).device
        for name, buffer in self.named_buffers(recurse=False):
            if not buffer.is_meta:
                setattr(self, name, buffer.to(device))
            elif device.type != "meta":  # deferred initialisation: as the constructor leaves them
                start = self._start if name == "codes_per_unit" else 0
                setattr(self, name, torch.zeros_like(buffer, device=device) + torch.tensor(start))
        return self


def _largest(magnitudes: torch.Tensor) -> float:
    return float(magnitudes.detach().amax()) if magnitudes.numel() else 0.0


def power_of_two_scale(bits: int, largest: float) -> float:
    """Codes per unit with which the power of two at or above `largest` becomes 2^bits codes.

    >>> from bittwin.nn.scales import power_of_two_scale
    >>> power_of_two_scale(8, 0.9), power_of_two_scale(8, 1.0), power_of_two_scale(8, 1.01)
    (256.0, 256.0, 128.0)
    """
    mantissa, exponent = math.frexp(largest)
    return math.ldexp(1.0, bits - (exponent - 1 if mantissa == 0.5 else exponent))


def choose(config: QATConfig, layer: str, maxima: list[float]) -> list[float]:
    """Scales of x, weight and y for the largest magnitudes seen; fixed ones stay.

    The gain x * w / y is kept within 256..max_gain for readout and 1..max_gain for half_even: below, y is
    made smaller (coarser outputs), above, the weights coarser.
    """
    x_bits = config.x_bits - 1 if config.negative_input == "shift" else config.x_bits
    x = config.codes_per_unit_x or power_of_two_scale(x_bits, maxima[0])
    w = config.codes_per_unit_w or power_of_two_scale(config.weight_bits - 1, maxima[1])
    y = config.codes_per_unit_y or power_of_two_scale(config.y_bits - 1, maxima[2])
    if config.rounding == "half_even" and x * w / y < 1 and config.codes_per_unit_y is None:
        y = x * w  # finer outputs than accumulators say nothing more
    if config.rounding == "readout" and x * w / y < 256 and config.codes_per_unit_y is None:
        y = x * w / 256
    if x * w / y > config.max_gain and config.codes_per_unit_w is None:
        w = config.max_gain * y / x
    if config.rounding == "readout":
        gain = x * w / y
        if math.frexp(gain)[0] != 0.5 or not 256 <= gain <= 32768:
            raise ValueError(
                f"layer {layer!r}: found the gain {gain:g} (codes_per_unit x * w / y = "
                f"{x:g} * {w:g} / {y:g}), readout wants a power of two in 256..32768; free a fixed "
                "scale or use rounding='half_even'"
            )
    return [x, w, y]
