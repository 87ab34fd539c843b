# SPDX-License-Identifier: Apache-2.0
"""Ready-made configurations; names spelt as in the tool."""

from __future__ import annotations

from typing import Any

from bittwin.compat.witin_nn.config import WitinGlobalConfig, WitinLayerConfig
from bittwin.compat.witin_nn.enums import HandleNegInType, NoiseModel


def _with(**fields: Any) -> WitinGlobalConfig:
    config = WitinGlobalConfig()
    for name, value in fields.items():
        setattr(config, name, value)
    return config


_WTM2100 = {
    "use_quantization": True,
    "handle_neg_in": HandleNegInType.PN,
    "x_quant_bits": 8,
    "y_quant_bits": 8,
    "scale_x": 16,
    "scale_y": 16,
    "scale_weight": 16,
}


class GlobalConfigFactory:
    """Settings of the one `WitinGlobalConfig`; each method changes it and returns it."""

    @staticmethod
    def show_defaut_config() -> WitinGlobalConfig:
        """Every field back to its default."""
        config = WitinGlobalConfig()
        config._reset()
        return config

    @staticmethod
    def get_dafault_config() -> WitinGlobalConfig:
        """The configuration as it stands."""
        return WitinGlobalConfig()

    @staticmethod
    def get_float_train_torch_config() -> WitinGlobalConfig:
        """Float training: quantisation off."""
        return _with(use_quantization=False)

    @staticmethod
    def get_qat_train_wtm2100_config() -> WitinGlobalConfig:
        """Quantisation-aware training with automatic scales, re-estimated over 20 steps."""
        return _with(**_WTM2100, auto_scale_updata_step=20, use_auto_scale=True)

    @staticmethod
    def get_qat_nat_train_wtm2100_config() -> WitinGlobalConfig:
        """Training with noise level 4; layers built from it are refused until noise models are here."""
        return _with(**_WTM2100, noise_model=NoiseModel.NORMAL, noise_level=4)


class LayerConfigFactory:
    """Layer configurations on top of the present `WitinGlobalConfig`."""

    @staticmethod
    def get_default_config() -> WitinLayerConfig:
        """Everything from the global configuration, G_algo 1."""
        return WitinLayerConfig(G_algo=1)

    @staticmethod
    def get_my_config() -> WitinLayerConfig:
        """The tool's example: 9-bit inputs, scale_x 32."""
        return WitinLayerConfig(G_algo=1, x_quant_bits=9, scale_x=32)
