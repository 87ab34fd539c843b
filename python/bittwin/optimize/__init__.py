# SPDX-License-Identifier: Apache-2.0
"""The mapper's optimisations of an array layer, and back (docs/spec/recurrent.md, second part).

A mapper may move bits between input, weight, rows and gain so that the array is used better. The integer
result stays the same, since the converter code depends on ``accumulator / gain`` only, as long as no input
code saturates and every limit of the array holds: both are checked here.
"""

from __future__ import annotations

from bittwin.optimize.exponents import (
    Optimization,
    exponent,
    optimize_input,
    optimize_layer,
    restore_layer,
    saturates,
)
from bittwin.optimize.limits import Limits
from bittwin.optimize.repeat import repeated_output
from bittwin.optimize.signs import signed_codes, signed_layer, signed_rows
from bittwin.optimize.sparse import sparse_linear, split_weight

__all__ = [
    "Limits",
    "Optimization",
    "exponent",
    "optimize_input",
    "optimize_layer",
    "repeated_output",
    "restore_layer",
    "saturates",
    "signed_codes",
    "signed_layer",
    "signed_rows",
    "sparse_linear",
    "split_weight",
]
