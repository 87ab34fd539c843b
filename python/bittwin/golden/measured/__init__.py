# SPDX-License-Identifier: Apache-2.0
"""Measured codes beside golden ones: a chip's error statistics and faults."""

from __future__ import annotations
