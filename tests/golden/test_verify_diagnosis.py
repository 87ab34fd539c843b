# SPDX-License-Identifier: Apache-2.0
"""One fault at a time into a right dump: the first diagnosis must name it, with its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from verify_cases import make_case, result, top

import bittwin
from bittwin.golden.check.places import numbers, percent


@pytest.fixture
def case():
    return make_case()


def golden(case, name="linear_2", set_name="expected"):
    return case.outputs[name, set_name]


def simulate_with(case, name="linear_2", **changes):
    """Let the simulation use another operator than the golden codes were made with."""
    layer = case.layer(name)
    other = replace(layer, operator=replace(layer.operator, **changes))
    layers = tuple(other if x.name == name else x for x in case.dump.layers)
    case.dump = replace(case.dump, layers=layers)
    return case


def causes(found, name="linear_2", set_name="expected", mode="teacher_forced"):
    return [d.cause for d in result(found, name, set_name, mode).diagnosis]


def test_equal_layers_have_no_diagnosis(case):
    assert all(r.diagnosis == () for r in case.verify().layers)


@pytest.mark.parametrize("rule", ["half_even", "half_up", "half_away", "floor", "toward_zero"])
def test_another_rounding_names_the_right_one(case, rule):
    found = case.verify(rounding=rule)
    assert not found.equal
    for entry in found.layers:
        if entry.mismatches:
            first = entry.diagnosis[0]
            assert "readout" in first.cause
            assert "explains 100 % of the codes" in first.cause
            assert (first.explains, first.exact, first.rule) == (1.0, True, "readout")


def test_dump_of_another_rule_is_named_too():
    case = make_case(rule="half_even")
    layers = tuple(
        replace(x, operator=replace(x.operator, requant=bittwin.readout(x.gain)))
        for x in case.dump.layers
    )
    case.dump = replace(case.dump, layers=layers)
    found = top(case.verify(), "linear_2")
    assert found.cause.startswith("another rounding: half_even explains 100 %")


def test_wrapping_converter_code_is_named():
    case = make_case(widths=(200, 6), rule="readout_wrap16", x_high=256, bias=False)
    weight = np.full((6, 200), 127, np.int8)
    weight[3:] = -128
    for set_name in ("expected", "complete", "debug"):
        x = case.inputs["linear_1", set_name]
        x[:] = 255
        x[::2] = 9
        acc = x.astype(np.int32) @ weight.T.astype(np.int32)
        y = bittwin.requantize(acc.astype(np.int32), bittwin.readout(256, overflow="wrap16"))
        case.outputs["linear_1", set_name][:] = y
    simulate_with(case, "linear_1", weight=weight, requant=bittwin.readout(256))
    found = top(case.verify(), "linear_1")
    assert found.kind == "wrap16"
    assert found.exact


@pytest.mark.parametrize(("gain", "words"), [(2048, "1/2 of the 2048"), (512, "2 times the 512")])
def test_gain_off_by_two(case, gain, words):
    simulate_with(case, requant=bittwin.readout(gain))
    found = top(case.verify(), "linear_2")
    assert found.kind == "gain"
    assert f"gain 1024, {words}" in found.cause
    assert found.exact


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: 0 * b, "bias"),
        (lambda b: 2 * b, "only half of the bias"),
        (lambda b: b // 2, "bias added twice"),
        (lambda b: -b, "bias subtracted"),
        (lambda b: 128 * b, "bias rows counted once"),
        (lambda b: b // 128, "multiplied by 128 once more"),
    ],
)
def test_bias_faults(case, change, words):
    bias = case.layer("linear_2").operator.bias
    simulate_with(case, bias=change(bias).astype(np.int32))
    found = top(case.verify(), "linear_2")
    if change(bias).any():
        assert words in found.cause
        assert found.exact
    else:  # the dump has no bias: there is nothing to multiply, but a constant per column
        assert found.kind == "bias_columns"
        assert found.exact


def test_golden_without_bias_is_named(case):
    layer = case.layer("linear_2")
    acc = layer.accumulate_rows(case.inputs["linear_2", "expected"]) - layer.operator.bias
    golden(case)[:] = bittwin.requantize(acc.astype(np.int32), layer.operator.requant)
    assert top(case.verify(), "linear_2").cause == "bias left out explains 100 % of the codes"


def test_input_read_with_another_sign():
    case = make_case()
    layer = case.layer("linear_1")
    x = case.inputs["linear_1", "expected"]
    signed = replace(layer, operator=replace(layer.operator, x_signed=True))
    golden(case, "linear_1")[:] = signed.run_rows(np.where(x > 127, x - 256, x))
    found = top(case.verify(), "linear_1")
    assert found.cause.startswith("input read as signed instead of unsigned explains 100 %")


def test_negative_inputs_taken_as_zero():
    case = make_case(x_signed=True)
    layer = case.layer("linear_1")
    x = case.inputs["linear_1", "expected"]
    golden(case, "linear_1")[:] = layer.run_rows(np.maximum(x, 0))
    assert top(case.verify(), "linear_1").cause.startswith("negative inputs taken as 0")


def test_golden_after_the_activation(case):
    golden(case)[:] = np.maximum(golden(case), 0)
    found = top(case.verify(), "linear_2")
    assert found.kind == "activation"
    assert "after the activation (relu), not before it" in found.cause


def test_golden_before_the_activation(case):
    layer = case.layer("linear_2")
    golden(case, set_name="debug")[:] = layer.run_rows(case.inputs["linear_2", "debug"])
    found = top(case.verify(), "linear_2", "debug")
    assert found.cause.startswith("golden is before the activation, not after it")


def test_another_activation_is_recognised_by_code(case):
    codes = golden(case, set_name="debug")
    codes[:] = 2 * codes
    found = top(case.verify(), "linear_2", "debug")
    assert found.cause == "golden fits the activation relu x2: 100 % of all codes"
    assert found.exact


def test_activation_table_is_recognised(case):
    codes = golden(case, set_name="debug")
    codes[:] = codes // 3 + 1
    found = top(case.verify(), "linear_2", "debug")
    assert found.kind == "table"
    assert found.exact


@pytest.mark.parametrize(("by", "words"), [(1, "one frame late"), (-1, "one frame early")])
@pytest.mark.parametrize("set_name", ["expected", "debug"])
def test_shift_by_one_frame(case, by, words, set_name):
    codes = golden(case, set_name=set_name)
    codes[:] = np.roll(codes, by, 0)
    found = top(case.verify(), "linear_2", set_name)
    assert found.kind == "frame_shift"
    assert words in found.cause


def test_frame_numbers_off_by_one(case):
    layer = case.layer("linear_2")
    codes = layer.set("expected")
    debug = case.inputs["linear_2", "debug"]
    golden(case)[:] = layer.run_rows(debug[np.minimum(codes.frame_index + 1, 59)])
    found = top(case.verify(), "linear_2")
    assert "stream frame +1" in found.cause


@pytest.mark.parametrize(("by", "words"), [(1, "column c-1"), (-1, "column c+1")])
def test_shift_by_one_column(case, by, words):
    codes = golden(case)
    codes[:] = np.roll(codes, by, 1)
    found = top(case.verify(), "linear_2")
    assert found.kind == "column_shift"
    assert words in found.cause


def test_frames_in_another_order(case):
    codes = golden(case)
    codes[:] = codes[::-1].copy()
    found = top(case.verify(), "linear_2")
    assert found.kind == "frame_order"
    assert found.explains == 1


def test_swapped_columns(case):
    codes = golden(case)
    codes[:, [3, 7]] = codes[:, [7, 3]]
    found = top(case.verify(), "linear_2")
    assert found.kind == "column_order"
    assert "golden column 3 is simulated column 7" in found.cause


def test_one_flipped_code(case):
    golden(case)[12, 7] += 5
    found = result(case.verify(), "linear_2")
    now = golden(case)[12, 7]
    assert found.diagnosis[0].cause == (
        f"1 code in 1 frame: frame 12, column 7: expected {now}, simulated {now - 5}"
    )
    assert len(found.diagnosis) == 1


def test_three_codes_of_one_column(case):
    golden(case)[[3, 20, 41], 7] -= 4
    found = top(case.verify(), "linear_2")
    assert found.cause.startswith("3 codes in 3 frames, all in column 7: frame 3, column 7:")


def test_dead_column(case):
    golden(case)[:, 7] = 3
    found = top(case.verify(), "linear_2")
    assert found.kind == "dead_column"
    assert found.explains == 1
    assert found.cause.startswith("column 7: dead: golden is 3 in every frame, simulated ")


def test_dead_column_of_two():
    case = make_case(widths=(24, 30, 2))
    golden(case)[:, 1] = 9
    assert top(case.verify(), "linear_2").cause.startswith("column 1: dead: golden is 9")


def test_offset_column_with_its_fit(case):
    golden(case)[:, 7] += 3
    found = top(case.verify(), "linear_2")
    assert found.kind == "offset_column"
    assert "column 7: offset +3 LSB" in found.cause
    assert "gain 1.000, offset +3.00" in found.cause


def test_offset_column_that_saturates():
    case = make_case(widths=(24, 16), gain=256)
    golden(case, "linear_1")[:, 7] = np.clip(golden(case, "linear_1")[:, 7] + 60, -128, 127)
    found = top(case.verify(), "linear_1")
    assert found.kind == "offset_column"
    assert "offset +60 LSB" in found.cause


def test_weak_column_with_its_fit(case):
    column = golden(case, "linear_1")[:, 7]
    column[:] = column // 2
    found = top(case.verify(), "linear_1")
    assert found.kind == "column"
    assert "column 7: golden = 0.498 x simulated" in found.cause


def test_one_wrong_weight_is_found(case):
    weight = case.layer("linear_2").operator.weight.copy()
    weight[7, 12] += 9
    simulate_with(case, weight=weight)
    found = top(case.verify(), "linear_2")
    assert found.kind == "weight"
    now = int(weight[7, 12])
    assert f"column 7: weight of input 12: golden fits {now - 9}, the dump has {now}" in found.cause
    assert found.exact


def test_two_wrong_weights_in_two_columns(case):
    weight = case.layer("linear_2").operator.weight.copy()
    weight[7, 12] += 19
    weight[9, 3] -= 20
    simulate_with(case, weight=weight)
    found = result(case.verify(), "linear_2").diagnosis
    assert [d.kind for d in found] == ["weight", "weight"]
    assert sum(d.explains for d in found) == pytest.approx(1)


def test_bias_of_one_column(case):
    bias = case.layer("linear_2").operator.bias.copy()
    bias[7] += 128 * 5
    simulate_with(case, bias=bias)
    found = top(case.verify(), "linear_2")
    assert found.kind == "bias_column"
    assert "bias: golden has -640 accumulator units (-5 bias codes) more" in found.cause


def test_many_columns_in_a_row():
    case = make_case(widths=(24, 64, 8))
    rng = np.random.default_rng(0)
    codes = golden(case, "linear_1")
    codes[:, 20:30] += rng.integers(1, 9, (62, 10)).astype(np.int16)
    found = top(case.verify(), "linear_1")
    assert "only 10 of 64 columns in a row: 20..29" in found.cause


def test_one_frame(case):
    golden(case)[9] = 0
    found = top(case.verify(), "linear_2")
    assert found.kind == "frame"
    assert found.cause.startswith("only frame 9: ")
    assert "golden is 0 in all columns there" in found.cause


def test_every_frame_from_some_frame_on(case):
    golden(case)[30:] = 0
    found = top(case.verify(), "linear_2")
    assert found.cause.startswith("every frame before 30 is equal, none from there on")


def test_wrong_own_input_is_told_from_a_wrong_output(case):
    case.inputs["linear_2", "expected"][5] = 0
    found = case.verify()
    assert result(found, "linear_2", "expected", "free_running").mismatches == 0
    assert top(found, "linear_2").kind == "input_file"


def test_constant_offset_of_all_codes(case):
    golden(case)[:] += 5
    found = top(case.verify(), "linear_2")
    assert found.cause == "golden = simulated +5: 100 % of all codes"


def test_opposite_sign(case):
    golden(case)[:] *= -1
    assert top(case.verify(), "linear_2").kind == "negated"


def test_narrower_limits():
    case = make_case(widths=(24, 32))
    codes = golden(case, "linear_1")
    codes[:] = np.clip(codes, -50, 50)
    found = top(case.verify(), "linear_1")
    assert found.cause == "golden is limited to -50..50: 100 % of all codes"


def test_only_negative_codes(case):
    rng = np.random.default_rng(0)
    codes = golden(case)
    hit = (rng.random(codes.shape) < 0.2) & (codes < 0)
    codes[hit] -= 1
    found = top(case.verify(), "linear_2")
    assert found.kind == "negative"
    assert found.explains == 1
    assert f"in {hit.sum()} of {hit.sum()} differing codes" in found.cause


def test_only_ties():
    case = make_case(widths=(8, 40), bias=False, gain=256, seed=4)
    layer = case.layer("linear_1")
    acc = layer.accumulate_rows(case.inputs["linear_1", "expected"])
    tie = (acc % 256 == 128) & (np.random.default_rng(0).random(acc.shape) < 0.9)
    assert tie.sum() >= 5
    golden(case, "linear_1")[tie] -= 1
    found = top(case.verify(), "linear_1")
    assert found.kind == "tie"
    assert found.explains == 1


def test_only_saturated_codes():
    case = make_case(widths=(120, 32), x_high=256, gain=256)
    codes = golden(case, "linear_1")
    rng = np.random.default_rng(0)
    layer = case.layer("linear_1")
    acc = layer.accumulate_rows(case.inputs["linear_1", "expected"]).astype(np.int64)
    hit = ((2 * acc > 255 * 256) | (2 * acc < -257 * 256)) & (rng.random(codes.shape) < 0.5)
    codes[hit] -= np.sign(codes[hit]) * rng.integers(1, 9, int(hit.sum())).astype(np.int16)
    found = top(case.verify(), "linear_1")
    assert found.kind == "saturated"
    assert "only saturation" in found.cause


def test_spread_differences_claim_no_cause(case):
    rng = np.random.default_rng(0)
    codes = golden(case)
    hit = rng.random(codes.shape) < 0.1
    codes[hit] += rng.choice((-2, -1, 1, 2), int(hit.sum())).astype(np.int16)
    found = result(case.verify(), "linear_2")
    assert [d.kind for d in found.diagnosis] == ["spread"]
    assert found.diagnosis[0].explains == 0
    assert "no single cause found; differences are spread" in found.diagnosis[0].cause
    assert f"{hit.sum()} codes in" in found.diagnosis[0].cause


def test_unrelated_codes_are_called_unrelated(case):
    codes = golden(case)
    codes[:] = np.random.default_rng(0).integers(-128, 128, codes.shape)
    assert "unrelated to the simulation" in top(case.verify(), "linear_2").cause


def test_rounding_and_a_dead_column_are_both_named(case):
    golden(case)[:, 9] = 1
    found = causes(case.verify(rounding="half_even"))
    assert "readout explains" in found[0]
    assert "100 %" not in found[0]
    assert found[1].startswith("the rest: column 9: dead: golden is 1")


def test_inherited_differences_name_their_origin(case):
    weight = case.layer("linear_1").operator.weight.copy()
    weight[3] += 9
    simulate_with(case, "linear_1", weight=weight)
    found = case.verify()
    for name in ("linear_2", "linear_3"):
        cause = top(found, name, "complete", "free_running").cause
        assert cause == "inherited from linear_1; exact on its own input"


def test_own_and_inherited_differences_are_told_apart(case):
    for name in ("linear_1", "linear_2"):
        weight = case.layer(name).operator.weight.copy()
        weight[3] += 9
        simulate_with(case, name, weight=weight)
    cause = top(case.verify(), "linear_2", "complete", "free_running").cause
    assert cause.startswith("inherited from linear_1, and own")


def test_link_that_does_not_hold(case):
    """Both layers exact on their own inputs, but these do not belong together."""
    layer = case.layer("linear_2")
    x = case.inputs["linear_2", "complete"]
    x[:] = np.random.default_rng(0).integers(0, 100, x.shape)
    golden(case, set_name="complete")[:] = layer.run_rows(x)
    found = top(case.verify(), "linear_2", "complete", "free_running")
    assert found.kind == "link"
    assert "its input of the dump is not the output of linear_1" in found.cause


def test_unknown_activation_is_said_first(case):
    layer = replace(
        case.layer("linear_2"), activation=(), activation_label="unknown", note="no rule"
    )
    layers = tuple(layer if x.name == "linear_2" else x for x in case.dump.layers)
    case.dump = replace(case.dump, layers=layers)
    found = case.verify()
    first = top(found, "linear_2", "debug")
    assert (
        first.cause
        == "the activation is unknown, so the codes after it cannot be computed: no rule"
    )
    assert result(found, "linear_2").mismatches == 0
    assert any("activation of linear_2 is unknown" in note for note in found.notes)


def test_percent_never_rounds_up_to_all():
    assert percent(0.99999) == "99.9 %"
    assert percent(1.0) == "100 %"


def test_numbers_joins_runs_and_counts_the_rest():
    assert numbers([0, 2, 4, 6], most=2) == "0, 2 and 2 more"
