# SPDX-License-Identifier: Apache-2.0
"""Kernels at the ends of what a call can ask: sizes beyond memory, far strides, odd float environments."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import Geometry, every_fast_kernel, every_kernel, forced
from numpy.typing import NDArray

import bittwin
from bittwin import _core
from bittwin.requant import Requant

FAR = 1 << 20  # the largest stride and padding that the package takes
ONE = np.ones((1, 1, 1, 1), np.uint8)
REAL = np.linspace(-1.2, 1.2, 4001, dtype=np.float32)  # made here, in the usual rounding mode
glibc_on_x86 = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="numbers of glibc on x86-64"
)


@pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer ends the process"
)
@every_fast_kernel
def test_a_failed_allocation_leaves_nothing_behind(kernel: str) -> None:
    # 2^50 bytes of canvas fit no address space. The next call must not trust the memory given up for them.
    code = f"""
import numpy as np, bittwin
x, w = np.ones((1, 256, 1, 1), np.uint8), np.ones((1, 256, 1, 1), np.int8)
def run(far): return int(bittwin.conv2d_accumulate(x, w, stride=far, padding=far).sum())
assert run(2) == 256
try: run({FAR})
except MemoryError: assert run(2) == 256
else: raise AssertionError("no memory is that large")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"BITTWIN_KERNEL": kernel},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)


@every_fast_kernel
def test_a_canvas_whose_bytes_leave_int64_is_refused(kernel: str) -> None:
    # 7 strides and a tap are 2^21 positions a side: times 2^22 channels 2^64 bytes, modulo 2^64 none.
    channels, stride = 1 << 22, ((1 << 21) - 1) // 7
    x, w = np.ones((1, channels, 1, 1), np.uint8), np.ones((1, channels, 1, 1), np.int8)
    with forced(kernel), pytest.raises(MemoryError):
        bittwin.conv2d_accumulate(x, w, stride=stride, padding=FAR)


@every_kernel
def test_a_transposed_stride_far_beyond_the_output(kernel: str) -> None:
    # One sweep per output phase that holds a pixel, not FAR * FAR of them.
    with forced(kernel):
        out = bittwin.conv_transpose2d_accumulate(
            ONE, np.full((1, 2, 1, 1), 7, np.int8), stride=FAR
        )
    assert out.tolist() == [[[[7]], [[7]]]]


@every_fast_kernel
def test_a_packed_transposed_weight_serves_every_number_of_phases(kernel: str) -> None:
    rng = np.random.default_rng(4)
    weight = rng.integers(-128, 128, (3, 5, 3, 2), np.int8)
    packed = bittwin.pack_weight(weight)
    # Outputs of 3 x 2, 8 x 2, 3 x 7 and 8 x 7 pixels: fewer rows or columns than the stride, and more.
    for size in ((1, 1), (2, 1), (1, 2), (2, 2), (1, 1)):
        x = rng.integers(0, 256, (2, 3, *size), np.uint8)
        with forced("ref"):
            wanted = bittwin.conv_transpose2d_accumulate(x, weight, stride=5)
        with forced(kernel):
            got = bittwin.conv_transpose2d_accumulate(x, packed, stride=5)
        np.testing.assert_array_equal(got, wanted)


@every_kernel
def test_no_columns_cost_no_time_however_many_rows(kernel: str) -> None:
    out = np.empty((1 << 40, 0), np.int32)
    with forced(kernel):
        _core.linear(
            np.empty((1 << 40, 0), np.uint8), np.empty((0, 0), np.int8), None, None, None, None, None, out
        )  # fmt: skip


