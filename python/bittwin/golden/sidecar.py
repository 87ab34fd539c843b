# SPDX-License-Identifier: Apache-2.0
"""bittwin.json: what the mapper's format cannot say, beside the files that it can.

The format knows weights, bias rows, a gain and codes. Activations, roundings,
the geometry of convolutions and code widths are in this file:

    {"format": "bittwin dump", "version": 1, "calibration_start": 0,
     "nets": [{"name": ..., "input_shape": null, "layers": [{"name": ..., "input_shape": [...],
        "operator": {...}, "weight": {"shape": [...], "dtype": "int8"},
        "bias": true, "bias_digital": false,
        "activation": [{"config": {...}, "arrays": {"table": {"dtype": ..., "data": [...]}}}]}]}]}

`operator` and `config` are the layers' own `to_config()`. The file is as little
trusted as any other: types and ranges are checked, and so is every number that
another file states too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.dump import DumpLayer, Region
from bittwin.golden.fields import Fields
from bittwin.golden.folder import Folder, printable
from bittwin.golden.indices import FRAME_LIMIT, LAYER_LIMIT, Key
from bittwin.golden.layout import COORDINATE_LIMIT, GAINS, LAYERS
from bittwin.golden.params import BIAS_DRIVE, Params, bias_of
from bittwin.golden.rows import input_range, weight_from_rows
from bittwin.golden.shape import LayerShape, clipped, dtype_codes

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
                _refuse(folder, self, f"requant gain: found {own!r}, wanted one of {GAINS}")
            return int(own)
        if own != gain:
            _refuse(folder, self, f"requant gain: found {own!r}, wanted {gain} as in {LAYERS}")
        return gain

    def check_columns(
        self, folder: Folder, operator: Any, region: Region | None, params: Params | None
    ) -> tuple[int, int]:
        """Return input and output columns of the layer's rows; the files must agree."""
        rows, columns = _table_shape(self)
        for where, found in (
            (LAYERS, None if region is None else (region.rows, region.columns)),
            ("weight.txt", None if params is None else params.weight_rows.shape),
        ):
            if found is not None and found != (rows, columns):
                _refuse(
                    folder, self, f"weight shape {list(self.weight_shape)} is {rows} rows of "
                    f"{columns}, wanted {found[0]} of {found[1]} as in {where}",
                )  # fmt: skip
        try:
            shape = operator.output_shape(self.input_shape)
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            _refuse(folder, self, f"input_shape {list(self.input_shape)}: {str(error)[:300]}")
        size = 1
        for extent in shape:
            size *= int(extent)
        if not 0 < size <= COORDINATE_LIMIT:
            _refuse(folder, self, f"output shape {list(shape)}: wanted 1..{COORDINATE_LIMIT} codes")
        return int(np.prod(self.input_shape)), size


@dataclass(frozen=True, eq=False)
class Sidecar:
    """Content of bittwin.json."""

    calibration_start: int
    net_names: tuple[str, ...]
    net_shapes: tuple[tuple[int, ...] | None, ...]
    layers: dict[Key, SidecarLayer]


def _refuse(folder: Folder, layer: SidecarLayer, text: str) -> NoReturn:
    where = f"net {layer.key[0]} layer {layer.key[1]} ({layer.name})"
    raise folder.error(SIDECAR, f"{where}: {text}")


def _label(config: dict[str, Any]) -> str:
    kind = str(config.get("kind"))
    if kind == "relu":
        return "relu" if config.get("gain", 1) == 1 else f"relu x{config['gain']}"
    if kind == "clip":
        return f"clip 0..{config.get('limit')}"
    return "table" if kind == "lookup" else kind


def _table_shape(layer: SidecarLayer) -> tuple[int, int]:
    """Return lines and columns of the layer's weight.txt."""
    shape, kind = layer.weight_shape, layer.operator.get("kind")
    if len(shape) == 2:
        return shape[1], shape[0]
    inputs, outputs = (shape[0], shape[1]) if kind == "conv_transpose2d" else (shape[1], shape[0])
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
        raise folder.error(
            SIDECAR, f"format: found {printable(repr(top.get('format')))}, wanted {FORMAT!r}"
        )
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
            _refuse(folder, layer, f"has the same name as layer {other}")
    return Sidecar(start, tuple(names), tuple(shapes), layers)


