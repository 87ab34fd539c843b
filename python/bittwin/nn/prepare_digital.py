# SPDX-License-Identifier: Apache-2.0
"""`prepare_qat(digital=...)`: activations, norms and recurrent modules swapped where asked for."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

from bittwin.nn.config import QATConfig
from bittwin.nn.digital.config import DigitalConfig
from bittwin.nn.digital.modules import GELU, PReLU, Sigmoid, Tanh
from bittwin.nn.digital.modules_norm import BatchNorm2d
from bittwin.nn.digital.tables import ActivationTable
from bittwin.nn.sequences import LSTM, Gru2Array, Sequence

Config = DigitalConfig | QATConfig
OPERATORS: Final[dict[type[torch.nn.Module], type[Any]]] = {
    torch.nn.Sigmoid: Sigmoid,
    torch.nn.Tanh: Tanh,
    torch.nn.GELU: GELU,
    torch.nn.PReLU: PReLU,
    torch.nn.BatchNorm2d: BatchNorm2d,
}
RECURRENT: Final[dict[type[torch.nn.Module], type[Sequence]]] = {
    torch.nn.LSTM: LSTM,
    torch.nn.GRU: Gru2Array,
}
KINDS: Final = "Sigmoid, Tanh, GELU, PReLU, BatchNorm2d, LSTM or GRU"
#: What the constructors set beside scales and config, with its default.
_FIELDS: Final[dict[type[Any], dict[str, Any]]] = {
    Sigmoid: {"input_limit": None},
    Tanh: {"input_limit": None},
    GELU: {"offset": 0.0, "limit": None},
    PReLU: {"limit": None},
    BatchNorm2d: {},
}
_SMALLEST_GAIN = 256


def is_candidate(module: torch.nn.Module) -> bool:
    """Whether a module can be asked for."""
    return type(module) in OPERATORS or type(module) in RECURRENT


def why_not(module: torch.nn.Module, config: Config, pattern: str) -> str | None:
    """Why a module cannot be swapped; None: it can. A config of the wrong kind is refused."""
    recurrent = type(module) in RECURRENT
    wanted = QATConfig if recurrent else DigitalConfig
    if not isinstance(config, wanted):
        raise TypeError(
            f"digital[{pattern!r}]: found a {type(config).__name__} for a {type(module).__name__}, wanted a "
            f"{wanted.__name__}"
        )
    if {p.dtype for p in module.parameters()} - {torch.float32}:
        return "its parameters are not torch.float32"
    if isinstance(module, torch.nn.BatchNorm2d) and not (
        module.affine and module.track_running_stats
    ):
        return "without affine parameters or running statistics"
    if isinstance(module, torch.nn.LSTM | torch.nn.GRU):
        odd = [k for k, v in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0))
               if getattr(module, k) != v]  # fmt: skip
        if odd:
            found = ", ".join(f"{k}={getattr(module, k)}" for k in odd)
            return f"{found}; one layer of one direction without a projection is possible"
    return None


def swap_digital(module: torch.nn.Module, config: Any, name: str) -> None:
    """Make a torch module a bittwin module, in place: whoever holds it needs no new one."""
    if type(module) in OPERATORS:
        _swap_operator(module, config, name)
    else:
        _swap_recurrent(module, config)


def _swap_operator(module: Any, config: DigitalConfig, name: str) -> None:
    # Parameters and buffers stay; the subclass adds these fields and what init_digital makes.
    module.__class__ = OPERATORS[type(module)]
    for field, value in _FIELDS[module.__class__].items():
        setattr(module, field, value)
    if isinstance(module, GELU):
        module.approximate = str(module.approximate)
    module.init_digital(config)
    device = next((p.device for p in module.parameters()), None)
    if device is not None and device.type != "meta":
        module.scales.to(device)
    module.scales.train(module.training)
    if name:
        module.layer_name = name


def _swap_recurrent(module: Any, config: QATConfig) -> None:
    """Another layout of the same weights: a new module's attributes, and the old one's hooks."""
    units = 128.0 if config.codes_per_unit_x is None else config.codes_per_unit_x
    config = config.with_(codes_per_unit_x=None)
    make = _lstm if isinstance(module, torch.nn.LSTM) else _gru
    new = make(module, config, units).to(module.weight_ih_l0.device)
    kept = {k: v for k, v in module.__dict__.items() if "_hooks" in k}
    new.train(module.training)
    module.__class__ = type(new)
    module.__dict__.clear()
    module.__dict__.update({**new.__dict__, **kept})


def _options(module: Any, config: QATConfig, units: float) -> dict[str, Any]:
    return {"bias": bool(module.bias), "config": config, "codes_per_unit_x": units,
            "batch_first": bool(module.batch_first), "layer_axis": True}  # fmt: skip


def _lstm(module: Any, config: QATConfig, units: float) -> LSTM:
    """Torch's i | f | g | o; here i | f | o and g, of [x, h] with x at the state's scale."""
    factor = units / 128
    weight = torch.cat((module.weight_ih_l0.detach() / factor, module.weight_hh_l0.detach()), 1)
    i, f, g, o = weight.chunk(4)
    gates, sigmoid, tanh = (
        torch.cat((i, f, o)),
        ActivationTable("sigmoid", 5),
        ActivationTable("tanh", 5),
    )
    new = LSTM(
        module.input_size, module.hidden_size, **_options(module, config, units),
        sigmoid_table=sigmoid, tanh_table=tanh,
        gain_gates=_gain(gates, sigmoid.codes_per_unit / 128, config),
        gain_candidate=_gain(g, tanh.codes_per_unit / 128, config),
    )  # fmt: skip
    bias = module.bias_ih_l0.detach() + module.bias_hh_l0.detach() if module.bias else None
    parts: tuple[Tensor | None, Tensor | None] = (None, None)
    if bias is not None:
        b_i, b_f, b_g, b_o = bias.chunk(4)
        parts = torch.cat((b_i, b_f, b_o)), b_g
    cell: Any = new.cell
    _fill(cell.gates, gates, parts[0])
    _fill(cell.candidate, g, parts[1])
    return new


def _gru(module: Any, config: QATConfig, units: float) -> Gru2Array:
    """Torch's r | z | n; here z | r | n, in a product of x and one of h."""
    table = ActivationTable("sigmoid", 5, 1024)
    x, h = (_swapped_gates(w.detach()) for w in (module.weight_ih_l0, module.weight_hh_l0))
    new = Gru2Array(
        module.input_size, module.hidden_size, **_options(module, config, units),
        gain_input=_gain(x, table.codes_per_unit / units, config),
        gain_hidden=_gain(h, table.codes_per_unit / 128, config),
    )  # fmt: skip
    biases: list[Tensor | None] = [None, None]
    if module.bias:
        biases = [_swapped_gates(b.detach()) for b in (module.bias_ih_l0, module.bias_hh_l0)]
    cell: Any = new.cell
    _fill(cell.of_input, x, biases[0])
    _fill(cell.of_hidden, h, biases[1])
    return new


def _swapped_gates(values: Tensor) -> Tensor:
    r, z, n = values.chunk(3)
    return torch.cat((z, r, n))


def _gain(weight: Tensor, ratio: float, config: QATConfig) -> int:
    """The largest power of two with which no weight saturates; weight codes per unit are gain * ratio."""
    high = (1 << (config.weight_bits - 1)) - 1
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    most = high / (largest * ratio) if largest else float(config.max_gain)
    gain = 1 << max(math.floor(math.log2(most)), 0)
    return min(max(gain, _SMALLEST_GAIN), config.max_gain)


def _fill(product: Any, weight: Tensor, bias: Tensor | None) -> None:
    with torch.no_grad():
        product.weight.copy_(weight)
        if bias is not None:
            product.bias.copy_(bias)
