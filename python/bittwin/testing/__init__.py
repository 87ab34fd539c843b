# SPDX-License-Identifier: Apache-2.0
"""Tools for testing against bittwin: a big-integer oracle and hypothesis strategies.

`bittwin.testing.oracle` needs numpy only. `bittwin.testing.strategies` needs hypothesis, which the
extra `bittwin[dev]` installs; both are imported when they are first touched.

>>> import bittwin.testing
>>> bittwin.testing.oracle.readout(-5568, 256)
-22
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["oracle", "strategies"]


def __getattr__(name: str) -> ModuleType:
    """Import `oracle` or `strategies` on first use."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the lazily imported modules too."""
    return sorted({*globals(), *__all__})
