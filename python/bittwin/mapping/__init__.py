# SPDX-License-Identifier: Apache-2.0
"""Does a network fit the chip? What each layer needs, where it could lie, and what does not fit."""

from __future__ import annotations

from bittwin.mapping.check import check_dump, check_mapping
from bittwin.mapping.picture import draw_mapping
from bittwin.mapping.results import Finding, LayerUse, Mapping, PlacedBlock

__all__ = [
    "Finding",
    "LayerUse",
    "Mapping",
    "PlacedBlock",
    "check_dump",
    "check_mapping",
    "draw_mapping",
]
