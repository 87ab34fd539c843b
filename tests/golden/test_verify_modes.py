# SPDX-License-Identifier: Apache-2.0
"""What is compared: sets, modes, alignment of shuffled rows, selections, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from verify_cases import START, ArrayCodes, Case, make_case, result

import bittwin
from bittwin.golden.check.compare import Tally
from bittwin.golden.check.selection import check_frames


def test_equal_dump_compares_every_code_in_both_modes():
    found = make_case().verify()
    assert found.equal
    assert found.mismatches == 0
    assert found.rounding == "readout"
    assert len(found.layers) == 3 * 3 * 2
    expected = result(found, "linear_2", "expected")
    assert (expected.frames, expected.codes) == (62, 62 * 20)
    assert result(found, "linear_2", "complete", "free_running").codes == (60 - START) * 20
    assert result(found, "linear_3", "debug", "free_running").codes == 60 * 12


def test_first_mismatch_and_histogram_of_two_spoilt_codes():
    case = make_case()
    golden = case.outputs["linear_2", "expected"]
    before = golden.copy()
    golden[12, 7] += 3
    golden[9, 15] -= 1
    found = result(case.verify(), "linear_2")
    assert (found.mismatches, found.max_abs) == (2, 3)
    assert found.histogram == {-3: 1, 1: 1}
    assert (found.first.frame, found.first.column) == (9, 15)
    assert (found.first.expected, found.first.actual) == (golden[9, 15], before[9, 15])
    assert found.first.stream_frame == case.layer("linear_2").set("expected").frame_index[9]


def test_teacher_forced_error_stays_in_its_layer_and_free_running_shows_its_growth():
    case = make_case()
    operator = case.layer("linear_1").operator
    weight = operator.weight.copy()
    weight[3] += 9
    spoil(case, "linear_1", weight=weight)
    found = case.verify()
    for name in ("linear_2", "linear_3"):
        assert result(found, name, "complete").mismatches == 0
        assert result(found, name, "complete", "free_running").mismatches > 0
    assert found.first_wrong.name == "linear_1"


def test_free_running_follows_frames_when_layers_are_shuffled_differently():
    case = make_case()
    rng = np.random.default_rng(3)
    reorder(case, "linear_2", "expected", rng.permutation(62))
    reorder(case, "linear_3", "expected", rng.permutation(62)[:30])
    found = case.verify()
    assert found.equal
    assert result(found, "linear_3", "expected", "free_running").frames == 30


def test_frames_that_the_first_layer_lacks_are_left_out_and_counted():
    case = make_case()
    kept = np.arange(40)
    reorder(case, "linear_1", "complete", kept)
    found = case.verify()
    assert found.equal
    two = result(found, "linear_2", "complete", "free_running")
    assert (two.frames, two.left_out) == (40, 60 - START - 40)
    assert any("linear_2: 16 rows left out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"linked": False, "link_note": "reads another tensor"}, "reads another tensor"),
        ({"linked": False, "link_note": ""}, "not the output of linear_1"),
    ],
)
def test_unlinked_layer_restarts_free_running_with_a_note(change, words):
    case = make_case()
    exchange(case, "linear_2", **change)
    golden = case.outputs["linear_1", "expected"]
    golden[:, 3] = 0
    found = case.verify()
    assert any("starts again at linear_2" in note and words in note for note in found.notes)
    assert result(found, "linear_2", "expected", "free_running").mismatches == 0


def test_unknown_order_restarts_free_running():
    case = make_case()
    layer = case.layer("linear_2")
    sets = tuple(replace(s, frame_index=None) if s.name == "expected" else s for s in layer.sets)
    exchange(case, "linear_2", sets=sets)
    found = case.verify()
    assert found.equal
    assert any("order of its rows is unknown (set expected)" in note for note in found.notes)


def test_layer_without_weights_is_named_and_the_rest_compared():
    case = make_case()
    exchange(case, "linear_2", operator=None)
    found = case.verify()
    assert found.equal
    assert {r.name for r in found.layers} == {"linear_1", "linear_3"}
    assert any("linear_2: not compared: the dump has no weights" in n for n in found.notes)
    assert "not compared: linear_2" in str(found)


def test_layer_without_own_input_is_only_free_running():
    case = make_case()
    layer = case.layer("linear_2")
    exchange(case, "linear_2", sets=tuple(replace(s, input=None) for s in layer.sets))
    found = case.verify()
    modes = {r.mode for r in found.layers if r.name == "linear_2"}
    assert modes == {"free_running"}
    assert any("linear_2: only free-running" in n for n in found.notes)
    assert found.equal


def test_layer_without_golden_output_is_passed_through():
    case = make_case()
    layer = case.layer("linear_2")
    exchange(case, "linear_2", sets=tuple(replace(s, output=None) for s in layer.sets))
    found = case.verify()
    assert {r.name for r in found.layers} == {"linear_1", "linear_3"}
    assert result(found, "linear_3", "debug", "free_running").frames == 60


def test_nothing_to_compare_is_an_error_not_a_success():
    case = make_case(widths=(8, 4))
    exchange(case, "linear_1", operator=None)
    with pytest.raises(bittwin.DumpError, match="nothing to compare"):
        case.verify()


def test_two_nets_are_chained_apart():
    one, two = make_case(seed=1), make_case(seed=2)
    layers = [replace(x, net=1, name=f"other_{x.index}") for x in two.dump.layers]
    both = replace(one.dump, layers=(*one.dump.layers, *layers))
    found = bittwin.verify(both)
    assert found.equal
    assert len(found.layers) == 6 * 3 * 2
    assert found.notes == ()


def test_layer_choice_still_chains_from_the_first_layer():
    case = make_case()
    spoil(case, "linear_1", weight=case.layer("linear_1").operator.weight + np.int8(2))
    found = case.verify(layers=["linear_3"])
    assert {r.name for r in found.layers} == {"linear_3"}
    assert result(found, "linear_3").mismatches == 0
    assert result(found, "linear_3", "expected", "free_running").mismatches > 0


def test_unknown_layer_lists_the_names():
    with pytest.raises(ValueError, match=r"'x', wanted one of linear_1, linear_2, linear_3"):
        make_case().verify(layers=["x"])


def test_frame_choice_compares_these_rows_only():
    case = make_case()
    case.outputs["linear_2", "expected"][20, 3] += 1
    assert case.verify(frames=slice(0, 20)).equal
    assert not case.verify(frames=slice(20, 21)).equal
    found = case.verify(frames=10)
    assert {r.frames for r in found.layers} == {10}
    assert all(r.left_out == 0 for r in found.layers)


def test_frame_choice_beyond_a_shorter_set_is_noted():
    found = make_case().verify(frames=slice(58, 60))
    assert {r.set for r in found.layers} == {"expected", "debug"}
    assert any("no frame of this set was chosen" in note for note in found.notes)


@pytest.mark.parametrize("frames", [0, 63, slice(5, 5), slice(9, 3), slice(-3, 2), slice(0, 9, 2)])
def test_impossible_frames_are_refused(frames):
    with pytest.raises(ValueError, match="frames: found"):
        check_frames(frames, 62)


def test_unknown_rule_lists_the_rules():
    with pytest.raises(ValueError, match=r"rounding: found 'round', wanted one of readout, "):
        make_case().verify(rounding="round")


def test_rule_that_cannot_take_a_gain_names_the_layer():
    case = make_case(rule="half_even", gain=64)
    assert case.verify().rounding == "half_even"
    with pytest.raises(ValueError, match="readout for layer linear_1"):
        case.verify(rounding="readout")


def test_input_code_out_of_range_names_file_and_layer():
    case = make_case()
    case.inputs["linear_2", "complete"][3, 4] = 300
    with pytest.raises(bittwin.DumpError, match=r"complete_in.*linear_2"):
        case.verify()


@pytest.mark.parametrize("rounding", [None, "half_even"])
@pytest.mark.parametrize("frames", [None, slice(3, 41)])
def test_block_size_changes_nothing(rounding, frames):
    case = make_case()
    reorder(case, "linear_2", "expected", np.random.default_rng(1).permutation(62))
    case.outputs["linear_1", "expected"][:, 5] = 4
    case.outputs["linear_2", "complete"][7, 5] += 3
    case.outputs["linear_3", "debug"][:] = np.roll(case.outputs["linear_3", "debug"], 1, 0)
    found = [case.verify(rounding=rounding, frames=frames, block=b) for b in (1, 7, 1000, None)]
    assert all(other == found[0] for other in found[1:])
    assert all(str(other) == str(found[0]) for other in found[1:])


def test_block_must_be_positive():
    with pytest.raises(ValueError, match="block: found 0"):
        make_case().verify(block=0)


def test_progress_reaches_the_end():
    seen = []
    make_case().verify(progress=lambda done, total: seen.append((done, total)), block=10)
    assert seen == sorted(seen)
    assert seen[-1][0] <= seen[-1][1]
    assert len(seen) > 20


def test_json_has_the_documented_schema():
    case = make_case()
    case.outputs["linear_2", "expected"][:, 7] = 1
    found = json.loads(json.dumps(case.verify().to_json()))
    assert found["equal"] is False
    assert found["rounding"] == "readout"
    keys = {"name", "net", "set", "mode", "activation", "codes", "mismatches", "max_abs", "first"}
    keys |= {"histogram", "diagnosis"}
    for entry in found["layers"]:
        assert keys <= set(entry)
        assert entry["set"] in ("expected", "complete", "debug")
        assert entry["mode"] in ("teacher_forced", "free_running")
        assert sum(entry["histogram"].values()) == entry["mismatches"]
        assert (entry["first"] is None) == (entry["mismatches"] == 0)
        assert bool(entry["diagnosis"]) == (entry["mismatches"] > 0)
    wrong = next(e for e in found["layers"] if e["mismatches"])
    assert set(wrong["first"]) >= {"frame", "column", "expected", "actual"}
    assert all({"cause", "explains"} <= set(d) for d in wrong["diagnosis"])
    assert all(0 <= d["explains"] <= 1 for d in wrong["diagnosis"])


def test_tally_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"found shape \(1, 3\), wanted \(1, 2\)"):
        Tally().update(np.zeros(1, int), np.zeros((1, 2)), np.zeros((1, 3)))


def exchange(case: Case, name: str, **changes) -> None:
    """Replace fields of a layer."""
    layers = tuple(replace(x, **changes) if x.name == name else x for x in case.dump.layers)
    case.dump = replace(case.dump, layers=layers)


def spoil(case: Case, name: str, **changes) -> None:
    """Replace fields of a layer's operator, so that the simulation is wrong."""
    exchange(case, name, operator=replace(case.layer(name).operator, **changes))


