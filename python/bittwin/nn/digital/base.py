# SPDX-License-Identifier: Apache-2.0
"""What the trainable digital operators share: settings, calibration, the quantised forward."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from bittwin._check import one_of
from bittwin.nn.digital.config import SCALE_FIELDS, DigitalConfig
from bittwin.nn.digital.quantizers import (
    Limits,
    Unrounded,
    over,
    quantize,
    signed,
    unsigned,
)
from bittwin.nn.digital.scales import DigitalScales, is_distributed
from bittwin.nn.eager import never_compiled

Module = TypeVar("Module", bound="DigitalModule")
_LOW = (torch.float16, torch.bfloat16)


class DigitalModule(torch.nn.Module):
    """Float32 in, float32 out: quantise, compute on codes, quantise; straight-through gradients.

    Class attributes of subclasses:
        operands: which of x, other, w and y have a scale.
        without_sign: which of them have unsigned codes.
    """

    operands: ClassVar[tuple[str, ...]] = ("x", "y")
    without_sign: ClassVar[frozenset[str]] = frozenset()
    roundings: ClassVar[tuple[str, ...]] = ("half_even",)
    scales: DigitalScales

    def __init__(self, config: DigitalConfig | None = None) -> None:
        super().__init__()
        self.init_digital(config)

    def init_digital(self, config: DigitalConfig | None) -> None:
        """Add config and scales; called once by the constructor."""
        self._config = self._accepted(DigitalConfig() if config is None else config)
        self.layer_name = type(self).__name__
        self.scales = DigitalScales(self.operands)

    def _accepted(self, config: DigitalConfig) -> DigitalConfig:
        own = type(self).__name__
        if not isinstance(config, DigitalConfig):
            raise TypeError(f"config: found {type(config).__name__}, wanted a DigitalConfig")
        for operand in config.fixed:
            if operand not in self.operands:
                wanted = ", ".join(SCALE_FIELDS[name] for name in self.operands)
                raise ValueError(f"{SCALE_FIELDS[operand]}: found a value, {own} has only {wanted}")
        if config.other_bits is not None and "other" not in self.operands:
            raise ValueError(f"other_bits: found a value, {own} has no second input")
        if config.rounding not in self.roundings:
            wanted = one_of([repr(rule) for rule in self.roundings])
            raise ValueError(f"rounding: found {config.rounding!r}, {own} wants {wanted}")
        return config

    # -- what subclasses define ---------------------------------------------------------------

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """The operator on quantised inputs, before the output quantiser."""
        raise NotImplementedError

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """The plain operator."""
        raise NotImplementedError

    def seen(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The tensors that the scales of x, other and w are calibrated on."""
        return dict(zip(("x", "other"), inputs, strict=False))

    def code_bits(self, operand: str) -> int:
        """Width of an operand's codes."""
        return self._config.bits[operand]

    # -- settings and scales ------------------------------------------------------------------

    @property
    def config(self) -> DigitalConfig:
        """How the operator is quantised; replacing it starts a new calibration of the free scales."""
        return self._config

    @config.setter
    def config(self, config: DigitalConfig) -> None:
        self._config = self._accepted(config)
        self.scales.restart()

    def limits(self, operand: str) -> Limits:
        """Lowest and highest code of an operand."""
        kind = unsigned if operand in self.without_sign else signed
        return kind(self.code_bits(operand))

    @property
    def _free(self) -> tuple[str, ...]:
        return tuple(name for name in self.operands if name not in self._config.fixed)

    @property
    def calibrating(self) -> bool:
        """Whether the next training forward takes part in the calibration."""
        return bool(self._free) and int(self.scales.steps) < self._config.calibration_steps

    @property
    def calibrated(self) -> bool:
        """Whether all scales are known."""
        return all(value > 0 for value in self._in_force().values())

    @property
    def codes_per_unit(self) -> dict[str, float]:
        """Codes per real unit of each operand.

        Raises:
            ValueError: not calibrated yet.
        """
        scales = self._in_force()
        for operand, value in scales.items():
            if not value:
                raise ValueError(
                    f"layer {self.layer_name!r}: found no scale of {operand}; run training forwards to "
                    f"calibrate, load a checkpoint, or give {SCALE_FIELDS[operand]}"
                )
        return scales

    def _in_force(self) -> dict[str, float]:
        kept = zip(self.operands, self.scales.codes_per_unit.tolist(), strict=True)
        return {**dict(kept), **self._config.fixed}

    def train(self: Module, mode: bool = True) -> Module:
        """As torch's; with ``recalibrate='epoch'`` a change from eval to train starts a calibration."""
        if mode and not self.training and self._config.recalibrate == "epoch":
            self.scales.restart()
        super().train(mode)
        return self

    def _calibrate(self, inputs: tuple[Tensor, ...]) -> None:
        if not all(x.numel() for x in inputs) and not is_distributed():
            return  # an empty batch says nothing, but the other ranks wait for it
        bits = {o: self.code_bits(o) - (o not in self.without_sign) for o in self.operands}
        with torch.no_grad():
            seen = self.seen(inputs)
            maxima = {o: self._largest(o, seen[o]) for o in self._free if o != "y"}
            self.scales.take(self.layer_name, maxima, bits)
            if "y" in self._free:  # the result of quantised inputs, before it is limited to codes
                y = self.compute(inputs, self._in_force()).real()
                self.scales.take(self.layer_name, {"y": self._largest("y", y)}, bits)
            self.scales.step()

    def _largest(self, operand: str, x: Tensor) -> float:
        usable = x.clamp_min(0) if operand in self.without_sign else x.abs()
        return float(usable.max()) if usable.numel() else 0.0

    # -- forward ------------------------------------------------------------------------------

    def run(self, *inputs: Tensor) -> Tensor:
        """The forward of every operator.

        Raises:
            TypeError: a dtype other than float32 (bfloat16 and float16 are taken under autocast).
            ValueError: NaN in an input, or no scales yet.
        """
        if self._config.mode == "float":
            return self.float_forward(*inputs)
        y: Tensor = self._exact(inputs)
        return y

    @never_compiled
    def _exact(self, inputs: tuple[Tensor, ...]) -> Tensor:
        # A compiler would fuse these float32 steps into kernels whose roundings nobody has measured.
        inputs = tuple(self._checked(x) for x in inputs)
        with torch.autocast(inputs[0].device.type, enabled=False):
            if self.training and self.calibrating:
                self._calibrate(inputs)
            return self.quantized(inputs, self.codes_per_unit)

    def quantized(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Tensor:
        """Real outputs of exact codes."""
        self._check_rounding(scales)
        result = self.compute(inputs, scales)
        codes = result.codes(scales["y"], self.limits("y"), self._config.rounding)
        return over(codes, scales["y"])

    def _check_rounding(self, scales: Mapping[str, float]) -> None:
        """Refuse what half_up cannot do exactly; overridden where there is half_up."""

    def _checked(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"layer {self.layer_name!r}: found {type(x).__name__}, wanted a tensor")
        if x.dtype in _LOW and torch.is_autocast_enabled(x.device.type):
            x = x.float()
        if x.dtype != torch.float32:
            raise TypeError(
                f"layer {self.layer_name!r}: found input {x.dtype}, wanted torch.float32"
            )
        if bool(x.isnan().any()):
            raise ValueError(
                f"layer {self.layer_name!r}: found NaN in the input, wanted real numbers"
            )
        return x

    def quantize_input(self, x: Tensor, operand: str = "x") -> Tensor:
        """The integer codes that the operator makes of an input: what `Network.run` takes.

        Args:
            x: float32 values.
            operand: ``x`` or ``other``.

        Returns:
            x's shape; int8, uint8 or int16.
        """
        scale, limits = self.operand_scale(operand)
        kinds = ((signed(8), torch.int8), (unsigned(8), torch.uint8))
        dtype = next((t for held, t in kinds if limits == held), torch.int16)
        return quantize(self._checked(x.detach()), scale, limits).to(dtype)

    def operand_scale(self, operand: str) -> tuple[float, Limits]:
        """Scale and limits at which the operator quantises one of its inputs."""
        return self.codes_per_unit[operand], self.limits(operand)

    def extra_repr(self) -> str:
        """Torch's line and ours."""
        bits = " ".join(f"{o}{self.code_bits(o)}" for o in self.operands)
        return ", ".join(part for part in (super().extra_repr(), bits) if part)


def is_power_of_two(value: float) -> bool:
    """Whether a number above 0 is a power of two.

    >>> from bittwin.nn.digital.base import is_power_of_two
    >>> is_power_of_two(0.25), is_power_of_two(3.0)
    (True, False)
    """
    return math.frexp(value)[0] == 0.5
