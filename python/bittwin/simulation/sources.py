# SPDX-License-Identifier: Apache-2.0
"""Where networks come from: an ONNX file, a mapper's output folder, a file of `Network.save`."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bittwin.errors import BittwinError

if TYPE_CHECKING:
    from bittwin.golden import Dump
    from bittwin.network import Network


class SourceError(BittwinError, ValueError):
    """A file or folder that gives no network, or options that do not belong to it."""


@dataclass(frozen=True, eq=False)
class Source:
    """A network and what was said while it was read."""

    kind: str
    """`onnx`, `dump` or `network`."""
    path: Path
    network: Network
    net: int
    """Number of the net in its dump, else 0."""
    dump: Dump | None
    notes: tuple[str, ...]


def load_source(
    path: str | os.PathLike[str], *, net: int | None = None, optimize: str | None = None
) -> Source:
    """Load a network from whatever holds one.

    Args:
        path: a folder: a mapper's output; a file that ends in `.onnx`; any other file: `Network.save`.
        net: number of the net, for a dump that holds several.
        optimize: the mapper's optimise config, for an ONNX file.

    Raises:
        SourceError: nothing there, an option that the source has no use for, a missing extra.
        BittwinError: what the reader of that kind refuses.
    """
    where = Path(path)
    kind = _kind(where)
    if optimize is not None and kind != "onnx":
        raise SourceError(f"{where}: an optimise config belongs to an ONNX file, found a {kind}")
    if net is not None and kind != "dump":
        raise SourceError(f"{where}: a net's number belongs to a dump, found one network ({kind})")
    if kind == "dump":
        from bittwin.golden import read_dump

        dump = read_dump(where)
        network = dump.network(net)
        number = dump.nets[0] if net is None else net
        assumed = [
            f"{layer.name}: activation {layer.activation_label} ({layer.activation_source})"
            for layer in dump.layers
            if layer.net == number and (layer.inferred or layer.activation_source == "assumed")
        ]
        return Source(kind, where, network, number, dump, (*dump.notes, *assumed))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        network = _load_file(where, kind, optimize)
    notes = dict.fromkeys(str(warning.message) for warning in heard)
    return Source(kind, where, network, 0, None, tuple(notes))


def _kind(where: Path) -> str:
    if where.is_dir():
        return "dump"
    if not where.exists():
        raise SourceError(
            f"{where}: found nothing, wanted a dump folder, an ONNX file or a network (.npz)"
        )
    return "onnx" if where.suffix.lower() == ".onnx" else "network"


def _load_file(where: Path, kind: str, optimize: str | None) -> Network:
    if kind == "network":
        from bittwin.network import load_network

        return load_network(where)
    loader = _onnx_loader(where)
    try:
        network: Network = loader(where, optimize=optimize)
    except ImportError as error:
        # The reader's message names the extra, but not the file that needed it.
        raise SourceError(f"{where}: {error}") from None
    return network


def _onnx_loader(where: Path) -> Any:
    """`load_onnx`."""
    try:
        return import_module("bittwin.onnx").load_onnx
    except (ImportError, AttributeError) as error:
        raise SourceError(f"{where}: this bittwin reads no ONNX ({error})") from None
