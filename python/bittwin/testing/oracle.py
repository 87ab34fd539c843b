# SPDX-License-Identifier: Apache-2.0
"""The big-integer oracle: the datapath once more, in plain Python integers, for tests.

Written from the specification alone and sharing no code with the kernels, it is slow and obvious.
Hold your RTL, your compiler or a new kernel against it:

>>> from functools import partial
>>> from bittwin.testing import oracle
>>> acc = oracle.accumulate([[255, 3]], [[127, -128]], [-64 * 128])
>>> oracle.readout(acc, 1024)
array([[23]])
>>> oracle.linear([[255, 3]], [[127, -128]], [-64 * 128], partial(oracle.half_even, gain=1024))
array([[23]])

Conventions: arguments are ints, nested lists or integer arrays; results are ints for ints and
int64 arrays otherwise (object arrays, should a number need more than 64 bits).
"""

from __future__ import annotations

from bittwin.testing.oracle_chip import (
    DAC_FORMATS,
    as_int8,
    clip,
    dac,
    lookup,
    post_adder_shift,
    relu,
    unsigned_store,
)
from bittwin.testing.oracle_conv import conv2d, conv_transpose2d
from bittwin.testing.oracle_layers import (
    Rule,
    accumulate,
    accumulator_bound,
    linear,
    split_input,
    split_linear,
)
from bittwin.testing.oracle_requant import (
    READOUT_GAINS,
    converter_code,
    half_even,
    half_even_f32,
    one_stage,
    readout,
    rounded_code,
    two_stage,
)
from bittwin.testing.oracle_rounding import (
    ROUNDINGS,
    code_range,
    quantize,
    quantize_bias,
    round_fraction,
    round_shift,
    saturate,
    wrap8,
    wrap16,
    wrap32,
)

__all__ = [
    "DAC_FORMATS",
    "READOUT_GAINS",
    "ROUNDINGS",
    "Rule",
    "accumulate",
    "accumulator_bound",
    "as_int8",
    "clip",
    "code_range",
    "conv2d",
    "conv_transpose2d",
    "converter_code",
    "dac",
    "half_even",
    "half_even_f32",
    "linear",
    "lookup",
    "one_stage",
    "post_adder_shift",
    "quantize",
    "quantize_bias",
    "readout",
    "relu",
    "round_fraction",
    "round_shift",
    "rounded_code",
    "saturate",
    "split_input",
    "split_linear",
    "two_stage",
    "unsigned_store",
    "wrap8",
    "wrap16",
    "wrap32",
]
