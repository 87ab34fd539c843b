# SPDX-License-Identifier: Apache-2.0
"""bittwin.json: what the mapper's format cannot say, beside the files that it can.

The format knows weights, bias rows, a gain and codes. Activations, roundings,
the geometry of convolutions and code widths are in this file:

    {"format": "bittwin dump", "version": 1, "calibration_start": 0,
     "nets": [{"name": ..., "input_shape": null, "layers": [{"name": ..., "input_shape": [...],
        "flatten": null, "operator": {...}, "weight": {"shape": [...], "dtype": "int8"},
        "bias": true, "bias_digital": false,
        "activation": [{"config": {...}, "arrays": {"table": {"dtype": ..., "data": [...]}}}]}]}]}

`operator` and `config` are the layers' own `to_config()`. The file is as little
trusted as any other: types and ranges are checked, and so is every number that
another file states too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.dump import Region
from bittwin.golden.reading.fields import Fields
from bittwin.golden.reading.folder import Folder, printable
from bittwin.golden.reading.indices import FRAME_LIMIT, LAYER_LIMIT, Key
from bittwin.golden.reading.layout import COORDINATE_LIMIT, GAINS, LAYERS
from bittwin.golden.reading.params import Params
from bittwin.golden.reading.rows import is_transposed

SIDECAR = "bittwin.json"
FORMAT = "bittwin dump"
VERSION = 1

_LIMIT = 16 << 20


@dataclass(frozen=True, eq=False)
class SidecarLayer:
    """What the sidecar says about one layer."""

    key: Key
    name: str
    input_shape: tuple[int, ...]
    flatten: dict[str, Any] | None
    operator: dict[str, Any] = field(repr=False)
    weight_shape: tuple[int, ...]
    weight_dtype: str
    bias: bool
    bias_digital: bool
    activation: tuple[tuple[dict[str, Any], dict[str, NDArray[Any]]], ...] = field(repr=False)

    @property
    def label(self) -> str:
        """The activation in words, like the inferred ones."""
        return " + ".join(_label(config) for config, _ in self.activation) or "none"

    def check_gain(self, folder: Folder, gain: int | None) -> int:
        """Return the layer's gain; layers.txt, where there is one, must say the same."""
        own = self.operator.get("requant", {}).get("gain")
        if gain is None:
            if own not in GAINS:
                refuse(folder, self, f"requant gain: found {own!r}, wanted one of {GAINS}")
            return int(own)
        if own != gain:
            refuse(folder, self, f"requant gain: found {own!r}, wanted {gain} as in {LAYERS}")
        return gain

    def check_columns(
        self, folder: Folder, operator: Any, region: Region | None, params: Params | None
    ) -> tuple[int, int]:
        """Return input and output columns of the layer's rows; the files must agree."""
        rows, columns = table_shape(self)
        for where, found in (
            (LAYERS, None if region is None else (region.rows, region.columns)),
            ("weight.txt", None if params is None else params.weight_rows.shape),
        ):
            if found is not None and found != (rows, columns):
                refuse(
                    folder, self, f"weight shape {list(self.weight_shape)} is {rows} rows of "
                    f"{columns}, wanted {found[0]} of {found[1]} as in {where}",
                )  # fmt: skip
        inputs = int(np.prod(self.input_shape))
        if len(self.weight_shape) == 2 and inputs != rows:
            refuse(
                folder, self, f"input_shape {list(self.input_shape)}: found {inputs} inputs, "
                f"wanted {rows} as in {LAYERS}",
            )  # fmt: skip
        try:
            shape = operator.output_shape(
                self.input_shape if len(self.weight_shape) == 4 else (inputs,)
            )
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            refuse(folder, self, f"input_shape {list(self.input_shape)}: {str(error)[:300]}")
        size = 1
        for extent in shape:
            size *= int(extent)
        if not 0 < size <= COORDINATE_LIMIT:
            refuse(folder, self, f"output shape {list(shape)}: wanted 1..{COORDINATE_LIMIT} codes")
        return inputs, size


@dataclass(frozen=True, eq=False)
class Sidecar:
    """Content of bittwin.json."""

    calibration_start: int
    net_names: tuple[str, ...]
    net_shapes: tuple[tuple[int, ...] | None, ...]
    layers: dict[Key, SidecarLayer]


def refuse(folder: Folder, layer: SidecarLayer, text: str) -> NoReturn:
    """Raise the error for what the sidecar says about one layer."""
    where = f"net {layer.key[0]} layer {layer.key[1]} ({layer.name})"
    raise folder.error(SIDECAR, f"{where}: {text}")


