# SPDX-License-Identifier: Apache-2.0
"""The training tool's digital operators on codes: what a model trained on them computes.

Codes in, codes out, with the float32 steps of docs/spec/digital_training.md in between: every product and
quotient is one float32 rounding in the order written there. This is the tool's definition and no claim about
silicon: nobody has seen the chip compute these.
"""

from __future__ import annotations

from bittwin.digital.simulated.norms import factor_and_offset, layer_norm
from bittwin.digital.simulated.pairs import divide, matmul, prelu
from bittwin.digital.simulated.roots import hypot, inv_sqrt, sqrt

__all__ = [
    "divide",
    "factor_and_offset",
    "hypot",
    "inv_sqrt",
    "layer_norm",
    "matmul",
    "prelu",
    "sqrt",
]
