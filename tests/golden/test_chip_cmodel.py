# SPDX-License-Identifier: Apache-2.0
"""Every array, chain and adder case recorded from the chip's C-model, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npz_cases import cases

import bittwin
from bittwin import cmodel

ARRAY = cases("chip_rounds.npz", "array")
CHAIN = cases("chip_rounds.npz", "chain")
ADDER = cases("chip_events.npz", "adder")
ACTIVATION = {"none": "none", "relu": "relu", "lut": "table", "clamp": "clip"}


def case_id(case: tuple[int, dict[str, Any], Any]) -> str:
    return f"{case[0]}-{case[1].get('tag', case[1]['kind'])}-G{case[1]['G']}".replace(" ", "_")


def stored(byte: np.ndarray, case: dict[str, Any]) -> np.ndarray:
    """The golden `y` is the byte's int8 view; with ReLU gain 2 the unsigned byte."""
    doubled_relu = case.get("act") == "relu" and case.get("gain") == 2
    return byte.astype(np.int16) if doubled_relu else byte.view(np.int8).astype(np.int16)


def test_all_recorded_cases_are_here() -> None:
    assert (len(ARRAY), len(CHAIN), len(ADDER)) == (71, 2, 21)
    assert sum(a["y"].size for _, _, a in ADDER) == 14480


@pytest.mark.parametrize("numbered", ARRAY, ids=case_id)
def test_array_round_equals_cmodel(numbered: tuple[int, dict[str, Any], Any]) -> None:
    _, case, arrays = numbered
    byte = cmodel.array_round(
        arrays["X"],
        arrays["W"].T,
        arrays["B"],
        gain=case["G"],
        input_format="unsigned" if case["fmt"] else "signed",
        invert=bool(case["invt"]),
        doubled=bool(case["dacsft"]),
        unsigned_store=bool(case["s2"]),
        activation=ACTIVATION[case["act"]],
        relu_gain=case["gain"],
        limit=case["lmt"],
        table=arrays.get("lut"),
    )
    np.testing.assert_array_equal(stored(byte, case), arrays["y"])


@pytest.mark.parametrize("numbered", CHAIN, ids=lambda c: str(c[0]))
def test_chain_of_rounds_equals_cmodel(numbered: tuple[int, dict[str, Any], Any]) -> None:
    _, case, arrays = numbered
    byte = arrays["X"]
    for r, (gain, act) in enumerate(zip(case["G"], case["act"], strict=True)):
        byte = cmodel.array_round(
            byte,
            arrays[f"W{r}"].T,
            arrays[f"B{r}"],
            gain=gain,
            activation=ACTIVATION[act],
            limit=case["lmt"],
            table=arrays.get(f"lut{r}"),
        )
        np.testing.assert_array_equal(byte.view(np.int8).astype(np.int16), arrays[f"y{r}"])


@pytest.mark.parametrize("numbered", ADDER, ids=case_id)
def test_digital_part_equals_cmodel(numbered: tuple[int, dict[str, Any], Any]) -> None:
    _, case, arrays = numbered
    byte = cmodel.array_round(
        arrays["X"],
        arrays["W"].T,
        arrays["B"],
        gain=case["G"],
        high=arrays["high"],
        unsigned_store=bool(case["s2"]),
        shift=("right" if case["lr"] else "left", case["num"]) if case["sft"] else None,
    )
    np.testing.assert_array_equal(byte.view(np.int8).astype(np.int16), arrays["y"])


def test_the_wrap_cases_do_reach_the_wrap() -> None:
    """Without wrap16 some recorded outputs differ: the file really holds the artefact."""
    differing = 0
    for _, case, arrays in ARRAY:
        if (
            case["fmt"] == 1
            and not (case["invt"] or case["dacsft"] or case["s2"])
            and case["act"] == "none"
        ):
            bias = (128 * arrays["B"].astype(np.int64).sum(axis=0)).astype(np.int32)
            y = bittwin.linear(
                arrays["X"], arrays["W"].T, bias, bittwin.readout(case["G"]), overflow="wrap32"
            )
            differing += int((y != arrays["y"]).sum())
    assert differing > 0


def test_plain_linear_equals_cmodel_on_unwrapped_cases() -> None:
    """`bittwin.linear`, not only the C-model round, gives the recorded codes."""
    compared = 0
    for _, case, arrays in ARRAY:
        if case["fmt"] != 1 or case["invt"] or case["s2"] or case["act"] != "none":
            continue
        x = arrays["X"].astype(np.uint16) * (2 if case["dacsft"] else 1)
        bias = (128 * arrays["B"].astype(np.int64).sum(axis=0)).astype(np.int32)
        rule = bittwin.readout(case["G"], overflow="wrap16")
        y = bittwin.linear(x, arrays["W"].T, bias, rule, overflow="wrap32", x_bits=9)
        np.testing.assert_array_equal(y, arrays["y"])
        compared += y.size
    assert compared > 100_000
