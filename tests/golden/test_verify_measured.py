# SPDX-License-Identifier: Apache-2.0
"""Measured codes: the file formats, the statistics of the programming log, and the faults found."""

from __future__ import annotations

import numpy as np
import pytest
from verify_cases import make_case

import bittwin
from bittwin.golden.measured.faults import robust


@pytest.fixture
def case():
    return make_case(widths=(24, 64, 40, 2), frames=100)


def measure(case, spoil=lambda name, codes, rng: codes, *, noise=0.7, seed=5):
    """Measured codes per layer: golden ones with noise, then spoilt."""
    rng = np.random.default_rng(seed)
    found = {}
    for layer in case.dump.layers:
        golden = case.outputs[layer.name, "expected"].astype(float)
        codes = spoil(layer.name, golden + rng.normal(0, noise, golden.shape), rng)
        found[layer.name] = np.clip(np.rint(codes), -128, 127).astype("<i2")
    return found


def as_binary(path, measured):
    """A file in expected_out.bin's layout."""
    np.concatenate([codes.ravel() for codes in measured.values()]).tofile(path)
    return path


def by_name(found):
    return {m.name: m for m in found.measured}


def test_statistics_equal_their_definitions(case, tmp_path):
    """The eleven numbers of the programming log, once more in plain numpy."""
    measured = measure(
        case, lambda name, codes, rng: 0.9 * codes + rng.normal(1, 2, codes.shape[1])
    )
    found = case.verify(measured=as_binary(tmp_path / "m.bin", measured))
    for name, codes in measured.items():
        golden = case.outputs[name, "expected"].astype(float)
        for got, m in (
            (by_name(found)[name].raw, codes.astype(float)),
            (by_name(found)[name].corrected, codes - (codes - golden).mean(axis=0)),
        ):
            error = m - golden
            slope, intercept = np.polyfit(golden.ravel(), m.ravel(), 1)
            assert got.max_frame_std == pytest.approx(error.std(axis=1).max())
            assert got.mean_frame_std == pytest.approx(error.std(axis=1).mean())
            assert got.max_column_std == pytest.approx(error.std(axis=0).max())
            assert got.mean_column_std == pytest.approx(error.std(axis=0).mean())
            assert got.max_frame_mean == pytest.approx(np.abs(error.mean(axis=1)).max())
            assert got.mean_error == pytest.approx(error.mean(), abs=1e-12)
            assert got.max_column_mean == pytest.approx(np.abs(error.mean(axis=0)).max(), abs=1e-12)
            assert got.gain == pytest.approx(slope)
            assert got.offset == pytest.approx(intercept, abs=1e-9)
            cosine = (m * golden).sum() / np.sqrt((m**2).sum() * (golden**2).sum())
            assert got.cosine == pytest.approx(cosine)
            # The invariants that hold on every row of the real logs.
            assert got.max_frame_std >= got.mean_frame_std
            assert got.max_column_std >= got.mean_column_std
            assert got.max_frame_mean >= abs(got.mean_error)
    raw = by_name(found)["linear_1"].raw
    error = measured["linear_1"] - case.outputs["linear_1", "expected"]
    assert raw.worst_column == np.abs(error.mean(axis=0)).argmax()


def test_equal_measurement_is_equal(case, tmp_path):
    found = case.verify(measured=as_binary(tmp_path / "m.bin", measure(case, noise=0)))
    assert found.equal
    for m in found.measured:
        assert (m.mismatches, m.max_abs, m.first, m.diagnosis) == (0, 0, None, ())
        assert (m.raw.gain, m.raw.cosine) == (1.0, pytest.approx(1.0))


def test_differing_measurement_makes_the_verification_unequal(case, tmp_path):
    codes = measure(case, noise=0)
    codes["linear_2"][7, 3] += 1
    found = case.verify(measured=as_binary(tmp_path / "m.bin", codes))
    assert found.mismatches == 0
    assert not found.equal
    two = by_name(found)["linear_2"]
    assert (two.mismatches, two.first.frame, two.first.column) == (1, 7, 3)
    assert two.first.actual == codes["linear_2"][7, 3]


def test_stuck_and_offset_columns(case, tmp_path):
    def spoil(name, codes, rng):
        if name == "linear_1":
            codes[:, 9] = -4
            codes[:, 7] += 12
        return codes

    found = case.verify(measured=as_binary(tmp_path / "m.bin", measure(case, spoil)))
    one = by_name(found)["linear_1"].diagnosis
    golden = case.outputs["linear_1", "expected"][:, 9]
    assert [d.kind for d in one] == ["stuck_column", "offset_column", "noise"]
    assert one[0].cause == f"column 9 is stuck at -4 (golden {golden.min()}..{golden.max()})"
    assert one[1].cause.startswith("column 7 has an offset of +1")
    assert "noise of the other 62 columns: std 0.7" in one[2].cause
    assert sum(d.explains for d in one) == pytest.approx(1, abs=0.02)
    assert [d.kind for d in by_name(found)["linear_2"].diagnosis] == ["noise"]
    assert by_name(found)["linear_2"].diagnosis[0].cause.startswith("plain noise: std 0.7")


def test_weak_column_noisy_column_and_bad_frame(case, tmp_path):
    def spoil(name, codes, rng):
        if name == "linear_1":
            codes[:, 5] *= 0.5
            codes[:, 20] += rng.normal(0, 6, codes.shape[0])
            codes[13] += rng.normal(0, 12, codes.shape[1])
        return codes

    found = case.verify(measured=as_binary(tmp_path / "m.bin", measure(case, spoil)))
    causes = {d.kind: d.cause for d in by_name(found)["linear_1"].diagnosis}
    assert causes["gain_column"].startswith("column 5 has gain 0.499")
    assert causes["noisy_column"].startswith("column 20 is noisy: std ")
    assert causes["frame"].startswith("frame 13: rms error up to ")


def test_gain_and_offset_of_a_whole_layer(case, tmp_path):
    found = case.verify(
        measured=as_binary(tmp_path / "m.bin", measure(case, lambda n, codes, rng: 0.9 * codes + 2))
    )
    cause = by_name(found)["linear_1"].diagnosis[0].cause
    assert cause.startswith("the whole layer has gain 0.90")
    assert by_name(found)["linear_1"].raw.gain == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(("axis", "word"), [(0, "frame"), (1, "column")])
def test_shifted_measurement(case, tmp_path, axis, word):
    codes = measure(case, lambda name, codes, rng: np.roll(codes, 1, axis))
    found = case.verify(measured=as_binary(tmp_path / "m.bin", codes))
    one = by_name(found)["linear_1"].diagnosis
    assert [d.kind for d in one] == [f"{word}_shift"]
    assert f"measured {word} k fits golden {word} k-1" in one[0].cause


def test_few_columns_are_judged_by_absolute_size(case, tmp_path):
    def spoil(name, codes, rng):
        if name == "linear_3":
            codes[:, 1] += 9
        return codes

    found = case.verify(measured=as_binary(tmp_path / "m.bin", measure(case, spoil)))
    assert by_name(found)["linear_3"].diagnosis[0].kind == "offset_column"


def test_block_size_changes_nothing(case, tmp_path):
    path = as_binary(tmp_path / "m.bin", measure(case))
    found = [case.verify(measured=path, block=b) for b in (1, 7, 1000, None)]
    assert all(other == found[0] for other in found[1:])


def test_npz_by_layer_name_with_missing_layers(case, tmp_path):
    codes = measure(case, noise=0)
    np.savez(tmp_path / "m.npz", linear_2=codes["linear_2"].astype(np.int64))
    found = case.verify(measured=tmp_path / "m.npz")
    assert found.equal
    assert [(m.name, m.set) for m in found.measured] == [("linear_2", "expected")]
    assert any("holds no codes of linear_1, linear_3" in note for note in found.notes)


def test_npz_of_the_complete_set(case, tmp_path):
    golden = case.outputs["linear_1", "complete"]
    np.savez(tmp_path / "m.npz", linear_1=golden.astype(np.int8))
    found = case.verify(measured=tmp_path / "m.npz")
    assert [(m.name, m.set, m.frames) for m in found.measured] == [("linear_1", "complete", 96)]


def test_chosen_layers_and_frames(case, tmp_path):
    codes = measure(case, noise=0)
    codes["linear_2"][50, 3] += 1
    path = as_binary(tmp_path / "m.bin", codes)
    found = case.verify(measured=path, layers=["linear_2"], frames=slice(40, 60))
    assert [(m.name, m.frames, m.mismatches) for m in found.measured] == [("linear_2", 20, 1)]
    assert found.measured[0].first.frame == 50
    assert case.verify(measured=path, frames=40).equal


def test_wrong_size_names_both(case, tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"\0" * 10)
    wanted = 2 * sum(case.outputs[x.name, "expected"].size for x in case.dump.layers)
    with pytest.raises(ValueError, match=rf"m\.bin: found 10 bytes, wanted {wanted} "):
        case.verify(measured=path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"nobody": np.zeros((102, 64), np.int16)}, "found array 'nobody', wanted layer names"),
        ({"linear_1": np.zeros((102, 64))}, "found type float64, wanted integers"),
        ({"linear_1": np.zeros((102, 64), bool)}, "found type bool, wanted integers"),
        (
            {"linear_1": np.zeros((102, 63), np.int8)},
            r"found shape \[102, 63\], wanted \[102, 64\]",
        ),
        ({"linear_1": np.zeros((99, 64), np.int8)}, r"or \[96, 64\] \(complete\)"),
        ({"linear_1": np.full((102, 64), 40000)}, "found codes 40000..40000"),
        ({}, "found no array"),
    ],
)
def test_npz_that_does_not_fit(case, tmp_path, arrays, words):
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        case.verify(measured=tmp_path / "m.npz")


@pytest.mark.parametrize("content", [b"PK\x03\x04 no zip", b"", b"\x93NUMPY"])
def test_damaged_npz(case, tmp_path, content):
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(bittwin.BittwinError, match=r"m\.npz"):
        case.verify(measured=tmp_path / "m.npz")


def test_pickled_npz_is_refused(case, tmp_path):
    np.savez(tmp_path / "m.npz", linear_1=np.array([{"a": 1}], dtype=object))
    with pytest.raises(bittwin.BittwinError, match="linear_1"):
        case.verify(measured=tmp_path / "m.npz")


@pytest.mark.parametrize("name", ["nothing.bin", "."])
def test_missing_file(case, tmp_path, name):
    with pytest.raises(bittwin.BittwinError):
        case.verify(measured=tmp_path / name)


def test_constant_golden_has_no_gain(case, tmp_path):
    case.outputs["linear_3", "expected"][:] = 0
    found = case.verify(measured=as_binary(tmp_path / "m.bin", measure(case)))
    raw = by_name(found)["linear_3"].raw
    assert (raw.gain, raw.offset, raw.cosine) == (None, None, None)
    assert "-" in str(found)


def test_robust_score_ignores_the_outlier():
    scores = robust(np.array([0.0, 1.0, -1.0, 0.5, -0.5, 100.0]), 0.1)
    assert scores[-1] > 50
    assert np.abs(scores[:-1]).max() < 2
