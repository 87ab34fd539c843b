# SPDX-License-Identifier: Apache-2.0
"""The mapper's optimise config: protobuf text, one entry per node (docs/spec/onnx_operators.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from bittwin._files import write_atomic
from bittwin.errors import NetworkError
from bittwin.onnx._library import PathLike, library

MAX_BYTES: Final = 1 << 24
SPARSE_MODES: Final = ("SIM", "MIX", "DIG")


@dataclass(frozen=True)
class LayerOptions:
    """One entry of the config, as it is written there.

    Attributes:
        name: of the node.
        input_shift: inputOpti.shift, a flag or an exponent (`bittwin.optimize.exponent`).
        input_num: inputOpti.num, the exponent.
        front_scale: inputOpti.front_scale.
        signed_input: inputOpti.signed_input: inputs (channels) split by sign; -1 occurs.
        weight_opti: (shift, num, region) per matrix.
        multiple: doubleWeightOpti.multiple: rows are repeated 2^multiple times.
        sparse_mode: sparseMatrixOpti.sp_mode: ``SIM``, ``MIX`` or ``DIG``.
        sparse_shift: sparseMatrixOpti.shift, whose meaning is unknown.
        magnify: arrayOutputOpti.magnify.
        repeat: arrayOutputOpti.repeat.
        multi_point: convOpti.multi_point.
        tdnn_mode: convOpti.tdnn_mode: the layer runs over time, with history in place of padding.
        conv2d_to_conv1d: convOpti.conv2DToConv1D_enable.
        fout_burst_point: convOpti.fout_burst_point.
    """

    name: str
    input_shift: int = 0
    input_num: int = 0
    front_scale: int = 0
    signed_input: int = 0
    weight_opti: tuple[tuple[int, int, str], ...] = ()
    multiple: int = 0
    sparse_mode: str = "SIM"
    sparse_shift: int = 0
    magnify: int = 0
    repeat: int = 0
    multi_point: int = 0
    tdnn_mode: bool = False
    conv2d_to_conv1d: bool = False
    fout_burst_point: int = 0


# Field kinds of the schema: 5 int32, 8 bool, 9 string, 11 message, 14 enum (descriptor.proto's numbers).
_SCHEMA: Final[dict[str, tuple[tuple[str, Any], ...]]] = {
    "InputOpti": tuple((n, 5) for n in ("shift", "num", "front_scale", "signed_input")),
    "WeightOpti": (("shift", 5), ("num", 5), ("region", "word")),
    "DoubleWeightOpti": (("multiple", 5),),
    "SparseMatrixOpti": (("sp_mode", "word"), ("shift", 5)),
    "ArrayOutputOpti": (("magnify", 5), ("repeat", 5)),
    "ConvOpti": (
        ("multi_point", 5),
        ("tdnn_mode", 8),
        ("conv2DToConv1D_enable", 8),
        ("fout_burst_point", 5),
    ),
    "LayerOptiConfig": (
        ("name", 9),
        ("inputOpti", "InputOpti"),
        ("weightOpti", "WeightOpti*"),
        ("doubleWeightOpti", "DoubleWeightOpti"),
        ("sparseMatrixOpti", "SparseMatrixOpti"),
        ("arrayOutputOpti", "ArrayOutputOpti"),
        ("convOpti", "ConvOpti"),
    ),
    "OptiConfig": (("layerOptiConfig", "LayerOptiConfig*"),),
}
_WORDS: Final = {"region": ("UP", "DOWN"), "sp_mode": SPARSE_MODES}


@lru_cache(maxsize=2)
def _message_type(words_quoted: bool) -> Any:
    """The config's message class. Whether UP, MIX and the like stand in quotes, files do not agree."""
    descriptor = library("google.protobuf.descriptor_pb2")
    pool = library("google.protobuf.descriptor_pool").DescriptorPool()
    factory = library("google.protobuf.message_factory")
    file = descriptor.FileDescriptorProto(name="opti.proto", package="opti", syntax="proto2")
    for word, values in _WORDS.items():
        enum = file.enum_type.add(name=f"Enum_{word}")
        for i, value in enumerate(values):
            enum.value.add(name=value, number=i)
    for message, entries in _SCHEMA.items():
        made = file.message_type.add(name=message)
        for number, (name, kind) in enumerate(entries, 1):
            entry = made.field.add(name=name, number=number, label=1)
            if kind == "word":
                entry.type = 9 if words_quoted else 14
                if not words_quoted:
                    entry.type_name = f".opti.Enum_{name}"
            elif isinstance(kind, str):
                entry.type, entry.type_name = 11, f".opti.{kind.rstrip('*')}"
                entry.label = 3 if kind.endswith("*") else 1
            else:
                entry.type = kind
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName("opti.OptiConfig"))


