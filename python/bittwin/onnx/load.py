# SPDX-License-Identifier: Apache-2.0
"""`load_onnx`: from an ONNX file to a `Network`."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bittwin._check import one_of
from bittwin.errors import NetworkError
from bittwin.network import Layer, Network, layer_from_config
from bittwin.onnx._library import OnnxWarning, PathLike
from bittwin.onnx.builder import MAX_CODES, Builder, Choices, Shape, Value
from bittwin.onnx.dialect import RECURRENT, VENDOR
from bittwin.onnx.document import Document, read_document
from bittwin.onnx.optimize_config import LayerOptions, read_optimize_config
from bittwin.onnx.plan import apply_optimize, typed
from bittwin.onnx.standard import INPUT_TYPES, MIN_OPSET
from bittwin.onnx.standard_table import QUANTISED, STANDARD

#: Key of the entry in a file's metadata_props that `save_onnx` writes.
NOTES: Final = "bittwin"


def load_onnx(
    path: PathLike,
    *,
    optimize: PathLike | Mapping[str, LayerOptions] | None = None,
    bias: str = "round",
    default_gain: int | None = None,
    time: str = "auto",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    minus_one: str = "shifted",
    flags: str = "exponent is num",
    front_scale: str = "refuse",
) -> Network:
    """Read a network from an ONNX file: the vendor's dialect, or standard quantised ONNX.

    Layers are named after their nodes, or their output tensors where a node has no name. In a network that
    runs over time the last axis of the file's images [1, C, H, T] counts the frames, and a frame is a column
    [C, H, 1]: `to_frames` turns such an image around. The file is untrusted input.

    Args:
        path: the file.
        optimize: the optimise config, a text file or what `read_optimize_config` returned.
        bias: what to do with a bias that is no multiple of 128: ``round`` it half even to the grid of the
            bias rows and warn with their number, ``keep`` it, or ``refuse``.
        default_gain: the gain of an array operator that no Scale follows; unknown, so refused when None.
        time: ``frames``: the network runs over time; ``image``: it does not; ``auto``: it does if it has
            4-axis inputs and a recurrent operator, or the optimise config says tdnn_mode.
        settings: by layer name, settings that replace those of the file: the named options of operators
            whose details nobody has measured, such as ``{"pool": {"rounding": "half_even"}}``.
        minus_one: see `apply_optimize`; so are flags and front_scale.
        flags: see `apply_optimize`.
        front_scale: see `apply_optimize`.

    Returns:
        The network, with the shape of one frame per input where the file tells it.

    Raises:
        NetworkError: no readable file; an unsupported operator or attribute, named with its node.
        OSError: a file cannot be opened.
        ImportError: the extra ``onnx`` is not installed.

    Source: docs/spec/onnx_operators.md.
    """
    path = Path(path)
    options = _options(optimize)
    choices = Choices(bias, default_gain, time)
    try:
        document = read_document(path)
        network, names = network_of(document, choices, options, settings)
        if options:
            network = apply_optimize(
                network,
                options,
                names=names,
                minus_one=minus_one,
                flags=flags,
                front_scale=front_scale,
            )
        return network
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except (MemoryError, OverflowError, RecursionError) as error:
        raise NetworkError(f"{path}: found sizes that nothing can hold ({error})") from None


def _options(optimize: Any) -> dict[str, LayerOptions]:
    if optimize is None:
        return {}
    return dict(optimize) if isinstance(optimize, Mapping) else read_optimize_config(optimize)


def network_of(
    document: Document,
    choices: Choices,
    options: Mapping[str, LayerOptions],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Network, dict[str, str]]:
    """The network before its optimise config, and layer names by node name."""
    standard = any(node.op in QUANTISED for node in document.nodes)
    table = STANDARD if standard else VENDOR
    if standard and document.opset < MIN_OPSET:
        raise NetworkError(f"opset: found {document.opset}, wanted {MIN_OPSET} or later")
    notes = _notes(document)
    tdnn = frozenset(name for name, entry in options.items() if entry.tdnn_mode)
    b = Builder(document, choices, tdnn=tdnn)
    b.over_time = not standard and _over_time(document, choices.time, tdnn, notes)
    _inputs(b, standard)
    for i, node in enumerate(document.nodes):
        if i in b.absorbed:
            continue
        importer = table.get(node.op)
        if importer is None:
            raise NetworkError(
                f"{node.where}: found an unsupported operator; supported: {one_of(sorted(table))}"
            )
        try:
            importer(b, node)
            node.finish()
        except (TypeError, ValueError) as error:
            text = str(error)
            raise NetworkError(text if node.where in text else f"{node.where}: {text}") from None
    if b.rounded:
        each = ", ".join(f"{count} of {name!r}" for name, count in b.rounded.items())
        warnings.warn(
            f"bias: rounded {sum(b.rounded.values())} entries half even to multiples of 128 ({each})",
            OnnxWarning,
            stacklevel=3,
        )
    network = _assembled(b)
    for overrides in (notes.get("layers", {}), settings or {}):
        network = with_settings(network, overrides)
    return network, b.made_of


def _notes(document: Document) -> dict[str, Any]:
    """What `save_onnx` wrote beside the graph; untrusted like the rest."""
    text = document.notes.get(NOTES)
    if text is None:
        return {}
    try:
        notes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"metadata {NOTES!r}: found no readable JSON ({error})") from None
    if not isinstance(notes, dict) or not isinstance(notes.get("layers", {}), dict):
        raise NetworkError(f"metadata {NOTES!r}: wanted an object with an object of layers")
    return notes


def _over_time(
    document: Document, time: str, tdnn: frozenset[str], notes: Mapping[str, Any]
) -> bool:
    if time != "auto":
        return time == "frames"
    if isinstance(notes.get("over_time"), bool):
        return bool(notes["over_time"])
    images = any(sizes is not None and len(sizes) == 4 for sizes in document.inputs.values())
    recurrent = any(node.op in RECURRENT for node in document.nodes)
    return images and (recurrent or bool(tdnn & {node.name for node in document.nodes}))


def _inputs(b: Builder, standard: bool) -> None:
    for name, sizes in b.document.inputs.items():
        shape = None if sizes is None else _frame(sizes, b.over_time)
        if shape is not None and math.prod(shape) > MAX_CODES:
            raise NetworkError(
                f"input {name!r}: found frames {shape}, wanted at most {MAX_CODES} codes"
            )
        dtype = "int8"
        if standard:
            found = b.document.input_types[name]
            if found not in INPUT_TYPES:
                raise NetworkError(
                    f"input {name!r}: found ONNX data type {found}, wanted float32, uint8 or int8"
                )
            dtype = INPUT_TYPES[found]
        b.input_shapes[name] = shape
        b.taken.add(name)
        b.values[name] = Value(name, shape, is_input=True, dtype=dtype)


def _frame(sizes: list[int | None], over_time: bool) -> Shape | None:
    """One frame's shape of a declared one, whose first axis is the batch."""
    own = sizes[1:] if len(sizes) > 1 else sizes
    if over_time and len(sizes) == 4:
        own = [*sizes[1:3], 1]
    known = tuple(n for n in own if n is not None)
    return known if len(known) == len(own) else None


