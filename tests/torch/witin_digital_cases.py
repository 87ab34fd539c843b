# SPDX-License-Identifier: Apache-2.0
"""The measured cases of the vendor tool's digital operators, and layers of ours built from them.

`tests/golden/data/witin_digital.npz`: our own measurement (torch 2.13 on CPU). `meta` is a JSON list; case i
has the arrays ``c<i>_x0`` and so on.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bittwin.compat import witin_nn

FILE = Path(__file__).resolve().parents[1] / "golden" / "data" / "witin_digital.npz"


@cache
def cases() -> list[dict[str, Any]]:
    """Every case with its number under `index` and its arrays under `data`."""
    with np.load(FILE) as file:
        found: list[dict[str, Any]] = json.loads(str(file["meta"]))
        arrays: list[dict[str, Any]] = [{} for _ in found]
        for name in file.files:
            if name != "meta":
                number, _, key = name.partition("_")
                arrays[int(number[1:])][key] = file[name]
    for i, (case, data) in enumerate(zip(found, arrays, strict=True)):
        case["index"], case["data"] = i, data
    return found


def layer_of(case: dict[str, Any], **more: Any) -> Any:
    """The layer of a measured case, in eval() unless the case says otherwise."""
    fields = {"use_quantization": True, "use_auto_scale": False, **case["config"], **more}
    config = witin_nn.WitinLayerConfig(1, **fields)
    params = dict(case["params"])
    training = params.pop("training", False)
    data = case["data"]
    if case["op"] == "WitinPReLU":
        params["num_parameters"] = data["weight"].size
    elif case["op"] == "WitinBatchNorm2d":
        params |= {"num_features": data["running_mean"].size, "affine": "weight" in data}
    layer = getattr(witin_nn, case["op"])(**params, layer_config=config)
    with torch.no_grad():
        for name in case["array_params"]:
            getattr(layer, name).copy_(torch.from_numpy(data[name]))
    return layer.train(training)


def inputs(case: dict[str, Any], prefix: str = "") -> list[torch.Tensor]:
    """Its input tensors."""
    return [torch.from_numpy(case["data"][f"{prefix}x{i}"]) for i in range(case["n_in"])]


def codes(y: torch.Tensor, scale: float) -> Any:
    """Output codes of real outputs."""
    return np.rint(y.detach().numpy().astype(np.float64) * scale)
