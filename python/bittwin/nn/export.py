# SPDX-License-Identifier: Apache-2.0
"""`to_network`: a trained model as the integer network that it computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from bittwin.errors import NetworkError
from bittwin.network import (
    ArrayLayer,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Layer,
    Linear,
    Network,
    SplitConv2d,
    SplitConvTranspose2d,
    SplitLinear,
)
from bittwin.nn.bridge import between, leading, trailing
from bittwin.nn.prepared import prepare
from bittwin.nn.record import Chain, LayerCall, MapCall, record
from bittwin.nn.spec import LayerSpec

_KINDS: Final[dict[tuple[str, bool], type[ArrayLayer]]] = {
    ("linear", False): Linear,
    ("linear", True): SplitLinear,
    ("conv2d", False): Conv2d,
    ("conv2d", True): SplitConv2d,
    ("conv_transpose2d", False): ConvTranspose2d,
    ("conv_transpose2d", True): SplitConvTranspose2d,
}


def to_network(model: torch.nn.Module, example: torch.Tensor) -> Network:
    """Export a trained model as the integer `Network` whose codes are the model's own in eval().

    The model runs once on the example and is watched: it must be a chain of bittwin layers, element-wise
    activations, flatten, dropout and identities, called as modules or as functions. Codes go from the scale
    at which one layer writes to the one at which the next reads by an inserted `Rescale`, or by
    ``Relu(gain=2)`` or nothing where that is the same; activations that are neither ReLU nor a limit become
    tables. Each such step is proven on every code there is, and the whole network is run on the example and
    compared with the model, code for code, before it is returned.

    The network takes the codes of ``first_layer.quantize_input(x)`` and its output codes are those of the
    last layer: divided by its ``codes_per_unit[2]`` they equal ``model(x)``.

    Args:
        model: a calibrated model with `bittwin.nn` layers; it is left as it was.
        example: float32 input batch, frames first; its shape gives the network's `input_shape`.

    Returns:
        A network named after the model's class, its layers named after the modules.

    Raises:
        TypeError: an argument of the wrong kind.
        NetworkError: the model is no such chain, a layer is not calibrated or in float mode, pads with other
            than zeros, or two scales differ by other than a power of two. Names the layer.
        ValueError: what a layer refuses when the example runs through it.

    >>> import torch
    >>> from bittwin.nn import Linear, QATConfig, to_network
    >>> fc = Linear(2, 1, bias=False, config=QATConfig())
    >>> x = torch.tensor([[0.5, 0.75]])
    >>> y = fc(x)  # one training step calibrates
    >>> net = to_network(torch.nn.Sequential(fc, torch.nn.ReLU()), x)
    >>> [layer.kind for layer in net.layers]
    ['linear', 'relu']
    >>> codes = net.run(fc.quantize_input(x).numpy())
    >>> bool((torch.from_numpy(codes) / fc.codes_per_unit[2] == y.relu()).all())
    True
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: found {type(model).__name__}, wanted a torch.nn.Module")
    if not isinstance(example, torch.Tensor) or example.dtype != torch.float32:
        found = example.dtype if isinstance(example, torch.Tensor) else type(example).__name__
        raise TypeError(f"example: found {found}, wanted a float32 tensor")
    if example.dim() < 2 or example.shape[0] == 0:
        raise NetworkError(
            f"example: found shape {tuple(example.shape)}, wanted [frames, ...] with at least one frame"
        )
    model = _unwrapped(model)
    chain, output = record(model, example)
    calls = [step for step in chain if isinstance(step, LayerCall)]
    if not calls:
        raise NetworkError("model: found no bittwin layer in it, wanted at least one")
    network = Network(_layers(chain), type(model).__name__, tuple(example.shape[1:]))
    _compare(network, calls, example, output)
    return network


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The model that was compiled or distributed."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        return _unwrapped(model.module)
    original = model._modules.get("_orig_mod")
    return model if original is None else _unwrapped(original)


def _layers(chain: Chain) -> list[Layer]:
    """Network layers of a chain; a flatten stands right before the layer that needs it."""
    layers: list[Layer] = []
    before: LayerSpec | None = None
    maps: list[MapCall] = []
    flatten: list[Layer] = []
    for step in chain:
        if isinstance(step, MapCall):
            maps.append(step)
        elif not isinstance(step, LayerCall):
            flatten = [Flatten(step.name)]
        else:
            spec = _spec(step)
            if before is None:
                layers += leading(maps, spec)
            else:
                layers += between(before, maps, step.module, step.name)
            layers += [*flatten, _array_layer(step, spec)]
            before, maps, flatten = spec, [], []
    assert before is not None
    return _named_apart(layers + trailing(before, maps) + flatten)


def _spec(call: LayerCall) -> LayerSpec:
    spec = replace(call.module.spec, name=call.name)
    axes, wanted = len(call.x_shape), "[N, ..., in]" if spec.op == "linear" else "[N, C, H, W]"
    if axes < 2 if spec.op == "linear" else axes != 4:
        raise NetworkError(
            f"layer {call.name!r}: found an input of shape {call.x_shape}, wanted {wanted}"
        )
    return spec


def _array_layer(call: LayerCall, spec: LayerSpec) -> Layer:
    layer = call.module
    # Not layer.prepared(): a layer on another device has none.
    bias = None if layer.bias is None else layer.bias.detach().cpu()
    prepared = prepare(spec, layer.weight.detach().cpu(), bias)
    settings: dict[str, Any] = {"x_bits": spec.x_bits, "x_signed": spec.x_signed}
    if spec.op != "linear":
        settings |= {"stride": spec.stride, "padding": spec.padding, "dilation": spec.dilation}
    if spec.op == "conv2d":
        pad_value = spec.pad_code if spec.framed else 0
        settings |= {"groups": spec.groups, "pad_value": pad_value}
    if spec.op == "conv_transpose2d":
        settings["output_padding"] = spec.output_padding
    if spec.split:
        settings["bias_digital"] = prepared.bias_digital
    kind = _KINDS[spec.op, spec.split]
    return kind(call.name, prepared.weight, prepared.bias, spec.requant, **settings)


def _named_apart(layers: list[Layer]) -> list[Layer]:
    """Distinct names: a module that ran twice has its name twice."""
    taken: set[str] = set()
    result = []
    for layer in layers:
        name, count = layer.name, 1
        while name in taken:
            count += 1
            name = f"{layer.name}_{count}"
        taken.add(name)
        result.append(layer if name == layer.name else replace(layer, name=name))
    return result


def _compare(
    network: Network, calls: list[LayerCall], example: torch.Tensor, output: torch.Tensor
) -> None:
    """Run the network on the example and hold it against the model, layer by layer."""
    codes = calls[0].module.quantize_input(example.detach().cpu()).numpy()
    trace = network.run(codes, trace=True)
    arrays = [layer.name for layer in network.layers if isinstance(layer, ArrayLayer)]
    pairs = [(name, trace[name], call, call.y) for name, call in zip(arrays, calls, strict=True)]
    pairs.append((network.layers[-1].name, trace.output, calls[-1], output))
    for name, found, call, wanted in pairs:
        units = np.float32(call.module.codes_per_unit[2])
        real = found.astype(np.float32) / units
        if real.shape != tuple(wanted.shape) or not np.array_equal(real, wanted.cpu().numpy()):
            raise NetworkError(
                f"layer {name!r}: found codes on the example that are not the model's; something between "
                "the layers (a hook?) changes numbers unseen"
            )