def reorder(case: Case, name: str, set_name: str, order: np.ndarray) -> None:
    """Put the rows of one set in another order, or drop some."""
    layer = case.layer(name)
    codes = layer.set(set_name)
    arrays = [replace_array(side, side.array[order]) for side in (codes.input, codes.output)]
    case.inputs[name, set_name], case.outputs[name, set_name] = (a.array for a in arrays)
    new = replace(codes, input=arrays[0], output=arrays[1], frame_index=codes.frame_index[order])
    exchange(case, name, sets=tuple(new if s.name == set_name else s for s in layer.sets))


def replace_array(codes, array):
    return type(codes)(array, codes.source)


def test_no_more_rows_are_read_at_once_than_a_block_and_its_neighbours(monkeypatch):
    """Memory stays bounded, in the first pass and in the second one."""
    case = make_case(sets=("complete", "debug"))
    case.outputs["linear_2", "debug"][:, 3] = 1
    case.outputs["linear_1", "complete"][:] = np.roll(case.outputs["linear_1", "complete"], 1, 0)
    rows = []
    read = ArrayCodes.block

    def watched(self, start, stop):
        rows.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(ArrayCodes, "block", watched)
    assert not case.verify(block=5).equal
    assert len(rows) > 100
    assert max(rows) == 5 + 2


def test_what_is_no_dump_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="dump: found int, wanted a Dump or a folder's path"):
        bittwin.verify(3)  # type: ignore[arg-type]
