# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files in the vendor's dialect and in standard quantised ONNX, made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
Array = np.ndarray


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any
) -> Any:
    given = {
        k: numpy_helper.from_array(v.astype(np.float32)) if isinstance(v, np.ndarray) else v
        for k, v in attributes.items()
    }
    return helper.make_node(op, list(inputs), list(outputs), name=name, **given)


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Any],
    outputs: Sequence[str],
    constants: dict[str, Array] | None = None,
    *,
    opset: int = 16,
    keep_types: bool = False,
    types: dict[str, int] | None = None,
) -> Any:
    """A ModelProto; constants become float32, as in the vendor's files, unless keep_types."""
    kinds = types or {}
    tensors = [
        numpy_helper.from_array(a if keep_types else a.astype(np.float32), k)
        for k, a in (constants or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(k, kinds.get(k, FLOAT), s) for k, s in inputs.items()],
        [helper.make_tensor_value_info(k, kinds.get(k, FLOAT), None) for k in outputs],
        initializer=tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write(folder: Path, made: Any, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def gemm(
    name: str, x: str, y: str, gain: int = 1024, scale_name: str = "", **attributes: Any
) -> list[Any]:
    """Gemm and its Scale; constants are called <name>_w and <name>_b."""
    return [
        node("Gemm", [x, f"{name}_w", f"{name}_b"], [f"{name}_acc"], name, **attributes),
        node("Scale", [f"{name}_acc"], [y], scale_name, scale=1.0 / gain),
    ]


def weights(rng: np.random.Generator, name: str, rows: int, columns: int) -> dict[str, Array]:
    return {
        f"{name}_w": rng.integers(-128, 128, (rows, columns)),
        f"{name}_b": 128 * rng.integers(-100, 101, columns),
    }


def gain_round(acc: Any, gain: int) -> Array:
    """The array's readout in plain integers: trunc0(acc / (gain / 4)), + 2, >> 2, saturated."""
    wide = np.asarray(acc, np.int64)
    quarter = gain // 4
    t = np.sign(wide) * (np.abs(wide) // quarter)
    return np.clip((t + 2) >> 2, -128, 127)
