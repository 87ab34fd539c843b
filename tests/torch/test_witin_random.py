# SPDX-License-Identifier: Apache-2.0
"""Fresh random layers against a second model of the measured rules: forward, schedules, gradients."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from witin_cases import cases, layer_of
from witin_gradient_model import GradientModel
from witin_model import Model, Training
from witin_random import case as random_case
from witin_random import near_codes

KINDS = ("lin", "conv2d", "convT")


def model_of(case: dict[str, Any]) -> Model:
    return Model(case["kind"], case["cfg"], case["conv"], case["data"]["w"], case["data"]["b"])


@pytest.mark.parametrize("kind", ["fwd", "corner", "to_linear", "vpu"])
def test_second_model_gives_the_measured_codes(kind: str) -> None:
    """The model is worth a comparison: it gives the tool's outputs too."""
    for case in cases()[kind]:
        data = {"b": None, **case["data"]}
        y = model_of({**case, "data": data}).forward(data["x"])
        np.testing.assert_array_equal(y, data["y"], err_msg=case["id"])


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_forward_equals_the_second_model(kind: str, block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        case = random_case(seed, kind)
        wanted = model_of(case).forward(case["data"]["x"])
        y = layer_of(case)(torch.from_numpy(case["data"]["x"])).detach().numpy()
        np.testing.assert_array_equal(y, wanted, err_msg=f"seed {seed}: {case['cfg']}")


def test_random_layers_reach_every_option() -> None:
    seen: Counter[str] = Counter()
    for kind in KINDS:
        for seed in range(400):
            cfg = random_case(seed, kind)["cfg"]
            path = "to_linear" if cfg["to_linear"] else cfg["hardware"]
            wide = "wide" if cfg["x_quant_bits"] > 8 else "narrow"
            seen[f"{kind} {path} {cfg['handle_neg_in']} {wide}"] += 1
            odd = np.log2([cfg["scale_x"], cfg["scale_weight"], cfg["scale_y"]]) % 1
            seen[f"{kind} {'odd' if odd.any() else 'power of two'}"] += 1
            seen[f"{kind} clip"] += bool(cfg["output_fp_clip"])
    assert len(seen) == 6 + 18 + 12 + 6 + 3, seen
    assert min(seen.values()) >= 5, seen


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_equal_the_second_model(kind: str) -> None:
    for seed in range(60):
        case = random_case(seed, kind, auto=True)
        rng = np.random.default_rng(seed)
        step = int(rng.integers(0, 5))
        layer = layer_of(case, use_auto_scale=True, auto_scale_updata_step=step)
        training = Training(model_of(case), step)
        for _ in range(12):
            action = rng.integers(0, 6)
            if action == 0:
                layer.train()
                training.train()
            elif action == 1:
                layer.eval()
                training.training = False
            # A largest value at, just above and far from a power of two.
            top = np.float32(2.0 ** rng.integers(-6, 7)) * np.float32(
                rng.choice([1, 1 + 2**-23, 1.3])
            )
            x = case["data"]["x"]
            x = x / np.abs(x).max() * top if np.abs(x).max() else x + top
            x = x.astype(np.float32)
            try:
                wanted = training.forward(x)
            except AssertionError as error:  # nothing but zeros came out
                with pytest.raises(AssertionError, match=str(error)):
                    layer(torch.from_numpy(x))
            else:
                y = layer(torch.from_numpy(x)).detach().numpy()
                np.testing.assert_array_equal(y, wanted, err_msg=f"seed {seed}, step {step}")
            statistics = (layer.autoscale_x_obj, layer.autoscale_weight_obj, layer.autoscale_y_obj)
            assert [float(s.io_max) for s in statistics] == training.io, f"seed {seed}"


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_the_differentiated_rule(kind: str) -> None:
    for seed in range(120):
        case = random_case(seed, kind, gradient=True)
        data, cfg = case["data"], case["cfg"]
        gain = cfg["scale_x"] * cfg["scale_weight"] * cfg["G_algo"] / cfg["scale_y"]
        if case["cfg"]["x_quant_bits"] > 8 and np.rint(gain) == 0:
            continue  # the high round divides by 0
        layer = layer_of(case)
        x = torch.from_numpy(data["x"]).requires_grad_()
        y = layer(x)
        upstream = torch.from_numpy(near_codes(np.random.default_rng(seed), y.shape, 4, -9, 9))
        y.backward(upstream)
        leaves = [None if a is None else torch.tensor(a, requires_grad=True) for a in data.values()]
        GradientModel(kind, cfg, case["conv"]).forward(*leaves).backward(upstream.double())
        for name, ours, leaf in zip("xwb", (x, layer.weight, layer.bias), leaves, strict=True):
            if leaf is None:
                continue
            wanted = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            # Sums of many terms of both signs: relative to the largest of the tensor.
            atol = 1e-6 * float(wanted.abs().max())
            message = f"seed {seed}, gradient of {name}: {cfg} {case['conv']}"
            np.testing.assert_allclose(
                ours.grad.numpy(), wanted.numpy(), rtol=1e-4, atol=atol, err_msg=message
            )
