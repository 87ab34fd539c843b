# SPDX-License-Identifier: Apache-2.0
"""Reading the committed golden files: a JSON manifest and arrays `c<i>/NAME`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


def cases(file: str, *kinds: str) -> list[tuple[int, dict[str, Any], dict[str, np.ndarray]]]:
    """All cases of the wanted kinds: number, description, arrays."""
    with np.load(DATA / file) as archive:
        manifest = json.loads(str(archive["manifest"]))
        arrays: dict[int, dict[str, np.ndarray]] = {}
        for name in archive.files:
            if name != "manifest":
                number, _, field = name.partition("/")
                arrays.setdefault(int(number[1:]), {})[field] = archive[name]
    return [(i, case, arrays[i]) for i, case in enumerate(manifest) if case["kind"] in kinds]
