# SPDX-License-Identifier: Apache-2.0
"""Every recorded digital operation and CPU event of the chip's C-model, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npz_cases import cases

import bittwin
from bittwin import digital, tables

Numbered = tuple[int, dict[str, Any], Any]
ROUNDS = {kind: cases("chip_rounds.npz", kind) for kind in ("add", "mul", "max", "reactv")}
EVENTS = {kind: cases("chip_events.npz", kind) for kind in ("pool", "batchnorm", "reducemean")}
POOL_AVERAGE, POOL_MAX, POOL_MIN = 1, 2, 3


def case_id(case: Numbered) -> str:
    return str(case[0])


def test_all_recorded_cases_are_here() -> None:
    counts = {kind: len(found) for kind, found in (ROUNDS | EVENTS).items()}
    assert counts == {"add": 20, "mul": 14, "max": 10, "reactv": 2,
                      "pool": 14, "batchnorm": 12, "reducemean": 8}  # fmt: skip
    sizes = {k: sum(a["y"].size for _, _, a in found) for k, found in (ROUNDS | EVENTS).items()}
    assert sizes == {"add": 104448, "mul": 114688, "max": 4370, "reactv": 4096,
                     "pool": 5900, "batchnorm": 26840, "reducemean": 1032}  # fmt: skip


def shift_bit(case: dict[str, Any]) -> int:
    if not case["sel"]:
        return 0
    return -(case["num"] + 1) if case["lr"] else case["num"] + 1


def second(case: dict[str, Any], b: np.ndarray) -> np.ndarray:
    """`fixed`: the first byte of B goes with all of A."""
    return b[:, :1].copy() if case["fixed"] else b


@pytest.mark.parametrize("numbered", ROUNDS["add"], ids=case_id)
def test_add_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    a, b = arrays["A"], second(case, arrays["B"])
    if case["rd16"]:
        a, b = a.view("<i2").astype(np.int16), b.view("<i2").astype(np.int16)
    y = digital.add(a, b, shift_bit(case), bits=16 if case["wr16"] else 8)
    np.testing.assert_array_equal(y, arrays["y"])


@pytest.mark.parametrize("numbered", ROUNDS["mul"], ids=case_id)
def test_mul_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    b = second(case, arrays["B"])
    y = digital.mul(arrays["A"], b, shift_bit(case), bits=16 if case["wr16"] else 8)
    np.testing.assert_array_equal(y, arrays["y"])


def test_the_16_bit_product_does_wrap() -> None:
    differing = 0
    for _, case, arrays in ROUNDS["mul"]:
        if case["wr16"]:
            b = second(case, arrays["B"])
            y = digital.mul(arrays["A"], b, shift_bit(case), bits=16, overflow="saturate")
            differing += int((y != arrays["y"]).sum())
    assert differing > 1000


@pytest.mark.parametrize("numbered", ROUNDS["max"], ids=case_id)
def test_max_of_a_round_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    x = arrays["A"].reshape(-1, case["h"], case["w"])
    y = digital.max_pool(x, case["win"], case["stride"], unit="round", cmodel=True)
    np.testing.assert_array_equal(y.reshape(arrays["y"].shape), arrays["y"])
    plain = digital.max_pool(x, case["win"], case["stride"], unit="round")
    np.testing.assert_array_equal(plain, digital.max_pool(x, case["win"], case["stride"]))
    assert (plain != y).any() == (x.min() < 0), "every case with negative codes shows the artefact"
    positive = np.maximum(x, 0)
    np.testing.assert_array_equal(
        digital.max_pool(positive, case["win"], case["stride"], unit="round", cmodel=True),
        digital.max_pool(positive, case["win"], case["stride"]),
    )


@pytest.mark.parametrize("numbered", ROUNDS["reactv"], ids=case_id)
def test_reactv_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    x = arrays["A"]
    y = bittwin.clip(x, case["lmt"]) if case["sel_act"] == 3 else x
    np.testing.assert_array_equal(y, arrays["y"])


def picture(case: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """The C-model's [W][H][C] as [frames, C, H, W]."""
    return x.reshape(-1, case["W"], case["H"], case["C"]).transpose(0, 3, 2, 1)


