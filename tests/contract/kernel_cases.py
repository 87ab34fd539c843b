# SPDX-License-Identifier: Apache-2.0
"""What the kernel tests share: products as data, run on any kernel, and a model of their sums.

The model knows no kernel: numpy's int64 (no product sum here comes near 2^63), one shifted plane per
kernel position. Finished codes are compared with the reference kernel, which tests/mutants and the
oracle hold to the contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import bittwin
from bittwin import _core
from bittwin.requant import Requant

Array = NDArray[Any]
UNWRITTEN = 77  # what outputs hold before a call: a kernel that forgets one is noticed
X_TYPES = (np.uint8, np.int8, np.uint16, np.int16)
W_TYPES = (np.int8, np.int16)
OUT_TYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32)


KERNELS = tuple(k.name for k in bittwin.kernels() if k.available)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
#: All but the reference, which they are compared with.
every_fast_kernel = pytest.mark.parametrize("kernel", KERNELS[:-1])


@contextmanager
def forced(kernel: str, threads: int | None = None) -> Iterator[None]:
    """Run the body with one kernel and one number of threads; afterwards both are as by default."""
    _core.force_kernel(kernel)
    bittwin.set_num_threads(threads)
    try:
        yield
    finally:
        _core.force_kernel("")
        bittwin.set_num_threads(None)


@dataclass(frozen=True)
class Geometry:
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    output_padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def core(self) -> _core.Geometry:
        return _core.Geometry(
            self.stride, self.padding, self.dilation, self.output_padding, self.groups
        )


@dataclass(frozen=True)
class Call:
    """One call of `_core.linear` or `_core.conv`; x of a convolution is [N, C, H, W]."""

    op: str
    x: Array
    weight: Array
    bias: Array | None = None
    geometry: Geometry = field(default_factory=Geometry)
    channels_last: bool = False
    pad_code: int = 0
    requant: Requant | None = None
    high: Array | None = None  # of the output's logical shape
    split: tuple[Any, ...] | None = None  # arguments of _core.SplitRule
    bias_digital: Array | None = None
    dtype: Any = np.int32

    @property
    def transposed(self) -> bool:
        return self.op == "conv_transpose2d"

    @property
    def out_shape(self) -> tuple[int, ...]:
        if self.op == "linear":
            return (*self.x.shape[:-1], len(self.weight))
        shape = _core.conv_output_shape(
            self.transposed, self.x.shape, self.weight.shape, self.geometry.core
        )
        return tuple(shape)

    def run(self, kernel: str, *, packed: Any = None, threads: int = 1) -> Array | str:
        """Output in logical order, or the message of the refusal."""
        weight = self.weight if packed is None else packed
        rule = None if self.requant is None else self.requant.core
        split = None if self.split is None else _core.SplitRule(*self.split)
        tail = (rule, self.laid(self.high), split, self.bias_digital)
        out = self.laid(np.full(self.out_shape, UNWRITTEN, self.dtype))
        with forced(kernel, threads):
            try:
                if self.op == "linear":
                    _core.linear(self.x, weight, self.bias, *tail, out)
                else:
                    _core.conv(
                        self.transposed,
                        self.laid(self.x),
                        weight,
                        self.bias,
                        self.geometry.core,
                        self.channels_last,
                        self.pad_code,
                        *tail,
                        out,
                    )
            except ValueError as error:
                return str(error)
        return self.logical(out)

    def laid(self, array: Any) -> Any:
        """[N, C, H, W] in the memory order of the call."""
        if array is None or self.op == "linear" or not self.channels_last:
            return array
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))

    def logical(self, out: Array) -> Array:
        """The other way round."""
        return out.transpose(0, 3, 1, 2) if self.op != "linear" and self.channels_last else out


def bare(call: Call) -> Call:
    """The same product without a finish."""
    return replace(
        call, requant=None, high=None, split=None, bias_digital=None, dtype=np.dtype(np.int32)
    )


def assert_equal(got: Array | str, wanted: Array | str, what: object) -> None:
    if isinstance(got, str) or isinstance(wanted, str):
        assert str(got) == str(wanted), what
        return
    np.testing.assert_array_equal(got, wanted, err_msg=str(what))


def wrapped(sums: Array) -> Array:
    """Sums modulo 2^32, as int32."""
    return sums.astype(np.int64).astype(np.int32)


def model(call: Call) -> Array:
    """Accumulators of a call, from numpy's int64."""
    x, w = call.x.astype(np.int64), call.weight.astype(np.int64)
    bias = 0 if call.bias is None else call.bias.astype(np.int64)
    if call.op == "linear":
        return wrapped(x @ w.T + bias)
    shape = call.out_shape
    acc = _transposed(x, w, call, shape) if call.transposed else _conv(x, w, call, shape)
    return wrapped(acc + np.reshape(bias, (-1, 1, 1)))


def _conv(x: Array, w: Array, call: Call, shape: tuple[int, ...]) -> Array:
    at = call.geometry
    top, left, bottom, right = at.padding
    wide = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=call.pad_code)
    wide = wide.reshape(len(x), at.groups, w.shape[1], *wide.shape[2:])
    w = w.reshape(at.groups, len(w) // at.groups, *w.shape[1:])
    acc = np.zeros((len(x), at.groups, w.shape[1], *shape[2:]), np.int64)
    for ky in range(w.shape[3]):
        for kx in range(w.shape[4]):
            y0, x0 = ky * at.dilation[0], kx * at.dilation[1]
            plane = wide[:, :, :, y0 :: at.stride[0], x0 :: at.stride[1]]
            plane = plane[..., : shape[2], : shape[3]]
            acc += np.einsum("ngchw,goc->ngohw", plane, w[:, :, :, ky, kx])
    return acc.reshape(shape)


def _transposed(x: Array, w: Array, call: Call, shape: tuple[int, ...]) -> Array:
    at = call.geometry
    full = [
        (x.shape[2 + i] - 1) * at.stride[i]
        + (w.shape[2 + i] - 1) * at.dilation[i]
        + 1
        + at.output_padding[i]
        for i in (0, 1)
    ]
    acc = np.zeros((len(x), w.shape[1], max(full[0], 0), max(full[1], 0)), np.int64)
    for ky in range(w.shape[2]):
        for kx in range(w.shape[3]):
            y0, x0 = ky * at.dilation[0], kx * at.dilation[1]
            place = acc[:, :, y0 :: at.stride[0], x0 :: at.stride[1]]
            place[:, :, : x.shape[2], : x.shape[3]] += np.einsum(
                "nchw,co->nohw", x, w[:, :, ky, kx]
            )
    top, left = at.padding[:2]
    return acc[:, :, top : top + shape[2], left : left + shape[3]]
