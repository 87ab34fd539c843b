# SPDX-License-Identifier: Apache-2.0
"""`DigitalConfig`: how a digital operator is quantised, one typed object, impossible values refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bittwin._check import choice, integer
from bittwin.nn.config import MODES, RECALIBRATE
from bittwin.nn.digital.quantizers import ROUNDINGS
from bittwin.requant.limits import positive_float32

#: Operands of a digital operator and the field that fixes their scale.
SCALE_FIELDS = {
    "x": "codes_per_unit_x",
    "other": "codes_per_unit_other",
    "w": "codes_per_unit_w",
    "y": "codes_per_unit_y",
}


@dataclass(frozen=True)
class DigitalConfig:
    """Settings of a digital operator; the names are `QATConfig`'s where both have a field.

    >>> from bittwin.nn import DigitalConfig
    >>> DigitalConfig(y_bits=10).with_(codes_per_unit_y=64).codes_per_unit_y
    64.0
    >>> DigitalConfig(x_bits=13)
    Traceback (most recent call last):
        ...
    ValueError: x_bits: found 13, wanted an integer in 8..12
    """

    mode: str = "quantized"
    """``quantized``: integers; ``float``: the plain operator, for a float baseline."""
    rounding: str = "half_even"
    """``half_even``: what the vendor's training tool does. What the chip does: ``half_up`` in `Add` and
    `Mul`, which wants scales whose ratio is a power of two; ``half_away`` in `Mean`."""
    x_bits: int = 8
    """Width of the (first) input's codes, 8..12."""
    other_bits: int | None = None
    """Width of the second input's codes, 8..12; None: x_bits."""
    weight_bits: int = 8
    """Width of weight codes (`PReLU`, `BatchNorm2d`), 2..12, signed."""
    y_bits: int = 8
    """Width of output codes, 8..12."""
    codes_per_unit_x: float | None = None
    """Codes per real unit of the (first) input, above 0; None: calibrated, a power of two."""
    codes_per_unit_other: float | None = None
    """The same of the second input."""
    codes_per_unit_w: float | None = None
    """The same of the weight."""
    codes_per_unit_y: float | None = None
    """The same of the output."""
    calibration_steps: int = 20
    """Training forwards that calibrate before the scales freeze, 1..1000000."""
    recalibrate: str = "never"
    """``never``, or ``epoch``: every change from eval() to train() starts a new calibration."""

    def __post_init__(self) -> None:
        choice("mode", self.mode, MODES)
        choice("rounding", self.rounding, ROUNDINGS)
        for name, low, high in (
            ("x_bits", 8, 12),
            ("other_bits", 8, 12),
            ("weight_bits", 2, 12),
            ("y_bits", 8, 12),
            ("calibration_steps", 1, 1_000_000),
        ):
            if name == "other_bits" and self.other_bits is None:
                continue
            object.__setattr__(self, name, integer(name, getattr(self, name), low, high))
        for name in SCALE_FIELDS.values():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, positive_float32(name, value))
        choice("recalibrate", self.recalibrate, RECALIBRATE)

    @property
    def bits(self) -> Mapping[str, int]:
        """Width of each operand's codes."""
        other = self.x_bits if self.other_bits is None else self.other_bits
        return {"x": self.x_bits, "other": other, "w": self.weight_bits, "y": self.y_bits}

    @property
    def fixed(self) -> Mapping[str, float]:
        """Codes per real unit of the operands whose scale is given."""
        given = {operand: getattr(self, field) for operand, field in SCALE_FIELDS.items()}
        return {operand: value for operand, value in given.items() if value is not None}

    def with_(self, **changes: Any) -> DigitalConfig:
        """Return a copy with some fields changed."""
        return replace(self, **changes)
