# SPDX-License-Identifier: Apache-2.0
"""The measured cases of the vendor's training tool, and layers of ours built from them.

`tests/golden/data/witin_array.npz`: our own measurement of its array operators (noise off, torch 2.13 on
CPU). `meta` is JSON; case ``c0123`` has the arrays ``c0123_x`` and so on.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.compat import witin_nn

FILE = Path(__file__).resolve().parents[1] / "golden" / "data" / "witin_array.npz"
ARRAYS = ("x", "w", "b", "y", "code", "io", "gy", "gx", "gw", "gb")


@cache
def cases() -> dict[str, list[dict[str, Any]]]:
    """Type -> its cases, each with its arrays under `data`."""
    found: dict[str, list[dict[str, Any]]] = {}
    with np.load(FILE) as file:
        for case in json.loads(str(file["meta"]))["cases"]:
            names = {a: f"{case['id']}_{a}" for a in ARRAYS}
            case["data"] = {a: file[n] for a, n in names.items() if n in file.files}
            found.setdefault(case["type"], []).append(case)
    return found


def layer_config(cfg: dict[str, Any], **more: Any) -> witin_nn.WitinLayerConfig:
    """A layer configuration from a case's plain values."""
    fields = {k: v for k, v in cfg.items() if k != "G_algo"}
    fields["handle_neg_in"] = witin_nn.HandleNegInType[cfg.get("handle_neg_in", "FALSE")]
    fields["hardware"] = witin_nn.HardwareType[cfg.get("hardware", "ARRAY")]
    fields["bias_d"] = torch.tensor(cfg.get("bias_d", 0.0))
    fields |= {"use_quantization": True, "use_auto_scale": False, **more}
    return witin_nn.WitinLayerConfig(cfg.get("G_algo", 1), **fields)


def build(
    kind: str,
    conv: dict[str, Any],
    config: witin_nn.WitinLayerConfig,
    w: NDArray[Any],
    b: NDArray[Any] | None,
) -> Any:
    """A layer with the given weight and bias."""
    geometry = {k: tuple(v) if isinstance(v, list) else v for k, v in conv.items()}
    bias = b is not None
    layer: torch.nn.Module
    if kind == "lin":
        layer = witin_nn.WitinLinear(w.shape[1], w.shape[0], bias, layer_config=config)
    elif kind == "conv2d":
        channels = w.shape[1] * geometry.get("groups", 1), w.shape[0]
        layer = witin_nn.WitinConv2d(
            *channels, w.shape[2:], bias=bias, layer_config=config, **geometry
        )
    else:
        layer = witin_nn.WitinConvTranspose2d(
            *w.shape[:2], w.shape[2:], bias=bias, layer_config=config, **geometry
        )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        if b is not None:
            layer.bias.copy_(torch.from_numpy(b))
    return layer


def layer_of(case: dict[str, Any], **more: Any) -> Any:
    """The layer of a measured case."""
    data = case["data"]
    config = layer_config(case["cfg"], **more)
    return build(case["kind"], case["conv"], config, data["w"], data.get("b"))
