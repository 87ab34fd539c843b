# SPDX-License-Identifier: Apache-2.0
"""The factories under the module name that the tool's examples import them from."""

from __future__ import annotations

from bittwin.compat.witin_nn.factories import GlobalConfigFactory, LayerConfigFactory

__all__ = ["GlobalConfigFactory", "LayerConfigFactory"]
