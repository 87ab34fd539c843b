# SPDX-License-Identifier: Apache-2.0
"""`Linear`, `Conv2d`, `ConvTranspose2d`: torch's layers whose forward is the integer datapath."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from bittwin.nn.base import QuantizedModule
from bittwin.nn.config import QATConfig
from bittwin.nn.spec import LayerSpec

Pair = int | tuple[int, int]


class Linear(QuantizedModule, torch.nn.Linear):
    """`torch.nn.Linear` on the integer datapath.

    Args:
        in_features: as torch's.
        out_features: as torch's.
        bias: as torch's.
        device: as torch's.
        dtype: as torch's; float32 only.
        config: how to quantise; default `QATConfig()`.

    >>> import torch
    >>> from bittwin.nn import Linear, QATConfig
    >>> scales = dict(codes_per_unit_x=256.0, codes_per_unit_w=128.0, codes_per_unit_y=16.0)
    >>> fc = Linear(2, 1, bias=False, config=QATConfig(**scales))
    >>> _ = fc.weight.data.copy_(torch.tensor([[0.5, -0.25]]))
    >>> fc(torch.tensor([[0.5, 0.25]]))
    tensor([[0.1875]], grad_fn=<QuantizedLayerBackward>)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        config: QATConfig | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.init_quantization(config)

    def layer_spec(self) -> LayerSpec:
        """The numbers of this layer's forward pass but its scales."""
        return self._config.spec(self._layer_name, "linear")

    def float_forward(self, x: torch.Tensor) -> torch.Tensor:
        """Torch's own layer."""
        return F.linear(x, self.weight, self.bias)

    def to_images(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] as rows."""
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"layer {self.layer_name!r}: found input {tuple(x.shape)}, wanted [..., {self.in_features}]"
            )
        if x.dim() == 2:
            return x
        return x.unsqueeze(0) if x.dim() == 1 else x.flatten(0, -2)

    def from_images(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Rows back to [..., out]."""
        return y if x.dim() == 2 else y.reshape(*x.shape[:-1], self.out_features)


class _Convolution(QuantizedModule):
    """What both convolutions share: [C, H, W] without a batch axis is taken too."""

    def to_images(self, x: torch.Tensor) -> torch.Tensor:
        """Four axes, padded where padding is not plain zeros."""
        if x.dim() not in (3, 4):
            raise ValueError(
                f"layer {self.layer_name!r}: found input {tuple(x.shape)}, wanted [N, C, H, W] or [C, H, W]"
            )
        images = x if x.dim() == 4 else x.unsqueeze(0)
        channels = int(getattr(self, "in_channels"))  # noqa: B009
        if images.shape[1] != channels:
            raise ValueError(
                f"layer {self.layer_name!r}: found {images.shape[1]} channels, wanted {channels}"
            )
        return images

    def from_images(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Drop the batch axis that was added."""
        return y if x.dim() == 4 else y.squeeze(0)


class Conv2d(_Convolution, torch.nn.Conv2d):
    """`torch.nn.Conv2d` on the integer datapath.

    Args:
        in_channels: as torch's; so are all up to dtype. padding_mode other than zeros pads the float input.
        out_channels: as torch's.
        kernel_size: as torch's.
        stride: as torch's.
        padding: as torch's, ``'same'`` and ``'valid'`` included.
        dilation: as torch's.
        groups: as torch's.
        bias: as torch's.
        padding_mode: as torch's.
        device: as torch's.
        dtype: as torch's; float32 only.
        config: how to quantise; default `QATConfig()`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        config: QATConfig | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]
            device,
            dtype,
        )
        self.init_quantization(config)

    def _sides(self) -> tuple[int, int, int, int]:
        """Padding as (top, left, bottom, right)."""
        left, right, top, bottom = self._reversed_padding_repeated_twice
        return top, left, bottom, right

    def layer_spec(self) -> LayerSpec:
        """The numbers of this layer's forward pass but its scales."""
        return self._config.spec(
            self._layer_name,
            "conv2d",
            stride=tuple(self.stride),
            padding=self._sides() if self.padding_mode == "zeros" else (0, 0, 0, 0),
            dilation=tuple(self.dilation),
            groups=self.groups,
        )

    def to_images(self, x: torch.Tensor) -> torch.Tensor:
        """Four axes, padded here where the padding is not zeros."""
        images = super().to_images(x)
        if self.padding_mode == "zeros":
            return images
        return F.pad(images, self._reversed_padding_repeated_twice, mode=self.padding_mode)

    def float_forward(self, x: torch.Tensor) -> torch.Tensor:
        """Torch's own layer."""
        y: torch.Tensor = self._conv_forward(x, self.weight, self.bias)
        return y


class ConvTranspose2d(_Convolution, torch.nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` on the integer datapath; one group.

    Args:
        in_channels: as torch's; so are all up to dtype.
        out_channels: as torch's.
        kernel_size: as torch's.
        stride: as torch's.
        padding: as torch's.
        output_padding: as torch's.
        groups: 1.
        bias: as torch's.
        dilation: as torch's.
        padding_mode: ``zeros``, as torch's.
        device: as torch's.
        dtype: as torch's; float32 only.
        config: how to quantise; default `QATConfig()`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        config: QATConfig | None = None,
    ) -> None:
        if groups != 1:
            raise ValueError(f"groups: found {groups}, bittwin.nn.ConvTranspose2d wants 1")
        if config is not None:
            self.accepted(config)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,  # type: ignore[arg-type]
            device,
            dtype,
        )
        self.init_quantization(config)

    @classmethod
    def accepted(cls, config: QATConfig) -> QATConfig:
        """Refuse ``shift``: an output sums a part of the kernel only, so no constant takes it out again."""
        if super().accepted(config).negative_input == "shift":
            raise ValueError(
                "negative_input: found 'shift', bittwin.nn.ConvTranspose2d wants 'clamp' or 'split_sign'"
            )
        return config

    def forward(self, x: torch.Tensor, output_size: Any = None) -> torch.Tensor:
        """As the base class; `output_size` must be what the layer's output_padding gives."""
        if output_size is not None:
            wanted = self._output_padding(
                x,
                list(output_size),
                self.stride,  # type: ignore[arg-type]
                self.padding,  # type: ignore[arg-type]
                self.kernel_size,  # type: ignore[arg-type]
                2,
                self.dilation,  # type: ignore[arg-type]
            )
            if tuple(wanted) != tuple(self.output_padding):
                raise ValueError(
                    f"layer {self.layer_name!r}: output_size: found {tuple(output_size)}, which needs "
                    f"output_padding {tuple(wanted)}; the layer has {tuple(self.output_padding)}"
                )
        return super().forward(x)

    def layer_spec(self) -> LayerSpec:
        """The numbers of this layer's forward pass but its scales."""
        height, width = (int(n) for n in self.padding)
        return self._config.spec(
            self._layer_name,
            "conv_transpose2d",
            stride=tuple(self.stride),
            padding=(height, width, height, width),
            dilation=tuple(self.dilation),
            output_padding=tuple(self.output_padding),
        )

    def float_forward(self, x: torch.Tensor) -> torch.Tensor:
        """Torch's own layer."""
        return F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )
