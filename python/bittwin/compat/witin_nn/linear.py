# SPDX-License-Identifier: Apache-2.0
"""`WitinLinear`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bittwin.compat.witin_nn.layer import ArrayLayer, checked_config
from bittwin.compat.witin_nn.operators import LinearOperator
from bittwin.compat.witin_nn.settings import Rules

#: The rules of WitinLinear, and of a convolution with to_linear before its last saturation.
LINEAR_RULES = Rules(splits=True)


class WitinLinear(ArrayLayer, torch.nn.Linear):
    """The vendor tool's linear layer, bit for bit.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: whether there is one.
        layer_config: a `WitinLayerConfig`; its values are taken over now.

    Raises:
        AssertionError: no layer_config.

    >>> import torch
    >>> from bittwin.compat.witin_nn import LayerConfigFactory, WitinLinear
    >>> config = LayerConfigFactory.get_default_config()
    >>> config.use_quantization, config.use_auto_scale = True, False
    >>> layer = WitinLinear(2, 1, bias=False, layer_config=config)
    >>> _ = layer.weight.data.copy_(torch.tensor([[10.0, -3.0]]))
    >>> layer(torch.tensor([[2.5, 1.0], [20.0, 0.0]])).tolist()
    [[17.0], [127.0]]
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, layer_config: Any = None
    ) -> None:
        config = checked_config("WitinLinear", layer_config)
        torch.nn.Linear.__init__(self, in_features, out_features, bias)
        self._adopt(config)

    def _rules(self) -> Rules:
        return LINEAR_RULES

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] float32 to [..., out_features] float32."""
        if not self.use_quantization:
            self._clip_stored(self.weight)
            return self._divided(torch.nn.Linear.forward(self, x))
        if x.shape[-1:] != (self.in_features,):
            raise RuntimeError(
                f"WitinLinear: found input {tuple(x.shape)}, wanted [..., {self.in_features}]"
            )
        return self._quantized(x, self.weight, self.bias, LinearOperator())
