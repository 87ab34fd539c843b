# SPDX-License-Identifier: Apache-2.0
"""Comparing golden codes with the simulation, and computing why they differ."""

from __future__ import annotations
