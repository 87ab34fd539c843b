# SPDX-License-Identifier: Apache-2.0
"""What the three array layers share: configuration, automatic scales, the quantised forward."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from bittwin.compat.witin_nn.autoscale import AutoScale
from bittwin.compat.witin_nn.config import WitinLayerConfig
from bittwin.compat.witin_nn.fields import refuse
from bittwin.compat.witin_nn.job import Job
from bittwin.compat.witin_nn.operators import Operator
from bittwin.compat.witin_nn.schedule import Scheduled, largest
from bittwin.compat.witin_nn.settings import Rules, Scales, Settings, real
from bittwin.compat.witin_nn.straight_through import quantized


def checked_config(layer: str, layer_config: Any) -> WitinLayerConfig:
    """A layer without a configuration is refused, in the tool's words."""
    if not isinstance(layer_config, WitinLayerConfig):
        refuse(f"{layer} layer_config is None")
    config: WitinLayerConfig = layer_config
    return config


class ArrayLayer(Scheduled):
    """A layer of the array; goes in front of torch's own layer class.

    Attributes:
        layer_config: the configuration given; the layer has its own copy of the values.
        index: number of that configuration.
        use_quantization: quantised forward; may be switched afterwards.
        auto_scale_updata_step: training forwards that take part in the scales' estimate.
    """

    layer_config: WitinLayerConfig
    index: int
    autoscale_x_obj: AutoScale
    autoscale_y_obj: AutoScale
    autoscale_weight_obj: AutoScale

    def _adopt(self, config: WitinLayerConfig) -> None:
        """Take the configuration over; the children keep the order of the tool's checkpoints."""
        self.layer_config = config
        self.index = config.index
        self.use_quantization = config.use_quantization
        self.auto_scale_updata_step = config.auto_scale_updata_step
        self._settings = Settings.of(config)
        if self.use_quantization:  # as early as possible
            self._settings.refuse_noise(type(self).__name__, self._rules())
        self._scales = Scales(
            float(config.scale_x), float(config.scale_weight), float(config.scale_y)
        )
        self._forwards = 0
        self.autoscale_x_obj = AutoScale(self._settings.x_bits)
        self.autoscale_y_obj = AutoScale(self._settings.y_bits)
        self.autoscale_weight_obj = AutoScale(8)

    def _rules(self) -> Rules:
        raise NotImplementedError

    def _statistics(self) -> tuple[AutoScale, AutoScale, AutoScale]:
        return self.autoscale_x_obj, self.autoscale_weight_obj, self.autoscale_y_obj

    def _quantized(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, operator: Operator
    ) -> Tensor:
        """The quantised forward; statistics and scales move on when training."""
        rules, name = self._rules(), type(self).__name__
        self._settings.refuse_noise(name, rules)
        self._settings.check_bits(name)
        if torch.is_autocast_enabled(x.device.type) and x.is_floating_point():
            x = x.to(weight.dtype)
        if x.dtype != weight.dtype or x.dtype not in (torch.float32, torch.float64):
            raise RuntimeError(
                f"{name}: found {x.dtype} input and {weight.dtype} weights, wanted torch.float32 for both "
                "(or torch.float64, in a layer made .double())"
            )
        if self._settings.use_auto_scale and not self.training:
            self._rescale()
        job = Job(
            operator=operator,
            rules=rules,
            settings=self._settings,
            scales=self._scales,
            g=real(self._settings.g),
            observe=partial(self._observe, x, weight),
        )
        return quantized(x, weight, bias, job)

    def _observe(self, x: Tensor, weight: Tensor, largest_output: float) -> float:
        """One training forward's statistics; returns the output scale in force from here on."""
        # An empty batch has no maximum: it does not count.
        if self._settings.use_auto_scale and self.training and x.numel():
            self._advance(lambda: (largest(x), largest(weight), largest_output))
        return self._scales.y

    def _rescale(self) -> None:
        bits = (
            self._settings.x_scale_bits(self._rules()),
            self._settings.weight_bits,
            self._settings.y_bits,
        )
        self._scales = Scales(*(s.scale(b) for s, b in zip(self._statistics(), bits, strict=True)))

    def _divided(self, y: Tensor) -> Tensor:
        """Float mode: the output over G_algo, and nothing else."""
        result: Tensor = y / self._settings.g
        return result

    def _clip_stored(self, weight: Tensor) -> None:
        """Float mode with w_clip overwrites the stored weight, in eval() too."""
        if self._settings.w_clip:
            with torch.no_grad():
                weight.clamp_(-self._settings.w_clip, self._settings.w_clip)
