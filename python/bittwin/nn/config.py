# SPDX-License-Identifier: Apache-2.0
"""`QATConfig`: how a layer is quantised, one typed object, impossible values refused at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bittwin._check import choice, integer, positive_real
from bittwin.nn.noise import NoiseHook
from bittwin.nn.spec import LayerSpec
from bittwin.requant.limits import positive_float32, power_of_two

MODES = ("float", "quantized")
ROUNDINGS = ("readout", "half_even")
NEGATIVE_INPUTS = ("clamp", "split_sign", "shift")
RECALIBRATE = ("never", "epoch")
BACKWARD_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class QATConfig:
    """Settings of a quantisation-aware layer.

    >>> from bittwin.nn import QATConfig
    >>> QATConfig(x_bits=10).with_(rounding="half_even").rounding
    'half_even'
    >>> QATConfig(x_bits=13)
    Traceback (most recent call last):
        ...
    ValueError: x_bits: found 13, wanted an integer in 8..12
    """

    mode: str = "quantized"
    """``quantized``: the integer datapath; ``float``: torch's own layer, for a float baseline."""
    rounding: str = "readout"
    """``readout``: what the chip does; ``half_even``: what the vendor's training tool does."""
    x_bits: int = 8
    """Width of input codes, 8..12. Above 8 a layer takes two rounds (docs/spec/split.md)."""
    y_bits: int = 8
    """Width of output codes, 8..12, signed: -2^(y_bits-1)..2^(y_bits-1)-1."""
    weight_bits: int = 8
    """Width of weight codes, 2..12, signed; the chip's default is 8."""
    bias_rows: int = 16
    """Bias rows, 1..32: biases are multiples of 128 from -128*128*rows to 127*128*rows."""
    negative_input: str = "clamp"
    """Negative inputs: ``clamp`` to 0; ``split_sign``: a positive and a negative half of the array, exact;
    ``shift``: a constant is added, and taken out of the bias again (to multiples of 128)."""
    shift: float | None = None
    """Constant that ``shift`` adds, real units, above 0; None: half the input range."""
    bias_digital: float = 0.0
    """Part of every bias that the digital round of a split layer adds, real units; 0 for none."""
    codes_per_unit_x: float | None = None
    """Input codes per real unit, above 0; None: calibrated, a power of two."""
    codes_per_unit_w: float | None = None
    """Weight codes per real unit, above 0; None: calibrated, a power of two."""
    codes_per_unit_y: float | None = None
    """Output codes per real unit, above 0; None: calibrated, a power of two."""
    calibration_steps: int = 20
    """Training forwards that calibrate before the scales freeze, 1..1000000. A forward that activation
    checkpointing repeats counts again."""
    recalibrate: str = "never"
    """``never``: scales stay once calibrated; ``epoch``: every change from eval() to train() starts
    a new calibration, the old scales staying in force until its first batch."""
    max_gain: int = 8192
    """Largest gain that calibration chooses, a power of two, 256..32768; the mapper emits up to 8192."""
    backward_dtype: str = "float32"
    """Matrix products of the backward pass: ``float32``, or ``bfloat16`` for CPUs with AMX."""
    noise: NoiseHook | None = None
    """Called on the accumulators of the analog round before they are requantised; None: exact."""
    noise_in_eval: bool = False
    """Whether the noise also acts in eval()."""

    def __post_init__(self) -> None:
        choice("mode", self.mode, MODES)
        choice("rounding", self.rounding, ROUNDINGS)
        self._plain_integer("x_bits", 8, 12)
        self._plain_integer("y_bits", 8, 12)
        self._plain_integer("weight_bits", 2, 12)
        self._plain_integer("bias_rows", 1, 32)
        choice("negative_input", self.negative_input, NEGATIVE_INPUTS)
        if self.shift is not None:
            object.__setattr__(self, "shift", positive_real("shift", self.shift))
            if self.negative_input != "shift":
                raise ValueError(
                    f"shift: found {self.shift} with negative_input={self.negative_input!r}, "
                    "wanted negative_input='shift'"
                )
        digital = self.bias_digital
        if isinstance(digital, bool) or not isinstance(digital, int | float | np.number):
            raise TypeError(f"bias_digital: found {digital!r}, wanted a real number")
        if not math.isfinite(digital):
            raise ValueError(f"bias_digital: found {digital}, wanted a finite number")
        object.__setattr__(self, "bias_digital", float(digital))
        if self.bias_digital and self.x_bits == 8:
            raise ValueError(
                "bias_digital: found a value with x_bits=8, which has no digital round"
            )
        for name in ("codes_per_unit_x", "codes_per_unit_w", "codes_per_unit_y"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, positive_float32(name, value))
        self._plain_integer("calibration_steps", 1, 1_000_000)
        choice("recalibrate", self.recalibrate, RECALIBRATE)
        self._plain_integer("max_gain", 256, 32768)
        power_of_two("max_gain", self.max_gain, 8, 15)
        choice("backward_dtype", self.backward_dtype, BACKWARD_DTYPES)
        if self.noise is not None and not callable(self.noise):
            raise TypeError(f"noise: found {type(self.noise).__name__}, wanted a callable or None")
        if not isinstance(self.noise_in_eval, bool):
            raise TypeError(f"noise_in_eval: found {self.noise_in_eval!r}, wanted True or False")
        self._check_fixed_gain()

    @property
    def fixed_scales(self) -> tuple[float | None, float | None, float | None]:
        """Codes per real unit of x, weight and y; None where they are calibrated."""
        return self.codes_per_unit_x, self.codes_per_unit_w, self.codes_per_unit_y

    def _plain_integer(self, name: str, low: int, high: int) -> None:
        # A plain int also where numpy's was given: specs go through JSON.
        object.__setattr__(self, name, integer(name, getattr(self, name), low, high))

    def _check_fixed_gain(self) -> None:
        x, w, y = self.fixed_scales
        if x is None or w is None or y is None:
            return
        try:
            self.spec("", "linear").with_scales(x, w, y)
        except ValueError as error:
            # The layer's own prefix names a layer that does not exist yet.
            message = str(error).partition("codes_per_unit: ")[2]
            raise ValueError(f"codes_per_unit_x, _w, _y: {message}") from None

    def spec(self, name: str, op: str, **geometry: Any) -> LayerSpec:
        """The numbers of a layer with this config; its scales are still to come."""
        return LayerSpec(
            name=name,
            op=op,
            x_bits=self.x_bits,
            y_bits=self.y_bits,
            weight_bits=self.weight_bits,
            bias_rows=self.bias_rows,
            negative_input=self.negative_input,
            rounding=self.rounding,
            shift=self.shift,
            bias_digital=float(self.bias_digital),
            backward_dtype=self.backward_dtype,
            **geometry,
        )

    def with_(self, **changes: Any) -> QATConfig:
        """Return a copy with some fields changed."""
        return replace(self, **changes)
