# SPDX-License-Identifier: Apache-2.0
"""What a mapper's output folder holds, as Python objects.

A `Dump` is a tuple of `DumpLayer`, nets in order. Each layer has its integer
operator (weights, bias, requantiser), the activation that follows it and up to
three sets of golden codes:

* `expected`: 100 or so shuffled frames, output *before* the activation;
* `complete`: every frame from `calibration_start` on, also before it;
* `debug`: every frame from 0 on, output *after* the activation.

Codes stay in their files until a block of frames is asked for, so memory stays
bounded whatever the dump's size. Rows of a convolution are `[W][H][C]`
flattened, channel fastest; the `*_rows` methods hide that layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import DumpError
from bittwin.golden.reading import rows as _rows
from bittwin.golden.reading.sets import SET_NAMES, Codes, CodeSet, Region

if TYPE_CHECKING:
    from bittwin.network import Network
    from bittwin.requant import Requant

__all__ = ["SET_NAMES", "CodeSet", "Codes", "Dump", "DumpLayer", "Region"]


@dataclass(frozen=True, eq=False)
class DumpLayer:
    """One array layer of a dump: its operator, its activation, its golden codes."""

    net: int
    """Number of the net, as in `params/netN`."""
    index: int
    """Number of the layer within its net, from 1."""
    name: str
    """Unique in the dump."""
    operator: Any
    """Array layer of `bittwin.network` (Linear, Conv2d, ...); None without weights."""
    activation: tuple[Any, ...]
    """Activation layers of `bittwin.network` that follow; empty for none or unknown."""
    activation_label: str
    """`none`, `relu`, `relu x2`, `clip 0..90`, `table ...` or `unknown`."""
    activation_source: str
    """`sidecar`, `layer_debug`, `next layer's input` or `assumed`; the middle two may end in
    ` against the simulation`, where the dump holds no codes before the activation."""
    inferred: bool
    """True when the activation was concluded from the data, not stated."""
    linked: bool
    """This layer's input is the previous layer's activated output, code by code."""
    link_note: str
    """Why it is linked or not."""
    in_columns: int
    out_columns: int
    gain: int
    """Accumulator units per output code; a power of two."""
    bias_rows: NDArray[np.int16] | None
    """`[rows, out]` codes of the bias rows, each driven with 128."""
    bias_high: NDArray[np.int16] | None
    """`[out]` content of bias_high.txt when it is not all zero; not applied by itself."""
    region: Region | None
    sets: tuple[CodeSet, ...]
    input_shape: tuple[int, ...] | None = None
    """`(C, H, W)` of an image that the layer reads; None for layers on plain vectors."""
    flatten: Any = None
    """Flatten layer of `bittwin.network` between that image and a linear operator, or None."""
    link_contradicted: bool = False
    """The data prove that the layer does not read the previous layer's output."""
    note: str = ""
    """What was concluded about the activation, and how sure it is."""

    def set(self, name: str) -> CodeSet | None:
        """Return the set of that name (`expected`, `complete`, `debug`) or None."""
        for codes in self.sets:
            if codes.name == name:
                return codes
        return None

    def accumulate_rows(self, rows: NDArray[Any]) -> NDArray[np.int32]:
        """Compute the accumulators of input rows.

        Args:
            rows: `[frames, in_columns]` integer codes as the dump stores them.

        Returns:
            int32 `[frames, out_columns]`, unit input code x weight code.

        Raises:
            DumpError: the dump holds no weights for this layer.
            NetworkError: a split layer, which has no single accumulator; use `run_rows`.
            ValueError: a code outside the input's range, or a wrong number of columns.
        """
        operator = self._require_operator()
        return _rows.from_tensor(operator.accumulate(self._tensor(rows)))

    def run_rows(self, rows: NDArray[Any], requant: Requant | None = None) -> NDArray[Any]:
        """Compute the output codes before the activation.

        Args:
            rows: `[frames, in_columns]` integer codes as the dump stores them.
            requant: requantiser to use instead of the layer's own.

        Returns:
            `[frames, out_columns]` of the requantiser's dtype.

        Raises:
            DumpError: the dump holds no weights for this layer.
            ValueError: a code outside the input's range, or a wrong number of columns.
        """
        operator = self._require_operator()
        if requant is not None:
            operator = _rows.with_requant(operator, requant)
        return _rows.from_tensor(operator.run(self._tensor(rows)))

    def activate_rows(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Apply the activation to output codes `[frames, out_columns]`.

        Raises:
            ValueError: a code outside the range of the layer's requantiser.
        """
        dtype = np.dtype(np.int8) if self.operator is None else self.operator.requant.dtype
        result = _rows.cast(codes, np.dtype(dtype), f"layer {self.name}: output codes")
        for layer in self.activation:
            result = layer.run(result)
        return result

    def _require_operator(self) -> Any:
        if self.operator is None:
            raise DumpError(
                f"layer {self.name}: the dump holds no weights for it "
                f"(params/net{self.net}/layer{self.index}/weight.txt), so nothing can be computed"
            )
        return self.operator

    def _tensor(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Turn rows into what the operator takes."""
        if rows.ndim != 2 or rows.shape[1] != self.in_columns:
            raise ValueError(
                f"layer {self.name}: input rows: found shape {rows.shape}, wanted "
                f"[frames, {self.in_columns}]"
            )
        tensor = _rows.to_tensor(rows, self.input_shape)
        return tensor if self.flatten is None else self.flatten.run(tensor)


@dataclass(frozen=True, eq=False)
class Dump:
    """A mapper's output folder, read by `read_dump`."""

    path: Path
    layers: tuple[DumpLayer, ...]
    calibration_start: int
    """Stream frame of the first row of the complete files."""
    sidecar: bool
    """True when the folder had a `bittwin.json`."""
    notes: tuple[str, ...]
    """What was left out or concluded, one sentence each."""
    net_names: tuple[str, ...] = ()
    """Name per net, in the order of `nets`, where a sidecar says it."""
    net_shapes: tuple[tuple[int, ...] | None, ...] = ()
    """Input shape per net, where a sidecar says it."""

    @property
    def nets(self) -> tuple[int, ...]:
        """Numbers of the nets, ascending."""
        return tuple(sorted({layer.net for layer in self.layers}))

    def layer(self, name: str) -> DumpLayer:
        """Return the layer of that name.

        Raises:
            DumpError: no such layer; the message lists the names.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise DumpError(f"{self.path}: no layer {name!r}; the layers are {names}")

    def network(self, net: int | None = None) -> Network:
        """Return one net as a `bittwin.Network`: operators and activations in order.

        Args:
            net: number of the net; may be left out when the dump holds one.

        Raises:
            DumpError: several nets and none named, no such net, weights absent, an unknown
                activation between two layers, or layers that do not form a chain.
        """
        from bittwin.network import Network

        chosen = self._chain(net)
        layers: list[Any] = []
        for layer in chosen:
            if layer.flatten is not None:
                layers.append(layer.flatten)
            layers.append(layer.operator)
            layers.extend(layer.activation)
        number = chosen[0].net
        place = self.nets.index(number)
        name = self.net_names[place] if self.net_names else f"net{number}"
        shape = self.net_shapes[place] if self.net_shapes else (chosen[0].in_columns,)
        try:
            return Network(layers, name=name, input_shape=shape)
        except ValueError as error:
            raise DumpError(f"{self.path}: net {number} is no chain of layers: {error}") from error

    def _chain(self, net: int | None) -> Sequence[DumpLayer]:
        """Return the layers of one net, or say why they cannot be run one after the other."""
        if net is None:
            if len(self.nets) != 1:
                listed = ", ".join(str(number) for number in self.nets)
                raise DumpError(f"{self.path}: the dump holds nets {listed}; say which one (net=)")
            net = self.nets[0]
        chosen = [layer for layer in self.layers if layer.net == net]
        if not chosen:
            listed = ", ".join(str(number) for number in self.nets)
            raise DumpError(f"{self.path}: no net {net}; the dump holds nets {listed}")
        absent = [layer.name for layer in chosen if layer.operator is None]
        if absent:
            raise DumpError(
                f"{self.path}: net {net} has no weights for {', '.join(absent)}; "
                "neither params/ nor map/map.csv holds them"
            )
        for layer in chosen[:-1]:
            if layer.activation_label == "unknown":
                raise DumpError(
                    f"{self.path}: layer {layer.name}: unknown activation: {layer.note}"
                )
        for layer in chosen[1:]:
            if layer.link_contradicted:
                raise DumpError(
                    f"{self.path}: layer {layer.name} does not read the layer before it "
                    f"({layer.link_note}), so net {net} is no chain; use .layers"
                )
        return chosen