def laid_out(y: np.ndarray) -> np.ndarray:
    return y.transpose(0, 3, 2, 1).reshape(len(y), -1)


def pooled(case: dict[str, Any], x: np.ndarray, cmodel: bool) -> np.ndarray:
    window = (case["ph"], case["pw"]), (case["sh"], case["sw"]), tuple(case["pads"])
    if case["typ"] == POOL_AVERAGE:
        scales = {"scale_in": case["si"], "scale_out": case["so"]}
        return digital.average_pool(x, *window, **scales, cmodel=cmodel)
    pool = {POOL_MAX: digital.max_pool, POOL_MIN: digital.min_pool}[case["typ"]]
    return pool(x, *window, cmodel=cmodel)


@pytest.mark.parametrize("numbered", EVENTS["pool"], ids=case_id)
def test_pooling_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    x = picture(case, arrays["X"])
    y = laid_out(pooled(case, x, cmodel=True)).view(np.int8)
    np.testing.assert_array_equal(y, arrays["y"])
    # Without the artefacts: the same, but for wrapped averages and for padding above the picture.
    plain = laid_out(pooled(case, x.view(np.int8), cmodel=False))
    if case["pads"][0] == 0:
        saturated = (plain == 127) | (plain == -128)
        np.testing.assert_array_equal(plain[~saturated], arrays["y"][~saturated])
    else:
        assert (plain != arrays["y"]).any()


def test_some_averages_do_wrap() -> None:
    wrapped = 0
    for _, case, arrays in EVENTS["pool"]:
        if case["typ"] == POOL_AVERAGE and case["pads"][0] == 0:
            x = picture(case, arrays["X"]).view(np.int8)
            wrapped += int((laid_out(pooled(case, x, cmodel=False)) != arrays["y"]).sum())
    assert wrapped > 100


@pytest.mark.parametrize("numbered", EVENTS["batchnorm"], ids=case_id)
def test_batch_norm_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    channels = arrays["gamma"].size
    x = arrays["X"].reshape(len(arrays["X"]), -1, channels)
    given: dict[str, Any] = {"scale_in": case["si"], "scale_out": case["so"], "axis": -1}
    y = digital.batch_norm(x, arrays["gamma"], arrays["beta"], **given)
    np.testing.assert_array_equal(y.reshape(arrays["y"].shape), arrays["y"])
    signed = digital.batch_norm(
        x.view(np.int8), arrays["gamma"], arrays["beta"], **given, cmodel=True
    )
    np.testing.assert_array_equal(signed, y)


@pytest.mark.parametrize("numbered", EVENTS["reducemean"], ids=case_id)
def test_reduce_mean_equals_cmodel(numbered: Numbered) -> None:
    _, case, arrays = numbered
    x = arrays["X"].reshape(-1, *case["shape"])
    y = digital.reduce_mean(x, case["axis"] + 1)
    np.testing.assert_array_equal(y.reshape(arrays["y"].shape), arrays["y"])
    signed = digital.reduce_mean(x.view(np.int8), case["axis"] + 1, cmodel=True)
    np.testing.assert_array_equal(signed, y)


@pytest.mark.parametrize("numbered", cases("chip_events.npz", "lstm")[:3], ids=case_id)
def test_tables_equal_the_recorded_ones(numbered: Numbered) -> None:
    """The LSTM cases carry sigmoid q5 and tanh q7 (the fourth carries random tables)."""
    _, _, arrays = numbered
    np.testing.assert_array_equal(tables.sigmoid(q_in=5), arrays["T1"])
    np.testing.assert_array_equal(tables.tanh(q_in=7), arrays["T2"])
