# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for requantisers, each with its twin on the big-integer oracle.

`requantisers()` gives `bittwin.Requant` objects. `requantiser_cases()` gives them together with an
oracle rule built from the same drawn parameters, and never read back from the object under test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bittwin.testing import oracle
from bittwin.testing._hypothesis import DrawFn, SearchStrategy, st
from bittwin.testing.strategies_arrays import code, gains

MIDDLES: dict[str, tuple[int, int] | str | None] = {
    "exact": None,
    "clip32": (-(2**31), 2**31 - 1),
    "wrap16": "wrap16",
}
"""Names of the middle step, and what each is for the oracle."""

KINDS: tuple[str, ...] = (
    "readout",
    "readout_wrap16",
    "unsigned_store",
    "half_even",
    "half_even_f32",
    "by_name",
    "two_stage",
    "preset",
)
"""Kinds of requantiser that `requantiser_cases` draws from."""


@dataclass(frozen=True)
class RequantiserCase:
    """A requantiser, and the same rule on the oracle.

    Attributes:
        requant: the `bittwin.Requant`.
        function: the oracle function, called with accumulators and `parameters`.
        parameters: its parameters; those per channel are arrays of one axis.
        gain: accumulator units per code, roughly: where the interesting accumulators are.
        lsh: largest left shift; accumulators must fit int32 after it.
        channels: number of channels, 1 for per tensor.
    """

    requant: Any
    function: Callable[..., Any]
    parameters: dict[str, Any] = field(hash=False)
    gain: int = 256
    lsh: int = 0
    channels: int = 1

    def rule(self, trailing_axes: int = 0) -> oracle.Rule:
        """Return the oracle's rule for accumulators [..., channels, (trailing axes)].

        Args:
            trailing_axes: axes after the channels: 0 for linear, 2 for convolutions.
        """
        shaped = {
            name: value.reshape(-1, *(1,) * trailing_axes)
            if isinstance(value, np.ndarray)
            else value
            for name, value in self.parameters.items()
        }
        return partial(self.function, **shaped)


def _readout(draw: DrawFn, kind: str) -> RequantiserCase:
    import bittwin

    gain = draw(gains())
    overflow = "wrap16" if kind == "readout_wrap16" else "saturate"
    if kind == "unsigned_store":
        overflow = draw(st.sampled_from(("saturate", "wrap16")))
        requant = bittwin.readout(gain, overflow=overflow, store="wrap_u8")
        parameters: dict[str, Any] = {"gain": gain, "overflow": overflow}
        return RequantiserCase(requant, oracle.unsigned_store, parameters, gain)
    bits = draw(st.sampled_from((8, 8, 8, 2, 9, 12, 16)))
    requant = bittwin.readout(gain, bits=bits, overflow=overflow)
    parameters = {"gain": gain, "bits": bits, "overflow": overflow}
    return RequantiserCase(requant, oracle.readout, parameters, gain)


def _one_stage(draw: DrawFn, kind: str) -> RequantiserCase:
    import bittwin

    gain = 2 ** draw(st.one_of(st.integers(8, 13), st.integers(0, 30)))
    bits = draw(st.sampled_from((8, 8, 9, 12, 16)))
    if kind == "half_even":
        requant = bittwin.half_even(gain, bits=bits)
        return RequantiserCase(requant, oracle.half_even, {"gain": gain, "bits": bits}, gain)
    mode = draw(st.sampled_from(("half_even", "half_up", "half_away", "floor", "toward_zero")))
    requant = bittwin.requant.by_name(mode, gain, bits=bits)
    parameters = {"gain": gain, "rounding": mode, "bits": bits}
    return RequantiserCase(requant, oracle.one_stage, parameters, gain)


def _float_order(draw: DrawFn) -> RequantiserCase:
    import bittwin

    awkward = st.floats(1 / 64, 20000.0, width=32)
    product = draw(st.one_of(awkward, st.integers(0, 14).map(lambda n: 2.0**n)))
    per_unit = draw(st.one_of(awkward, st.sampled_from((1.0, 0.5, 3.0, 32.0))))
    bits = draw(st.sampled_from((8, 12)))
    parameters = {"scale_product": product, "codes_per_unit": per_unit, "bits": bits}
    requant = bittwin.half_even_f32(product, per_unit, bits=bits)
    gain = max(1, min(2**24, round(product / per_unit)))
    return RequantiserCase(requant, oracle.half_even_f32, parameters, gain)


@st.composite
def _spread(draw: DrawFn, items: SearchStrategy[int], channels: int) -> tuple[int, ...]:
    count = channels if channels > 1 and draw(st.booleans()) else 1
    return tuple(draw(st.lists(items, min_size=count, max_size=count)))


