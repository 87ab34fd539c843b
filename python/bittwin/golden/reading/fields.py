# SPDX-License-Identifier: Apache-2.0
"""Typed access to parsed JSON of unknown origin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.folder import Folder, printable
from bittwin.golden.reading.layout import COORDINATE_LIMIT

_DTYPES = ("int8", "uint8", "int16", "uint16", "int32")
#: Most numbers that one array inside the file may hold.
ARRAY_LIMIT = 65536


class Fields:
    """Typed access to parsed JSON; every refusal names the file and the field."""

    def __init__(self, folder: Folder, path: str, where: str) -> None:
        """Remember the file and the place in it, such as `nets[0]`."""
        self._folder = folder
        self._path = path
        self._where = where

    def bad(self, name: str, found: Any, wanted: str) -> Exception:
        """Build the error for a field."""
        where = ".".join(part for part in (self._where, name) if part) or "top level"
        try:
            shown = printable(repr(found)[:200])
        except RecursionError:  # lists in lists without end
            shown = type(found).__name__
        return self._folder.error(self._path, f"{where}: found {shown}, wanted {wanted}")

    def mapping(self, value: Any, name: str = "") -> dict[str, Any]:
        """Return an object."""
        if not isinstance(value, dict):
            raise self.bad(name, value, "an object")
        return value

    def sequence(self, fields: dict[str, Any], name: str, least: int, most: int) -> list[Any]:
        """Return a list of `least` to `most` entries."""
        value = fields.get(name)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise self.bad(name, value, f"a list of {least} to {most}")
        return value

    def integer(self, fields: dict[str, Any], name: str, low: int, high: int) -> int:
        """Return an integer; true and false are none."""
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.bad(name, value, f"an integer {low}..{high}")
        return value

    def flag(self, fields: dict[str, Any], name: str) -> bool:
        """Return true or false."""
        value = fields.get(name)
        if not isinstance(value, bool):
            raise self.bad(name, value, "true or false")
        return value

    def word(self, fields: dict[str, Any], name: str) -> str:
        """Return a short printable string."""
        value = fields.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
            raise self.bad(name, value, "a name of 1 to 200 printable characters")
        return value

    def shape(self, fields: dict[str, Any], name: str) -> tuple[int, ...]:
        """Return one to four sizes."""
        total = 1
        items = self.sequence(fields, name, 1, 4)
        for place, value in enumerate(items):
            total *= self.integer({"": value}, "", 1, COORDINATE_LIMIT)
            if total > COORDINATE_LIMIT:
                raise self.bad(f"{name}[{place}]", items, f"at most {COORDINATE_LIMIT} in total")
        return tuple(items)

    def array(self, value: Any, name: str) -> NDArray[Any]:
        """Return an array written as `{dtype, data}`."""
        fields = self.mapping(value, name)
        dtype = fields.get("dtype")
        if dtype not in _DTYPES:
            raise self.bad(f"{name}.dtype", dtype, f"one of {', '.join(_DTYPES)}")
        info = np.iinfo(str(dtype))
        data = self.sequence(fields, "data", 0, ARRAY_LIMIT)
        for item in data:
            self.integer({"data": item}, "data", int(info.min), int(info.max))
        return np.array(data, dtype)
