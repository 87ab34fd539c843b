# SPDX-License-Identifier: Apache-2.0
"""The value of ``--frames``."""

from __future__ import annotations

import re

import click


class FrameRange(click.ParamType[slice]):
    """``N`` or ``A:B``, as a slice; either end of ``A:B`` may be left out."""

    name = "N|A:B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> slice:
        """Parse, or fail with one line."""
        if isinstance(value, slice):
            return value
        text = str(value)
        if match := re.fullmatch(r"([0-9]{1,9})", text):
            return slice(0, int(match[1]))
        if (match := re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})", text)) is None or text == ":":
            self.fail(f"found {text!r}, wanted N (the first N frames) or A:B", param, ctx)
        first, last = match[1], match[2]
        return slice(int(first) if first else 0, int(last) if last else None)
