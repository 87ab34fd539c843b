# SPDX-License-Identifier: Apache-2.0
"""BatchNorm folded into the layer before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.fx

from bittwin.nn.base import QuantizedModule
from bittwin.nn.prepare_report import FoldedNorm

NORMS: Final = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
_OF_INTEREST = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d, *NORMS)


class _Tracer(torch.fx.Tracer):
    """Looks only into modules that hold a layer or a norm, so that others may do what they like."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (*_OF_INTEREST, QuantizedModule)):
            return True
        return not any(isinstance(child, _OF_INTEREST) for child in m.modules())


def fold_batchnorms(
    model: torch.nn.Module,
    layers: Mapping[int, torch.nn.Module],
    names: Mapping[int, list[str]],
) -> tuple[list[FoldedNorm], dict[int, str]]:
    """Fold every BatchNorm that directly and alone follows one of `layers`; its place takes an Identity.

    Args:
        model: changed in place.
        layers: by id, the layers that may take a norm in.
        names: dotted names of all modules, by id.

    Returns:
        What was folded, and by id of each norm that stays the reason why.
    """
    norms = [m for m in model.modules() if type(m) in NORMS]
    if not norms:
        return [], {}
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # a tracer runs the model's own code, which may raise anything
        reason = f"not folded: torch.fx cannot trace the model ({str(error).splitlines()[0][:80]})"
        return [], {id(norm): reason for norm in norms}
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = [node for node in graph.nodes if node.op == "call_module"]
    calls_of = Counter(id(modules[str(node.target)]) for node in calls)
    shared = _shared_parameters(model, graph)
    reasons = {id(norm): "not folded: the model does not call it" for norm in norms}
    folded: list[FoldedNorm] = []
    for node in calls:
        norm: Any = modules[str(node.target)]
        if type(norm) not in NORMS:
            continue
        source = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
        called = source is not None and source.op == "call_module"
        layer = modules[str(source.target)] if source is not None and called else None
        why = _why_not(norm, layer, layers, calls_of, shared)
        if why is None and source is not None and len(source.users) != 1:
            why = "not folded: the layer's output has other users"
        if why is not None or layer is None:
            reasons[id(norm)] = why or "not folded"
            continue
        del reasons[id(norm)]
        added = fold(layer, norm)
        folded.append(
            FoldedNorm(names[id(norm)][0], type(norm).__name__, names[id(layer)][0], added)
        )
        for parent in model.modules():
            for child, module in parent._modules.items():
                if module is norm:
                    parent._modules[child] = torch.nn.Identity()
    return folded, reasons


def _shared_parameters(model: torch.nn.Module, graph: torch.fx.Graph) -> set[int]:
    """Ids of parameters with a second owner, or that the model reads by itself."""
    owners = Counter(
        id(p) for m in model.modules() for p in m._parameters.values() if p is not None
    )
    shared = {key for key, count in owners.items() if count > 1}
    read = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return shared | {
        id(p) for name, p in model.named_parameters(remove_duplicate=False) if name in read
    }


def _why_not(
    norm: Any,
    layer: torch.nn.Module | None,
    layers: Mapping[int, torch.nn.Module],
    calls_of: Counter[int],
    shared: set[int],
) -> str | None:
    if layer is None or not isinstance(layer, _OF_INTEREST[:3]):
        return "not folded: it does not directly follow a Linear, Conv2d or ConvTranspose2d"
    if id(layer) not in layers:
        return "not folded: the layer before it is not swapped"
    if calls_of[id(norm)] != 1 or calls_of[id(layer)] != 1:
        return "not folded: it or the layer before it is used more than once"
    weight: Any = layer.weight
    outputs = weight.shape[1 if isinstance(layer, torch.nn.ConvTranspose2d) else 0]
    if norm.num_features != outputs:
        return "not folded: its channels are not the outputs of the layer before it"
    if norm.running_mean is None or norm.running_var is None:
        return "not folded: it keeps no running statistics"
    if any(id(p) in shared for p in layer.parameters(recurse=False)):
        return "not folded: the weights of the layer before it are used elsewhere too"
    return None


def fold(layer: Any, norm: Any) -> bool:
    """Put a norm's running statistics into the weight and bias of a layer, in place.

    Args:
        layer: Linear, Conv2d, or ConvTranspose2d with one group.
        norm: BatchNorm over the layer's output channels.

    Returns:
        Whether the layer got a bias that it did not have.

    >>> import torch
    >>> from bittwin.nn.fold import fold
    >>> fc, norm = torch.nn.Linear(2, 1, bias=False), torch.nn.BatchNorm1d(1, eps=0.0)
    >>> _ = fc.weight.data.copy_(torch.tensor([[1.0, 2.0]])), norm.running_var.fill_(4.0)
    >>> _ = norm.running_mean.fill_(3.0)
    >>> fold(fc, norm), fc.weight.tolist(), fc.bias.tolist()
    (True, [[0.5, 1.0]], [-1.5])
    """
    with torch.no_grad():
        deviation = torch.sqrt(norm.running_var.double() + norm.eps)
        factor = 1 / deviation if norm.weight is None else norm.weight.double() / deviation
        offset = 0.0 if norm.bias is None else norm.bias.double()
        old = 0.0 if layer.bias is None else layer.bias.double()
        bias = (offset + factor * (old - norm.running_mean.double())).float()
        # Linear and Conv2d have their output channels on axis 0, ConvTranspose2d on axis 1.
        axis = 1 if isinstance(layer, torch.nn.ConvTranspose2d) else 0
        shape = [-1 if i == axis else 1 for i in range(layer.weight.dim())]
        layer.weight.copy_((layer.weight.double() * factor.reshape(shape)).float())
        if layer.bias is not None:
            layer.bias.copy_(bias)
            return False
        layer.bias = torch.nn.Parameter(bias, requires_grad=layer.weight.requires_grad)
        return True