def _assembled(b: Builder) -> Network:
    """The network, without what leads to no output."""
    outputs = []
    for tensor in b.document.outputs:
        value = b.values.get(tensor)
        if value is None or value.is_input:
            raise NetworkError(f"output {tensor!r}: found no layer that makes it")
        if value.source not in outputs:
            outputs.append(value.source)
    if not b.layers:
        raise NetworkError("found no layers")
    outputs = outputs or [b.layers[-1].name]
    needed = set(outputs)
    for layer in reversed(b.layers):
        if layer.name in needed:
            needed |= set(b.inputs[layer.name])
    unused = [n for n in (*b.input_shapes, *(y.name for y in b.layers)) if n not in needed]
    if unused:
        warnings.warn(
            f"found {', '.join(map(repr, unused))}, which no output needs; left out",
            OnnxWarning,
            stacklevel=4,
        )
    layers = [layer for layer in b.layers if layer.name in needed]
    return Network(
        layers,
        b.document.name or "net",
        inputs={layer.name: b.inputs[layer.name] for layer in layers},
        outputs=outputs,
        input_shapes={k: v for k, v in b.input_shapes.items() if k in needed},
    )


def with_settings(network: Network, overrides: Mapping[str, Any]) -> Network:
    """The network with other settings in some layers.

    An entry holds settings as in `Layer.to_config`; besides, ``dtypes`` names the dtypes of arrays, and
    ``without`` biases that are all 0 and are left out.
    """
    names = [layer.name for layer in network.layers]
    for name in overrides:
        if name not in names:
            raise NetworkError(f"settings: found {name!r}, which is no layer")
    layers = [
        _overridden(layer, overrides[layer.name]) if layer.name in overrides else layer
        for layer in network.layers
    ]
    return Network(
        layers,
        network.name,
        inputs=network.inputs,
        outputs=network.outputs,
        input_shapes=network.input_shapes,
    )


def _overridden(layer: Layer, changes: Any) -> Layer:
    try:
        given = dict(changes)
        arrays = dict(layer.arrays())
        for key, dtype in dict(given.pop("dtypes", {})).items():
            if dtype not in ("int8", "uint8", "int16"):
                raise ValueError(f"dtypes: found {dtype!r}, wanted int8, uint8 or int16")
            arrays[key] = typed(arrays[key], dtype)
        for key in given.pop("without", []):
            if not key.startswith("bias") or arrays.pop(key).any():
                raise ValueError(f"without: found {key!r}, wanted a bias that is all 0")
        config = layer.to_config() | given
        if config["name"] != layer.name:
            raise ValueError("name: found another name, wanted none")
        if "kind" in given:
            config = {"name": layer.name, **given}
        return layer_from_config(config, arrays)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise NetworkError(f"settings of layer {layer.name!r}: {error}") from None


def to_frames(x: Any) -> Any:
    """An image [1, C, H, T] as the frames [T, C, H, 1] of a network that runs over time.

    >>> import numpy as np
    >>> from bittwin.onnx import from_frames, to_frames
    >>> to_frames(np.zeros((1, 2, 128, 501), np.int8)).shape
    (501, 2, 128, 1)
    >>> from_frames(np.zeros((501, 2, 128, 1), np.int8)).shape
    (1, 2, 128, 501)
    """
    return _turned(x)


def from_frames(x: Any) -> Any:
    """Frames [T, C, H, 1] as an image [1, C, H, T]; see `to_frames`."""
    return _turned(x)


def _turned(x: Any) -> Any:
    import numpy as np

    if not isinstance(x, np.ndarray) or x.ndim != 4 or 1 not in (x.shape[0], x.shape[3]):
        found = x.shape if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"x: found {found}, wanted an array [1, C, H, T] or [T, C, H, 1]")
    return np.ascontiguousarray(x.transpose(3, 1, 2, 0))