def _staged(parameters: dict[str, Any], requant: Any) -> RequantiserCase:
    """Pair a requantiser with `oracle.two_stage`; per-channel tuples become arrays."""
    per = {name: parameters[name] for name in ("lsh", "mult", "sh1", "sh2")}
    arrays = {name: np.array(items) if len(items) > 1 else items[0] for name, items in per.items()}
    channels = max(len(items) for items in per.values())
    slope = max(abs(m) for m in per["mult"]) or 1
    gain = max(1, min(2**24, 2 ** (max(per["sh1"]) + max(per["sh2"])) // slope))
    complete = {"middle": None, **parameters, **arrays}
    return RequantiserCase(requant, oracle.two_stage, complete, gain, max(per["lsh"]), channels)


def _two_stage(draw: DrawFn, channels: int) -> RequantiserCase:
    import bittwin

    bits, signed = draw(st.sampled_from((8, 8, 9, 12, 16))), draw(st.booleans())
    lo, hi = oracle.code_range(bits, signed)
    middle = draw(st.sampled_from(tuple(MIDDLES)))
    p: dict[str, Any] = {
        "lsh": draw(_spread(st.sampled_from((0, 0, 0, 1, 3, 8)), channels)),
        "mult": draw(_spread(st.one_of(st.just(1), code(-(2**31), 2**31 - 1)), channels)),
        "sh1": draw(_spread(st.one_of(st.integers(0, 12), st.integers(0, 62)), channels)),
        "r1": draw(st.sampled_from(oracle.ROUNDINGS)),
        "sh2": draw(_spread(st.one_of(st.integers(0, 4), st.integers(0, 62)), channels)),
        "r2": draw(st.sampled_from(oracle.ROUNDINGS)),
        "zero_point": draw(st.one_of(st.just(0), code(-128, 127))),
        "lo": lo,
        "hi": hi,
    }
    requant = bittwin.requant.two_stage(
        lsh=p["lsh"],
        multiplier=p["mult"],
        shift1=p["sh1"],
        rounding1=p["r1"],
        middle=middle,
        shift2=p["sh2"],
        rounding2=p["r2"],
        zero_point=p["zero_point"],
        bits=bits,
        signed=signed,
    )
    return _staged({**p, "middle": MIDDLES[middle]}, requant)


def _preset(draw: DrawFn, channels: int) -> RequantiserCase:
    """The named rules of other chips, their parameters spelt out a second time for the oracle."""
    from bittwin import requant as r

    mult = draw(_spread(st.one_of(st.integers(1, 2**22), code(2**30, 2**31 - 1)), channels))
    shift = draw(_spread(st.integers(0, 35), channels))
    small = draw(_spread(st.integers(0, 20), channels))
    exponent = draw(_spread(st.integers(-20, 3), channels))
    zero_point = draw(code(-128, 127))
    zero, up, away = (0,), "half_up", "half_away"
    ups, downs = tuple(max(e, 0) for e in exponent), tuple(max(-e, 0) for e in exponent)
    sums = tuple(31 - e for e in exponent)
    both, at = (mult, exponent), {"zero_point": zero_point}
    clipped = MIDDLES["clip32"]
    # name: arguments, then lsh, mult, sh1, r1, sh2, r2, middle for the oracle
    table: dict[str, tuple[Any, ...]] = {
        "bm1684": ((shift,), zero, (1,), shift, up, zero, up, None),
        "bm1684x_conv": ((mult, shift), zero, mult, shift, up, zero, up, None),
        "bm1684x_fc": ((mult, shift), zero, mult, shift, up, zero, up, None),
        "bm1684x_fc_cmodel": ((mult, shift), zero, mult, shift, away, zero, up, None),
        "cv18xx": ((mult, small), zero, mult, (31,), up, small, away, clipped),
        "tflite_classic": (both, ups, mult, (31,), up, downs, away, None),
        "litert_ruy": (both, ups, mult, (31,), up, downs, up, None),
        "litert_reference": (both, zero, mult, sums, away, zero, up, None),
    }
    name = draw(st.sampled_from(tuple(table)))
    arguments, lsh, m, sh1, r1, sh2, r2, middle = table[name]
    if name == "bm1684":
        at, zero_point = {}, 0
    p = {"lsh": lsh, "mult": m, "sh1": sh1, "r1": r1, "sh2": sh2, "r2": r2, "middle": middle}
    p.update(zero_point=zero_point, lo=-128, hi=127)
    return _staged(p, getattr(r, name)(*arguments, **at))


@st.composite
def requantiser_cases(
    draw: DrawFn, channels: int = 1, kinds: tuple[str, ...] = KINDS
) -> RequantiserCase:
    """Draw a requantiser of any kind, with its twin on the oracle.

    Args:
        draw: given by hypothesis.
        channels: number of output channels; above 1, some have parameters per channel.
        kinds: what to choose from, out of `KINDS`.
    """
    kind = draw(st.sampled_from(kinds))
    if kind in ("readout", "readout_wrap16", "unsigned_store"):
        return _readout(draw, kind)
    if kind in ("half_even", "by_name"):
        return _one_stage(draw, kind)
    if kind == "half_even_f32":
        return _float_order(draw)
    return _two_stage(draw, channels) if kind == "two_stage" else _preset(draw, channels)


def requantisers(channels: int = 1, kinds: tuple[str, ...] = KINDS) -> SearchStrategy[Any]:
    """Draw `bittwin.Requant` objects of every kind; see `requantiser_cases`."""
    return requantiser_cases(channels, kinds).map(lambda case: case.requant)
