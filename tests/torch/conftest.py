# SPDX-License-Identifier: Apache-2.0
"""The torch tests are left out where torch is not installed.

This folder has torch's own name and lies on the path, so that ``import torch`` finds *it* then, an empty
namespace: hence the look at what was found.
"""

from __future__ import annotations

from importlib.util import find_spec

found = find_spec("torch")
if found is None or found.origin is None:
    collect_ignore_glob = ["test_*.py"]
