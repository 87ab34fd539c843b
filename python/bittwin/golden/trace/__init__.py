# SPDX-License-Identifier: Apache-2.0
"""Traces: the codes of every layer in the mapper's layer_debug format, written, read and compared."""

from __future__ import annotations
