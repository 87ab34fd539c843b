# SPDX-License-Identifier: Apache-2.0
"""Turns a network and its inputs into what a dump stores per layer; refuses what it cannot store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.layout import GAINS
from bittwin.golden.params import BIAS_DRIVE
from bittwin.golden.placing import BIAS_ROWS
from bittwin.golden.rows import from_tensor, input_range, weight_to_rows
from bittwin.golden.text import CELL_CODES, Range

if TYPE_CHECKING:
    from bittwin.network import Network

#: Input codes, output codes before and after the activation of one array layer.
GoldenCodes = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]

_BYTE = Range(-128, 127)


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """One array layer, in the layouts of the files."""

    net: int
    index: int
    operator: Any
    activation: tuple[Any, ...]
    input_shape: tuple[int, ...]
    inputs: NDArray[np.int16]
    """`[frames, in]` rows."""
    outputs: NDArray[np.int16]
    """`[frames, out]` before the activation."""
    results: NDArray[np.int16]
    """`[frames, out]` after it, as layer_debug shows them."""
    weight_rows: NDArray[Any]
    bias_rows: NDArray[np.int64]
    bias_high: NDArray[np.int64]

    @property
    def name(self) -> str:
        """The layer's name, which names its folder too."""
        return str(self.operator.name)


def collect_layers(
    net: int, network: Network, inputs: NDArray[Any], codes: Mapping[str, GoldenCodes] | None
) -> list[StoredLayer]:
    """Run a network, or take given codes, and lay everything out as the files want it.

    Args:
        net: number of the net in the dump.
        network: array layers, each followed by any number of activation layers.
        inputs: `[frames, in]` or `[frames, C, H, W]` codes.
        codes: codes per array layer to be used instead of running the network.

    Raises:
        TypeError: inputs or codes that are no integer arrays.
        ValueError: something that the format cannot hold; names the layer.
    """
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "iu":
        found = inputs.dtype if isinstance(inputs, np.ndarray) else type(inputs).__name__
        raise TypeError(f"inputs of net {net}: found {found}, wanted an array of integer codes")
    if inputs.ndim not in (2, 4):
        raise ValueError(
            f"inputs of net {net}: found shape {inputs.shape}, wanted [frames, in] or "
            "[frames, C, H, W]"
        )
    shapes = network.shapes(inputs.shape[1:])
    trace = None if codes is not None else network.run(inputs, trace=True)
    before_shape, before = inputs.shape[1:], inputs
    stored: list[StoredLayer] = []
    for operator, activation in _group(network):
        check_name(operator.name)
        last = activation[-1] if activation else operator
        if codes is not None:
            taken = _given(codes, operator.name)
            if not stored and not np.array_equal(taken[0], inputs):
                raise ValueError(
                    f"codes of layer {operator.name}: its input codes are not `inputs`"
                )
        else:
            assert trace is not None
            taken = (before, trace[operator.name], trace[last.name])
        frames = len(inputs)
        stored.append(
            _store(net, len(stored) + 1, operator, activation, before_shape, shapes, frames, taken)
        )
        before_shape, before = shapes[last.name], taken[2]
    return stored


def _group(network: Network) -> list[tuple[Any, tuple[Any, ...]]]:
    """Split a network into array layers with the activations that follow each."""
    from bittwin.network import ACTIVATION_KINDS, ARRAY_KINDS

    groups: list[tuple[Any, list[Any]]] = []
    for layer in network.layers:
        if layer.kind in ARRAY_KINDS:
            groups.append((layer, []))
        elif layer.kind not in ACTIVATION_KINDS:
            raise ValueError(
                f"layer {layer.name}: a dump has no place for a {layer.kind} layer; it holds "
                "array layers and the activations after them"
            )
        elif not groups:
            raise ValueError(f"layer {layer.name}: found no array layer before this activation")
        else:
            groups[-1][1].append(layer)
    return [(operator, tuple(activation)) for operator, activation in groups]


def _given(codes: Mapping[str, GoldenCodes], name: str) -> GoldenCodes:
    try:
        taken = codes[name]
    except KeyError:
        raise ValueError(f"codes: found none for layer {name}") from None
    if len(taken) != 3 or any(not isinstance(part, np.ndarray) for part in taken):
        raise TypeError(
            f"codes of layer {name}: wanted three arrays: input, output before and after the "
            "activation"
        )
    return taken


def _store(
    net: int,
    index: int,
    operator: Any,
    activation: tuple[Any, ...],
    input_shape: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    frames: int,
    taken: GoldenCodes,
) -> StoredLayer:
    requant = operator.requant
    if requant.channels != 1 or not isinstance(requant.gain, int) or requant.gain not in GAINS:
        raise ValueError(
            f"layer {operator.name}: found requantiser {requant}, wanted one with a single gain, a "
            f"power of two {GAINS[0]}..{GAINS[-1]}, which is all that layers.txt holds"
        )
    result = np.zeros((1, 1), requant.dtype)
    for layer in activation:
        result = layer.run(result)
    output_shape = shapes[operator.name]
    what = f"layer {operator.name}"
    inputs = _rows(taken[0], frames, input_shape, Range(*input_range(operator)), f"{what}: input")
    outputs = _rows(
        taken[1], frames, output_shape, Range(requant.lo, requant.hi),
        f"{what}: output before the activation",
    )  # fmt: skip
    info = np.iinfo(result.dtype)
    results = _rows(
        taken[2], frames, output_shape, Range(int(info.min), int(info.max)),
        f"{what}: output after the activation",
    )  # fmt: skip
    if result.dtype == np.uint8:
        # layer_debug shows every byte as int8.
        results = results.astype(np.uint8).view(np.int8).astype(np.int16)
    columns = operator.out_channels
    return StoredLayer(
        net,
        index,
        operator,
        activation,
        input_shape,
        inputs,
        outputs,
        results,
        weight_to_rows(operator.weight, operator.kind),
        split_bias(operator.bias, columns, f"{what}: bias"),
        _bias_high(operator, columns),
    )


