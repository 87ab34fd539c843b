# SPDX-License-Identifier: Apache-2.0
"""Which layers a dump folder holds, and where each one's files are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bittwin.chips import WTM2101
from bittwin.golden.dump import Region
from bittwin.golden.reading.folder import Folder, printable
from bittwin.golden.reading.indices import LAYER_LIMIT, Address, Key
from bittwin.golden.reading.text import Range, read_table

LAYERS = "map/layers.txt"
#: Largest column or row number that is believed; the array itself has 1024 columns.
COORDINATE_LIMIT = (1 << 24) - 1
#: Gains that the register can hold.
GAINS = WTM2101.gains

_NET = re.compile(r"net(0|[1-9][0-9]{0,3})\Z")
_PARAMS_LAYER = re.compile(r"layer(0|[1-9][0-9]{0,3})\Z")
_DEBUG_LAYER = re.compile(r"([0-9]{1,4})_(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Placement:
    """One line of layers.txt."""

    region: Region
    gain: int


def read_placements(folder: Folder) -> tuple[Placement, ...] | None:
    """Read map/layers.txt (`xs, xe, ys, ye, zs, ze, G` per layer); None where it is absent.

    Raises:
        DumpError: a range that ends before it starts, or a gain that the chip does not have.
    """
    if not folder.has_file(LAYERS):
        return None
    table = read_table(
        folder, LAYERS, columns=7, codes=Range(0, COORDINATE_LIMIT), max_rows=LAYER_LIMIT
    )
    if not len(table):
        raise folder.error(LAYERS, "found no line, wanted one per layer")
    placements = []
    for number, line in enumerate(table.tolist(), 1):
        for first, last, axis in ((0, 1, "columns xs, xe"), (2, 3, "rows ys, ye"),
                                  (4, 5, "bias rows zs, ze")):  # fmt: skip
            if line[last] < line[first]:
                raise folder.error(
                    LAYERS,
                    f"layer {number}, {axis}: found {line[first]}, {line[last]}, wanted an end "
                    "that is not before the start",
                )
        if line[6] not in GAINS:
            raise folder.error(
                LAYERS,
                f"layer {number}, gain G: found {line[6]}, wanted a power of two "
                f"{GAINS[0]}..{GAINS[-1]}",
            )
        placements.append(Placement(Region(*line[:6]), line[6]))
    return tuple(placements)


def list_params(folder: Folder, notes: list[str]) -> dict[Key, str]:
    """Find `params/netN/layerK`; empty where there is no params folder."""
    found: dict[Key, str] = {}
    for net, net_path in _nets(folder, "params", notes):
        for name in folder.names(net_path):
            match = _PARAMS_LAYER.match(name)
            if match is None:
                notes.append(f"{net_path}/{name} is no layer's folder and was not read")
                continue
            found[net, int(match.group(1))] = f"{net_path}/{name}"
    return found


def list_debug(folder: Folder, notes: list[str]) -> dict[Key, tuple[str, str]]:
    """Find `layer_debug/netN/<k>_<name>`: path and layer name per layer.

    Raises:
        DumpError: two folders claim the same layer number.
    """
    found: dict[Key, tuple[str, str]] = {}
    for net, net_path in _nets(folder, "layer_debug", notes):
        for name in folder.names(net_path):
            match = _DEBUG_LAYER.match(name)
            if match is None:
                notes.append(f"{net_path}/{printable(name)} is no layer's folder and was not read")
                continue
            key = net, int(match.group(1))
            if key in found:
                raise folder.error(
                    net_path,
                    f"layer {key[1]}: found two folders, {printable(name)} and "
                    f"{printable(found[key][0].rsplit('/', 1)[1])}",
                )
            found[key] = f"{net_path}/{name}", match.group(2)
    return found


def _nets(folder: Folder, top: str, notes: list[str]) -> Iterable[tuple[int, str]]:
    for name in folder.names(top):
        match = _NET.match(name)
        if match is None:
            notes.append(f"{top}/{printable(name)} is no net's folder and was not read")
            continue
        yield int(match.group(1)), f"{top}/{name}"


def assign_layers(
    folder: Folder,
    sources: list[tuple[str, set[Key]]],
    debug: set[Key],
    lines: int | None,
    notes: list[str],
) -> tuple[Key, ...]:
    """Find out which net and layer each line of layers.txt belongs to.

    Args:
        folder: the dump.
        sources: file or folder, and the layers it names; each must name all of them.
        debug: layers with a layer_debug folder, which may be fewer.
        lines: number of lines in layers.txt; None where it is absent.
        notes: gets a sentence for whatever was assumed.

    Returns:
        Net and layer number of each layer, in the order of layers.txt.

    Raises:
        DumpError: layers are missing, or two sources disagree.
    """
    sources = [(name, keys) for name, keys in sources if keys]
    if not sources and debug:
        sources = [("layer_debug", debug)]
    if not sources:
        if lines is None:
            raise folder.error(
                "", f"found no dump; wanted a folder with {LAYERS}, or one with bittwin.json"
            )
        notes.append(f"{LAYERS}: nothing says which net a layer belongs to; net 0 is assumed")
        return tuple((0, index) for index in range(1, lines + 1))
    for name, keys in sources:
        _refuse_gaps(folder, name, keys)
    first_name, first = sources[0]
    for name, keys in sources[1:]:
        if keys != first:
            net, index = min(keys ^ first)
            has, lacks = (name, first_name) if (net, index) in keys else (first_name, name)
            raise folder.error(lacks, f"net {net} layer {index} is missing; {has} has it")
    if lines is not None and lines != len(first):
        raise folder.error(LAYERS, f"found {lines} layers, wanted {len(first)} as in {first_name}")
    for net, index in sorted(debug - first):
        notes.append(f"layer_debug/net{net}: folder number {index} is no array layer")
    return tuple(sorted(first))


def _refuse_gaps(folder: Folder, name: str, keys: set[Key]) -> None:
    if len(keys) > LAYER_LIMIT:
        raise folder.error(name, f"found {len(keys)} layers, wanted at most {LAYER_LIMIT}")
    for net in sorted({net for net, _ in keys}):
        numbers = sorted(index for n, index in keys if n == net)
        for wanted, index in enumerate(numbers, 1):
            if index != wanted:
                listed = ", ".join(str(number) for number in numbers[:20])
                raise folder.error(
                    name, f"net {net}: found layers {listed}; layer {wanted} is missing"
                )


def name_layers(
    keys: tuple[Key, ...],
    stated: dict[Key, str],
    debug: dict[Key, tuple[str, str]],
    addresses: tuple[Address, ...],
) -> dict[Key, str]:
    """Give each layer a name of its own.

    Taken from the sidecar, else the layer_debug folder, else addr.csv, else `net0.layer1`.
    Equal names in several nets get the net in front (`net1/head`).
    """
    listed: dict[int, list[str]] = {}
    for address in addresses:
        names = listed.setdefault(address.net, [])
        if address.round_type == "array" and address.layer_name not in names:
            names.append(address.layer_name)
    result: dict[Key, str] = {}
    for net, index in keys:
        in_net = sum(1 for other, _ in keys if other == net)
        name = stated.get((net, index), "")
        if not name and (net, index) in debug:
            name = printable(debug[net, index][1])
        if not name and len(listed.get(net, ())) == in_net:
            name = printable(listed[net][index - 1])
        result[net, index] = name or f"net{net}.layer{index}"
    return _unique(result)


def _unique(names: dict[Key, str]) -> dict[Key, str]:
    """Put the net, and if need be the layer number, in front of names that occur twice."""
    for prefix in ("net{0}/", "layer{1}:"):
        seen: dict[str, int] = {}
        for name in names.values():
            seen[name] = seen.get(name, 0) + 1
        names = {
            key: prefix.format(*key) + name if seen[name] > 1 else name
            for key, name in names.items()
        }
    return names
