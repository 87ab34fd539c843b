# SPDX-License-Identifier: Apache-2.0
"""Requantisers: the rules that turn an INT32 accumulator into an output code.

A `Requant` is an immutable parameter set of one two-stage integer pipeline (docs/spec/requantize.md)::

    v = (acc << lsh) * multiplier
    t = R1(v / 2^shift1), then nothing | clip to int32 | low 16 bits      (middle)
    y = clip(R2(t / 2^shift2) + high + zero_point, lo, hi)

The one exception is `half_even_f32`, which keeps the float32 order of the vendor's training tool.
Multipliers and shifts are one number, or one per output channel.
"""

from __future__ import annotations

from bittwin.requant.gains import RULES, by_name, half_even, half_even_f32, readout, wtm1001
from bittwin.requant.presets import (
    bm1684,
    bm1684x_conv,
    bm1684x_fc,
    bm1684x_fc_cmodel,
    cv18xx,
    litert_reference,
    litert_ruy,
    tflite_classic,
    two_stage,
)
from bittwin.requant.rule import MIDDLES, ROUNDINGS, STORES, Requant

__all__ = [
    "MIDDLES",
    "ROUNDINGS",
    "RULES",
    "STORES",
    "Requant",
    "bm1684",
    "bm1684x_conv",
    "bm1684x_fc",
    "bm1684x_fc_cmodel",
    "by_name",
    "cv18xx",
    "half_even",
    "half_even_f32",
    "litert_reference",
    "litert_ruy",
    "readout",
    "tflite_classic",
    "two_stage",
    "wtm1001",
]
