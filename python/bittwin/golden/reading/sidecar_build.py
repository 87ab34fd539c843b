# SPDX-License-Identifier: Apache-2.0
"""Builds network layers from the sidecar's configurations and the weights in the files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bittwin.golden.dump import DumpLayer
from bittwin.golden.reading.folder import Folder
from bittwin.golden.reading.params import BIAS_DRIVE, Params, bias_of
from bittwin.golden.reading.rows import input_range, weight_from_rows
from bittwin.golden.reading.shape import LayerShape, clipped, dtype_codes
from bittwin.golden.reading.sidecar import SIDECAR, SidecarLayer, refuse, table_shape


def build_layer(
    folder: Folder, stated: SidecarLayer, params: Params | None
) -> tuple[Any, Any, tuple[Any, ...]]:
    """Build the layers that one layer of a dump stands for; without weights these are zero.

    Returns:
        A flatten layer or None, the operator, and the activation layers.

    Raises:
        DumpError: the stated configuration is not possible, or does not fit the weights.
    """
    from bittwin.network import ACTIVATION_KINDS, ARRAY_KINDS, layer_from_config

    def build(config: dict[str, Any], arrays: dict[str, Any], kinds: Any, what: str) -> Any:
        if config.get("kind") not in kinds:
            refuse(folder, stated, f"{what}: found {config.get('kind')!r}, wanted one of {kinds}")
        try:
            return layer_from_config(config, arrays)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            refuse(folder, stated, f"{what}: {type(error).__name__}: {str(error)[:300]}")

    flatten = None
    if stated.flatten is not None:
        flatten = build(stated.flatten, {}, ("flatten",), "flatten")
    if len(stated.input_shape) != (3 if len(stated.weight_shape) == 4 else 1) and (
        flatten is None or len(stated.weight_shape) == 4
    ):
        refuse(
            folder, stated, f"input_shape: found {list(stated.input_shape)}, wanted [n], or "
            "[C, H, W] for a convolution or a flatten",
        )  # fmt: skip
    activation = tuple(
        build(config, arrays, ACTIVATION_KINDS, f"activation {place + 1}")
        for place, (config, arrays) in enumerate(stated.activation)
    )
    rows, columns = table_shape(stated)
    if params is None:
        # Nothing can be computed, but the geometry still says how wide the codes are.
        params = Params(np.zeros((rows, columns), np.int16), np.zeros((1, columns), np.int16),
                        None, SIDECAR)  # fmt: skip
    if params.weight_rows.shape != (rows, columns):
        refuse(
            folder, stated, f"weight shape {list(stated.weight_shape)} is {rows} rows of {columns},"
            f" wanted {params.weight_rows.shape[0]} of {params.weight_rows.shape[1]} as in "
            f"{params.source}",
        )  # fmt: skip
    image = stated.input_shape if flatten is not None and len(stated.input_shape) == 3 else None
    if image is not None and int(np.prod(image)) != rows:
        refuse(folder, stated, f"input_shape: found {list(image)}, wanted {rows} codes in total")
    weight = weight_from_rows(
        params.weight_rows, str(stated.operator.get("kind")), stated.weight_shape, image
    )
    info = np.iinfo(stated.weight_dtype)
    if weight.min() < info.min or weight.max() > info.max:
        refuse(folder, stated, f"weight dtype {stated.weight_dtype} cannot hold {params.source}")
    arrays: dict[str, Any] = {"weight": weight.astype(stated.weight_dtype)}
    bias = bias_of(folder, params)
    if stated.bias:
        arrays["bias"] = bias
    elif bias.any():
        refuse(folder, stated, "says that there is no bias, but bias.txt is not all zero")
    if stated.bias_digital:
        high = np.zeros(columns, np.int16) if params.bias_high is None else params.bias_high
        arrays["bias_digital"] = BIAS_DRIVE * high.astype(np.int32)
    operator = build(stated.operator, arrays, ARRAY_KINDS, "operator")
    try:
        result = np.zeros((1, 1), operator.requant.dtype)
        for layer in activation:
            result = layer.run(result)
    except (TypeError, ValueError) as error:
        refuse(folder, stated, f"activation: {error}")
    return flatten, operator, activation


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
