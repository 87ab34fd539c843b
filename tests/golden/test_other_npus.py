# SPDX-License-Identifier: Apache-2.0
"""The requantiser on vectors of TPU-MLIR (interpreter and C-models) and LiteRT, exactly."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from npz_cases import DATA

import bittwin
from bittwin import requant


def load(file: str) -> dict[str, np.ndarray]:
    with np.load(DATA / file) as archive:
        return {name: archive[name] for name in archive.files}


TPUMLIR = load("tpumlir.npz")
CASES = sorted({name.rpartition("/")[0] for name in TPUMLIR})


def rule_for(meta: dict[str, Any], target: str) -> bittwin.Requant:
    mult, shift, zero = meta["mult"], meta["shift"], meta["zy"]
    if meta["chip"].startswith("cv"):
        return requant.cv18xx(mult, shift, zero_point=zero)
    if meta["chip"] == "bm1684":
        return requant.bm1684(shift)
    if meta["op"] == "conv":
        return requant.bm1684x_conv(mult, shift, zero_point=zero)
    make = requant.bm1684x_fc_cmodel if target == "cmodel" else requant.bm1684x_fc
    return make(mult, shift, zero_point=zero)


def test_all_recorded_cases_are_here() -> None:
    assert len(CASES) == 21


@pytest.mark.parametrize("target", ["interp", "cmodel"])
@pytest.mark.parametrize("case", CASES)
def test_tpumlir_layers(case: str, target: str) -> None:
    meta = json.loads(str(TPUMLIR[f"{case}/meta"]))
    x, w, bias = (TPUMLIR[f"{case}/{name}"] for name in "xwb")
    rule = rule_for(meta, target)
    if meta["op"] == "conv":
        weight = w.reshape(8, 4, 3, 3)
        y = bittwin.conv2d(x, weight, bias, rule, padding=meta["pad"], pad_value=meta["zx"])
    else:
        y = bittwin.linear(x, w.reshape(64, 16).T, bias, rule)
    np.testing.assert_array_equal(y, TPUMLIR[f"{case}/y_{target}"])


def test_fully_connected_roundings_differ_on_ties_only() -> None:
    """The finding behind two presets: interpreter and C-model disagree on negative ties."""
    differing = 0
    for case in CASES:
        meta = json.loads(str(TPUMLIR[f"{case}/meta"]))
        if meta["op"] != "fc" or meta["chip"] == "bm1684" or meta["chip"].startswith("cv"):
            continue
        x, w, bias = (TPUMLIR[f"{case}/{name}"] for name in "xwb")
        acc = bittwin.accumulate(x, w.reshape(64, 16).T, bias)
        up, away = (bittwin.requantize(acc, rule_for(meta, t)) for t in ("interp", "cmodel"))
        v = acc.astype(np.int64) * meta["mult"][0]
        tie = v % (1 << meta["shift"][0]) == 1 << (meta["shift"][0] - 1)
        np.testing.assert_array_equal(up[~tie], away[~tie])
        differing += int((up != away).sum())
    assert differing > 0


@pytest.mark.parametrize("scale", ["0", "1", "2"])
@pytest.mark.parametrize(
    ("kernel", "make"), [("ref", requant.litert_reference), ("ruy", requant.litert_ruy)]
)
def test_litert_kernels(scale: str, kernel: str, make: Any) -> None:
    data = load("litert.npz")
    acc = data["acc"].astype(np.int32)
    rule = make(int(data[f"{scale}/m"]), int(data[f"{scale}/e"]))
    np.testing.assert_array_equal(bittwin.requantize(acc, rule), data[f"{scale}/{kernel}"])


@pytest.mark.parametrize("case", [c for c in CASES if "fc_cv183x" in c])
def test_tflite_classic_equals_cv18xx(case: str) -> None:
    meta = json.loads(str(TPUMLIR[f"{case}/meta"]))
    x, w, bias = (TPUMLIR[f"{case}/{name}"] for name in "xwb")
    rule = requant.tflite_classic(meta["mult"], [-s for s in meta["shift"]])
    y = bittwin.linear(x, w.reshape(64, 16).T, bias, rule)
    np.testing.assert_array_equal(y, TPUMLIR[f"{case}/y_cmodel"])
