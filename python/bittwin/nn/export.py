# SPDX-License-Identifier: Apache-2.0
"""`to_network`: a trained model as the integer network that it computes."""

from __future__ import annotations

import torch

from bittwin.errors import NetworkError
from bittwin.network import Network
from bittwin.nn.build import Builder, real_values
from bittwin.nn.nodes import Node, sources
from bittwin.nn.record import record


def to_network(model: torch.nn.Module, example: torch.Tensor) -> Network:
    """Export a trained model as the integer `Network` whose codes are the model's own in eval().

    The model runs once on the example and is watched: its output must be made of bittwin modules (array
    layers, digital operators, recurrent cells), sums, products and joins of their results, max pooling,
    flatten, permutes and slices, element-wise activations, dropout and identities, called as modules or as
    functions. Branches are fine. Codes go from the scale of one module to that of the next by an inserted
    `Rescale`, or by ``Relu(gain=2)`` or nothing where that is the same; activations that are neither ReLU nor
    a limit become tables. Each such step is proven on every code there is, and the whole network is run on
    the example and compared with the model, code for code, before it is returned.

    The network takes the codes of ``first_module.quantize_input(x)`` and its output codes are those of the
    last module: divided by its output's codes per unit they equal ``model(x)``.

    Args:
        model: a calibrated model with `bittwin.nn` modules; it is left as it was.
        example: float32 input batch, frames first; its shape gives the network's `input_shape`. Around a
            recurrent module the frames are one sequence in time order, [frames, ...] without a batch axis.

    Returns:
        A network named after the model's class, its layers named after the modules.

    Raises:
        TypeError: an argument of the wrong kind.
        NetworkError: something else in the model, a module that is not calibrated or in float mode, pads with
            other than zeros, or two scales that differ by other than a power of two.
            Names the module or function.
        ValueError: what a module refuses when the example runs through it.

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
    node, output = record(model, example)
    if not sources(node):
        raise NetworkError("model: found no bittwin layer in it, wanted at least one")
    builder = Builder()
    network = builder.network(node, type(model).__name__, tuple(example.shape[1:]))
    _compare(network, builder, node, example, output)
    return network


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """The model that was compiled or distributed."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        return _unwrapped(model.module)
    original = model._modules.get("_orig_mod")
    return model if original is None else _unwrapped(original)


def _compare(
    network: Network, builder: Builder, node: Node, example: torch.Tensor, output: torch.Tensor
) -> None:
    """Run the network on the example and hold it against the model, module by module."""
    assert builder.first is not None
    codes = builder.first.quantize(example.detach().cpu())
    trace = network.run(codes, trace=True)
    pairs = [
        (wire.layer, trace[wire.layer], wire.grid.units, source.y)
        for source in sources(node)
        if (wire := builder.wires[source]).layer is not None
    ]
    pairs.append((network.outputs[0], trace.output, builder.units, output))
    for name, found, units, wanted in pairs:
        real = torch.from_numpy(real_values(found, units))
        if real.shape != wanted.shape or not torch.equal(real, wanted.cpu()):
            raise NetworkError(
                f"layer {name!r}: found codes on the example that are not the model's; something between "
                "the layers (a hook?) changes numbers unseen"
            )
