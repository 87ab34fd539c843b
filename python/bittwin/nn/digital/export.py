# SPDX-License-Identifier: Apache-2.0
"""Digital operators and recurrent cells as the integer layers that compute their codes.

`to_layer` converts one module; `bittwin.nn.to_network` puts layers together. What the chip has becomes the
chip's layer; the others become those of `bittwin.digital.simulated`, which the chip does not have.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import layers
from bittwin.nn.digital import modules, modules_norm, modules_pair
from bittwin.nn.digital.base import DigitalModule, is_power_of_two
from bittwin.nn.digital.export_simulated import SIMULATED
from bittwin.nn.digital.norms import LONGEST
from bittwin.nn.gru import Gru2ArrayCell, GRUCell, GruNewCell
from bittwin.nn.lstm import LSTMCell

_TABLED = (
    modules.Sigmoid,
    modules.Tanh,
    modules.GELU,
    modules.PReLU,
    modules.Sqrt,
    modules.InvSqrt,
)
_CELLS: dict[type[Any], type[Any]] = {
    LSTMCell: layers.Lstm,
    GRUCell: layers.Gru,
    GruNewCell: layers.GruNew,
    Gru2ArrayCell: layers.Gru2Array,
}


def to_layer(
    module: torch.nn.Module, name: str, *, ndim: int | None = None, aligned: bool = False
) -> layers.Layer:
    """The integer layer that maps the module's input codes to its output codes.

    One input of 8 bits becomes a table; `Add` and `Mul` become shifts; `Mean` and `Cat` their counterparts;
    cells the recurrent layers; the others the training tool's own steps (docs/spec/digital_training.md, "As
    integer layers"). Input codes are the module's own: quantised at its scales.

    Args:
        module: an operator or cell of `bittwin.nn` whose scales are known; it is left as it was.
        name: of the layer.
        ndim: axes of its input, which a negative dim counts from; None: a negative dim is refused.
        aligned: the inputs of an `Add` are at the smaller of their two scales already, as it adds them.

    Raises:
        TypeError: another kind of module.
        NetworkError: there is no layer with these codes; says why.

    >>> from bittwin.nn import DigitalConfig, Tanh
    >>> from bittwin.nn.digital.export import to_layer
    >>> layer = to_layer(Tanh(DigitalConfig(codes_per_unit_x=32, codes_per_unit_y=128)), "act")
    >>> layer.kind, layer.table[[0, 32, 255]].tolist()
    ('lookup', [0, 97, -4])
    """
    for cell, layer in _CELLS.items():
        if isinstance(module, cell):
            found: layers.Layer = layer(name, module.integer_cell(), x_signed=True)
            return found
    if not isinstance(module, DigitalModule):
        raise TypeError(
            f"module: found {type(module).__name__}, wanted a digital operator or a recurrent cell"
        )
    if module.config.mode == "float":
        raise NetworkError(f"layer {name!r}: found mode='float', wanted 'quantized'")
    if isinstance(module, modules_pair.Add) and not aligned:
        _one_scale(module, name)
    kind = type(module)
    if isinstance(module, _TABLED) and not (kind in SIMULATED and _needs_steps(module)):
        return layers.Lookup(name, _table(module, name))
    if kind in SIMULATED:
        return SIMULATED[kind](module, name)
    makers: dict[type[Any], Callable[..., layers.Layer]] = {
        modules_pair.Add: _add,
        modules_pair.Mul: _mul,
        modules_pair.Cat: _cat,
        modules_norm.Mean: _mean,
    }
    if kind not in makers:
        raise NetworkError(f"layer {name!r}: found a {kind.__name__}, which has no integer layer")
    return makers[kind](
        module, name, *(() if kind in (modules_pair.Add, modules_pair.Mul) else (ndim,))
    )


def _needs_steps(module: DigitalModule) -> bool:
    """Whether a table of 256 entries is not enough."""
    wide = any(module.code_bits(operand) != 8 for operand in ("x", "y"))
    return wide or (isinstance(module, modules.PReLU) and module.num_parameters != 1)


def _refuse(name: str, what: str, found: Any, wanted: str) -> None:
    raise NetworkError(f"layer {name!r}: {what}: found {found}, wanted {wanted}")


def _eight_bits(module: DigitalModule, name: str, *operands: str) -> None:
    for operand in operands:
        if module.code_bits(operand) != 8:
            _refuse(name, f"bits of {operand}", module.code_bits(operand), "8")


def _table(module: DigitalModule, name: str) -> NDArray[Any]:
    """The module itself on every code it can see, in the order of the code's byte."""
    _eight_bits(module, name, "x", "y")
    scales = module.codes_per_unit
    byte = np.arange(256, dtype=np.uint8)
    codes = byte if "x" in module.without_sign else byte.view(np.int8)
    real = torch.from_numpy(codes.astype(np.float32)) / scales["x"]
    with torch.no_grad():
        y = _on_cpu(module).quantized((real,), scales)
    table = np.rint(y.double().numpy() * scales["y"])
    return table.astype(np.uint8 if "y" in module.without_sign else np.int8)


