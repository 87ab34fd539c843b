# SPDX-License-Identifier: Apache-2.0
"""The digital operations of the chip: what happens to codes outside the array (docs/spec/digital.md).

Codes in, codes out, exact. Every rounding and every overflow that nobody has measured is a named option; the
page says which operator is measured, documented, inferred or unknown.
"""

from __future__ import annotations

from bittwin.activation import clip, relu
from bittwin.activation import lookup as act_lut
from bittwin.digital.elementwise import add, clear_low_bits, mul, scalar, scale
from bittwin.digital.float_scaling import batch_norm, float_scale, fold_batch_norm
from bittwin.digital.movement import (
    concat,
    flatten,
    permute,
    pn_split,
    reshape,
    slice,
    split,
    transpose,
)
from bittwin.digital.normalize import group_norm, softmax, sum_norm
from bittwin.digital.pooling import average_pool, max_pool, min_pool
from bittwin.digital.reductions import global_average_pool, global_max_pool, reduce_mean

__all__ = [
    "act_lut",
    "add",
    "average_pool",
    "batch_norm",
    "clear_low_bits",
    "clip",
    "concat",
    "flatten",
    "float_scale",
    "fold_batch_norm",
    "global_average_pool",
    "global_max_pool",
    "group_norm",
    "max_pool",
    "min_pool",
    "mul",
    "permute",
    "pn_split",
    "reduce_mean",
    "relu",
    "reshape",
    "scalar",
    "scale",
    "slice",
    "softmax",
    "split",
    "sum_norm",
    "transpose",
]