@pytest.mark.parametrize(
    ("x", "geometry", "words"),
    [
        ((1, 1, 4, 4), Geometry(stride=(1 << 31, 1)), "geometry"),
        ((1, 1, 4, 4), Geometry(padding=(1 << 62, 0, 0, 0)), "geometry"),
        ((1, 1, 4, 4), Geometry(dilation=(1, 1 << 63 - 1)), "geometry"),
        ((0, 1, 1 << 40, 4), Geometry(), "too large"),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_the_binding_refuses_positions_beyond_int64(
    transposed: bool, x: tuple[int, int, int, int], geometry: Geometry, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        _core.conv_output_shape(transposed, x, [1, 1, 3, 3], geometry.core)


def test_the_binding_refuses_an_output_whose_size_leaves_int64() -> None:
    far = Geometry(stride=(1 << 30, 1 << 30)).core
    x, w = np.ones((1, 1, 5, 5), np.uint8), np.ones((1, 1 << 4, 1, 1), np.int8)  # 2^68 outputs
    with pytest.raises(ValueError, match="too large"):
        _core.conv(
            True, x, w, None, far, False, 0, None, None, None, None, np.empty(0, np.int32)
        )  # fmt: skip


@pytest.mark.parametrize(("dtype", "code"), [(np.uint8, 256), (np.int8, -129), (np.uint16, -1)])
def test_the_binding_refuses_a_pad_code_that_x_cannot_hold(dtype: Any, code: int) -> None:
    x, w = np.ones((1, 1, 4, 4), dtype), np.ones((1, 1, 1, 1), np.int8)
    with pytest.raises(ValueError, match="pad_code"):
        _core.conv(
            False, x, w, None, Geometry().core, False, code, None, None, None, None,
            np.empty((1, 1, 4, 4), np.int32),
        )  # fmt: skip


def test_the_binding_refuses_an_infinite_scale() -> None:
    with pytest.raises(ValueError, match="finite"):
        _core.half_even_f32(1.0, float("inf"), -128, 127)


def float_results() -> list[NDArray[Any]]:
    """What the float rules make of numbers that a rounding mode changes."""
    acc = np.arange(-5000, 5000, dtype=np.int32)
    rule = bittwin.half_even_f32(300.0, 17.0)
    real = REAL
    codes, bits = np.empty(real.size, np.uint8), np.zeros(real.size // 8 + 2, np.uint8)
    _core.qat_quantize(real, (100.0, 128.0), (0, 255), codes, bits)
    bias = np.empty(real.size, np.int32)
    _core.qat_bias(real, 12345.6, None, 4, bias)
    value = np.empty((1, acc.size), np.float32)
    _core.qat_finish(acc[None], None, None, rule.core, None, 17.0, value, None, None)
    weight, fused = np.ones((1, 1), np.int8), np.empty((2001, 1), np.int8)
    steps = np.arange(-1000, 1001, dtype=np.int16)[:, None]
    _core.linear(steps, weight, None, rule.core, None, None, None, fused)
    quantized = np.empty(real.size, np.int16)
    _core.quantize(real, 100.0, -128, 127, 0, quantized)
    low, high = np.arange(-999, 999, dtype=np.int32), np.arange(-999, 999, dtype=np.int32)
    split, both = _core.SplitRule(None, 0, 7.0, 0), np.empty(low.size, np.int8)
    _core.split_requantize_into(low, high, None, both, 1, 1, low.size, rule.core, split)
    return [bittwin.requantize(acc, rule), codes, bits, bias, value, fused, quantized, both]


@glibc_on_x86
@every_kernel
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00], ids=["downward", "upward", "toward zero"])
def test_the_threads_rounding_mode_changes_no_code(kernel: str, mode: int) -> None:
    libm = ctypes.CDLL("libm.so.6")
    with forced(kernel):
        wanted = float_results()
        libm.fesetround(mode)
        try:
            got = float_results()
            after = libm.fegetround()
        finally:
            libm.fesetround(0)
    assert after == mode  # and it is the thread's own again
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@every_kernel
def test_flushed_subnormals_change_no_code(kernel: str) -> None:
    pytest.importorskip("torch.nn")  # plain "torch" would find the folder of tests
    import torch

    rule = bittwin.half_even_f32(2.0**127, 2.0**127)  # 1 / 2^127 is subnormal, times 2^127 it is 1
    with forced(kernel):
        if not torch.set_flush_denormal(True):
            pytest.skip("the CPU cannot flush subnormals")
        try:
            assert bittwin.requantize(np.array([-3, 1], np.int32), rule).tolist() == [-3, 1]
        finally:
            torch.set_flush_denormal(False)


@pytest.mark.parametrize("rule", ["lsh", "store"])
def test_the_binding_refuses_a_split_whose_rule_refuses_or_wraps(rule: str) -> None:
    # Nobody looks at the low round's acc << lsh, and kernels differ in codes that their type cannot hold.
    more = {"lsh": (1,)} if rule == "lsh" else {"store": "wrap_u8", "lo": 0, "hi": 255}
    core, x = Requant("odd", **more).core, np.ones((1, 1), np.uint16)
    out = np.empty((1, 1), np.uint8 if rule == "store" else np.int8)
    split = _core.SplitRule(None, 8, 0.0, 0)
    with pytest.raises(ValueError, match="split"):
        _core.linear(x, np.ones((1, 1), np.int8), None, core, None, split, None, out)
    acc = np.ones(1, np.int32)
    with pytest.raises(ValueError, match="split"):
        _core.split_requantize_into(acc, acc, None, out, 1, 1, 1, core, split)


@pytest.mark.parametrize("gain", [0.5, float("inf"), float("nan"), -1.0])
def test_the_binding_refuses_a_split_gain_below_one(gain: float) -> None:
    with pytest.raises(ValueError, match="gain"):
        _core.SplitRule(None, 0, gain, 0)
