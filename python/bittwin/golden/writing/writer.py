# SPDX-License-Identifier: Apache-2.0
"""`write_dump`: a network and its codes as a mapper's output folder."""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.writing.collect import GoldenCodes, StoredLayer, collect_layers
from bittwin.golden.writing.placing import Block, place_blocks
from bittwin.golden.writing.sidecar_out import write_sidecar
from bittwin.golden.writing.storable import check_counts
from bittwin.golden.writing.writer_files import (
    write_addresses,
    write_debug,
    write_golden,
    write_map,
    write_params,
)

if TYPE_CHECKING:
    from bittwin.network import Network


def write_dump(
    path: str | os.PathLike[str],
    network: Network | Sequence[Network],
    inputs: NDArray[Any] | Sequence[NDArray[Any]],
    *,
    calibration_start: int = 0,
    expected_frames: int = 100,
    seed: int = 0,
    codes: Mapping[str, GoldenCodes] | Sequence[Mapping[str, GoldenCodes]] | None = None,
) -> None:
    """Write the mapper's format and a `bittwin.json`, so that `read_dump` gives the same back.

    The folder appears whole or not at all: it is filled under a temporary name beside `path`
    and renamed.

    Args:
        path: folder to make; it must not exist, or be empty.
        network: one network, or one per net of the dump.
        inputs: its input codes `[frames, in]` or `[frames, C, H, W]`; one array per net.
        calibration_start: frame with which the complete set begins; the debug set has all.
        expected_frames: rows of the expected set: drawn from the complete frames for each net,
            and shuffled for each layer.
        seed: of that draw.
        codes: golden codes from elsewhere (an oracle, RTL) instead of running the network:
            per net a mapping from array layer name to input codes, output codes before and
            output codes after the activation, in the shapes that the layers have.

    Raises:
        TypeError: a network that is none, inputs or codes that are no integer arrays.
        ValueError: something that the format cannot hold: a bias that is no multiple of 128 or
            too large for 16 bias rows, a requantiser without a single power-of-two gain, a
            layer name that cannot name a folder, codes outside their range. Names the layer.
        FileNotFoundError: the folder that `path` lies in does not exist.
        FileExistsError: `path` exists and is not an empty folder.
        OSError: the files cannot be written.

    >>> import tempfile
    >>> import numpy as np
    >>> import bittwin
    >>> from bittwin.network import Linear, Network
    >>> fc = Linear("fc", np.array([[64, -64]], np.int8), None, bittwin.readout(256))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frames = np.array([[100, 20], [20, 100]], np.uint8)
    ...     bittwin.write_dump(folder + "/dump", Network([fc]), frames, expected_frames=2)
    ...     bittwin.read_dump(folder + "/dump").layers[0].set("complete").output.block(0, 2)
    array([[ 20],
           [-20]], dtype=int16)
    """
    target = Path(os.path.abspath(path))
    networks, batches, given = _per_net(network, inputs, codes)
    refuse_existing(target)
    layers: list[StoredLayer] = []
    for net, (one, batch, golden) in enumerate(zip(networks, batches, given, strict=True)):
        layers += collect_layers(net, one, batch, golden)
    check_counts([len(batch) for batch in batches], calibration_start, expected_frames)
    blocks = [
        Block(layer.weight_rows.shape[0], layer.weight_rows.shape[1], len(layer.bias_rows))
        for layer in layers
    ]
    regions, outside = place_blocks(blocks)
    for number in outside:
        warnings.warn(
            f"layer {layers[number].name}: {blocks[number].rows} rows x "
            f"{blocks[number].columns} columns do not fit on the array beside the others; "
            "it is placed beyond the last column",
            stacklevel=2,
        )
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    os.mkdir(temporary)
    try:
        rng = np.random.default_rng(seed)
        write_params(temporary, layers)
        write_map(temporary, layers, regions)
        write_golden(temporary, layers, calibration_start, expected_frames, rng)
        write_debug(temporary, layers)
        write_addresses(temporary, layers)
        write_sidecar(temporary, networks, layers, calibration_start)
        if target.is_dir():
            os.rmdir(target)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _per_net(
    network: Network | Sequence[Network],
    inputs: NDArray[Any] | Sequence[NDArray[Any]],
    codes: Mapping[str, GoldenCodes] | Sequence[Mapping[str, GoldenCodes]] | None,
) -> tuple[list[Network], list[NDArray[Any]], list[Mapping[str, GoldenCodes] | None]]:
    """Turn the arguments for one net into lists of one."""
    from bittwin.network import Network

    if isinstance(network, Network):
        networks, batches = [network], [inputs]
        given: list[Any] = [codes]
    else:
        networks, batches = _listed("network", network), _listed("inputs", inputs)
        given = [None] * len(networks) if codes is None else list(codes)
    if not networks:
        raise ValueError("network: found none, wanted at least one")
    for net, one in enumerate(networks):
        if not isinstance(one, Network):
            raise TypeError(f"network {net}: found {type(one).__name__}, wanted a Network")
    if not len(networks) == len(batches) == len(given):
        raise ValueError(
            f"found {len(networks)} networks, {len(batches)} inputs and {len(given)} codes, "
            "wanted as many of each"
        )
    return networks, batches, given  # type: ignore[return-value]


def _listed(name: str, given: Any) -> list[Any]:
    """Turn an argument that has one entry per net into a list."""
    try:
        return list(given)
    except TypeError:
        what = "a Network or a sequence of them" if name == "network" else "one array per net"
        raise TypeError(f"{name}: found {type(given).__name__}, wanted {what}") from None


def refuse_existing(target: Path) -> None:
    """Raise unless the target's folder is there and the target absent or an empty folder."""
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{target.parent}: found no such folder, wanted the one to make {target.name} in"
        )
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir() or any(target.iterdir()):
        raise FileExistsError(f"{target}: exists; wanted a new name or an empty folder")
