# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

class ParseError(ValueError): ...

class Requantizer:
    @property
    def channels(self) -> int: ...

def accumulate_linear(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None
) -> NDArray[np.int32]: ...

class Geometry:
    def __init__(
        self,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        dilation: tuple[int, int],
        output_padding: tuple[int, int],
        groups: int,
    ) -> None: ...

def accumulate_conv2d(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None, geometry: Geometry
) -> NDArray[np.int32]: ...
def accumulate_conv_transpose2d(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None, geometry: Geometry
) -> NDArray[np.int32]: ...
def accumulator_bound(
    weight: NDArray[Any], bias: NDArray[Any] | None, x_lo: int, x_hi: int
) -> tuple[int, int, int]: ...
def two_stage(
    lsh: Sequence[int],
    multiplier: Sequence[int],
    shift1: Sequence[int],
    rounding1: int,
    middle: int,
    middle_lo: int,
    middle_hi: int,
    shift2: Sequence[int],
    rounding2: int,
    zero_point: int,
    lo: int,
    hi: int,
    store: int,
) -> Requantizer: ...
def half_even_f32(scale_product: float, codes_per_unit: float, lo: int, hi: int) -> Requantizer: ...
def requantize_into(
    acc: NDArray[Any],
    high: NDArray[Any] | None,
    out: NDArray[Any],
    outer: int,
    channels: int,
    inner: int,
    requantizer: Requantizer,
) -> None: ...

class SplitRule:
    def __init__(
        self,
        low_limits: tuple[int, int] | None,
        log2_gain: int,
        whole_gain: float,
        high_rounding: int,
    ) -> None: ...

def split_requantize_into(
    acc_low: NDArray[Any],
    acc_high: NDArray[Any],
    bias_digital: NDArray[Any] | None,
    out: NDArray[Any],
    outer: int,
    channels: int,
    inner: int,
    requantizer: Requantizer,
    split: SplitRule,
) -> None: ...
def split(x: NDArray[Any]) -> tuple[NDArray[np.int16], NDArray[np.int8]]: ...
def dac(x: NDArray[Any], is_signed: bool, invert: bool, doubled: bool) -> NDArray[np.uint16]: ...
def relu(x: NDArray[Any], gain: int) -> NDArray[np.int32]: ...
def clip(x: NDArray[Any], limit: int) -> NDArray[np.int32]: ...
def lookup_index(x: NDArray[Any], size: int) -> NDArray[np.int32]: ...
def post_adder_shift(x: NDArray[Any], right: bool, num: int) -> NDArray[np.uint8]: ...
def quantize(
    values: NDArray[Any], codes_per_unit: float, lo: int, hi: int, rounding: int
) -> NDArray[np.int32]: ...
def quantize_bias(bias: NDArray[Any], codes_per_unit: float, rows: int) -> NDArray[np.int32]: ...
def qat_forward(
    op: str,
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    bias_digital: NDArray[Any] | None,
    geometry: Geometry,
    input: tuple[float, float],
    limits: tuple[int, int],
    pad_code: int,
    requantizer: Requantizer,
    split: SplitRule | None,
    codes_per_unit: float,
    y: NDArray[Any],
    codes: NDArray[Any],
    x_inside: NDArray[Any] | None,
    y_inside: NDArray[Any] | None,
    low_inside: NDArray[Any] | None,
) -> tuple[int, bool, bool, bool]: ...
def qat_quantize(
    x: NDArray[Any],
    input: tuple[float, float],
    limits: tuple[int, int],
    codes: NDArray[Any],
    x_inside: NDArray[Any] | None,
) -> tuple[int, bool]: ...
def qat_finish(
    acc: NDArray[Any],
    acc_high: NDArray[Any] | None,
    bias_digital: NDArray[Any] | None,
    requantizer: Requantizer,
    split: SplitRule | None,
    codes_per_unit: float,
    y: NDArray[Any],
    y_inside: NDArray[Any] | None,
    low_inside: NDArray[Any] | None,
) -> tuple[bool, bool]: ...
def kernels() -> list[tuple[str, str, str]]: ...
def active_kernel() -> str: ...
def force_kernel(name: str) -> None: ...
def parse_int_rows(
    data: Any,
    columns: int,
    lo: int,
    hi: int,
    separators: str = ...,
    max_rows: int = ...,
) -> NDArray[np.int32]: ...
def set_num_threads(n: int) -> None: ...
def num_threads() -> int: ...
def _parallel_probe(
    tasks: int, nested: int = ..., sleep_us: int = ..., fail: int = ...
) -> list[int]: ...
def _parallel_rounding(tasks: int, sleep_us: int = ...) -> list[int]: ...
