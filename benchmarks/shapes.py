# SPDX-License-Identifier: Apache-2.0
"""The shapes of every task, corner-weighted codes for them, and the exact integers that must come out.

70 % of the codes are an end of their range: a kernel that saturates int16 pairs is wrong on such data at
once and right on bell-shaped data always. The exact accumulators come from numpy: float64 products of
integers below 2^53, so no rounding takes place; requantisation is the reference kernel's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import Options

import bittwin
from bittwin import _core

Ints = NDArray[Any]

#: batch, in, out
LINEAR = {
    "S1": (1, 256, 256),
    "S2": (100, 800, 256),
    "S3": (256, 1024, 1024),
    "S4": (1024, 512, 512),
    "S5": (4096, 2048, 1024),
}
_LINEAR_SMOKE = {"S1": (1, 20, 6), "S2": (3, 17, 5)}


@dataclass(frozen=True)
class Conv:
    """Input [N, C, H, W], output channels, and torch's constructor arguments; the kernel is square."""

    size: tuple[int, int, int, int]
    out: int
    kernel: int
    stride: int
    padding: int
    groups: int = 1

    @property
    def fields(self) -> dict[str, Any]:
        """Keyword arguments of a convolution."""
        return {"stride": self.stride, "padding": self.padding, "groups": self.groups}

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """OIHW."""
        return self.out, self.size[1] // self.groups, self.kernel, self.kernel

    @property
    def output(self) -> tuple[int, int, int, int]:
        """NCHW."""
        edge = 2 * self.padding - self.kernel
        h, w = ((n + edge) // self.stride + 1 for n in self.size[2:])
        return self.size[0], self.out, h, w

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding included."""
        return int(np.prod(self.output)) * int(np.prod(self.weight_shape[1:]))


CONV = {
    "8x16": Conv((8, 16, 32, 32), 32, 3, 1, 1),
    "32x64": Conv((32, 64, 56, 56), 64, 3, 1, 1),
    "7x7 s2": Conv((32, 3, 224, 224), 64, 7, 2, 3),
    "depthwise": Conv((32, 128, 28, 28), 128, 3, 1, 1, groups=128),
}
_CONV_SMOKE = {
    "8x16": Conv((2, 4, 6, 6), 4, 3, 1, 1),
    "depthwise": Conv((2, 8, 5, 5), 8, 3, 1, 1, groups=8),
}


def linear_shapes(options: Options) -> dict[str, tuple[int, int, int]]:
    """The linear shapes that the command line chose."""
    return _chosen(_LINEAR_SMOKE if options.smoke else LINEAR, options)


def conv_shapes(options: Options) -> dict[str, Conv]:
    """The convolutions that the command line chose."""
    return _chosen(_CONV_SMOKE if options.smoke else CONV, options)


def _chosen(shapes: dict[str, Any], options: Options) -> dict[str, Any]:
    return {name: s for name, s in shapes.items() if not options.shapes or name in options.shapes}


def corner_codes(
    rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...], dtype: str
) -> Ints:
    """Codes of which 70 % are `low` or `high`."""
    codes = rng.integers(low, high + 1, shape)
    pick = rng.random(shape)
    return np.where(pick < 0.35, low, np.where(pick < 0.7, high, codes)).astype(dtype)


@dataclass(frozen=True)
class Case:
    """Codes of one shape and what must come out.

    Attributes:
        name: the shape's.
        x: uint8 input codes.
        weight: int8 weight codes.
        gain: accumulator units per output code, a power of two; few outputs saturate.
        acc: exact accumulators, int32.
        readout: acc through ``bittwin.readout(gain)``.
        half_even: acc through ``bittwin.half_even(gain)``, the rounding of the peers.
        macs: multiply-accumulates.
        conv: the shape of a convolution, else None.
    """

    name: str
    x: Ints
    weight: Ints
    gain: int
    acc: Ints
    readout: Ints
    half_even: Ints
    macs: int
    conv: Conv | None = None


def linear_case(name: str, m: int, k: int, n: int) -> Case:
    """Corner-weighted codes of a linear shape."""
    rng = np.random.default_rng([m, k, n])
    x = corner_codes(rng, 0, 255, (m, k), "uint8")
    w = corner_codes(rng, -128, 127, (n, k), "int8")
    acc = (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int32)
    return _case(name, x, w, acc, m * k * n, None)


def conv_case(name: str, conv: Conv) -> Case:
    """Corner-weighted codes of a convolution."""
    rng = np.random.default_rng([*conv.size, conv.out])
    x = corner_codes(rng, 0, 255, conv.size, "uint8")
    w = corner_codes(rng, -128, 127, conv.weight_shape, "int8")
    return _case(name, x, w, _exact_conv(x, w, conv), conv.macs, conv)


def _case(name: str, x: Ints, w: Ints, acc: Ints, macs: int, conv: Conv | None) -> Case:
    # float32 carries integers up to 2^24, and the peers requantise in float32.
    assert np.abs(acc).max() < 2**24, "the peers could not be exact on this data"
    gain = int(2 ** np.clip(np.ceil(np.log2(acc.std() / 40 + 1)), 8, 15))
    active = bittwin.active_kernel()
    _core.force_kernel("ref")
    axis = -1 if conv is None else 1
    readout = bittwin.requantize(acc, bittwin.readout(gain), axis=axis)
    half_even = bittwin.requantize(acc, bittwin.half_even(gain), axis=axis)
    _core.force_kernel(active)
    return Case(name, x, w, gain, acc, readout, half_even, macs, conv)


def _exact_conv(x: Ints, w: Ints, conv: Conv) -> Ints:
    """Accumulators by numpy, image by image, each a matrix product over sliding windows."""
    edge = ((0, 0), (conv.padding,) * 2, (conv.padding,) * 2)
    taps = w.astype(np.float64).reshape(conv.groups, conv.out // conv.groups, -1)
    acc = np.empty(conv.output, np.int32)
    for image, result in zip(x, acc, strict=True):
        padded = np.pad(image.astype(np.float64), edge)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (conv.kernel,) * 2, axis=(1, 2))
        windows = windows[:, :: conv.stride, :: conv.stride]
        h, w_ = windows.shape[1:3]
        columns = windows.transpose(0, 3, 4, 1, 2).reshape(conv.groups, -1, h * w_)
        result[...] = (taps @ columns).reshape(conv.out, h, w_)
    return acc
