# SPDX-License-Identifier: Apache-2.0
"""Networks as .npz files: a JSON header and the layers' arrays, no pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._files import write_atomic
from bittwin._npz import load_npz
from bittwin.errors import NetworkError
from bittwin.network.graph import INPUT
from bittwin.network.layers import layer_from_config
from bittwin.network.network import Network

FORMAT = "bittwin-network"
#: Version 1 holds chains; 2 adds who consumes what. A chain is still written as 1, for older readers.
VERSIONS = (1, 2)
_HEADER = "bittwin.json"


def save_network(network: Network, path: str | Path) -> None:
    """Write a network as a versioned .npz file, whole or not at all; see `Network.save`."""
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "name": network.name,
        "layers": [layer.to_config() for layer in network.layers],
    }
    shapes = {k: None if v is None else list(v) for k, v in network.input_shapes.items()}
    if network.is_chain and list(shapes) == [INPUT]:
        header["input_shape"] = shapes[INPUT]
    else:
        header |= {
            "version": 2,
            "input_shapes": shapes,
            "inputs": {name: list(own) for name, own in network.inputs.items()},
            "outputs": list(network.outputs),
        }
    text = json.dumps(header, indent=1).encode()
    arrays: dict[str, Any] = {_HEADER: np.frombuffer(text, np.uint8)}
    for i, layer in enumerate(network.layers):
        arrays |= {f"{i}/{name}": array for name, array in layer.arrays().items()}
    write_atomic(Path(path), lambda stream: np.savez_compressed(stream, **arrays))


def load_network(path: str | Path) -> Network:
    """Read a network that `Network.save` wrote; the file is untrusted input.

    Args:
        path: the .npz file.

    Raises:
        NetworkError: no such format, a newer version, or anything impossible in it.
        OSError: the file cannot be opened.
    """
    arrays = load_npz(path)
    try:
        return _from_arrays(arrays)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> Network:
    header = _header(arrays)
    configs, name = header.get("layers"), header.get("name")
    if not isinstance(configs, list) or not isinstance(name, str):
        raise NetworkError(f"{_HEADER}: wanted a list of layers and a name")
    wiring = _wiring(header)
    layers = []
    for i, config in enumerate(configs):
        prefix = f"{i}/"
        own = {k.removeprefix(prefix): arrays.pop(k) for k in list(arrays) if k.startswith(prefix)}
        layers.append(layer_from_config(config, own))
    if arrays:
        raise NetworkError(f"found array {next(iter(arrays))!r}, which belongs to no layer")
    return Network(layers, name, **wiring)


def _header(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    raw = arrays.pop(_HEADER, None)
    if raw is None or raw.dtype != np.uint8:
        raise NetworkError(f"found no entry {_HEADER!r}, wanted a file written by Network.save")
    try:
        header = json.loads(raw.tobytes())
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{_HEADER}: found no readable JSON ({error})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise NetworkError(f"{_HEADER}: wanted format {FORMAT!r}")
    version = header.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise NetworkError(f"version: found {version!r}, this bittwin reads 1 and 2")
    return header


def _wiring(header: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `Network` that say what goes where."""
    if header["version"] == 1:
        shape = header.get("input_shape")
        _check_shape("input_shape", shape)
        return {"input_shape": shape}
    shapes, inputs = header.get("input_shapes"), header.get("inputs")
    for key, value in (("input_shapes", shapes), ("inputs", inputs)):
        if not isinstance(value, dict):
            raise NetworkError(f"{key}: found {value!r}, wanted an object")
    assert shapes is not None
    for name, shape in shapes.items():
        _check_shape(f"input_shapes: {name!r}", shape)
    # Who is named is checked by `Network`, which says what is wrong with it.
    return {"input_shapes": shapes, "inputs": inputs, "outputs": header.get("outputs")}


def _check_shape(what: str, shape: Any) -> None:
    if shape is not None and not (
        isinstance(shape, list) and all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
    ):
        raise NetworkError(f"{what}: found {shape!r}, wanted a list of sizes or null")
