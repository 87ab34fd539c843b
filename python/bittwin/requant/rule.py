# SPDX-License-Identifier: Apache-2.0
"""`Requant`: one parameter set of the requantiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np

from bittwin import _core
from bittwin._check import choice, integer, one_of, positive_real
from bittwin.requant.limits import positive_float32

ROUNDINGS: Final = (
    "half_even",
    "half_up",
    "half_away",
    "half_down",
    "half_to_zero",
    "half_to_odd",
    "toward_zero",
    "away",
    "floor",
    "ceil",
)
MIDDLES: Final = ("exact", "clip32", "wrap16")
STORES: Final = ("saturate", "wrap_u8")
PerChannel: TypeAlias = "int | Sequence[int]"


@dataclass(frozen=True)
class Requant:
    """One requantiser; build it with a function of this module rather than by hand.

    Attributes:
        rule: its name, for messages and reports.
        lsh: left shift before the multiplication, 0..31; one entry or one per channel.
        multiplier: int32 factor; like lsh.
        shift1: first right shift, 0..62; like lsh.
        rounding1: its rounding, one of `ROUNDINGS`.
        middle: what happens between the stages: ``exact``, ``clip32`` (saturate to int32) or ``wrap16``.
        shift2: second right shift, 0..62; like lsh.
        rounding2: its rounding.
        zero_point: added before the saturation, code units.
        lo: lowest output code.
        hi: highest output code.
        store: ``saturate``, or ``wrap_u8``: min(code, 255) and then the low 8 bits (C-model, s2_sel=1).
        gain: accumulator units per output code, where the rule is made from one; for display and files.
        scale_product: half_even_f32 only: accumulator units per real unit.
        codes_per_unit: half_even_f32 only: output codes per real unit.

    >>> import bittwin
    >>> bittwin.readout(1024).rule, bittwin.readout(1024).dtype
    ('readout', dtype('int8'))
    """

    rule: str
    lsh: tuple[int, ...] = (0,)
    multiplier: tuple[int, ...] = (1,)
    shift1: tuple[int, ...] = (0,)
    rounding1: str = "half_up"
    middle: str = "exact"
    shift2: tuple[int, ...] = (0,)
    rounding2: str = "half_up"
    zero_point: int = 0
    lo: int = -128
    hi: int = 127
    store: str = "saturate"
    gain: int | float | None = None
    scale_product: float | None = None
    codes_per_unit: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rule, str):
            raise TypeError(f"rule: found {self.rule!r}, wanted a name")
        counts = set()
        for name, low, high in (
            ("lsh", 0, 31),
            ("multiplier", -(2**31), 2**31 - 1),
            ("shift1", 0, 62),
            ("shift2", 0, 62),
        ):
            items = getattr(self, name)
            if not isinstance(items, tuple) or not items:
                raise TypeError(f"{name}: found {items!r}, wanted a non-empty tuple of integers")
            object.__setattr__(self, name, tuple(integer(name, v, low, high) for v in items))
            counts.add(len(items))
        if len(counts - {1}) > 1:
            raise ValueError(
                f"per-channel parameters: found {sorted(counts - {1})} channels, wanted one count"
            )
        choice("rounding1", self.rounding1, ROUNDINGS)
        choice("rounding2", self.rounding2, ROUNDINGS)
        choice("middle", self.middle, MIDDLES)
        choice("store", self.store, STORES)
        integer("zero_point", self.zero_point, -(2**31), 2**31 - 1)
        integer("lo", self.lo, -(2**31), 2**31 - 1)
        integer("hi", self.hi, -(2**31), 2**31 - 1)
        if self.lo > self.hi:
            raise ValueError(f"lo, hi: found {self.lo}..{self.hi}, wanted lo <= hi")
        if self.store == "wrap_u8" and (self.lo, self.hi) != (0, 255):
            raise ValueError(f"lo, hi: found {self.lo}..{self.hi}, the unsigned store wants 0..255")
        if self.gain is not None:
            positive_real("gain", self.gain)
        if (self.scale_product is None) != (self.codes_per_unit is None):
            raise ValueError("scale_product and codes_per_unit: wanted both or neither")
        _ = self.core  # refuses scales that float32 does not hold

    @cached_property
    def core(self) -> _core.Requantizer:
        """The compiled form, for the binding."""
        if self.scale_product is not None and self.codes_per_unit is not None:
            product = positive_float32("scale_product", self.scale_product)
            per_unit = positive_float32("codes_per_unit", self.codes_per_unit)
            return _core.half_even_f32(product, per_unit, self.lo, self.hi)
        n = self.channels
        spread = {
            name: list(items) * (n if len(items) == 1 else 1)
            for name in ("lsh", "multiplier", "shift1", "shift2")
            for items in (getattr(self, name),)
        }
        return _core.two_stage(
            lsh=spread["lsh"],
            multiplier=spread["multiplier"],
            shift1=spread["shift1"],
            rounding1=ROUNDINGS.index(self.rounding1),
            middle=MIDDLES.index(self.middle),
            middle_lo=-(2**31),
            middle_hi=2**31 - 1,
            shift2=spread["shift2"],
            rounding2=ROUNDINGS.index(self.rounding2),
            zero_point=self.zero_point,
            lo=self.lo,
            hi=self.hi,
            store=STORES.index(self.store),
        )

    @cached_property
    def channels(self) -> int:
        """Number of output channels the parameters are given for; 1 means per tensor."""
        return max(len(self.lsh), len(self.multiplier), len(self.shift1), len(self.shift2))

    @property
    def bits(self) -> int:
        """Width of the output code in bits (8 for -128..127 and for 0..255)."""
        return max(self.hi.bit_length(), (~self.lo if self.lo < 0 else 0).bit_length()) + (
            self.lo < 0
        )

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of int8, uint8, int16, uint16, int32 that holds lo..hi: the dtype of the codes."""
        for name in ("int8", "uint8", "int16", "uint16"):
            info = np.iinfo(name)
            if info.min <= self.lo and self.hi <= info.max:
                return np.dtype(name)
        return np.dtype(np.int32)

    def to_config(self) -> dict[str, Any]:
        """Return the parameters as plain JSON types; `from_config` reads them back.

        >>> from bittwin.requant import Requant, readout
        >>> Requant.from_config(readout(1024).to_config()) == readout(1024)
        True
        """
        return {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }

    @classmethod
    def from_config(cls, config: Any) -> Requant:
        """Build a requantiser from `to_config`'s dictionary; unknown or impossible entries are refused."""
        if not isinstance(config, dict) or "rule" not in config:
            raise ValueError(f"requant: found {config!r}, wanted an object with at least 'rule'")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(config) - known)
        if unknown:
            raise ValueError(
                f"requant: found unknown entry {unknown[0]!r}, wanted {one_of(sorted(known))}"
            )
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in config.items()
        }
        return cls(**plain)

    def __reduce__(self) -> tuple[Any, ...]:
        return Requant.from_config, (self.to_config(),)

    def __str__(self) -> str:
        if self.gain is not None:
            return f"{self.rule}(gain={self.gain}, bits={self.bits})"
        return self.rule
