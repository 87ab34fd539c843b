# SPDX-License-Identifier: Apache-2.0
"""What a layer takes over from its configuration when it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.compat.witin_nn.config import WitinLayerConfig
from bittwin.compat.witin_nn.enums import HandleNegInType, HardwareType


class Scales(NamedTuple):
    """Codes per real unit of the three tensors; the tool's numbers, of any sign."""

    x: float
    weight: float
    y: float


@dataclass(frozen=True)
class Rules:
    """Where the operators differ.

    Attributes:
        signed: without special treatment of negatives the input code is two's complement (Conv2d).
        shift_limit: largest code that Shift adds; None: 2^x_bits.
        splits: more than 8 input bits run in two rounds.
        halves: under PN the weights are quantised once for each sign of the input.
        trailing_clip: a second limit behind the output quantiser, always 8 bits under PN (Conv2d).
        final_bits: a last saturation of the codes, or 0 (to_linear).
        vpu: the vector unit's path.
    """

    signed: bool = False
    shift_limit: int | None = None
    splits: bool = False
    halves: bool = False
    trailing_clip: bool = False
    final_bits: int = 0
    vpu: bool = False


@dataclass(frozen=True)
class Settings:
    """A layer's own copy of its configuration."""

    x_bits: int
    y_bits: int
    weight_bits: int
    bias_rows: int
    negative: HandleNegInType
    shift_num: float
    bias_d: torch.Tensor
    w_clip: float
    output_fp_clip: float
    g: Any
    to_linear: bool
    vpu: bool
    use_auto_scale: bool
    noise_level: int

    @classmethod
    def of(cls, config: WitinLayerConfig) -> Settings:
        """Copy what the array operators use."""
        return cls(
            x_bits=int(config.x_quant_bits),
            y_bits=int(config.y_quant_bits),
            weight_bits=int(config.weight_quant_bits),
            bias_rows=int(config.bias_row_N),
            negative=config.handle_neg_in,
            shift_num=config.shift_num,
            bias_d=config.bias_d.detach().clone(),
            w_clip=config.w_clip or 0.0,
            output_fp_clip=config.output_fp_clip or 0.0,
            g=config.G_algo,
            to_linear=config.to_linear,
            vpu=config.hardware is HardwareType.VPU,
            use_auto_scale=config.use_auto_scale,
            noise_level=config.noise_level,
        )

    def refuse_noise(self, layer: str, rules: Rules) -> None:
        """Level 0 is exact; other levels need noise models. The vector unit has no noise at any level."""
        if self.noise_level > 0 and not rules.vpu:
            raise NotImplementedError(
                f"{layer}: found noise_level {self.noise_level}, wanted 0; noise models come with another "
                "release of bittwin"
            )

    def check_bits(self, layer: str) -> None:
        """Refuse widths that the kernels cannot run; the configuration takes any integer."""
        for name, bits, most in (
            ("x_quant_bits", self.x_bits, 16),
            ("weight_quant_bits", self.weight_bits, 16),
            ("y_quant_bits", self.y_bits, 32),
        ):
            if not 1 <= bits <= most:
                raise ValueError(f"{layer}: found {name} {bits}, wanted 1..{most}")

    def digital_bias(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """bias_d in real units, one value or one per output."""
        values: NDArray[Any] = self.bias_d.cpu().numpy().astype(dtype)
        return values

    def x_scale_bits(self, rules: Rules) -> int:
        """Bits that the automatic input scale counts with: one more where the code has no sign bit."""
        if self.negative is HandleNegInType.FALSE:
            return self.x_bits + (not rules.signed)
        return self.x_bits + (self.negative is HandleNegInType.PN)


def real(value: Any) -> float:
    """A number that the tool does not check, for example G_algo; a tensor of one element counts."""
    if isinstance(value, torch.Tensor):
        return float(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    raise TypeError(f"G_algo: found {type(value).__name__}, wanted a number")


def code_limits(bits: int) -> tuple[int, int]:
    """Lowest and highest two's complement code."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def is_usable(scale: float) -> bool:
    """Whether a scale is inside the contract of `bittwin.half_even_f32`."""
    return not math.isnan(scale) and 2.0**-126 <= scale <= 2.0**127
