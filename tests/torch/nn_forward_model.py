# SPDX-License-Identifier: Apache-2.0
"""The forward pass of a bittwin.nn layer once more: float32 numpy to the codes, big integers after them."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from nn_cases import Layer
from numpy.typing import NDArray

from bittwin.nn import Conv2d, ConvTranspose2d, Linear
from bittwin.testing import oracle

FAR = 62  # a width in bits at which nothing saturates


class ForwardModel:
    """One layer's integers, from its configuration and float parameters alone."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.config = layer, layer.config
        c = self.config
        assert c.codes_per_unit_x is not None
        assert c.codes_per_unit_w is not None
        assert c.codes_per_unit_y is not None
        self.x_scale, self.w_scale, self.y_scale = (
            c.codes_per_unit_x, c.codes_per_unit_w, c.codes_per_unit_y)  # fmt: skip
        self.product = self.x_scale * self.w_scale
        self.gain = Fraction(self.product) / Fraction(self.y_scale)
        self.shift = self._shift()
        weight = layer.weight.detach().numpy()
        self.weight = oracle.quantize(weight, self.w_scale, bits=c.weight_bits, signed=True)
        self.bias, self.digital = self._bias()

    def _shift(self) -> int:
        c = self.config
        if c.negative_input != "shift":
            return 0
        half = 1 << (c.x_bits - 1)
        if c.shift is None:
            return half
        return int(np.clip(np.rint(np.float32(c.shift * self.x_scale)), 0, 2 * half))

    @property
    def limits(self) -> tuple[int, int]:
        high = (1 << self.config.x_bits) - 1
        return (-high if self.config.negative_input == "split_sign" else 0), high

    def scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The number before rounding: two float32 operations."""
        return x * np.float32(self.x_scale) + np.float32(self.shift)

    def codes(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.clip(np.rint(self.scaled(x)), *self.limits).astype(np.int64)

    def column_sums(self) -> list[int]:
        outputs = 1 if isinstance(self.layer, ConvTranspose2d) else 0
        by_output = np.moveaxis(self.weight, outputs, 0)
        return [int(v) for v in by_output.reshape(by_output.shape[0], -1).sum(axis=1)]

    def _bias(self) -> tuple[list[int], list[int]]:
        c, sums = self.config, self.column_sums()
        real = self.layer.bias
        values = np.zeros(len(sums), np.float32) if real is None else real.detach().numpy()
        units = values * np.float32(self.product)
        rows, digital, low = c.bias_rows, [], []
        for unit, total in zip(units, sums, strict=True):
            taken = self.shift * total
            moved = 0
            if c.x_bits > 8:
                moved = round(float(np.float32(c.bias_digital) * np.float32(self.product)) / 128)
                count = round(round(float(unit) / 128) - moved - Fraction(taken, 128))
            else:
                rest = np.float32(float(unit) - taken)
                count = round(float(rest) / 128)
            digital.append(128 * moved)
            low.append(128 * min(max(count, -128 * rows), 127 * rows))
        return low, digital

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Zero padding that the convolution does, as (top, left, bottom, right)."""
        layer = self.layer
        if not isinstance(layer, Conv2d) or layer.padding_mode != "zeros":
            return 0, 0, 0, 0
        left, right, top, bottom = layer._reversed_padding_repeated_twice
        return top, left, bottom, right

    def products(self, codes: NDArray[np.int64], bias: list[int] | None) -> Any:
        layer = self.layer
        if isinstance(layer, Linear):
            return oracle.accumulate(codes, self.weight, bias)
        if isinstance(layer, Conv2d):
            return oracle.conv2d(
                codes,
                self.weight,
                bias,
                stride=layer.stride,
                padding=(0, 0, 0, 0),  # coded_images has done it
                dilation=layer.dilation,
                groups=layer.groups,
            )
        height, width = layer.padding
        return oracle.conv_transpose2d(
            codes,
            self.weight,
            bias,
            stride=layer.stride,
            padding=(height, width, height, width),
            output_padding=layer.output_padding,
            dilation=layer.dilation,
        )

    def images(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input as the array sees it: batch axis added, float padding done."""
        layer = self.layer
        if isinstance(layer, Linear):
            return x.reshape(-1, layer.in_features)
        x = x if x.ndim == 4 else x[None]
        if isinstance(layer, Conv2d):
            left, right, top, bottom = layer._reversed_padding_repeated_twice
            sides = ((0, 0), (0, 0), (top, bottom), (left, right))
            if layer.padding_mode != "zeros":
                mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
                return np.pad(x, sides, mode=mode[layer.padding_mode])  # type: ignore[call-overload]
        return x

    def coded_images(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes, with the code of 0.0 in a convolution's zero padding."""
        codes = self.codes(self.images(x))
        if codes.ndim == 2:
            return codes
        top, left, bottom, right = self.sides
        zero = int(self.codes(np.zeros(1, np.float32))[0])
        sides = ((0, 0), (0, 0), (top, bottom), (left, right))
        return np.pad(codes, sides, constant_values=zero)

    def accumulators(self, codes: NDArray[np.int64]) -> tuple[Any, Any]:
        """Of the one round and None, or of the low and the high round."""
        if self.config.x_bits == 8:
            return self.products(codes, self.bias), None
        low, high = oracle.split_input(codes)
        return self.products(low, self.bias), self.products(high, None)

    def rule(self) -> Any:
        """Code before saturation, of one accumulator."""
        power = self.gain.numerator & (self.gain.numerator - 1) == 0
        power = power and self.gain.denominator & (self.gain.denominator - 1) == 0
        if self.config.rounding == "readout":
            return partial(oracle.rounded_code, gain=int(self.gain)), None
        if power and (self.gain >= 1 or self.config.x_bits == 8):
            return partial(oracle.half_even, gain=self.gain, bits=FAR), None
        whole = round(float(np.float64(self.product) / self.y_scale))
        floats = partial(
            oracle.half_even_f32,
            scale_product=self.product,
            codes_per_unit=self.y_scale,
            bits=FAR,
        )
        return floats, whole

    def output_codes(self, low: Any, high: Any) -> NDArray[np.int64]:
        c = self.config
        lo, hi = oracle.code_range(c.y_bits)
        rule, whole = self.rule()
        code = np.asarray(rule(low))
        if high is not None:
            if c.rounding == "half_even":
                code = np.clip(code, lo, hi)
            digital = np.array(self.digital).reshape(1, -1, *[1] * (code.ndim - 2))
            total = 256 * np.asarray(high) + digital
            if whole is None:
                code = code + oracle.half_even(total, self.gain, FAR)
            else:
                code = code + np.rint(total.astype(np.float32) / np.float32(whole)).astype(np.int64)
        return np.clip(code, lo, hi).astype(np.int64)

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Output codes [m, out] or [N, O, H, W]."""
        return self.output_codes(*self.accumulators(self.coded_images(x)))