def _rows(
    codes: NDArray[Any], frames: int, shape: tuple[int, ...], allowed: Range, what: str
) -> NDArray[np.int16]:
    """Check codes and lay them out as rows."""
    if codes.dtype.kind not in "iu":
        raise TypeError(f"{what} codes: found dtype {codes.dtype}, wanted integers")
    if codes.shape != (frames, *shape):
        raise ValueError(f"{what} codes: found shape {codes.shape}, wanted {(frames, *shape)}")
    low, high = max(allowed.low, CELL_CODES.low), min(allowed.high, CELL_CODES.high)
    if codes.size and (codes.min() < low or codes.max() > high):
        raise ValueError(
            f"{what} codes: found {int(codes.min())}..{int(codes.max())}, wanted {low}..{high}"
        )
    return from_tensor(codes).astype(np.int16)


def split_bias(bias: NDArray[Any] | None, columns: int, what: str) -> NDArray[np.int64]:
    """Spread a bias over as few bias rows as it needs, at least one.

    Args:
        bias: `[columns]` accumulator units, or None.
        columns: number of columns.
        what: start of the error message.

    Returns:
        int8 codes as int64 `[rows, columns]`; 128 times their column sums is the bias.

    Raises:
        ValueError: not a multiple of 128, or more than the bias rows hold.

    >>> split_bias(np.array([128 * 130, -128]), 2, "bias").tolist()
    [[127, -1], [3, 0]]
    """
    left = np.zeros(columns, np.int64)
    if bias is not None:
        left, rest = np.divmod(np.asarray(bias, np.int64), BIAS_DRIVE)
        if rest.any():
            column = int(np.flatnonzero(rest)[0])
            raise ValueError(
                f"{what}: column {column}: found {int(bias[column])}, wanted a multiple of "
                f"{BIAS_DRIVE}, which is what bias rows can hold"
            )
        low, high = BIAS_ROWS * _BYTE.low, BIAS_ROWS * _BYTE.high
        outside = np.flatnonzero((left < low) | (left > high))
        if len(outside):
            column = int(outside[0])
            raise ValueError(
                f"{what}: column {column}: found {int(bias[column])}, wanted "
                f"{BIAS_DRIVE * low}..{BIAS_DRIVE * high} ({BIAS_ROWS} bias rows of int8)"
            )
    rows: list[NDArray[np.int64]] = []
    while left.any() or not rows:
        row = np.clip(left, _BYTE.low, _BYTE.high)
        rows.append(row)
        left = left - row
    return np.stack(rows)


def _bias_high(operator: Any, columns: int) -> NDArray[np.int64]:
    """Return the content of bias_high.txt: the digital bias of a split layer."""
    digital = getattr(operator, "bias_digital", None)
    if digital is None:
        return np.zeros(columns, np.int64)
    high, rest = np.divmod(digital.astype(np.int64), BIAS_DRIVE)
    bad = np.flatnonzero((rest != 0) | (high < CELL_CODES.low) | (high > CELL_CODES.high))
    if len(bad):
        column = int(bad[0])
        raise ValueError(
            f"layer {operator.name}: bias_digital: column {column}: found {int(digital[column])}, "
            f"wanted a multiple of {BIAS_DRIVE} within 16 bits of it"
        )
    return np.asarray(high)


def check_name(name: str) -> None:
    """Refuse a layer name that cannot name a folder.

    Raises:
        ValueError: separators, `..`, characters that do not print, or too long.
    """
    if (
        not name.isprintable()
        or any(part in name for part in ("/", "\\", ".."))
        or not 0 < len(name.encode()) <= 200
        or name != name.strip()
    ):
        raise ValueError(
            f"layer name: found {name[:80]!r}, wanted 1 to 200 printable characters without "
            "'/', '\\', '..' or spaces at the ends, because it names a folder"
        )


def check_counts(
    layers: Sequence[StoredLayer], calibration_start: int, expected_frames: int
) -> None:
    """Refuse frame counts that the files' int16 header cannot hold.

    Raises:
        ValueError: naming the argument.
    """
    if not 0 <= expected_frames <= CELL_CODES.high:
        raise ValueError(
            f"expected_frames: found {expected_frames}, wanted 0..{CELL_CODES.high} (int16 header)"
        )
    for layer in layers:
        frames = len(layer.inputs)
        if not 0 <= calibration_start < frames:
            raise ValueError(
                f"calibration_start: found {calibration_start}, wanted 0..{frames - 1}, as net "
                f"{layer.net} has {frames} frames"
            )
        if frames - calibration_start > CELL_CODES.high:
            raise ValueError(
                f"inputs of net {layer.net}: found {frames - calibration_start} frames after "
                f"calibration_start, wanted at most {CELL_CODES.high} (int16 header)"
            )
