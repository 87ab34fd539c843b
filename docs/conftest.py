# SPDX-License-Identifier: Apache-2.0
"""Pages whose examples need an optional package are skipped where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("onnx") else ["guide/onnx.md"]