def _label(config: dict[str, Any]) -> str:
    kind = str(config.get("kind"))
    if kind == "relu":
        return "relu" if config.get("gain", 1) == 1 else f"relu x{config['gain']}"
    if kind == "clip":
        return f"clip 0..{config.get('limit')}"
    return "table" if kind == "lookup" else kind


def table_shape(layer: SidecarLayer) -> tuple[int, int]:
    """Return lines and columns of the layer's weight.txt."""
    shape, kind = layer.weight_shape, layer.operator.get("kind")
    if len(shape) == 2:
        return shape[1], shape[0]
    inputs, outputs = (shape[0], shape[1]) if is_transposed(str(kind)) else (shape[1], shape[0])
    return inputs * shape[2] * shape[3], outputs


def read_sidecar(folder: Folder) -> Sidecar | None:
    """Read bittwin.json; None where it is absent.

    Raises:
        DumpError: naming the field.
    """
    if not folder.has_file(SIDECAR):
        return None
    text = folder.read_text(SIDECAR, _LIMIT)

    def no_constant(name: str) -> NoReturn:
        raise ValueError(f"found {name}, wanted a number")

    try:
        content = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise folder.error(SIDECAR, f"is no JSON: {str(error)[:200]}") from error
    reader = Fields(folder, SIDECAR, "")
    top = reader.mapping(content)
    if top.get("format") != FORMAT:
        found = printable(repr(top.get("format")))
        hint = "; a trace is compared with another one (verify --against)" * ("trace" in found)
        raise folder.error(SIDECAR, f"format: found {found}, wanted {FORMAT!r}{hint}")
    if top.get("version") != VERSION or isinstance(top.get("version"), bool):
        raise folder.error(
            SIDECAR,
            f"version: found {printable(repr(top.get('version')))}, this release reads {VERSION}",
        )
    start = reader.integer(top, "calibration_start", 0, FRAME_LIMIT)
    names: list[str] = []
    shapes: list[tuple[int, ...] | None] = []
    layers: dict[Key, SidecarLayer] = {}
    for net, item in enumerate(reader.sequence(top, "nets", 1, LAYER_LIMIT)):
        at_net = Fields(folder, SIDECAR, f"nets[{net}]")
        fields = at_net.mapping(item)
        names.append(at_net.word(fields, "name"))
        stated = fields.get("input_shape")
        shapes.append(None if stated is None else at_net.shape(fields, "input_shape"))
        listed = at_net.sequence(fields, "layers", 1, LAYER_LIMIT)
        for index, entry in enumerate(listed, 1):
            layers[net, index] = _read_layer(folder, (net, index), entry)
    seen: dict[tuple[int, str], int] = {}
    for key, layer in layers.items():
        other = seen.setdefault((key[0], layer.name), key[1])
        if other != key[1]:
            refuse(folder, layer, f"has the same name as layer {other}")
    return Sidecar(start, tuple(names), tuple(shapes), layers)


def _read_layer(folder: Folder, key: Key, item: Any) -> SidecarLayer:
    at = Fields(folder, SIDECAR, f"nets[{key[0]}].layers[{key[1] - 1}]")
    fields = at.mapping(item)
    weight = at.mapping(fields.get("weight"), "weight")
    operator = at.mapping(fields.get("operator"), "operator")
    requant = at.mapping(operator.get("requant"), "operator.requant")
    if isinstance(requant.get("gain"), (bool, float)):
        raise at.bad("operator.requant.gain", requant["gain"], "an integer")
    flatten = fields.get("flatten")
    activation = []
    for place, entry in enumerate(at.sequence(fields, "activation", 0, 16)):
        part = at.mapping(entry, f"activation[{place}]")
        config = at.mapping(part.get("config"), f"activation[{place}].config")
        arrays = at.mapping(part.get("arrays", {}), f"activation[{place}].arrays")
        activation.append((config, {name: at.array(value, name) for name, value in arrays.items()}))
    shape = at.shape(weight, "shape")
    if len(shape) not in (2, 4):
        raise at.bad("weight.shape", list(shape), "2 or 4 numbers")
    dtype = weight.get("dtype")
    if dtype not in ("int8", "int16"):
        raise at.bad("weight.dtype", dtype, "int8 or int16")
    return SidecarLayer(
        key=key,
        name=at.word(fields, "name"),
        input_shape=at.shape(fields, "input_shape"),
        flatten=None if flatten is None else at.mapping(flatten, "flatten"),
        operator=operator,
        weight_shape=shape,
        weight_dtype=str(dtype),
        bias=at.flag(fields, "bias"),
        bias_digital=at.flag(fields, "bias_digital"),
        activation=tuple(activation),
    )
