# SPDX-License-Identifier: Apache-2.0
"""Every measured case of the tool's digital operators: codes, statistics and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from witin_digital_cases import cases, codes, inputs, layer_of

FIXED = ("p2", "odd", "exhaustive")
#: Codes that differ from the tool's, by case: none, on any case of the file.
TIES: dict[int, int] = {}
#: Largest GELU results that differ by one float32 step from the tool's approximation of GELU, by case:
#: case -> (steps of its sequence, our value, the tool's value).
GELU_STATISTIC = {19: (range(5), 0.990227222442627, 0.9902271628379822)}
#: Gradients that torch computes with one rounding each, so nothing is left to differ.
EXACT = (
    "WitinPReLU",
    "WitinElementAdd",
    "WitinElementMul",
    "WitinElementDivide",
    "WitinCat",
    "WitinMean",
)


def of(*families: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{case['index']}-{case['op']}-{case['family']}")
        for case in cases()
        if case["family"] in families
    ]


def assert_codes(case: dict[str, Any], y: torch.Tensor, scale: float, wanted: Any) -> None:
    found = codes(y, scale)
    assert found.shape == wanted.shape
    differing = np.flatnonzero((found != wanted).ravel())
    assert differing.size == TIES.get(case["index"], 0), f"at {differing[:5]}"
    np.testing.assert_array_equal(y.detach().numpy(), found.astype(np.float32) / np.float32(scale))


def test_no_case_is_left_out() -> None:
    families = [case["family"] for case in cases()]
    assert {name: families.count(name) for name in set(families)} == {
        "p2": 90, "odd": 60, "auto": 45, "grad": 30, "exhaustive": 28, "auto_seq": 14,
    }  # fmt: skip
    assert len({case["op"] for case in cases()}) == 15


@pytest.mark.parametrize("case", of(*FIXED))
def test_fixed_scales_give_the_tools_codes(case: dict[str, Any]) -> None:
    layer = layer_of(case)
    xs = inputs(case)
    before = [x.clone() for x in xs]
    assert_codes(case, layer(*xs), case["out_scale"], case["data"]["y"])
    assert all(torch.equal(a, b) for a, b in zip(xs, before, strict=True))
    if case["op"] != "WitinBatchNorm2d":  # train() has other statistics there, and nowhere else
        assert_codes(case, layer.train()(*xs), case["out_scale"], case["data"]["y"])


@pytest.mark.parametrize("case", of("auto"))
def test_automatic_scales_from_given_maxima(case: dict[str, Any]) -> None:
    layer = layer_of(case, use_auto_scale=True)
    keys = {f"autoscale_{n}_obj.io_max": torch.tensor(v) for n, v in case["io_max"].items()}
    layer.load_state_dict(layer.state_dict() | keys)
    assert_codes(case, layer(*inputs(case)), case["out_scale"], case["data"]["y"])
    assert layer._scales["x" if case["op"] == "WitinMean" else "y"] == case["out_scale"]


@pytest.mark.parametrize("case", of("auto_seq"))
def test_schedule_of_automatic_scales(case: dict[str, Any]) -> None:
    layer = layer_of(case, use_auto_scale=True, auto_scale_updata_step=case["n"])
    step = 0
    for event in case["events"]:
        if event != "step":
            layer.train(event == "train")
            continue
        y = layer(*inputs(case, f"s{step}_"))
        assert_codes(case, y, case["step_scale"][step], case["data"][f"s{step}_y"])
        wanted = dict(case["io_after"][step])
        steps, ours, tools = GELU_STATISTIC.get(case["index"], (range(0), 0.0, 0.0))
        if step in steps:
            assert wanted["y"] == tools
            wanted["y"] = ours
        found = {
            name: float(layer.get_parameter(f"autoscale_{name}_obj.io_max")) for name in wanted
        }
        assert found == wanted, f"step {step}"
        step += 1
    assert step == case["n_steps"]


@pytest.mark.parametrize("case", of("grad"))
def test_gradients_are_the_tools(case: dict[str, Any]) -> None:
    """Bit for bit where float32 leaves no freedom, else to its rounding (sums, roots, torch's functions)."""
    layer = layer_of(case)
    if case["op"] == "WitinElementMul":
        layer.train()  # in eval() it has none
    xs = [x.requires_grad_() for x in inputs(case)]
    y = layer(*xs)
    assert_codes(case, y, case["out_scale"], case["data"]["y"])
    y.backward(torch.from_numpy(case["data"]["gy"]))
    found = {f"gx{i}": x.grad for i, x in enumerate(xs)}
    if "gw" in case["data"]:
        found["gw"] = layer.weight.grad
    if "gb" in case["data"]:
        found["gb"] = layer.bias.grad
    rtol, atol = (0.0, 0.0) if case["op"] in EXACT else (2e-6, 0.0)
    if case["op"] in ("WitinMatMul", "WitinClnBn2d", "WitinBatchNorm2d"):  # sums that cancel
        rtol, atol = 2e-5, 1e-6
    for name, gradient in found.items():
        wanted = case["data"][name]
        np.testing.assert_allclose(gradient.numpy(), wanted, rtol=rtol, atol=atol, err_msg=name)


def test_multiplication_has_no_gradient_in_eval() -> None:
    (case, *_) = (c for c in cases() if c["op"] == "WitinElementMul" and c["family"] == "grad")
    y = layer_of(case)(*(x.requires_grad_() for x in inputs(case)))
    assert not y.requires_grad
