# SPDX-License-Identifier: Apache-2.0
"""Builds the layers of a dump from its weights, layers.txt and sidecar, without golden codes."""

from __future__ import annotations

from typing import Any

from bittwin.golden.dump import DumpLayer, Region
from bittwin.golden.reading.contents import Contents
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.indices import Key
from bittwin.golden.reading.layout import LAYERS, name_layers
from bittwin.golden.reading.params import (
    MAP_CSV,
    Params,
    bias_of,
    narrow,
    read_map_csv,
    read_params,
)
from bittwin.golden.reading.shape import LayerShape
from bittwin.golden.reading.sidecar import SIDECAR, SidecarLayer
from bittwin.golden.reading.sidecar_build import build_layer, shape_of


def build_layers(contents: Contents) -> list[tuple[LayerShape, DumpLayer]]:
    """Read the weights and build each layer, without its codes.

    Raises:
        DumpError: weights that are damaged, or contradict another file.
    """
    folder = contents.folder
    regions = [
        None if contents.placements is None else contents.placements[place].region
        for place in range(len(contents.keys))
    ]
    stated = {} if contents.sidecar is None else contents.sidecar.layers
    names = name_layers(
        contents.keys,
        {key: layer.name for key, layer in stated.items()},
        contents.debug,
        contents.addresses,
    )
    params = _all_params(contents, regions, names)
    drafts = []
    for place, key in enumerate(contents.keys):
        gain = None if contents.placements is None else contents.placements[place].gain
        draft = _build_layer(
            folder, key, names[key], gain, regions[place], params[place], stated.get(key),
            contents.notes,
        )  # fmt: skip
        drafts.append(draft)
    return drafts


def _all_params(
    contents: Contents, regions: list[Region | None], names: dict[Key, str]
) -> list[Params | None]:
    """Read the weights of all layers: from params/, else from map.csv, else none."""
    if contents.params:
        return [
            read_params(contents.folder, contents.params[key], region)
            for key, region in zip(contents.keys, regions, strict=True)
        ]
    if not contents.folder.has_file(MAP_CSV):
        return [None] * len(contents.keys)
    places = [
        (names[key], region)
        for key, region in zip(contents.keys, regions, strict=True)
        if region is not None
    ]
    if len(places) != len(contents.keys):
        contents.notes.append(f"{MAP_CSV} is not used: {LAYERS} is missing")
        return [None] * len(contents.keys)
    contents.notes.append(f"params is missing: the weights come from {MAP_CSV}")
    return list(read_map_csv(contents.folder, places))


def _build_layer(
    folder: Folder,
    key: Key,
    name: str,
    gain: int | None,
    region: Region | None,
    params: Params | None,
    stated: SidecarLayer | None,
    notes: list[str],
) -> tuple[LayerShape, DumpLayer]:
    """Build one layer from its weights, its line of layers.txt and its part of the sidecar."""
    high = None if params is None else params.bias_high
    operator: Any = None
    described: Any = None
    flatten: Any = None
    activation: tuple[Any, ...] = ()
    input_shape: tuple[int, ...] | None = None
    if stated is not None:
        flatten, described, activation = build_layer(folder, stated, params)
        operator = None if params is None else described
        gain = stated.check_gain(folder, gain)
        in_columns, out_columns = stated.check_columns(folder, described, region, params)
        input_shape = stated.input_shape if len(stated.input_shape) == 3 else None
    else:
        if gain is None or (params is None and region is None):
            raise folder.error(LAYERS, f"net {key[0]} layer {key[1]}: is missing")
        if params is not None:
            in_columns, out_columns = params.weight_rows.shape
            operator = _linear(folder, name, gain, params)
        else:
            assert region is not None
            in_columns, out_columns = region.rows, region.columns
    if high is not None and (stated is None or not stated.bias_digital):
        notes.append(
            f"layer {name}: bias_high.txt is not all zero; what it means is not established, so "
            "it is not applied"
        )
    layer = DumpLayer(
        net=key[0],
        index=key[1],
        name=name,
        operator=operator,
        activation=activation,
        activation_label="none" if stated is None else stated.label,
        activation_source="assumed" if stated is None else "sidecar",
        inferred=False,
        linked=False,
        link_note="",
        in_columns=in_columns,
        out_columns=out_columns,
        gain=gain,
        bias_rows=None if params is None else params.bias_rows,
        bias_high=high,
        region=region,
        sets=(),
        input_shape=input_shape,
        flatten=flatten,
        note="" if stated is None else f"{stated.label} as {SIDECAR} says",
    )
    return shape_of(layer, described), layer


def _linear(folder: Folder, name: str, gain: int, params: Params) -> Any:
    """Build the plain array layer that a dump without a sidecar holds."""
    from bittwin.network import Linear
    from bittwin.requant import readout

    weight, bias = narrow(params.weight_rows), bias_of(folder, params)
    try:
        return Linear(name, weight.T.copy(), bias, readout(gain))
    except ValueError as error:
        raise folder.error(params.source, f"layer {name}: {error}") from error
