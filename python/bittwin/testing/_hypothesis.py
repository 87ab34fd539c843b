# SPDX-License-Identifier: Apache-2.0
"""The one place that imports hypothesis, to say what to install where it is missing."""

from __future__ import annotations

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import DrawFn, SearchStrategy
except ImportError as error:
    raise ImportError(
        "bittwin.testing.strategies needs hypothesis: pip install 'bittwin[dev]'"
    ) from error

__all__ = ["DrawFn", "SearchStrategy", "st"]
