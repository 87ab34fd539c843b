# SPDX-License-Identifier: Apache-2.0
"""`LayerSpec`: everything about a layer's forward pass but its tensors, as plain numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import torch

from bittwin import _core
from bittwin.requant import Requant, half_even, half_even_f32, readout
from bittwin.split import split_rule

#: Raised whenever the torch operator's outputs change in number or shape.
OPERATOR_REVISION = 3


@dataclass(frozen=True)
class LayerSpec:
    """The numbers of one layer's forward pass.

    Scales are codes per real unit. A spec is hashable and goes through JSON, so that a torch custom
    operator can carry it as one string.
    """

    name: str
    op: str
    """``linear``, ``conv2d`` or ``conv_transpose2d``."""
    x_bits: int
    y_bits: int
    weight_bits: int
    bias_rows: int
    negative_input: str
    rounding: str
    codes_per_unit_x: float = 0.0
    codes_per_unit_w: float = 0.0
    codes_per_unit_y: float = 0.0
    shift: float | None = None
    """Real units that ``shift`` adds; None: half the input range."""
    bias_digital: float = 0.0
    backward_dtype: str = "float32"
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @cached_property
    def x_limits(self) -> tuple[int, int]:
        """Lowest and highest input code."""
        high = (1 << self.x_bits) - 1
        return (-high if self.negative_input == "split_sign" else 0), high

    @cached_property
    def shift_codes(self) -> int:
        """Codes that ``shift`` adds to every input, 0 otherwise."""
        if self.negative_input != "shift":
            return 0
        if self.shift is None:
            return 1 << (self.x_bits - 1)
        return min(max(round(self.shift * self.codes_per_unit_x), 0), 1 << self.x_bits)

    @cached_property
    def pad_code(self) -> int:
        """The code of a padded position: what 0.0 becomes."""
        return min(self.shift_codes, self.x_limits[1])

    @cached_property
    def x_signed(self) -> bool:
        """Whether input codes can be negative."""
        return self.negative_input == "split_sign"

    @cached_property
    def code_dtype(self) -> torch.dtype:
        """One byte per input code where it fits."""
        return torch.uint8 if self.x_bits == 8 and not self.x_signed else torch.int16

    @cached_property
    def split(self) -> bool:
        """Whether the layer takes two rounds."""
        return self.x_bits > 8

    @cached_property
    def scale_product(self) -> float:
        """Accumulator units per real unit."""
        return self.codes_per_unit_x * self.codes_per_unit_w

    @cached_property
    def gain(self) -> float:
        """Accumulator units per output code."""
        return self.scale_product / self.codes_per_unit_y

    @cached_property
    def requant(self) -> Requant:
        """The rule that makes output codes."""
        mantissa = self.gain.hex().partition("p")[0]
        power_of_two = mantissa in ("0x1.0000000000000", "0x1")
        if self.rounding == "readout":
            if not power_of_two:
                raise ValueError(
                    f"found the gain {self.gain:g} (x * w / y), readout wants a power of two in "
                    "256..32768; use scales that are powers of two, or rounding='half_even'"
                )
            return readout(int(self.gain), bits=self.y_bits)
        if power_of_two and (self.gain >= 1 or not self.split):
            return half_even(self.gain, bits=self.y_bits)
        return half_even_f32(self.scale_product, self.codes_per_unit_y, bits=self.y_bits)

    @cached_property
    def split_rule(self) -> _core.SplitRule | None:
        """How two rounds become one code; None for one round."""
        return split_rule(self.requant, None, "half_even") if self.split else None

    @cached_property
    def limits_low(self) -> bool:
        """Whether the low code of a split layer saturates before the sum."""
        return self.split and self.rounding != "readout"

    @cached_property
    def geometry(self) -> _core.Geometry:
        """Strides and paddings for the kernel."""
        return _core.Geometry(
            self.stride, self.padding, self.dilation, self.output_padding, self.groups
        )

    def with_scales(self, x: float, w: float, y: float) -> LayerSpec:
        """The same layer with these codes per real unit.

        Raises:
            ValueError: not calibrated (0), or a gain that the rounding cannot have; names the layer.
        """
        if not (x and w and y):
            raise ValueError(
                f"layer {self.name!r}: found no scales; run training forwards to calibrate, load a "
                "checkpoint, or give codes_per_unit_x, _w and _y"
            )
        spec = replace(self, codes_per_unit_x=x, codes_per_unit_w=w, codes_per_unit_y=y)
        try:
            _ = spec.requant, spec.split_rule
        except (TypeError, ValueError) as error:
            text = str(error).removeprefix("requant: ")
            raise ValueError(f"layer {self.name!r}: codes_per_unit: {text}") from None
        return spec

    def to_json(self) -> str:
        """Write the spec as text.

        The revision is part of it, so that a compiler's cache never serves a graph that was traced with
        an operator of another shape.
        """
        return json.dumps({"revision": OPERATOR_REVISION, **asdict(self)})


@lru_cache(maxsize=1024)
def spec_from_json(text: str) -> LayerSpec:
    """Read `LayerSpec.to_json`'s text."""
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()
    }
    del fields["revision"]
    return LayerSpec(**fields)


@lru_cache(maxsize=1024)
def scaled_spec(text: str, scales: tuple[float, float, float]) -> LayerSpec:
    """`LayerSpec.to_json`'s text with scales put in."""
    return spec_from_json(text).with_scales(*scales)
