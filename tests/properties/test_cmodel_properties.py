# SPDX-License-Identifier: Apache-2.0
"""One round of the chip's C-model, all its registers, against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bittwin import cmodel
from bittwin.testing import oracle, strategies

ACTIVATIONS = ("none", "relu", "clip", "table")


@given(
    strategies.codes(np.uint8, (300,)),
    st.sampled_from(oracle.DAC_FORMATS),
    st.booleans(),
    st.booleans(),
)
def test_dac_equals_the_oracle(byte: Any, kind: str, invert: bool, doubled: bool) -> None:
    got = cmodel.dac(byte, input_format=kind, invert=invert, doubled=doubled)
    np.testing.assert_array_equal(got, oracle.dac(byte, kind, invert=invert, double=doubled))


def _registers(draw: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    size = draw(st.sampled_from((256, 1024)))
    return {
        "gain": draw(strategies.gains()),
        "input_format": draw(st.sampled_from(oracle.DAC_FORMATS)),
        "invert": draw(st.booleans()),
        "doubled": draw(st.booleans()),
        "high": draw(st.one_of(st.none(), strategies.codes(np.int16, shape))),
        "unsigned_store": draw(st.booleans()),
        "shift": draw(
            st.one_of(st.none(), st.tuples(st.sampled_from(("left", "right")), st.integers(0, 7)))
        ),
        "activation": draw(st.sampled_from(ACTIVATIONS)),
        "relu_gain": draw(st.integers(1, 2)),
        "limit": draw(st.integers(0, 255)),
        "table": draw(strategies.codes(np.int8, (size,))),
    }


def _oracle_round(x: Any, weight: Any, rows: Any, at: dict[str, Any]) -> Any:
    driven = oracle.dac(x, at["input_format"], invert=at["invert"], double=at["doubled"])
    bias = [128 * sum(int(row[n]) for row in rows) for n in range(len(weight))]
    acc = oracle.wrap32(oracle.accumulate(driven, weight, bias))
    high = 0 if at["high"] is None else at["high"]
    if at["unsigned_store"]:
        y = oracle.unsigned_store(acc, at["gain"], "wrap16", high)
    else:
        y = oracle.readout(acc, at["gain"], overflow="wrap16", high=high)
    if at["shift"] is not None:
        y = oracle.post_adder_shift(y, at["shift"][1], left=at["shift"][0] == "left")
    y = oracle.as_int8(y)
    if at["activation"] == "relu":
        y = oracle.relu(y, at["relu_gain"])
    elif at["activation"] == "clip":
        y = oracle.clip(y, at["limit"])
    elif at["activation"] == "table":
        y = oracle.lookup(y, at["table"])
    return oracle.as_int8(y)


@given(st.data())
def test_array_round_equals_the_oracle(data: st.DataObject) -> None:
    k, columns, frames = data.draw(strategies.lengths(70)), data.draw(st.integers(1, 5)), 3
    x = data.draw(strategies.codes(np.uint8, (frames, k)))
    weight = data.draw(
        strategies.codes(data.draw(st.sampled_from((np.int8, np.int16))), (columns, k))
    )
    cells = data.draw(st.sampled_from((np.int8, np.int16)))
    rows = data.draw(strategies.codes(cells, (data.draw(st.integers(0, 16)), columns)))
    registers = _registers(data.draw, (frames, columns))
    got = cmodel.array_round(x, weight, rows, **registers)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got.view(np.int8), _oracle_round(x, weight, rows, registers))
