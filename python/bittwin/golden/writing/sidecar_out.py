# SPDX-License-Identifier: Apache-2.0
"""Writes bittwin.json; `bittwin.golden.reading.sidecar` says what is in it and reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bittwin.golden.reading.fields import ARRAY_LIMIT
from bittwin.golden.reading.sidecar import FORMAT, SIDECAR, VERSION
from bittwin.golden.writing.collect import StoredLayer

if TYPE_CHECKING:
    from bittwin.network import Network

#: Arrays of an operator that are in files of their own.
_FILED = ("weight", "bias", "bias_digital")


def write_sidecar(
    folder: Path,
    networks: Sequence[Network],
    layers: Sequence[StoredLayer],
    calibration_start: int,
) -> None:
    """Write the sidecar of a dump.

    Raises:
        ValueError: an operator with an array that no file of a dump holds.
    """
    nets = []
    for net, network in enumerate(networks):
        shape = network.input_shape
        nets.append(
            {
                "name": network.name,
                "input_shape": None if shape is None else list(shape),
                "layers": [_layer(layer) for layer in layers if layer.net == net],
            }
        )
    content = {
        "format": FORMAT,
        "version": VERSION,
        "calibration_start": calibration_start,
        "nets": nets,
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    (folder / SIDECAR).write_text(text + "\n", encoding="utf-8", newline="\n")


def _layer(layer: StoredLayer) -> dict[str, Any]:
    operator = layer.operator
    for name in operator.arrays():
        if name not in _FILED:
            raise ValueError(f"layer {layer.name}: a dump has no place for its array {name!r}")
    return {
        "name": layer.name,
        "input_shape": list(layer.input_shape),
        "flatten": None if layer.flatten is None else layer.flatten.to_config(),
        "operator": operator.to_config(),
        "weight": {"shape": list(operator.weight.shape), "dtype": operator.weight.dtype.name},
        "bias": operator.bias is not None,
        "bias_digital": getattr(operator, "bias_digital", None) is not None,
        "activation": [
            {
                "config": part.to_config(),
                "arrays": {
                    name: {"dtype": array.dtype.name, "data": array[:ARRAY_LIMIT].tolist()}
                    for name, array in part.arrays().items()
                },
            }
            for part in layer.activation
        ],
    }