def _read_layer(folder: Folder, key: Key, item: Any) -> SidecarLayer:
    at = Fields(folder, SIDECAR, f"nets[{key[0]}].layers[{key[1] - 1}]")
    fields = at.mapping(item)
    weight = at.mapping(fields.get("weight"), "weight")
    operator = at.mapping(fields.get("operator"), "operator")
    requant = at.mapping(operator.get("requant"), "operator.requant")
    if isinstance(requant.get("gain"), (bool, float)):
        raise at.bad("operator.requant.gain", requant["gain"], "an integer")
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
        operator=operator,
        weight_shape=shape,
        weight_dtype=str(dtype),
        bias=at.flag(fields, "bias"),
        bias_digital=at.flag(fields, "bias_digital"),
        activation=tuple(activation),
    )


def build_layer(
    folder: Folder, stated: SidecarLayer, params: Params | None
) -> tuple[Any, tuple[Any, ...]]:
    """Build the operator and the activation layers of one layer; without weights they are zero.

    Raises:
        DumpError: the stated configuration is not possible, or does not fit the weights.
    """
    from bittwin.network import ACTIVATION_KINDS, ARRAY_KINDS, layer_from_config

    def build(config: dict[str, Any], arrays: dict[str, Any], kinds: Any, what: str) -> Any:
        if config.get("kind") not in kinds:
            _refuse(folder, stated, f"{what}: found {config.get('kind')!r}, wanted one of {kinds}")
        try:
            return layer_from_config(config, arrays)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            _refuse(folder, stated, f"{what}: {type(error).__name__}: {str(error)[:300]}")

    activation = tuple(
        build(config, arrays, ACTIVATION_KINDS, f"activation {place + 1}")
        for place, (config, arrays) in enumerate(stated.activation)
    )
    rows, columns = _table_shape(stated)
    if params is None:
        # Nothing can be computed, but the geometry still says how wide the codes are.
        params = Params(np.zeros((rows, columns), np.int16), np.zeros((1, columns), np.int16),
                        None, SIDECAR)  # fmt: skip
    if params.weight_rows.shape != (rows, columns):
        _refuse(
            folder, stated, f"weight shape {list(stated.weight_shape)} is {rows} rows of {columns},"
            f" wanted {params.weight_rows.shape[0]} of {params.weight_rows.shape[1]} as in "
            f"{params.source}",
        )  # fmt: skip
    weight = weight_from_rows(
        params.weight_rows, str(stated.operator.get("kind")), stated.weight_shape
    )
    info = np.iinfo(stated.weight_dtype)
    if weight.min() < info.min or weight.max() > info.max:
        _refuse(folder, stated, f"weight dtype {stated.weight_dtype} cannot hold {params.source}")
    arrays: dict[str, Any] = {"weight": weight.astype(stated.weight_dtype)}
    bias = bias_of(folder, params)
    if stated.bias:
        arrays["bias"] = bias
    elif bias.any():
        _refuse(folder, stated, "says that there is no bias, but bias.txt is not all zero")
    if stated.bias_digital:
        high = np.zeros(columns, np.int16) if params.bias_high is None else params.bias_high
        arrays["bias_digital"] = BIAS_DRIVE * high.astype(np.int32)
    operator = build(stated.operator, arrays, ARRAY_KINDS, "operator")
    try:
        result = np.zeros((1, 1), operator.requant.dtype)
        for layer in activation:
            result = layer.run(result)
    except (TypeError, ValueError) as error:
        _refuse(folder, stated, f"activation: {error}")
    return operator, activation


def shape_of(layer: DumpLayer, operator: Any) -> LayerShape:
    """Work out what the layer's code files must look like.

    Args:
        layer: the layer.
        operator: its operator as the sidecar describes it, with or without weights; None without
            a sidecar, when all codes are bytes.
    """
    plain = LayerShape(layer.net, layer.index, layer.name, layer.in_columns, layer.out_columns)
    if operator is None:
        return plain
    requant = operator.requant
    result = np.zeros((1, 1), requant.dtype)
    for part in layer.activation:
        result = part.run(result)
    return replace(
        plain,
        in_codes=clipped(*input_range(operator)),
        out_codes=clipped(requant.lo, requant.hi),
        result_codes=dtype_codes(result.dtype),
        unsigned_result=result.dtype == np.uint8,
    )
