# SPDX-License-Identifier: Apache-2.0
"""The settings of a convolution, checked once per combination, and whether shapes go with them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from bittwin import _core
from bittwin._check import four_sides, integer, pair


class Settings(NamedTuple):
    """Checked settings, and the same for the binding."""

    strides: tuple[int, int]
    sides: tuple[int, int, int, int]  # top, left, bottom, right
    dilations: tuple[int, int]
    extra: tuple[int, int]  # output_padding
    groups: int
    core: _core.Geometry


def conv_settings(
    stride: Any, padding: Any, dilation: Any, output_padding: Any, groups: Any
) -> Settings:
    """Check settings as the caller gave them: integers or tuples of them."""
    given = (stride, padding, dilation, output_padding, groups)
    # True and 1.0 are 1 to a dictionary: only what is made of ints alone may be looked up in one.
    for value in given:
        kind = type(value)
        if kind is not int and not (kind is tuple and {*map(type, value)} == {int}):
            return _settings(*given)
    return _known_settings(*given)


def _settings(
    stride: Any, padding: Any, dilation: Any, output_padding: Any, groups: Any
) -> Settings:
    strides, dilations = pair("stride", stride, 1), pair("dilation", dilation, 1)
    sides = four_sides("padding", padding)
    extra = pair("output_padding", output_padding, 0)
    count = integer("groups", groups, 1, 1 << 20)
    core = _core.Geometry(strides, sides, dilations, extra, count)
    return Settings(strides, sides, dilations, extra, count, core)


_known_settings = lru_cache(maxsize=1024)(_settings)


def check_conv2d(x: tuple[int, ...], weight: tuple[int, ...], settings: Settings) -> None:
    """Refuse an input [N, C, H, W] that does not go with a weight [O, C / groups, kh, kw]."""
    sides, dilations, count = settings.sides, settings.dilations, settings.groups
    if weight[0] % count or x[1] != weight[1] * count:
        raise ValueError(
            f"x: found {x[1]} channels, wanted {weight[1] * count} to go with weight "
            f"{weight} in {count} groups (whose {weight[0]} output channels must divide evenly)"
        )
    if weight[2] == 0 or weight[3] == 0:
        raise ValueError(f"weight: found shape {weight}, wanted a kernel of at least 1 x 1")
    for name, extent, kernel, step, before, after in (
        ("height", x[2], weight[2], dilations[0], sides[0], sides[2]),
        ("width", x[3], weight[3], dilations[1], sides[1], sides[3]),
    ):
        if extent + before + after < (kernel - 1) * step + 1:
            raise ValueError(
                f"x: found {name} {extent} ({extent + before + after} padded), wanted at least "
                f"{(kernel - 1) * step + 1} for a kernel of {kernel} with dilation {step}"
            )


def check_conv_transpose2d(x: tuple[int, ...], weight: tuple[int, ...], settings: Settings) -> None:
    """Refuse an input [N, C, H, W] that does not go with a weight [C, O, kh, kw]."""
    if x[1] != weight[0]:
        raise ValueError(
            f"x: found {x[1]} channels, wanted {weight[0]} to go with weight {weight} [I, O, kh, kw]"
        )
    if 0 in weight[2:] or 0 in x[2:]:
        raise ValueError(f"x, weight: found sizes {x[2:]} and {weight[2:]}, wanted at least 1 x 1")
    for name, i, before, after in (
        ("height", 0, settings.sides[0], settings.sides[2]),
        ("width", 1, settings.sides[1], settings.sides[3]),
    ):
        full = (
            (x[2 + i] - 1) * settings.strides[i] + (weight[2 + i] - 1) * settings.dilations[i] + 1
        )
        if full + settings.extra[i] < before + after:
            raise ValueError(
                f"padding: found {before} + {after} in {name}, wanted at most "
                f"{full + settings.extra[i]}, the size of the uncropped output"
            )
