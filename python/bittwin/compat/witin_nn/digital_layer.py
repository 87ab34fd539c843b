# SPDX-License-Identifier: Apache-2.0
"""What the digital layers share: configuration, automatic scales, the output quantiser.

The equations are `bittwin.nn.digital`'s; these classes add the tool's names, defaults, messages and schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bittwin.compat.witin_nn.autoscale import AutoScale
from bittwin.compat.witin_nn.config import WitinLayerConfig
from bittwin.compat.witin_nn.fields import refuse
from bittwin.compat.witin_nn.schedule import Scheduled, largest
from bittwin.nn.digital.quantizers import Unrounded, over, signed
from bittwin.nn.eager import never_compiled

_LOW = (torch.float16, torch.bfloat16)
#: Most bits of a radicand after its shift.
RADICAND_BITS = 32


class Operand(NamedTuple):
    """A tensor of a layer that has a statistic.

    Attributes:
        scale: codes per real unit that the configuration gives.
        bits: width of its codes; also the statistic's first value.
        scale_bits: width that its automatic scale counts with, one more where codes have no sign.
    """

    scale: float
    bits: int
    scale_bits: int

    @classmethod
    def signed(cls, scale: float, bits: int) -> Operand:
        """Codes with a sign."""
        return cls(scale, bits, bits)

    @classmethod
    def unsigned(cls, scale: float, bits: int) -> Operand:
        """Codes without one."""
        return cls(scale, bits, bits + 1)


class DigitalLayer(Scheduled):
    """A layer of the vector unit.

    Attributes:
        layer_config: the configuration given; the layer has its own copy of the values.
        index: number of that configuration.
    """

    layer_config: WitinLayerConfig
    index: int
    _operands: dict[str, Operand]
    _scales: dict[str, float]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "forward" in cls.__dict__:
            # torch.compile would fuse the float32 steps into kernels whose roundings nobody has measured.
            cls.forward = never_compiled(cls.__dict__["forward"])

    def _adopt(self, config: WitinLayerConfig, operands: dict[str, Operand]) -> None:
        """Take the configuration over; statistics become children in the order of `operands`."""
        self.layer_config = config
        self.index = config.index
        self.use_quantization = config.use_quantization
        self.auto_scale_updata_step = config.auto_scale_updata_step
        self._use_auto_scale = config.use_auto_scale
        self._limit = config.output_fp_clip or None
        self._y_limits = signed(config.y_quant_bits)
        self._operands = operands
        self._scales = {name: float(operand.scale) for name, operand in operands.items()}
        self._forwards = 0
        for name, operand in operands.items():
            self.add_module(f"autoscale_{name}_obj", AutoScale(operand.bits))

    def _statistics(self) -> list[AutoScale]:
        found = (self.get_submodule(f"autoscale_{name}_obj") for name in self._operands)
        return [statistic for statistic in found if isinstance(statistic, AutoScale)]

    def _rescale(self) -> None:
        for (name, operand), statistic in zip(
            self._operands.items(), self._statistics(), strict=True
        ):
            self._scales[name] = statistic.scale(operand.scale_bits)

    @property
    def _collecting(self) -> bool:
        """Whether this forward counts in the schedule."""
        return self._use_auto_scale and self.training

    def _begin(self) -> dict[str, float]:
        """The scales of this forward."""
        if self._use_auto_scale and not self.training:
            self._rescale()
        return self._scales

    def _quantized(
        self,
        seen: dict[str, Tensor],
        compute: Callable[[dict[str, float]], Unrounded],
        *,
        largest_output: Callable[[Unrounded], float] | None = None,
    ) -> Tensor:
        """The quantised forward.

        Args:
            seen: the tensors whose largest magnitudes are statistics, by operand; y is not among them.
            compute: the operator, given the scales.
            largest_output: largest magnitude before the output quantiser; default: of the real values.
        """
        scales = self._begin()
        result = compute(scales)
        y = over(result.codes(scales["y"], self._y_limits), scales["y"])
        self._end(seen, lambda: (largest_output or _largest_real)(result))
        return y

    def _end(self, seen: dict[str, Tensor], largest_output: Callable[[], float] | None) -> None:
        """The schedule moves on; an empty batch does not count."""
        if not self._collecting or not all(x.numel() for x in seen.values()):
            return

        def maxima() -> list[float]:
            found = {name: largest(x) for name, x in seen.items()}
            if largest_output is not None:
                found["y"] = largest_output()
            return [found[name] for name in self._operands]

        self._advance(maxima)

    def _input(self, x: Tensor) -> Tensor:
        """Float32 under autocast, where the tool's float32 arithmetic would lose its digits."""
        if x.dtype in _LOW and torch.is_autocast_enabled(x.device.type):
            return x.float()
        return x

    def _refuse_half(self, *inputs: Tensor) -> None:
        if any(x.dtype == torch.float16 for x in inputs):
            raise RuntimeError(
                f"{type(self).__name__}: found torch.float16, whose range overflows, wanted torch.float32"
            )


def _largest_real(result: Unrounded) -> float:
    return largest(result.real())


def check_radicand(bits: int, shift_bits: int, words: str = "x_quant_bits") -> None:
    """A radicand has at most 32 bits; the tool's message says less than 32, its test lets 32 pass."""
    if bits + shift_bits > RADICAND_BITS:
        refuse(f"sqrt_left_shift_bits plus {words} must be less than 32!")


def check_length(count: int) -> None:
    """A mean takes in at most 4096 numbers, whatever their width."""
    if count > 4096:
        refuse("Supports up to 4096 int12 nums additions")


def check_tensor(x: Any) -> None:
    """Add and Mul fail on a plain number, in Python's words."""
    if not isinstance(x, Tensor):
        raise AttributeError(f"'{type(x).__name__}' object has no attribute 'clone'")
