# SPDX-License-Identifier: Apache-2.0
"""Every measured case of the vendor's training tool: codes and float outputs equal, all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from witin_cases import cases, layer_of

COUNTS = {
    "fwd": 440,
    "corner": 132,
    "to_linear": 36,
    "vpu": 16,
    "auto": 75,
    "sched": 30,
    "grad": 60,
}


def of(*types: str) -> list[Any]:
    found = [case for t in types for case in cases()[t]]
    return [pytest.param(c, id=f"{c['type']}-{c['kind']}-{c['id']}") for c in found]


def assert_output(case: dict[str, Any], y: torch.Tensor, y_scale: float) -> None:
    found, data = y.detach().numpy(), case["data"]
    np.testing.assert_array_equal(np.rint(found * np.float32(y_scale)), data["code"])
    np.testing.assert_array_equal(found, data["y"])
    assert found.dtype == np.float32


def test_no_case_is_left_out() -> None:
    assert {t: len(found) for t, found in cases().items()} == COUNTS


@pytest.mark.parametrize("case", of("fwd", "corner", "to_linear", "vpu"))
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_fixed_scales_give_the_tools_codes(case: dict[str, Any], training: bool) -> None:
    layer = layer_of(case).train(training)
    y = layer(torch.from_numpy(case["data"]["x"]))
    assert_output(case, y, case["cfg"]["scale_y"])


@pytest.mark.parametrize("case", of("auto"))
def test_automatic_scales_from_given_maxima(case: dict[str, Any]) -> None:
    layer = layer_of(case, use_auto_scale=True).eval()
    keys = {f"autoscale_{n}_obj.io_max": torch.tensor(v) for n, v in case["io_max"].items()}
    layer.load_state_dict(layer.state_dict() | keys)
    y = layer(torch.from_numpy(case["data"]["x"]))
    scales = case["scales"]
    assert layer._scales == (scales["scale_x"], scales["scale_weight"], scales["scale_y"])
    assert_output(case, y, scales["scale_y"])


@pytest.mark.parametrize("case", of("sched"))
def test_schedule_of_automatic_scales(case: dict[str, Any]) -> None:
    layer = layer_of(case, use_auto_scale=True, auto_scale_updata_step=case["step"])
    statistics = (layer.autoscale_x_obj, layer.autoscale_weight_obj, layer.autoscale_y_obj)
    data, row = case["data"], 0
    for step in case["script"]:
        if step in "TE":
            layer.train(step == "T")
            continue
        y = layer(torch.from_numpy(data["x"][row])).detach().numpy()
        np.testing.assert_array_equal(y, data["y"][row], err_msg=f"forward {row}")
        io = np.array([float(s.io_max) for s in statistics], np.float32)
        np.testing.assert_array_equal(io, data["io"][row], err_msg=f"io_max after forward {row}")
        row += 1
    assert row == len(data["x"])


@pytest.mark.parametrize("case", of("grad"))
def test_gradients_are_the_tools(case: dict[str, Any]) -> None:
    """Exactly equal where G_algo is a power of two: nothing is left to round then."""
    data = case["data"]
    layer = layer_of(case)
    x = torch.from_numpy(data["x"]).requires_grad_()
    y = layer(x)
    assert_output(case, y, case["cfg"]["scale_y"])
    y.backward(torch.from_numpy(data["gy"]))
    rtol = 0.0 if case["cfg"]["G_algo"] in (1, 2, 4, 8) else 1e-4
    np.testing.assert_allclose(x.grad.numpy(), data["gx"], rtol=rtol, atol=0)
    np.testing.assert_allclose(layer.weight.grad.numpy(), data["gw"], rtol=rtol, atol=0)
    if "gb" in data:
        np.testing.assert_allclose(layer.bias.grad.numpy(), data["gb"], rtol=rtol, atol=0)
