# SPDX-License-Identifier: Apache-2.0
"""The contract headers, compiled into a small C library and called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from contract.implementation import Array, Geometry, Split, Stages

from bittwin.testing import oracle

CSRC = Path(__file__).resolve().parents[2] / "csrc"
SHIM = Path(__file__).with_name("shim.cpp")
MIDDLES = ("exact", "clip32", "wrap16")


def compiler() -> str | None:
    """Path of a C++ compiler: $CXX, c++, g++ or clang++."""
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def copy_headers(folder: Path) -> None:
    """Copy the contract headers and the reference kernels' headers, to be changed there."""
    for part in ("include/bittwin", "kernels"):
        target = folder / part
        target.mkdir(parents=True, exist_ok=True)
        for header in sorted((CSRC / part).glob("*.h")):
            shutil.copy(header, target / header.name)


def build(folder: Path, cxx: str) -> Path:
    """Compile the shim against the headers in a folder; the flags are the extension's own."""
    library = folder / "shim.so"
    command = [cxx, "-std=c++17", "-O0", "-shared", "-fPIC", "-fwrapv", "-ffp-contract=off"]
    command += [f"-I{folder / 'include'}", f"-I{folder}", str(SHIM), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return library


def _at(array: Array | None) -> Any:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


def _limits(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _dense(array: Any, dtype: Any) -> Array:
    return np.ascontiguousarray(array, dtype=dtype)


class ShimLibrary:
    """One compiled set of headers, as an implementation of the contract."""

    def __init__(self, path: Path, linear: str = "shim_linear_u8s8") -> None:
        self.lib = ctypes.CDLL(str(path))
        self.lib.shim_two_stage.restype = ctypes.c_int64
        self.linear_name = linear

    def _map(self, name: str, values: Any, dtype: Any, *settings: int) -> Array:
        source = _dense(values, dtype)
        out = np.zeros(source.shape, np.int64)
        tail = [ctypes.c_int(s) for s in settings]
        getattr(self.lib, name)(_at(source), ctypes.c_int64(source.size), *tail, _at(out))
        return out

    def _requantise(self, name: str, acc: Array, high: Array | None, *settings: Any) -> Array:
        source, out = _dense(acc, np.int32), np.zeros(acc.shape, np.int64)
        digital = None if high is None else _dense(high, np.int32)
        count = ctypes.c_int64(source.size)
        getattr(self.lib, name)(_at(source), _at(digital), _at(out), count, *settings)
        return out

    def round_shift(self, v: Array, shift: int, mode: str) -> Array:
        number = oracle_index(mode)
        return self._map("shim_round_shift", v, np.int64, shift, number)

    def round_real(self, v: Array, mode: str) -> Array:
        return self._map("shim_round_real", v, np.float64, oracle_index(mode))

    def wrap(self, v: Array, bits: int) -> Array:
        return self._map("shim_wrap", v, np.int64, bits)

    def dac(self, byte: Array, signed: bool, invert: bool, doubled: bool) -> Array:
        return self._map("shim_dac", byte, np.uint8, signed, invert, doubled)

    def post_adder(self, byte: Array, right: bool, num: int) -> Array:
        return self._map("shim_post_adder", byte, np.int32, right, num)

    def quantize_value(
        self, v: Array, codes_per_unit: float, shift: int, limits: tuple[int, int]
    ) -> tuple[Array, Array]:
        source = _dense(v, np.float32)
        codes, inside = np.zeros(v.shape, np.int32), np.zeros(v.shape, np.int32)
        self.lib.shim_quantize_value(
            _at(source),
            ctypes.c_int64(source.size),
            _at(np.array([codes_per_unit, shift], np.float32)),
            _at(np.array(limits, np.int32)),
            _at(codes),
            _at(inside),
        )
        return codes, inside

    def inside_limits(self, acc: Array, gain: int, rule: str, bits: int) -> Array:
        log2 = gain.bit_length() - 1
        return self._map("shim_inside_limits", acc, np.int32, log2, rule == "readout", bits)

    def split(self, x: Array) -> tuple[Array, Array]:
        source = _dense(x, np.int32)
        low, high = np.zeros_like(source), np.zeros_like(source)
        self.lib.shim_split(_at(source), ctypes.c_int64(source.size), _at(low), _at(high))
        return low, high

    def two_stage(
        self, acc: Array, stages: Stages, high: Array | None = None, store: int = 0
    ) -> Array:
        source, out = _dense(acc, np.int32), np.zeros(acc.shape, np.int64)
        digital = None if high is None else _dense(high, np.int32)
        per = (stages.lsh, stages.multiplier, stages.shift1, stages.shift2)
        sets = max(len(p) for p in per)
        table = np.stack([np.resize(np.array(p, np.int64), sets) for p in per], axis=1)
        modes = [oracle_index(stages.rounding1), oracle_index(stages.rounding2)]
        limits = [stages.zero_point, stages.lo, stages.hi, store]
        settings = np.array([MIDDLES.index(stages.middle), *modes, *limits], np.int64)
        channels = ctypes.c_int64(sets)
        outer = ctypes.c_int64(source.size // sets)
        refused = self.lib.shim_two_stage(
            _at(source), _at(digital), _at(out), outer, channels, _at(settings),
            _at(np.ascontiguousarray(table)), channels,
        )  # fmt: skip
        assert refused == -1, f"lsh: accumulator {refused} was refused"
        return out

    def readout(
        self, acc: Array, gain: int, bits: int, overflow: str, high: Array | None = None
    ) -> Array:
        wrap = int(overflow == "wrap16")
        ends = [ctypes.c_int64(v) for v in _limits(bits)]
        return self._requantise("shim_readout", acc, high, gain.bit_length() - 1, wrap, *ends)

    def unsigned_store(self, acc: Array, gain: int, high: Array | None = None) -> Array:
        shift = (gain.bit_length() - 3,)
        stages = Stages(shift1=shift, rounding1="toward_zero", shift2=(2,), lo=0, hi=255)
        return self.two_stage(acc, stages, high, store=1)

    def half_even(self, acc: Array, gain: int, bits: int, high: Array | None = None) -> Array:
        ends = [ctypes.c_int64(v) for v in _limits(bits)]
        return self._requantise("shim_half_even", acc, high, gain.bit_length() - 1, *ends)

    def half_even_f32(
        self,
        acc: Array,
        scale_product: float,
        codes_per_unit: float,
        bits: int,
        high: Array | None = None,
    ) -> Array:
        scales = [ctypes.c_float(scale_product), ctypes.c_float(codes_per_unit)]
        ends = [ctypes.c_int64(v) for v in _limits(bits)]
        return self._requantise("shim_half_even_f32", acc, high, *scales, *ends)

    def quantize_bias(self, bias: Array, rows: int) -> Array:
        if bias.dtype.kind == "f":
            return self._bias("shim_bias_real", bias, np.float32, rows)
        return self._bias("shim_bias_units", bias, np.int64, rows)

    def _bias(self, name: str, bias: Array, dtype: Any, rows: int) -> Array:
        return self._map(name, bias, dtype, rows)

    def split_linear(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        bias_digital: Array | None,
        how: Split,
    ) -> Array:
        low_x, high_x = self.split(x)
        low = _dense(oracle.accumulate(low_x, weight, bias), np.int32)
        high = _dense(oracle.accumulate(high_x, weight), np.int32)
        digital = None if bias_digital is None else _dense(bias_digital, np.int32)
        out = np.zeros(low.shape, np.int64)
        single = how.rule == "half_even_f32"
        whole = round(how.scale_product / how.codes_per_unit) if single else 0
        scales = np.array([how.scale_product, how.codes_per_unit, whole], np.float32)
        log2 = 0 if single else how.gain.bit_length() - 1
        limits = (0, 0, 0) if how.low_bits is None else (1, *_limits(how.low_bits))
        mode = oracle_index(how.high_rounding)
        numbers = [how.rule == "readout", log2, *limits, mode, *_limits(how.bits)]
        self.lib.shim_split_requantize(
            _at(low),
            _at(high),
            _at(digital),
            _at(out),
            ctypes.c_int64(len(x)),
            ctypes.c_int64(len(weight)),
            _at(np.array(numbers, np.int64)),
            _at(scales),
        )
        return out

    def relu(self, code: Array, gain: int) -> Array:
        return self._map("shim_relu", code, np.int32, gain)

    def clip(self, code: Array, limit: int) -> Array:
        return self._map("shim_clip", code, np.int32, limit)

    def lookup(self, code: Array, table: Array) -> Array:
        index = self._map("shim_table_index", code, np.int32, table.size)
        return np.take(table, index, mode="clip")

    def accumulate(self, x: Array, weight: Array, bias: Array | None, wrap: bool) -> Array:
        wide = x.dtype == np.int16
        name = "shim_linear_s16s16" if wide else self.linear_name
        acc = np.zeros((len(x), len(weight)), np.int32)
        sizes = [ctypes.c_int64(n) for n in (len(x), x.shape[1], len(weight))]
        getattr(self.lib, name)(_at(x), _at(weight), _at(bias), _at(acc), *sizes)
        return acc

    def _conv(
        self, name: str, x: Array, w: Array, bias: Array | None, at: Geometry, out: Array
    ) -> Array:
        n, c, h, width = x.shape
        o, out_h, out_w = out.shape[1:]
        shape = [n, c, h, width, o, out_h, out_w, *w.shape[2:], *at.stride]
        shape += [*at.padding[:2], *at.dilation, at.groups]
        numbers = np.array(shape, np.int64)
        getattr(self.lib, name)(_at(x), _at(w), _at(bias), _at(out), _at(numbers))
        return out

    def conv2d(self, x: Array, weight: Array, bias: Array | None, at: Geometry) -> Array:
        reach = [at.dilation[i] * (weight.shape[2 + i] - 1) + 1 for i in (0, 1)]
        size = [
            (x.shape[2 + i] + at.padding[i] + at.padding[i + 2] - reach[i]) // at.stride[i] + 1
            for i in (0, 1)
        ]
        out = np.zeros((len(x), len(weight), *size), np.int32)
        return self._conv("shim_conv2d", x, weight, bias, at, out)

    def conv_transpose2d(self, x: Array, weight: Array, bias: Array | None, at: Geometry) -> Array:
        reach = [at.dilation[i] * (weight.shape[2 + i] - 1) + 1 for i in (0, 1)]
        size = [
            (x.shape[2 + i] - 1) * at.stride[i] - at.padding[i] - at.padding[i + 2]
            + reach[i] + at.output_padding[i]
            for i in (0, 1)
        ]  # fmt: skip
        out = np.zeros((len(x), weight.shape[1], *size), np.int32)
        return self._conv("shim_conv_transpose2d", x, weight, bias, at, out)

    def bound(self, weight: Array, bias: Array | None, x_lo: int, x_hi: int) -> tuple[int, int]:
        out = np.zeros(2, np.int64)
        sizes = [ctypes.c_int64(v) for v in (*weight.shape, x_lo, x_hi)]
        self.lib.shim_bound(_at(weight), _at(bias), *sizes, _at(out))
        return int(out[0]), int(out[1])


def oracle_index(mode: str) -> int:
    """Number of a rounding in the headers' enum, which has the order of docs/spec/rounding.md."""
    return oracle.ROUNDINGS.index(mode)
