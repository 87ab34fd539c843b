# SPDX-License-Identifier: Apache-2.0
"""`save_onnx`: from a `Network` to the vendor's dialect."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bittwin._check import choice, four_sides, integer, one_of, pair
from bittwin._files import write_atomic
from bittwin.errors import NetworkError
from bittwin.network import ArrayLayer, Layer, Network
from bittwin.onnx import write_arrays as wa
from bittwin.onnx import write_digital as wd
from bittwin.onnx._library import OnnxWarning, PathLike
from bittwin.onnx.builder import BIASES, Choices
from bittwin.onnx.document import document_of
from bittwin.onnx.load import NOTES, network_of
from bittwin.onnx.optimize_config import LayerOptions, write_optimize_config
from bittwin.onnx.plan import apply_optimize
from bittwin.onnx.unplan import config_of, without_plan
from bittwin.onnx.writer import Writer

WRITERS: Final[dict[str, Callable[[Writer, Any], None]]] = {
    "linear": wa.linear,
    "conv2d": wa.conv,
    "conv_transpose2d": wa.conv_transpose,
    "stream_conv2d": wa.conv,
    "stream_conv_transpose2d": wa.conv_transpose,
    "tdnn": wa.tdnn,
    "lstm": wa.lstm,
    "gru": wa.gru,
    "gru_new": wa.gru_new,
    "gru2array": wa.gru2array,
    "relu": wd.relu,
    "lookup": wd.lookup,
    "add": wd.two,
    "mul": wd.two,
    "scale": wd.scale,
    "scalar": wd.scalar,
    "float_scale": wd.float_scale,
    "clear_low_bits": wd.clear_low_bits,
    "average_pool": wd.pool,
    "max_pool": wd.pool,
    "global_average_pool": wd.global_average_pool,
    "global_max_pool": wd.global_max_pool,
    "reduce_mean": wd.reduce_mean,
    "softmax": wd.along,
    "sum_norm": wd.along,
    "group_norm": wd.group_norm,
    "batch_norm": wd.batch_norm,
    "concat": wd.concat,
    "slice": wd.cut,
    "split_part": wd.split,
    "permute": wd.permute,
    "transpose": wd.transpose,
    "reshape": wd.reshape,
    "flatten": wd.flatten,
}
_STEP: Final = 128
#: Settings that the dialect has no attribute for; they stand in the metadata where a plain reading differs.
UNSAID: Final = frozenset(
    ("x_signed", "overflow", "rounding", "blend_rounding", "product_overflow", "hidden_overflow",
     "row_order", "blend", "lowest", "sum_bits", "cmodel", "count_padding", "pad_code", "unit",
     "broadcast", "negative", "dtype", "subtract_max", "zero_sum", "epsilon", "order")
)  # fmt: skip


def save_onnx(
    path: PathLike,
    network: Network,
    *,
    optimize: PathLike | None = None,
    options: Mapping[str, LayerOptions] | None = None,
    bias: str = "refuse",
    frames: int = 100,
) -> None:
    """Write a network in the vendor's dialect, and its optimise config; `load_onnx` reads the same back.

    Settings that the dialect has no attribute for (the sign of an input, the rounding of a pool) stand in the
    file's metadata, which other tools pass over. What the chip could not run is refused. The file is read
    back and compared before it is written.

    Args:
        path: the file; an existing one is replaced, whole or not at all.
        network: layers of the kinds that the dialect has.
        optimize: where to write the optimise config: signed inputs, input shifts, sparse modes, tdnn_mode.
            Needed for input shifts and sparse modes, which have no other place.
        options: entries to start the config from, by layer: multi_point, weight shifts and what else changes
            no code. magnify and front_scale are left out, since they are in the network's gains already.
        bias: what to do with a bias that is no multiple of 128: ``refuse`` it, or ``keep`` it in the file.
        frames: the number of frames that shapes of a network over time declare, 2 or more.

    Raises:
        NetworkError: a layer or setting that the dialect cannot say, named.
        ImportError: the extra ``onnx`` is not installed.
    """
    path = Path(path)
    integer("frames", frames, 2, 1 << 20)
    if choice("bias", bias, BIASES[1:]) == "refuse":
        _refuse_biases(network)
    plain = without_plan(network)
    config = config_of(network, options or {})
    if optimize is None and plain.layers != network.layers:
        raise NetworkError(
            "found input shifts or sparse modes, which only the optimise config can say: wanted optimize="
        )
    model = _model(plain, path, frames)
    if optimize is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OnnxWarning)
            again = apply_optimize(plain, config)
        _compare(network, again, "optimise config")
        write_optimize_config(optimize, config.values())
    text = model.SerializeToString()
    write_atomic(path, lambda stream: stream.write(text))


def _refuse_biases(network: Network) -> None:
    for layer in network.layers:
        for name, array in layer.arrays().items():
            if name.startswith("bias") and (array.astype(np.int64) % _STEP).any():
                raise NetworkError(
                    f"layer {layer.name!r}: {name}: found entries that are no multiple of 128, which the "
                    "bias rows cannot hold (bias='keep' writes them)"
                )


def _model(network: Network, path: Path, frames: int) -> Any:
    over_time = any(layer.kind.startswith("stream_") for layer in network.layers)
    w = Writer(network, frames, over_time)
    for layer in network.layers:
        writer = WRITERS.get(layer.kind)
        if writer is None:
            raise NetworkError(
                f"layer {layer.name!r}: found kind {layer.kind!r}, which the dialect does not have; it has "
                f"{one_of(sorted(WRITERS))}"
            )
        writer(w, layer)
    model = w.model()
    # What a plain reading of the file would make differently goes into its metadata.
    choices = Choices("keep", time="frames" if over_time else "image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OnnxWarning)
        read, _ = network_of(document_of(model, path.parent), choices, {})
        notes: dict[str, Any] = {}
        if any(shape is not None and len(shape) == 3 for shape in network.input_shapes.values()):
            notes["over_time"] = over_time
        if changes := _differences(network, read):
            notes["layers"] = changes
        if notes:
            entry = model.metadata_props.add()
            entry.key, entry.value = NOTES, json.dumps(notes)
        again, _ = network_of(document_of(model, path.parent), Choices("keep"), {})
    _compare(network, again, "file")
    return model


def _differences(network: Network, read: Network) -> dict[str, Any]:
    """Settings by layer that make `read` what `network` is."""
    changes = {}
    others = {layer.name: layer for layer in read.layers}
    for layer in network.layers:
        other = others.get(layer.name)
        if other is None:
            raise NetworkError(f"layer {layer.name!r}: found no such layer in the file just made")
        found = _difference(layer, other)
        if found:
            changes[layer.name] = found
    return changes


def _difference(layer: Layer, other: Layer) -> dict[str, Any]:
    mine, theirs = layer.to_config(), other.to_config()
    if layer.kind != other.kind:
        found = {k: v for k, v in mine.items() if k != "name"}
    else:
        found = {k: v for k, v in mine.items() if theirs.get(k) != v}
        for key, value in found.items():
            if key not in UNSAID and not _same(key, value, theirs.get(key), mine):
                raise NetworkError(
                    f"layer {layer.name!r}: {key}: found {value!r}, which the file would say as "
                    f"{theirs.get(key)!r}"
                )
    arrays, others = layer.arrays(), other.arrays()
    dtypes = {
        k: a.dtype.name for k, a in arrays.items() if k in others and a.dtype != others[k].dtype
    }
    without = sorted(set(others) - set(arrays))
    return (
        found | ({"dtypes": dtypes} if dtypes else {}) | ({"without": without} if without else {})
    )


def _same(key: str, mine: Any, theirs: Any, config: Mapping[str, Any]) -> bool:
    """Whether two settings mean the same, but for float32 and for short forms."""
    if key.startswith("requant"):  # the C-model's 16 bits have no attribute
        return bool(mine.get("gain") == theirs.get("gain"))
    if key in ("scale_in", "scale_out", "factor"):
        return bool(np.float32(mine) == np.float32(theirs))
    if key in ("kernel", "stride"):
        wanted = config["kernel"] if mine is None else mine
        return pair(key, wanted, 1) == pair(key, theirs, 1)
    if key == "padding":
        return four_sides(key, mine) == four_sides(key, theirs)
    if key == "axes":
        return bool([mine] == theirs)
    return bool(key == "steps" and mine is None and set(theirs) == {1})


def _compare(network: Network, again: Network, what: str) -> None:
    """Refuse to write what would not be read back."""
    if again == network:
        return
    others = {layer.name: layer for layer in again.layers}
    for layer in network.layers:
        if layer != others.get(layer.name):
            kind = "an array layer" if isinstance(layer, ArrayLayer) else "a layer"
            raise NetworkError(
                f"layer {layer.name!r}: found {kind} ({layer.kind}) that the {what} cannot say whole"
            )
    raise NetworkError(
        f"network: found names, inputs or an order of layers that the {what} cannot say"
    )
