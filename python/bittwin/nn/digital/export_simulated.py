# SPDX-License-Identifier: Apache-2.0
"""Digital operators that the chip does not have, as the layers of `bittwin.digital.simulated`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.network import layers
from bittwin.nn.digital import modules, modules_norm, modules_pair
from bittwin.nn.digital.base import DigitalModule
from bittwin.nn.digital.quantizers import Limits, quantize, signed


def _integers(values: torch.Tensor, units: float, limits: Limits, dtype: Any) -> NDArray[Any]:
    """The module's own codes of a parameter."""
    codes = quantize(values.detach().cpu(), units, limits).numpy()
    return codes.astype(dtype)


def _root_settings(module: Any) -> dict[str, Any]:
    scales = module.codes_per_unit
    return {
        "units_x": scales["x"],
        "units_y": scales["y"],
        "shift_bits": module.shift_bits,
        "x_bits": module.code_bits("x"),
        "y_bits": module.code_bits("y"),
        "limit": module.limit,
    }


def _pair_settings(module: DigitalModule) -> dict[str, Any]:
    scales = module.codes_per_unit
    names = {"units_a": "x", "units_b": "other", "units_y": "y"}
    return {k: scales[v] for k, v in names.items()} | {"y_bits": module.code_bits("y")}


def _divide(module: Any, name: str) -> layers.Layer:
    return layers.Divide(name, **_pair_settings(module), limit=module.limit)


def _matmul(module: Any, name: str) -> layers.Layer:
    return layers.MatMul(name, **_pair_settings(module))


def _prelu(module: Any, name: str) -> layers.Layer:
    scales, bits = module.codes_per_unit, module.code_bits("w")
    slope = _integers(module.weight, scales["w"], module.limits("w"), _word(bits))
    return layers.PRelu(
        name, slope, scales["x"], scales["w"], scales["y"], module.code_bits("y"), module.limit
    )


def _batch_norm(module: modules_norm.BatchNorm2d, name: str) -> layers.Layer:
    scales, bits = module.codes_per_unit, module.code_bits("w")
    units = scales["x"] * scales["w"]
    factor, offset = module.folded_running()
    offset_limits = signed(module.code_bits("x") + bits)
    return layers.FactorOffset(
        name,
        _integers(factor, scales["w"], module.limits("w"), _word(bits)),
        _integers(offset, units, offset_limits, np.int32),
        units,
        scales["y"],
        module.code_bits("y"),
    )


def _layer_norm(module: Any, name: str) -> layers.Layer:
    settings = _root_settings(module)
    del settings["units_x"]
    return layers.LayerNorm(name, **settings, sum_bits=module.sum_bits, simple=module.simple)


def _word(bits: int) -> type[Any]:
    return np.int8 if bits <= 8 else np.int16


#: Module -> its layer, from the module and a name.
SIMULATED: Final[dict[type[Any], Callable[[Any, str], layers.Layer]]] = {
    modules_pair.Divide: _divide,
    modules_pair.MatMul: _matmul,
    modules_pair.Hypot: lambda module, name: layers.Hypot(name, **_root_settings(module)),
    modules.Sqrt: lambda module, name: layers.Sqrt(name, **_root_settings(module)),
    modules.InvSqrt: lambda module, name: layers.InvSqrt(name, **_root_settings(module)),
    modules.PReLU: _prelu,
    modules_norm.BatchNorm2d: _batch_norm,
    modules_norm.ClnBn2d: _layer_norm,
}
