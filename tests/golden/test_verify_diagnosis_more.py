# SPDX-License-Identifier: Apache-2.0
"""Common properties, dead layers, rules in one place only, and two faults at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from verify_cases import make_case, result, top

import bittwin
from bittwin.golden.check.bias_fit import BiasFit


def spoil(case, change, name="linear_2", set_name="expected"):
    """Change golden codes in place: change(codes, accumulators); returns the kinds and causes."""
    layer = case.layer(name)
    acc = layer.accumulate_rows(case.inputs[name, set_name]).astype(np.int64)
    codes = case.outputs[name, set_name]
    codes[:] = change(codes.copy(), acc)
    found = result(case.verify(), name, set_name).diagnosis
    return [d.kind for d in found], [d.cause for d in found]


def other_rule(case, rule="half_even", name="linear_2", set_name="expected"):
    layer = case.layer(name)
    acc = layer.accumulate_rows(case.inputs[name, set_name])
    return bittwin.requantize(acc, bittwin.requant.by_name(rule, layer.gain)).astype(np.int16)


def test_every_negative_code_less_one_is_negative_before_table():
    case = make_case(widths=(24, 32, 64), frames=300)
    kinds, causes = spoil(case, lambda g, a: np.where(g < 0, np.maximum(g - 1, -128), g))
    assert kinds[0] == "negative"
    assert set(kinds[1:]) <= {"table"}
    assert causes[0].startswith("only negative codes: the accumulator is below 0")


def test_every_lowest_code_turned_over_is_saturation_before_table():
    case = make_case(widths=(120, 96), x_high=256, frames=400)
    codes = case.outputs["linear_1", "expected"]
    assert 50 < (codes == -128).sum() < codes.size // 2
    kinds, causes = spoil(case, lambda g, a: np.where(g == -128, 127, g), "linear_1")
    assert kinds == ["saturated", "table"]
    assert "-128 -> 127" in causes[1]


@pytest.mark.parametrize("quarter", [False, True])
def test_few_ties_in_few_columns_are_ties_before_columns(quarter):
    case = make_case(widths=(24, 32, 256), frames=110, seed=3)

    def fault(codes, acc):
        tie = (acc % 1024 == 512) | (quarter & (acc < 0) & (acc % 1024 == 256))
        tie &= np.random.default_rng(0).random(acc.shape) < 0.8
        assert 5 <= tie.sum() <= 64
        return codes - tie

    kinds, causes = spoil(case, fault)
    assert kinds[0] == "tie"
    assert "columns" not in kinds
    assert causes[0].startswith("only ties: ")


def test_quarter_steps_are_no_ties_of_another_rule():
    case = make_case(widths=(24, 32, 256), frames=110, seed=3, rule="half_up")
    _, causes = spoil(case, lambda g, a: g - ((a < 0) & (a % 1024 == 256)))
    assert not any(c.startswith("only ties") for c in causes)


def test_unknown_ties_are_named_by_their_remainder():
    case = make_case(widths=(24, 32, 256), frames=110, seed=3)
    kinds, causes = spoil(case, lambda g, a: g - np.isin(a % 1024, (100, 300)))
    assert kinds[0] == "tie"
    assert causes[0].startswith("only where the accumulator modulo the gain 1024 is 100, 300: ")


def test_fault_in_an_all_negative_column_is_no_property_of_negative_codes():
    case = make_case(widths=(24, 32, 64))
    layer = case.layer("linear_2")
    weight = layer.operator.weight.copy()
    weight[5] = -np.abs(weight[5]) - 1
    bias = layer.operator.bias.copy()
    bias[5] = -4096
    other = replace(layer, operator=replace(layer.operator, weight=weight, bias=bias))
    case.dump = replace(
        case.dump, layers=tuple(other if x.name == "linear_2" else x for x in case.dump.layers)
    )
    rng = np.random.default_rng(0)

    def fault(codes, acc):
        codes[:] = other.run_rows(case.inputs["linear_2", "expected"])
        codes[:, 5] = np.maximum(codes[:, 5] + rng.integers(-9, -1, codes.shape[0]), -128)
        return codes

    kinds, _ = spoil(case, fault)
    assert kinds == ["column"]


def test_a_weight_that_no_cell_can_hold_is_not_offered():
    case = make_case()
    layer = case.layer("linear_2")
    x = case.inputs["linear_2", "expected"].astype(np.int64)

    def fault(codes, acc):
        acc[:, 7] += 400 * x[:, 12]
        return bittwin.requantize(acc.astype(np.int32), layer.operator.requant)

    kinds, _ = spoil(case, fault)
    assert "weight" not in kinds


@pytest.mark.parametrize("constant", [-128, 0, 5, 127])
@pytest.mark.parametrize("name", ["linear_1", "linear_2", "linear_3"])
def test_dead_layer_is_named_first(constant, name):
    case = make_case()
    kinds, causes = spoil(case, lambda g, a: np.full_like(g, constant), name)
    assert kinds[0] == "dead_layer"
    start = f"golden is the constant {constant} in every frame and column (the layer is dead)"
    assert causes[0].startswith(start)
    assert not any("clip" in c or "limited" in c or "multiples of" in c for c in causes)


def test_dead_layer_needs_a_simulation_that_varies():
    case = make_case()
    layer = case.layer("linear_3")
    zero = replace(layer.operator, weight=0 * layer.operator.weight, bias=None)
    other = replace(layer, operator=zero)
    case.dump = replace(case.dump, layers=(*case.dump.layers[:2], other))
    kinds, _ = spoil(case, lambda g, a: np.full_like(g, 5), "linear_3")
    assert "dead_layer" not in kinds


@pytest.mark.parametrize(("code", "words"), [(-128, "at most "), (127, "at least ")])
def test_half_open_range_of_a_bias_has_no_count(code, words):
    fit = BiasFit(bittwin.readout(1024), 1, relu=False)
    fit.update(np.array([[100], [5000]]), np.array([[code], [code]]))
    assert fit.text(0).startswith(words)
    assert "multiples" not in fit.text(0)


def test_another_rounding_in_one_column():
    case = make_case(widths=(24, 32, 64), frames=200)

    def fault(codes, acc):
        codes[:, column] = other[:, column]
        return codes

    other = other_rule(case)
    before = case.outputs["linear_2", "expected"]
    wrong = (other != before).sum(axis=0) * ((before > 0).sum(axis=0) > 60)
    column = int(wrong.argmax())
    assert wrong[column] > 4
    kinds, causes = spoil(case, fault)
    assert kinds == ["rounding_column"]
    assert causes[0].startswith(f"column {column}: half_even")
    assert "explains 100 % of its codes" in causes[0]


def test_another_rounding_in_a_column_of_one_sign_is_a_constant_too():
    case = make_case(widths=(24, 32, 64), frames=200)
    other, codes = other_rule(case), case.outputs["linear_2", "expected"]
    column = int((other != codes).sum(axis=0).argmax())
    assert codes[:, column].max() <= 0
    codes[:, column] = other[:, column]
    found = top(case.verify(), "linear_2")
    assert found.kind == "bias_column"
    assert "(so fits another rounding in this column: half_even" in found.cause


def test_another_rounding_in_a_few_frames():
    case = make_case(widths=(24, 32, 64), frames=110)

    def fault(codes, acc):
        codes[10:20] = other_rule(case)[10:20]
        return codes

    kinds, causes = spoil(case, fault)
    assert kinds == ["rounding_frames"]
    assert causes[0].startswith("only frames 10..19: half_even")
    assert "explains 100 % of their codes" in causes[0]


@pytest.mark.parametrize("block", [7, 1000])
def test_a_column_and_a_frame_at_once(block):
    case = make_case(widths=(24, 32, 256), frames=110)
    codes = case.outputs["linear_2", "expected"]
    codes[:, 9] += 5
    codes[44] = np.random.default_rng(0).integers(-128, 128, 256)
    found = result(case.verify(block=block), "linear_2").diagnosis
    assert [d.kind for d in found] == ["frame", "offset_column"]
    assert found[0].cause.startswith("frame 44: 25")
    assert found[1].cause.startswith("the rest: column 9: offset +5 LSB")
    assert sum(d.explains for d in found) == pytest.approx(1)
    assert not any(d.exact for d in found)


def test_a_dead_frame_and_another_rounding_at_once():
    case = make_case(widths=(24, 32, 256), frames=110)
    case.outputs["linear_2", "expected"][44] = 7
    found = result(case.verify(rounding="half_even"), "linear_2").diagnosis
    assert any("readout explains" in d.cause for d in found)
    assert any("frame 44" in d.cause and "golden is 7" in d.cause for d in found)


def test_other_sets_stay_equal():
    case = make_case()
    case.outputs["linear_2", "expected"][44] = 7
    assert top(case.verify(), "linear_2").kind == "frame"
    assert result(case.verify(), "linear_2", "debug").diagnosis == ()


def test_part_of_the_ties_is_not_called_a_rule_of_some_columns():
    case = make_case(widths=(24, 32, 256), frames=110, seed=3, rule="half_up")
    other = other_rule(case)

    def fault(codes, acc):
        wrong = np.flatnonzero((other != codes).any(axis=0))[::2]
        assert wrong.size > 4
        codes[:, wrong] = other[:, wrong]
        return codes

    kinds, _ = spoil(case, fault)
    assert kinds[0] == "tie"
