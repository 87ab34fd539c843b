# SPDX-License-Identifier: Apache-2.0
"""Convolution layers over time: frames are columns [C, H, 1], the history is the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network.arrays import ArrayLayer
from bittwin.network.base import State, as_codes
from bittwin.network.convolutions import Conv2d, ConvTranspose2d
from bittwin.recurrent import conv2d_frames, conv_transpose2d_frames, first_history


@dataclass(frozen=True, eq=False)
class _OverTime(ArrayLayer):
    """What both kinds share: time is the width, so there stride is 1 and the padding is the history."""

    stateful: ClassVar[bool] = True

    def _check_geometry(self) -> None:
        super()._check_geometry()
        stride, padding = self._geometry()
        if stride[1] != 1 or padding[1] or padding[3]:
            raise ValueError(
                f"stride, padding: found {stride} and {padding}, wanted stride 1 and no padding over time "
                "(the width): the history takes its place"
            )

    def _geometry(self) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        raise NotImplementedError

    def _history(self, channels: int, height: int) -> State:
        raise NotImplementedError

    def _accumulate(
        self, codes: NDArray[Any], bias: NDArray[np.int32] | None, state: State
    ) -> tuple[NDArray[np.int32], State]:
        raise NotImplementedError

    def _codes(self, x: Any) -> NDArray[Any]:
        # Not the image layer's: a pad value is given to the kernel and to the first history.
        codes = as_codes(x, self.x_bits, self.x_signed)
        if codes.ndim != 4 or codes.shape[3] != 1:
            raise ValueError(f"x: found shape {codes.shape}, wanted [frames, C, H, 1]")
        return codes

    def _products(self, codes: NDArray[Any], bias: NDArray[np.int32] | None) -> NDArray[np.int32]:
        return self._accumulate(codes, bias, self._history(*codes.shape[1:3]))[0]

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute the output codes of frames in time order, from the first."""
        return self.requantize(self.accumulate(x))

    def initial_state(self, input_shape: tuple[int, ...]) -> State:
        """The history before the first frame of shape [C, H, 1]."""
        if len(input_shape) != 3 or input_shape[2] != 1:
            raise NetworkError(
                f"layer {self.name!r}: found input shape {tuple(input_shape)}, wanted (C, H, 1)"
            )
        return self._history(*input_shape[:2])

    def run_state(self, x: NDArray[Any], state: State) -> tuple[NDArray[Any], State]:
        """Compute frames in time order, going on from a state; return the codes and the next state."""
        if not isinstance(state, tuple | list) or len(state) != 1:
            raise ValueError(f"state: found {type(state).__name__}, wanted (history,)")
        acc, after = self._accumulate(self._codes(x), self.bias, tuple(state))
        return self.requantize(acc), after


@dataclass(frozen=True, eq=False)
class StreamConv2d(_OverTime, Conv2d):
    """A convolution over time: weight [O, I / groups, kh, kw], input [frames, I, H, 1].

    The same codes as `Conv2d` on the image [I, H, frames] with (kw - 1) * dilation columns of padding on the
    left; see `bittwin.recurrent.conv2d_frames`. `stride` and `padding` act on the height.
    """

    kind: ClassVar[str] = "stream_conv2d"

    def _geometry(self) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        return self.stride, self.padding

    def _history(self, channels: int, height: int) -> State:
        width = self.weight.shape[3]
        spaces = self.dilation[1]
        return (first_history(channels, height, width, dilation=spaces, pad_value=self.pad_value),)

    def _accumulate(
        self, codes: NDArray[Any], bias: NDArray[np.int32] | None, state: State
    ) -> tuple[NDArray[np.int32], State]:
        acc, after = conv2d_frames(
            codes,
            state[0],
            self.weight,
            bias,
            stride=self.stride[0],
            padding=(self.padding[0], self.padding[2]),
            dilation=self.dilation,
            groups=self.groups,
            pad_value=self.pad_value,
            **self._wrap(),
        )
        return acc, (after,)


@dataclass(frozen=True, eq=False)
class StreamConvTranspose2d(_OverTime, ConvTranspose2d):
    """A transposed convolution over time: weight [I, O, kh, kw], input [frames, I, H, 1].

    The first columns of `ConvTranspose2d` on the image [I, H, frames], as many as there are frames; see
    `bittwin.recurrent.conv_transpose2d_frames`.
    """

    kind: ClassVar[str] = "stream_conv_transpose2d"

    def _check_geometry(self) -> None:
        super()._check_geometry()
        if self.output_padding[1]:
            raise ValueError(
                f"output_padding: found {self.output_padding}, wanted 0 over time (the width)"
            )

    def _geometry(self) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        return self.stride, self.padding

    def _history(self, channels: int, height: int) -> State:
        width = self.weight.shape[3]
        return (first_history(channels, height, width, dilation=self.dilation[1]),)

    def _accumulate(
        self, codes: NDArray[Any], bias: NDArray[np.int32] | None, state: State
    ) -> tuple[NDArray[np.int32], State]:
        acc, after = conv_transpose2d_frames(
            codes,
            state[0],
            self.weight,
            bias,
            stride=self.stride[0],
            padding=(self.padding[0], self.padding[2]),
            output_padding=self.output_padding[0],
            dilation=self.dilation,
            **self._wrap(),
        )
        return acc, (after,)
