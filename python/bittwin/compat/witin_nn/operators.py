# SPDX-License-Identifier: Apache-2.0
"""The three products: exact INT32 forward by bittwin's kernels, float backward by torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import bittwin

Pair = tuple[int, int]


class Operator(Protocol):
    """What a round needs to know of its product; `g` is the gradient of the output."""

    @property
    def weight_axis(self) -> int:
        """Axis of the weight that counts outputs."""

    def accumulate(
        self, x: NDArray[Any], w: NDArray[Any], b: NDArray[np.int32] | None, x_bits: int
    ) -> NDArray[np.int32]:
        """INT32 accumulators of codes, exact."""

    def value(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """The product of real values, by torch."""

    def input_gradient(self, g: Tensor, w: Tensor, x_shape: torch.Size) -> Tensor:
        """Gradient of the input."""

    def weight_gradient(self, g: Tensor, x: Tensor, w_shape: torch.Size) -> Tensor:
        """Gradient of the weight."""

    def per_output(self, values: NDArray[Any]) -> NDArray[Any]:
        """[out] spread so that it broadcasts over the output."""

    def output_sum(self, g: Tensor) -> Tensor:
        """[out]: the sum over everything but the outputs."""


@dataclass(frozen=True)
class LinearOperator:
    """[..., in] with weight [out, in]."""

    weight_axis: int = 0

    def accumulate(
        self, x: NDArray[Any], w: NDArray[Any], b: NDArray[np.int32] | None, x_bits: int
    ) -> NDArray[np.int32]:
        """See `Operator`."""
        return bittwin.accumulate(x, w, b, x_bits=x_bits)

    def value(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `Operator`."""
        return functional.linear(x, w, b)

    def input_gradient(self, g: Tensor, w: Tensor, x_shape: torch.Size) -> Tensor:
        """See `Operator`."""
        return g @ w

    def weight_gradient(self, g: Tensor, x: Tensor, w_shape: torch.Size) -> Tensor:
        """See `Operator`."""
        return g.reshape(-1, w_shape[0]).t() @ x.reshape(-1, w_shape[1])

    def per_output(self, values: NDArray[Any]) -> NDArray[Any]:
        """See `Operator`."""
        return values

    def output_sum(self, g: Tensor) -> Tensor:
        """See `Operator`."""
        return g.reshape(-1, g.shape[-1]).sum(0)


class _Convolution:
    """What both convolutions share: [N, C, H, W] and torch's one backward for the two."""

    def _gradients(
        self, g: Tensor, x: Tensor, w: Tensor, wanted: tuple[bool, bool]
    ) -> tuple[Tensor, Tensor]:
        stride, padding, dilation, transposed, output_padding, groups = self._torch_geometry()
        gradients = torch.ops.aten.convolution_backward(
            g,
            x,
            w,
            None,
            stride,
            padding,
            dilation,
            transposed,
            output_padding,
            groups,
            (*wanted, False),
        )
        return gradients[0], gradients[1]

    def _torch_geometry(self) -> tuple[Pair, Pair, Pair, bool, Pair, int]:
        raise NotImplementedError

    def input_gradient(self, g: Tensor, w: Tensor, x_shape: torch.Size) -> Tensor:
        """See `Operator`."""
        return self._gradients(g, g.new_zeros(()).expand(x_shape), w, (True, False))[0]

    def weight_gradient(self, g: Tensor, x: Tensor, w_shape: torch.Size) -> Tensor:
        """See `Operator`."""
        return self._gradients(g, x, g.new_zeros(()).expand(w_shape), (False, True))[1]

    def per_output(self, values: NDArray[Any]) -> NDArray[Any]:
        """See `Operator`."""
        return values[:, None, None]

    def output_sum(self, g: Tensor) -> Tensor:
        """See `Operator`."""
        return g.sum((0, 2, 3))


@dataclass(frozen=True)
class ConvOperator(_Convolution):
    """[N, C, H, W], already padded, with weight [O, C / groups, kh, kw]."""

    stride: Pair
    dilation: Pair
    groups: int
    weight_axis: int = 0

    def accumulate(
        self, x: NDArray[Any], w: NDArray[Any], b: NDArray[np.int32] | None, x_bits: int
    ) -> NDArray[np.int32]:
        """See `Operator`."""
        return bittwin.conv2d_accumulate(
            x,
            w,
            b,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            x_bits=x_bits,
        )

    def value(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `Operator`."""
        return functional.conv2d(x, w, b, self.stride, 0, self.dilation, self.groups)

    def _torch_geometry(self) -> tuple[Pair, Pair, Pair, bool, Pair, int]:
        return self.stride, (0, 0), self.dilation, False, (0, 0), self.groups


@dataclass(frozen=True)
class ConvTransposeOperator(_Convolution):
    """[N, C, H, W] with weight [C, O, kh, kw]."""

    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    weight_axis: int = 1

    def accumulate(
        self, x: NDArray[Any], w: NDArray[Any], b: NDArray[np.int32] | None, x_bits: int
    ) -> NDArray[np.int32]:
        """See `Operator`."""
        return bittwin.conv_transpose2d_accumulate(
            x,
            w,
            b,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            x_bits=x_bits,
        )

    def value(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `Operator`."""
        return functional.conv_transpose2d(
            x, w, b, self.stride, self.padding, self.output_padding, 1, self.dilation
        )

    def _torch_geometry(self) -> tuple[Pair, Pair, Pair, bool, Pair, int]:
        return self.stride, self.padding, self.dilation, True, self.output_padding, 1
