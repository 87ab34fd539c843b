# SPDX-License-Identifier: Apache-2.0
"""The mapper's optimisations change no code, as long as no input saturates; and they can be undone."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import bittwin
from bittwin.optimize import (
    Limits,
    Optimization,
    optimize_input,
    optimize_layer,
    repeated_output,
    restore_layer,
    saturates,
    signed_codes,
    signed_layer,
    sparse_linear,
    split_weight,
)
from bittwin.testing import oracle, strategies

WIDE = Limits(lowest_gain=256, highest_gain=32768, weight=32767, bias=2**31 - 1, rows=1 << 20)


@st.composite
def layers(draw: Any, top: int = 127) -> tuple[Any, Any, Any, int]:
    """Input codes, weight, bias and a gain."""
    out, inputs = draw(st.integers(1, 4)), draw(st.integers(0, 9))
    x = draw(strategies.codes(np.uint8, (draw(st.integers(0, 4)), inputs)))
    weight = draw(strategies.codes(np.int16, (out, inputs), -top, top))
    rows = draw(st.one_of(st.none(), strategies.codes(np.int32, (out,), -300, 300)))
    return x, weight, None if rows is None else 128 * rows, draw(st.sampled_from((256, 512, 2048)))


def plans() -> st.SearchStrategy[Optimization]:
    few = st.integers(0, 2)
    return st.builds(Optimization, input_shift=few, weight_shift=few, duplicate=few)


@given(layers(), plans(), st.data())
def test_the_codes_stay_and_the_layer_comes_back(
    layer: tuple[Any, Any, Any, int], plan: Optimization, data: st.DataObject
) -> None:
    x, weight, bias, gain = layer
    assume(gain << plan.log2_factor <= 32768)
    covered = data.draw(st.one_of(st.none(), st.integers(0, weight.shape[1])))
    w, b, g = optimize_layer(weight, bias, gain, plan, shifted_inputs=covered, limits=WIDE)
    assert w.shape[1] == weight.shape[1] << plan.duplicate
    assert g == gain << plan.log2_factor
    fed = optimize_input(x, plan, shifted_inputs=covered)
    plain = bittwin.accumulate(x, weight, bias)
    seen = x if covered is None else x[:, :covered]
    inside = not saturates(seen, plan)
    got = bittwin.accumulate(fed, w, b)
    if inside:
        np.testing.assert_array_equal(got, plain << plan.log2_factor)
        for name in ("readout", "half_even", "half_up", "floor"):
            np.testing.assert_array_equal(
                bittwin.requantize(got, bittwin.requant.by_name(name, g)),
                bittwin.requantize(plain, bittwin.requant.by_name(name, gain)),
            )
    shifted = [[v << plan.input_shift for v in row] for row in seen.tolist()]
    assert inside == all(v <= 255 for row in shifted for v in row)
    rest = [] if covered is None else x[:, covered:].tolist()
    rows = [[min(v, 255) for v in row] + (rest[i] if rest else []) for i, row in enumerate(shifted)]
    assert fed.tolist() == [row * (1 << plan.duplicate) for row in rows]
    back_w, back_b, back_g = restore_layer(w, b, g, plan, shifted_inputs=covered)
    np.testing.assert_array_equal(back_w, weight)
    assert back_g == gain
    assert (back_b is None) == (bias is None)
    if bias is not None:
        np.testing.assert_array_equal(back_b, bias)


@given(layers(), st.integers(0, 2), st.integers(0, 2))
def test_magnified_outputs_are_those_of_the_smaller_gain(
    layer: tuple[Any, Any, Any, int], magnify: int, front: int
) -> None:
    x, weight, bias, gain = layer
    assume(gain >> (magnify + front) >= 256)
    plan = Optimization(magnify=magnify, front_scale=front)
    w, b, g = optimize_layer(weight, bias, gain, plan, limits=WIDE)
    assert g == gain >> (magnify + front)
    np.testing.assert_array_equal(w, weight)
    wanted = bittwin.linear(x, weight, bias, bittwin.readout(g))
    np.testing.assert_array_equal(bittwin.linear(x, w, b, bittwin.readout(g)), wanted)
    assert restore_layer(w, b, g, plan)[2] == gain


@given(st.data())
def test_signed_inputs_keep_the_accumulator(data: st.DataObject) -> None:
    draw = data.draw
    out, inputs = draw(st.integers(1, 4)), draw(st.integers(0, 8))
    n = draw(st.integers(0, inputs))
    x = draw(strategies.codes(np.int8, (draw(st.integers(0, 4)), inputs)))
    weight = draw(strategies.codes(np.int16, (out, inputs), -275, 275))
    bias = draw(st.one_of(st.none(), strategies.codes(np.int32, (out,), -9999, 9999)))
    w, b = signed_layer(weight, bias, n, limits=WIDE)
    fed = signed_codes(x, n)
    assert fed.shape[-1] == w.shape[1] == inputs + n
    np.testing.assert_array_equal(bittwin.accumulate(fed, w, b), oracle.accumulate(x, weight, bias))
    clipped = signed_codes(x, n, cmodel=True)
    as_fed = x.astype(np.int16)
    as_fed[:, :n] = np.maximum(as_fed[:, :n], -127)
    np.testing.assert_array_equal(
        bittwin.accumulate(clipped, w, b), oracle.accumulate(as_fed, weight, bias)
    )


@given(st.data())
def test_signed_convolutions_keep_the_accumulator(data: st.DataObject) -> None:
    draw = data.draw
    channels, out = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    whole = draw(st.booleans())  # only then may there be padding
    n = channels if whole else draw(st.integers(0, channels))
    x = draw(strategies.codes(np.int8, (2, channels, 4, 3)))
    weight = draw(strategies.codes(np.int8, (out, channels, 3, 2)))
    w, b = signed_layer(weight, None, n)
    padding = (1, 1, 0, 0) if whole else 0
    np.testing.assert_array_equal(
        bittwin.conv2d_accumulate(signed_codes(x, n, axis=1), w, b, padding=padding),
        bittwin.conv2d_accumulate(x, weight, padding=padding),
    )


@given(st.integers(0, 3), st.data())
def test_equal_copies_give_themselves(levels: int, data: st.DataObject) -> None:
    y = data.draw(strategies.codes(np.int8, (3, 5)))
    np.testing.assert_array_equal(repeated_output([y] * (1 << levels)), y)


@given(st.data())
def test_two_copies_average_half_up(data: st.DataObject) -> None:
    a, b = (data.draw(strategies.codes(np.int8, (7,))) for _ in range(2))
    wanted = [(u + v + 1) // 2 for u, v in zip(a.tolist(), b.tolist(), strict=True)]
    assert repeated_output([a, b]).tolist() == wanted


@given(st.data(), st.integers(1, 8), st.sampled_from(("signed", "unsigned")))
def test_weight_parts_add_up(data: st.DataObject, bits: int, low: str) -> None:
    weight = data.draw(strategies.codes(np.int16, (4, 6)))
    parts = split_weight(weight, bits, low=low)
    np.testing.assert_array_equal(parts[1].astype(int) * (1 << bits) + parts[0], weight)
    floor = -(1 << (bits - 1)) if low == "signed" else 0
    assert parts[0].min() >= floor
    assert parts[0].max() < floor + (1 << bits)


@given(
    st.one_of(layers(top=275), layers(top=32767)),
    st.sampled_from(("signed", "unsigned")),
    st.data(),
)
def test_sparse_modes_equal_the_oracle(
    layer: tuple[Any, Any, Any, int], low: str, data: st.DataObject
) -> None:
    x, weight, bias, gain = layer
    bits = data.draw(st.sampled_from((8, 8, 7, 5)))
    rounding = data.draw(st.sampled_from(oracle.ROUNDINGS))
    side = data.draw(st.sampled_from(("array", "digital")))
    rule, log2 = bittwin.readout(gain), gain.bit_length() - 1
    options: dict[str, Any] = {"bits": bits, "low": low, "high_rounding": rounding}
    got = sparse_linear(x, weight, bias, rule, mode="MIX", bias_side=side, **options)
    w_low, w_high = split_weight(weight, bits, low=low)
    high = oracle.accumulate(x, w_high) * (1 << bits)
    if side == "digital" and bias is not None:
        high = high + bias
    digital = np.clip(oracle.round_shift(high, log2, rounding), -32768, 32767)
    on_array = oracle.accumulate(x, w_low, bias if side == "array" else None)
    np.testing.assert_array_equal(got, oracle.readout(on_array, gain, high=digital))
    plain = bittwin.linear(x, weight, bias, rule)
    if np.abs(weight.astype(int)).max(initial=0) <= 275:
        np.testing.assert_array_equal(sparse_linear(x, weight, bias, rule), plain)
    before = sparse_linear(x, weight, bias, rule, mode="MIX", add="before rounding", **options)
    np.testing.assert_array_equal(before, plain)
    small = np.clip(weight, -128, 127)
    got = sparse_linear(x, small, bias, rule, mode="DIG", high_rounding=rounding)
    acc = oracle.accumulate(x, small, bias)
    np.testing.assert_array_equal(got, np.clip(oracle.round_shift(acc, log2, rounding), -128, 127))
