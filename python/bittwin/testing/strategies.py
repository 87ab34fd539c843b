# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for integer datapaths (needs the extra `bittwin[dev]`).

Hold your own implementation against the oracle on the inputs that break things:

    from bittwin.testing import oracle, strategies

    @hypothesis.given(strategies.accumulators(gain=1024))
    def test_my_readout(acc):
        assert (my_readout(acc, 1024) == oracle.readout(acc, 1024)).all()

Codes are corner-weighted: 70 % come from the ends of their range.
"""

from __future__ import annotations

from bittwin.testing.strategies_arrays import (
    CORNER_SHARE,
    LAYOUTS,
    accumulator,
    accumulators,
    code,
    codes,
    corner_codes,
    gains,
    layouts,
    lengths,
    relaid,
    shapes,
    weights,
)
from bittwin.testing.strategies_cases import (
    ConvCase,
    LinearCase,
    conv_cases,
    conv_transpose_cases,
    input_types,
    linear_cases,
    wide_cases,
)
from bittwin.testing.strategies_requant import (
    KINDS,
    MIDDLES,
    RequantiserCase,
    requantiser_cases,
    requantisers,
)

__all__ = [
    "CORNER_SHARE",
    "KINDS",
    "LAYOUTS",
    "MIDDLES",
    "ConvCase",
    "LinearCase",
    "RequantiserCase",
    "accumulator",
    "accumulators",
    "code",
    "codes",
    "conv_cases",
    "conv_transpose_cases",
    "corner_codes",
    "gains",
    "input_types",
    "layouts",
    "lengths",
    "linear_cases",
    "relaid",
    "requantiser_cases",
    "requantisers",
    "shapes",
    "weights",
    "wide_cases",
]
