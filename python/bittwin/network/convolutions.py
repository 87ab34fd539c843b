# SPDX-License-Identifier: Apache-2.0
"""Convolution layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import four_sides, integer, pair
from bittwin._conv_settings import conv_settings
from bittwin._products import Finish, conv_product
from bittwin.errors import NetworkError
from bittwin.network.arrays import ArrayLayer


@dataclass(frozen=True, eq=False)
class Conv2d(ArrayLayer):
    """A convolution: weight [O, I / groups, kh, kw], input [frames, I, H, W]; see `bittwin.conv2d`.

    Attributes:
        stride: (height, width).
        padding: (top, left, bottom, right), in codes.
        dilation: (height, width).
        groups: number of channel groups.
        pad_value: the code that padding holds; a layer that reads shifted codes pads with the shift.
    """

    kind: ClassVar[str] = "conv2d"
    weight_axes: ClassVar[int] = 4
    channel_axis: ClassVar[int] = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0

    def _check_geometry(self) -> None:
        _check_sizes(self)
        integer("groups", self.groups, 1, 1 << 20)
        high = (1 << self.x_bits) - 1
        integer("pad_value", self.pad_value, -high if self.x_signed else 0, high)

    def _codes(self, x: Any) -> NDArray[Any]:
        codes = super()._codes(x)
        if codes.dtype == np.int8 and not -128 <= self.pad_value <= 127:
            return codes.astype(np.int16)  # which holds the padding too
        return codes

    def _product(
        self,
        codes: NDArray[Any],
        bias: NDArray[np.int32] | None,
        finish: Finish | None,
        x_bits: int,
        pad_value: int | None = None,
    ) -> NDArray[Any]:
        settings = conv_settings(self.stride, self.padding, self.dilation, 0, self.groups)
        pad = self.pad_value if pad_value is None else pad_value
        return conv_product(
            False, codes, self.packed, bias, settings, finish,
            pad_value=pad, out=None, layout="NCHW", overflow="wrap32", x_bits=x_bits,
        )  # fmt: skip

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[I, H, W] -> [O, out_h, out_w]."""
        return _empty_run_shape(self, input_shape)

    def settings(self) -> dict[str, Any]:
        """The shared settings and the geometry."""
        extra = {"groups": self.groups, "pad_value": self.pad_value}
        return super().settings() | _listed(_sizes(self)) | extra


@dataclass(frozen=True, eq=False)
class ConvTranspose2d(ArrayLayer):
    """A transposed convolution: weight [I, O, kh, kw]; see `bittwin.conv_transpose2d`."""

    kind: ClassVar[str] = "conv_transpose2d"
    weight_axes: ClassVar[int] = 4
    out_axis: ClassVar[int] = 1
    channel_axis: ClassVar[int] = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def _check_geometry(self) -> None:
        _check_sizes(self)
        object.__setattr__(self, "output_padding", pair("output_padding", self.output_padding, 0))

    def columns(self) -> NDArray[Any]:
        """The weight as [out, products per output]."""
        by_output = self.weight.transpose(1, 0, 2, 3)
        columns: NDArray[Any] = by_output.reshape(self.out_channels, math.prod(by_output.shape[1:]))
        return columns

    def _product(
        self,
        codes: NDArray[Any],
        bias: NDArray[np.int32] | None,
        finish: Finish | None,
        x_bits: int,
        pad_value: int | None = None,
    ) -> NDArray[Any]:
        settings = conv_settings(self.stride, self.padding, self.dilation, self.output_padding, 1)
        return conv_product(
            True, codes, self.packed, bias, settings, finish,
            pad_value=0, out=None, layout="NCHW", overflow="wrap32", x_bits=x_bits,
        )  # fmt: skip

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[I, H, W] -> [O, out_h, out_w]."""
        return _empty_run_shape(self, input_shape)

    def settings(self) -> dict[str, Any]:
        """The shared settings and the geometry."""
        extra = {"output_padding": list(self.output_padding)}
        return super().settings() | _listed(_sizes(self)) | extra


def _check_sizes(layer: Conv2d | ConvTranspose2d) -> None:
    object.__setattr__(layer, "stride", pair("stride", layer.stride, 1))
    object.__setattr__(layer, "padding", four_sides("padding", layer.padding))
    object.__setattr__(layer, "dilation", pair("dilation", layer.dilation, 1))


def _sizes(layer: Conv2d | ConvTranspose2d) -> dict[str, Any]:
    return {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) for k, v in settings.items()}


def _empty_run_shape(
    layer: Conv2d | ConvTranspose2d, input_shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Let the kernel's own geometry answer: run a batch of no frames."""
    try:
        codes = layer.run(np.zeros((0, *input_shape), np.uint8))
    except (TypeError, ValueError) as error:
        raise NetworkError(f"layer {layer.name!r}: {error}") from None
    shape: tuple[int, ...] = codes.shape[1:]
    return shape
