# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

class ParseError(ValueError): ...

class Requantizer:
    @property
    def channels(self) -> int: ...

class PackedWeight:
    def __init__(self, codes: NDArray[Any]) -> None: ...
    @property
    def codes(self) -> NDArray[Any]: ...

class Geometry:
    def __init__(
        self,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        dilation: tuple[int, int],
        output_padding: tuple[int, int],
        groups: int,
    ) -> None: ...

def linear(
    x: NDArray[Any],
    weight: NDArray[Any] | PackedWeight,
    bias: NDArray[Any] | None,
    requantizer: Requantizer | None,
    high: NDArray[Any] | None,
    split: SplitRule | None,
    bias_digital: NDArray[Any] | None,
    out: NDArray[Any],
) -> None: ...
def conv(
    transposed: bool,
    x: NDArray[Any],
    weight: NDArray[Any] | PackedWeight,
    bias: NDArray[Any] | None,
    geometry: Geometry,
    channels_last: bool,
    pad_code: int,
    requantizer: Requantizer | None,
    high: NDArray[Any] | None,
    split: SplitRule | None,
    bias_digital: NDArray[Any] | None,
    out: NDArray[Any],
) -> None: ...
def linear_or_none(
    x: Any,
    weight: Any,
    bias: Any,
    requantizer: Requantizer | None,
    high: Any,
    split: SplitRule | None,
    bias_digital: Any,
    x_bits: int,
    prove: bool,
    dtype: np.dtype[Any],
    out: Any,
) -> NDArray[Any] | None: ...
def conv_or_none(
    transposed: bool,
    x: Any,
    weight: Any,
    bias: Any,
    geometry: Geometry,
    channels_last: bool,
    pad_code: int,
    requantizer: Requantizer | None,
    high: Any,
    split: SplitRule | None,
    bias_digital: Any,
    x_bits: int,
    prove: bool,
    dtype: np.dtype[Any],
    out: Any,
) -> NDArray[Any] | None: ...
def conv_output_shape(
    transposed: bool,
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    geometry: Geometry,
) -> tuple[int, int, int, int]: ...
def accumulator_bound(
    weight: NDArray[Any] | PackedWeight,
    bias: NDArray[Any] | None,
    x_lo: int,
    x_hi: int,
    axis: int = ...,
) -> tuple[int, int, int]: ...
def accumulator_fits(
    weight: NDArray[Any] | PackedWeight,
    bias: NDArray[Any] | None,
    x_lo: int,
    x_hi: int,
    axis: int = ...,
) -> bool: ...
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
def relu(x: NDArray[Any], gain: int, out: NDArray[Any]) -> None: ...
def clip(x: NDArray[Any], limit: int, out: NDArray[Any]) -> None: ...
def lookup(x: NDArray[Any], table: NDArray[Any], out: NDArray[Any]) -> None: ...
def lookup_index(x: NDArray[Any], size: int) -> NDArray[np.int32]: ...
def post_adder_shift(x: NDArray[Any], right: bool, num: int) -> NDArray[np.uint8]: ...
def quantize(
    values: NDArray[Any],
    codes_per_unit: float,
    lo: int,
    hi: int,
    rounding: int,
    out: NDArray[Any],
) -> None: ...
def quantize_bias(bias: NDArray[Any], codes_per_unit: float, rows: int) -> NDArray[np.int32]: ...

class QatLayer:
    def __init__(
        self,
        op: str,
        weight: NDArray[Any] | PackedWeight,
        bias: NDArray[Any] | None,
        bias_digital: NDArray[Any] | None,
        geometry: Geometry,
        input: tuple[float, float],
        limits: tuple[int, int],
        pad_code: int,
        requantizer: Requantizer,
        split: SplitRule | None,
        codes_per_unit: float,
    ) -> None: ...
    def forward(
        self,
        x: int,
        size: Sequence[int],
        channels_last: bool,
        y: int,
        y_count: int,
        codes: int,
        codes_item: int,
        masks: bool,
        threads: int,
    ) -> tuple[bool, NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None]: ...

def qat_weight(
    real: NDArray[Any],
    codes_per_unit: float,
    limits: tuple[int, int],
    codes: NDArray[Any],
    sums: NDArray[Any] | None,
    threads: int,
) -> tuple[bool, NDArray[Any] | None]: ...
def qat_bias(
    real: NDArray[Any],
    scale_product: float,
    shift: NDArray[Any] | None,
    rows: int,
    out: NDArray[Any],
) -> tuple[bool, NDArray[Any] | None]: ...
def code_values(
    codes: int,
    item: int,
    is_signed: bool,
    count: int,
    shift: float,
    codes_per_unit: float,
    out: int,
    bfloat16: bool,
    threads: int,
) -> None: ...
def keep_where(
    source: int, bits: int, count: int, out: int, bfloat16: bool, threads: int
) -> None: ...
def linear_gradients(
    gy: int,
    x: int,
    w: int,
    sizes: tuple[int, int, int],
    numbers: tuple[float, float, float],
    x_bits: int,
    y_bits: int,
    w_bits: int,
    gx: int,
    gw: int,
    gb: int,
) -> None: ...
def sample(source: int, count: int, step: int) -> bytes: ...
def qat_quantize(
    x: NDArray[Any],
    input: tuple[float, float],
    limits: tuple[int, int],
    codes: NDArray[Any],
    x_inside: NDArray[Any] | None,
) -> tuple[bool, bool]: ...
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

class Program:
    def __init__(self, inputs: int, is_signed: bool) -> None: ...
    def add_linear(
        self,
        weight: PackedWeight,
        bias: NDArray[Any] | None,
        requantizer: Requantizer,
        x_unsigned: bool,
        x_high: int,
    ) -> None: ...
    def add_relu(self, gain: int) -> None: ...
    def add_clip(self, limit: int) -> None: ...
    def add_lookup(self, table: NDArray[Any]) -> None: ...
    def run(self, x: NDArray[Any], out: NDArray[Any]) -> bool: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def is_signed(self) -> bool: ...
