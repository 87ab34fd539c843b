# SPDX-License-Identifier: Apache-2.0
"""Where docs/guide/from_witin_nn.md says that the tool's layer and bittwin.nn's agree, they do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from witin_cases import build, layer_config

from bittwin.nn import Linear, QATConfig

TREATMENTS = {"FALSE": "clamp", "PN": "split_sign", "Shift": "shift"}


@pytest.mark.parametrize("x_bits", [8, 9, 10, 11, 12])
@pytest.mark.parametrize("negative", TREATMENTS)
def test_linear_layers_agree_with_half_even(negative: str, x_bits: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, x_bits])
        y_bits = int(rng.choice([8, 9, 12]))
        sx, sw = (float(2 ** rng.integers(0, 8)) for _ in range(2))
        sy = sx * sw / float(2 ** rng.integers(0, 10))
        shift = 63.25 / sx
        w = (rng.normal(0, 60, (5, 12)) / sw).astype(np.float32)
        b = (rng.normal(0, 9000, 5) / (sx * sw)).astype(np.float32)
        x = torch.from_numpy((rng.normal(0, 2**x_bits, (9, 12)) / sx).astype(np.float32))
        cfg = {
            "x_quant_bits": x_bits,
            "y_quant_bits": y_bits,
            "scale_x": sx,
            "scale_weight": sw,
            "scale_y": sy,
            "handle_neg_in": negative,
            "shift_num": shift,
        }
        theirs = build("lin", {}, layer_config(cfg), w, b).eval()
        config = QATConfig(
            rounding="half_even",
            x_bits=x_bits,
            y_bits=y_bits,
            bias_rows=8,
            negative_input=TREATMENTS[negative],
            shift=shift if negative == "Shift" else None,
            codes_per_unit_x=sx,
            codes_per_unit_w=sw,
            codes_per_unit_y=sy,
        )
        ours = Linear(12, 5, config=config).eval()
        ours.load_state_dict({"weight": theirs.weight, "bias": theirs.bias}, strict=False)
        assert torch.equal(ours(x), theirs(x)), f"seed {seed}: {cfg}"