def _on_cpu(module: DigitalModule) -> DigitalModule:
    """The module, or a copy of it, on the CPU."""
    weights = list(module.parameters())
    return copy.deepcopy(module).cpu() if any(w.device.type != "cpu" for w in weights) else module


def _shift_of(gain: float, name: str) -> int:
    if not is_power_of_two(gain):
        _refuse(name, "accumulator units per output code", f"{gain:g}", "a power of two")
    return -int(math.log2(gain))


def _one_scale(module: modules_pair.Add, name: str) -> None:
    scales = module.codes_per_unit
    if scales["x"] != scales["other"]:
        both = f"{scales['x']:g} and {scales['other']:g}"
        _refuse(name, "codes per unit of the inputs", both, "the same (insert a Rescale)")


def _pair_settings(module: modules_pair.Add | modules_pair.Mul, name: str) -> dict[str, Any]:
    settings = {
        "shift_bit": _shift_of(module.gain(module.codes_per_unit), name),
        "rounding": module.config.rounding,
        "broadcast": "numpy",
    }
    if module.code_bits("y") == 8:
        return settings
    # 9 to 12 bits: stored in 16, and limited by what follows (`bittwin.nn.build`).
    return settings | {"bits": 16, "overflow": "saturate"}


def _add(module: modules_pair.Add, name: str) -> layers.Layer:
    return layers.Add(name, **_pair_settings(module, name))


def _mul(module: modules_pair.Mul, name: str) -> layers.Layer:
    return layers.Mul(name, **_pair_settings(module, name))


def _cat(module: modules_pair.Cat, name: str, ndim: int | None) -> layers.Layer:
    scales = set(module.codes_per_unit.values())
    bits = {module.code_bits(operand) for operand in module.operands}
    if len(scales) > 1 or len(bits) > 1:
        _refuse(name, "scales and widths", (sorted(scales), sorted(bits)), "one of each")
    if module.limit is not None:
        _refuse(name, "limit", module.limit, "None")
    return layers.Concat(name, frame_axis(module.dim, name, ndim))


def frame_axis(dim: Any, name: str, ndim: int | None) -> int:
    """An axis of one frame; axis 0 counts frames."""
    axis = dim
    if isinstance(dim, int) and dim < 0 and ndim is not None:
        axis = dim + ndim
    if not isinstance(axis, int) or axis < 1:
        _refuse(name, "dim", dim, "1 or more: axis 0 counts frames")
    return int(axis)


def _mean(module: modules_norm.Mean, name: str, ndim: int | None) -> layers.Layer:
    _eight_bits(module, name, "x")
    axes = module.dim if isinstance(module.dim, tuple) else (module.dim,)
    known = tuple(frame_axis(axis, name, ndim) for axis in axes)
    needed = 8 + int(math.log2(LONGEST))
    if module.sum_bits < needed:
        _refuse(name, "sum_bits", module.sum_bits, f"{needed} or more: the chip's sum has no limit")
    return layers.ReduceMean(name, known, keepdims=module.keepdim, rounding=module.config.rounding)