def read_optimize_config(path: PathLike) -> dict[str, LayerOptions]:
    """Read an optimise config.

    Args:
        path: the text file.

    Returns:
        Options by node name, in the file's order.

    Raises:
        NetworkError: no such text, an unknown field (with its place), a node named twice, flags that exclude
            each other.
        OSError: the file cannot be opened.
        ImportError: the extra ``onnx`` is not installed.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise NetworkError(f"{path}: found {path.stat().st_size} bytes, wanted at most {MAX_BYTES}")
    try:
        return parse_optimize_config(path.read_bytes().decode("utf-8"))
    except (NetworkError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path}: {error}") from None


def parse_optimize_config(text: str) -> dict[str, LayerOptions]:
    """`read_optimize_config` of a text.

    >>> from bittwin.onnx import parse_optimize_config
    >>> text = 'layerOptiConfig { name: "fc" inputOpti { signed_input: 3 } }'
    >>> parse_optimize_config(text)["fc"].signed_input
    3
    """
    options: dict[str, LayerOptions] = {}
    for entry in _parse(text).layerOptiConfig:
        if not entry.name:
            raise NetworkError("layerOptiConfig: found an entry without a name")
        if entry.name in options:
            raise NetworkError(f"layerOptiConfig: found {entry.name!r} twice")
        options[entry.name] = _options(entry)
    return options


def _parse(text: str) -> Any:
    parser = library("google.protobuf.text_format")
    first: Exception | None = None
    for quoted in (False, True):
        message = _message_type(quoted)()
        try:
            parser.Parse(text, message)
            return message
        except (parser.ParseError, ValueError, RecursionError) as error:
            first = first or error
    known = "; ".join(
        f"{name}: {', '.join(field for field, _ in entries)}" for name, entries in _SCHEMA.items()
    )
    raise NetworkError(f"found no readable optimise config ({first}); known fields: {known}")


def _options(entry: Any) -> LayerOptions:
    region = _WORDS["region"]
    mode: Any = entry.sparseMatrixOpti.sp_mode
    if not isinstance(mode, str):
        mode = SPARSE_MODES[mode]
    if (mode or "SIM") not in SPARSE_MODES:
        raise NetworkError(f"{entry.name}: sp_mode: found {mode!r}, wanted SIM, MIX or DIG")
    conv = entry.convOpti
    if conv.tdnn_mode and conv.conv2DToConv1D_enable:
        raise NetworkError(
            f"{entry.name}: found tdnn_mode and conv2DToConv1D_enable, which exclude each other"
        )
    for where, value in (
        *((f"inputOpti.{n}", getattr(entry.inputOpti, n)) for n in ("shift", "num", "front_scale")),
        *(("weightOpti", v) for w in entry.weightOpti for v in (w.shift, w.num)),
        ("doubleWeightOpti.multiple", entry.doubleWeightOpti.multiple),
        ("arrayOutputOpti.magnify", entry.arrayOutputOpti.magnify),
        ("arrayOutputOpti.repeat", entry.arrayOutputOpti.repeat),
    ):
        if not 0 <= value <= 1 << 16:
            raise NetworkError(f"{entry.name}: {where}: found {value}, wanted 0 or more")
    if entry.inputOpti.signed_input < -1:
        raise NetworkError(
            f"{entry.name}: signed_input: found {entry.inputOpti.signed_input}, wanted -1 or more"
        )
    return LayerOptions(
        name=entry.name,
        input_shift=entry.inputOpti.shift,
        input_num=entry.inputOpti.num,
        front_scale=entry.inputOpti.front_scale,
        signed_input=entry.inputOpti.signed_input,
        weight_opti=tuple(
            (w.shift, w.num, w.region if isinstance(w.region, str) else region[w.region])
            if w.HasField("region")
            else (w.shift, w.num, "")
            for w in entry.weightOpti
        ),
        multiple=entry.doubleWeightOpti.multiple,
        sparse_mode=mode or "SIM",
        sparse_shift=entry.sparseMatrixOpti.shift,
        magnify=entry.arrayOutputOpti.magnify,
        repeat=entry.arrayOutputOpti.repeat,
        multi_point=conv.multi_point,
        tdnn_mode=conv.tdnn_mode,
        conv2d_to_conv1d=conv.conv2DToConv1D_enable,
        fout_burst_point=conv.fout_burst_point,
    )


def write_optimize_config(path: PathLike, options: Iterable[LayerOptions]) -> None:
    """Write an optimise config, whole or not at all; `read_optimize_config` reads it back.

    Args:
        path: the text file; an existing one is replaced.
        options: one entry per node.
    """
    config = _message_type(False)()
    for layer in options:
        entry = config.layerOptiConfig.add(name=layer.name)
        source = entry.inputOpti
        source.shift, source.num = layer.input_shift, layer.input_num
        source.signed_input = layer.signed_input
        if layer.front_scale:
            source.front_scale = layer.front_scale
        for shift, num, region in layer.weight_opti or ((0, 0, ""),):
            weight = entry.weightOpti.add(shift=shift, num=num)
            if region:
                weight.region = _WORDS["region"].index(region)
        entry.doubleWeightOpti.multiple = layer.multiple
        if layer.sparse_mode != "SIM" or layer.sparse_shift:
            entry.sparseMatrixOpti.sp_mode = SPARSE_MODES.index(layer.sparse_mode)
            entry.sparseMatrixOpti.shift = layer.sparse_shift
        for name in ("magnify", "repeat"):
            if getattr(layer, name):
                setattr(entry.arrayOutputOpti, name, getattr(layer, name))
        if layer.multi_point:
            entry.convOpti.multi_point = layer.multi_point
        if layer.fout_burst_point:
            entry.convOpti.fout_burst_point = layer.fout_burst_point
        if layer.tdnn_mode:
            entry.convOpti.tdnn_mode = True
        if layer.conv2d_to_conv1d:
            entry.convOpti.conv2DToConv1D_enable = True
    text = str(library("google.protobuf.text_format").MessageToString(config))
    write_atomic(Path(path), lambda stream: stream.write(text.encode()))
