# SPDX-License-Identifier: Apache-2.0
"""One recorded call as a node, or why it is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from bittwin.errors import NetworkError
from bittwin.nn.base import QuantizedModule
from bittwin.nn.digital.base import DigitalModule
from bittwin.nn.digital.cells import RecurrentCell
from bittwin.nn.moves import moved, pooled
from bittwin.nn.nodes import (
    CatCall,
    CellCall,
    DigitalCall,
    LayerCall,
    MapCall,
    MoveCall,
    Node,
    PairCall,
)

#: Functions that map every number by itself, by torch's name for them.
MAPS: Final = frozenset((
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "sigmoid", "tanh",
    "hardsigmoid", "hardswish", "silu", "gelu", "leaky_relu", "elu", "celu", "selu", "softplus",
    "softsign", "mish", "hardshrink", "softshrink", "threshold",
))  # fmt: skip
#: Functions that leave the numbers as they are.
SAME: Final = frozenset((
    "contiguous", "clone", "detach", "to", "float", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "alpha_dropout", "feature_alpha_dropout",
))  # fmt: skip
Result = tuple[tuple[torch.Tensor, Node], list[torch.Tensor]]


# -- modules ----------------------------------------------------------------------------------


def check_module(module: torch.nn.Module, name: str) -> None:
    """Refuse a module that computes no codes: in float mode, without scales, with odd padding."""
    if isinstance(module, QuantizedModule | DigitalModule):
        name = module.layer_name if module.layer_name != type(module).__name__ else name
    modes = [m.config.mode for m in module.modules() if hasattr(m, "config")]
    if any(mode != "quantized" for mode in modes):
        raise NetworkError(f"layer {name!r}: found mode='float', wanted 'quantized'")
    if isinstance(module, QuantizedModule | DigitalModule) and not module.calibrated:
        raise NetworkError(
            f"layer {name!r}: found no scales, wanted a calibrated layer; run training forwards, or load a "
            "checkpoint"
        )
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise NetworkError(
            f"layer {name!r}: found padding_mode={module.padding_mode!r}, wanted 'zeros'"
        )


def module_call(name: str, module: torch.nn.Module, nodes: list[Node], output: Any) -> Result:
    """The node of a bittwin module's output, and tensors that it returned beside it."""
    y = output if isinstance(output, torch.Tensor) else output[0]
    shape, copy = tuple(y.shape), y.detach().clone()
    if isinstance(module, QuantizedModule):
        return (y, LayerCall(name, shape, module, nodes[0], copy)), []
    if isinstance(module, DigitalModule):
        return (y, DigitalCall(name, shape, module, tuple(nodes), copy)), []
    cell: Any = module if isinstance(module, RecurrentCell) else module.cell
    x = nodes[0]
    if len(x.shape) != 2:
        raise NetworkError(
            f"layer {name!r}: found an input of shape {x.shape}, wanted [frames, {cell.inputs}]: one "
            "sequence without a batch axis, whose frames are the network's"
        )
    if cell is module and x.shape[0] != 1:
        raise NetworkError(
            f"layer {name!r}: found a cell called on {x.shape[0]} rows, wanted 1, the first frame of a "
            "sequence; or a module over frames such as bittwin.nn.LSTM"
        )
    others = [] if isinstance(output, torch.Tensor) else output[1:]
    rest = [t for group in others for t in (group if isinstance(group, tuple) else (group,))]
    # One tensor may be both: a GRU's last state of one frame.
    return (y, CellCall(name, shape, cell, x, copy)), [t for t in rest if t is not y]


# -- functions --------------------------------------------------------------------------------


def mapped(
    name: str, function: str, shape: tuple[int, ...], x: Node, func: Any, args: Any, kwargs: Any
) -> MapCall:
    """A function that maps every number by itself."""
    return MapCall(name, shape, function, _replay(func, args, kwargs), x)


def moved_call(name: str, place: int, x: Node, func: Any, args: Any, kwargs: Any) -> Node | str:
    """A function that moves numbers: a node for each layer that it takes."""
    makers = moved(_replay(func, args, kwargs), place, x.shape)
    if isinstance(makers, str):
        return makers
    for maker in makers:
        shape = maker("probe").output_shape(x.shape[1:])
        x = MoveCall(name, (x.shape[0], *shape), maker, x)
    return x


def pool_call(
    name: str, function: str, shape: tuple[int, ...], x: Node, args: Any, kwargs: Any
) -> Node | str:
    """The largest number of every window."""
    if len(x.shape) != 4:
        return f"which pools {x.shape}: wanted [N, C, H, W]"
    maker = pooled(function, args[1:], {k: v for k, v in kwargs.items() if k != "input"})
    return maker if isinstance(maker, str) else MoveCall(name, shape, maker, x, largest=True)


def joined(
    name: str, shape: tuple[int, ...], inputs: Sequence[Node], args: Any, kwargs: Any
) -> Node | str:
    """Tensors joined along an axis."""
    given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
    axis = int(given) % len(shape)
    if axis == 0:
        return "which joins frames (axis 0): wanted another axis"
    return CatCall(name, shape, axis, tuple(inputs))


def pair_call(
    name: str, function: str, shape: tuple[int, ...], inputs: Sequence[Node], kwargs: Any
) -> Node | str:
    """A sum or product of two tensors."""
    if kwargs.get("alpha", 1) != 1:
        return f"with alpha={kwargs['alpha']}: wanted 1"
    if any(len(x.shape) != len(shape) or x.shape[0] != shape[0] for x in inputs):
        return f"of shapes {inputs[0].shape} and {inputs[1].shape}: wanted the frame axis first in both"
    return PairCall(name, shape, function, tuple(inputs))


def _replay(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[torch.Tensor], Any]:
    """The same call on another tensor; in-place forms work on a copy."""

    def apply(x: torch.Tensor) -> Any:
        rest = kwargs if args else {**kwargs, "input": x.clone()}
        first = (x.clone(), *args[1:]) if args else ()
        return func(*first, **rest)

    return apply
