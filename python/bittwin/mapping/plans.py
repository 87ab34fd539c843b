# SPDX-License-Identifier: Apache-2.0
"""What an optimise config leaves for the mapping: `load_onnx` applies what changes codes, and no more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bittwin.mapping.needs import UNSAID
from bittwin.optimize import Optimization, exponent

if TYPE_CHECKING:
    from bittwin.network import Network


def plans_of(
    network: Network, path: str | os.PathLike[str] | None
) -> tuple[dict[str, Optimization], dict[str, int]]:
    """The arguments `plans` and `split_inputs` of `check_mapping` for an ONNX file's optimise config.

    Weight shifts and repeated rows cancel in the codes, so `load_onnx` checks them and leaves them out; on
    the array they count. Entries for nodes that are no layers are left out: `load_onnx` has warned of them.

    Args:
        network: of `load_onnx` with the same config.
        path: the config; None without one.

    Raises:
        NetworkError: an unreadable config.
        OSError: the file cannot be opened.
    """
    from bittwin.onnx import read_optimize_config

    config = {} if path is None else read_optimize_config(path)
    names = {layer.name for layer in network.layers}
    plans: dict[str, Optimization] = {}
    # An ONNX file does not say whether the network's inputs are signed; the config does.
    splits = {name: UNSAID for name in _first_layers(network) if name not in config}
    for name, entry in config.items():
        if name not in names:
            continue
        shift = max((exponent(s, n) for s, n, _ in entry.weight_opti), default=0)
        # With a magnified output the weights are already shifted in the network.
        plan = Optimization(weight_shift=0 if entry.magnify else shift, duplicate=entry.multiple)
        if plan != Optimization():
            plans[name] = plan
        if entry.signed_input:
            splits[name] = max(entry.signed_input, 0)  # -1: none is split, all are shifted
    return plans, splits


def _first_layers(network: Network) -> list[str]:
    """Array layers that read signed codes of the network's inputs, reshaped at most."""
    from bittwin.network import ArrayLayer

    sources = set(network.input_shapes)
    found = []
    for layer in network.layers:
        if not sources.issuperset(network.inputs[layer.name]):
            continue
        if isinstance(layer, ArrayLayer):
            if layer.x_signed:
                found.append(layer.name)
        elif layer.kind in ("flatten", "reshape", "permute", "transpose"):
            sources.add(layer.name)
    return found
