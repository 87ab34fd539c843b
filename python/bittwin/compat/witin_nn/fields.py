# SPDX-License-Identifier: Apache-2.0
"""The fields of a configuration: default, check and meaning of each.

The checks are the tool's: they look at types and at two ranges only, and fail with `AssertionError` and the
tool's own sentences, which scripts may match.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from bittwin.compat.witin_nn.enums import (
    HandleNegInType,
    HardwareType,
    NoiseModel,
    TargetPlatform,
)

Check = Callable[[str, Any], None]


def refuse(message: str) -> None:
    """Fail the way the tool does; a function, so that ``python -O`` cannot remove it."""
    raise AssertionError(message)


def _of(*types: type, words: str = "") -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, types):
            refuse(f"{words or name} type error")

    return check


_INTEGER = _of(int)  # bool counts as one; numpy integers do not
_NUMBER = _of(int, float)
_NUMBER_OR_NONE = _of(int, float, type(None))
_FLAG = _of(bool)


def _integer_in(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> None:
        # The range comes first: None is a TypeError of the comparison, 8.0 a type error.
        if not low <= value <= high:
            refuse(f"{name} value error")
        _INTEGER(name, value)

    return check


def _one_of(*choices: int) -> Check:
    def check(name: str, value: Any) -> None:
        _INTEGER(name, value)
        if value not in choices:
            refuse(f"{name} type error")

    return check


def _unavailable(name: str, value: Any) -> None:
    refuse(f"'{name}' is unavailable currently")


@dataclass(frozen=True)
class Field:
    """One field: how its default is made, what may be assigned, and what it means."""

    default: Callable[[], Any]
    check: Check
    doc: str


def _field(default: Any, check: Check, doc: str) -> Field:
    return Field(lambda: default, check, doc)


FIELDS: Final[dict[str, Field]] = {
    "w_clip": _field(
        None,
        _NUMBER_OR_NONE,
        "Weights are limited to +-w_clip (real units) before the quantiser; None or 0: off. In float "
        "mode the stored weight itself is overwritten.",
    ),
    "bias_row_N": _field(
        8,
        _integer_in(1, 32),
        "Bias rows, 1..32: bias codes are multiples of 128, from -128 N to 127 N of them.",
    ),
    "target_platform": _field(
        TargetPlatform.ANKE,
        _of(TargetPlatform, words="target platform"),
        "Chip; without effect here.",
    ),
    "use_quantization": _field(False, _FLAG, "Quantised forward; otherwise plain float32."),
    "noise_model": _field(NoiseModel.NORMAL, _of(NoiseModel), "Noise model of levels 1 to 9."),
    "noise_level": _field(
        0, _integer_in(0, 9), "Strength of the noise, 0..9; only 0, no noise, runs in this release."
    ),
    "hardware": _field(
        HardwareType.ARRAY, _of(HardwareType), "ARRAY, or VPU: another path of the convolutions."
    ),
    "to_linear": _field(False, _FLAG, "Run a convolution by the rules of WitinLinear."),
    "scale_x": _field(1, _NUMBER, "Input codes per real unit."),
    "scale_y": _field(1, _NUMBER, "Output codes per real unit."),
    "scale_weight": _field(1, _NUMBER, "Weight codes per real unit."),
    "handle_neg_in": _field(
        HandleNegInType.FALSE, _of(HandleNegInType), "Treatment of negative inputs."
    ),
    "x_quant_bits": _field(8, _INTEGER, "Width of the input codes in bits; 1..16 run."),
    "y_quant_bits": _field(8, _INTEGER, "Width of the output codes in bits; 1..32 run."),
    "bias_d": Field(
        lambda: torch.tensor(0),
        _of(torch.Tensor),
        "Part of the bias (real units, one or one per output) that moves to the digital side of a "
        "layer with more than 8 input bits.",
    ),
    "conv2d_split_N": _field(1000000, _unavailable, "Cannot be set."),
    "shift_num": _field(1.0, _NUMBER, "What Shift adds to the input, real units."),
    "output_fp_clip": _field(
        None,
        _NUMBER_OR_NONE,
        "Convolutions and most digital operators: the real-valued output is limited to +-output_fp_clip "
        "before its quantiser; None or 0: off.",
    ),
    "debug_mode": _field(False, _FLAG, "Without effect here."),
    "use_auto_scale": _field(True, _FLAG, "Scales are estimated from maxima instead of given."),
    "auto_scale_updata_step": _field(
        2, _INTEGER, "Training forwards after train() that take part in the estimate."
    ),
    "cln_simple": _field(False, _FLAG, "WitinClnBn2d: leave the mean out."),
    "mean_sum_quant_bits": _field(
        55, _INTEGER, "Width at which the sums of WitinMean and WitinClnBn2d saturate."
    ),
    "weight_quant_bits": _field(8, _INTEGER, "Width of the weight codes in bits; 1..16 run."),
    "scale_x_left": _field(1, _NUMBER, "Codes per real unit of the first of two inputs."),
    "scale_x_right": _field(1, _NUMBER, "Codes per real unit of the second of two inputs."),
    "x_left_quant_bits": _field(8, _INTEGER, "Width of the first input's codes in bits."),
    "x_right_quant_bits": _field(8, _INTEGER, "Width of the second input's codes in bits."),
    "x_clip": _field(
        None,
        _NUMBER_OR_NONE,
        "WitinSigmoid and WitinTanh: the input is limited to +-x_clip; None or 0: off.",
    ),
    "sqrt_left_shift_bits": _field(
        8,
        _one_of(0, 4, 8, 12, 16),
        "Bits that a radicand is shifted left before its integer root: 0, 4, 8, 12 or 16.",
    ),
    "gelu_shift_num": _field(
        None,
        _NUMBER_OR_NONE,
        "WitinGELU: added to the result, whose codes get one more bit; None or 0: off.",
    ),
}
