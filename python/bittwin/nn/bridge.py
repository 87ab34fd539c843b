# SPDX-License-Identifier: Apache-2.0
"""Integer layers for what stands between two array layers: activations, and the step from scale to scale.

A training layer writes real numbers and the next one quantises them anew. Between the two stand at most 4096
different codes, so nothing here is argued: what torch makes of every single code is computed, and a form in
integers is taken only if it makes the same of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import Clip, Layer, Lookup, Relu, Rescale
from bittwin.nn.base import QuantizedModule
from bittwin.nn.record import MapCall
from bittwin.nn.spec import LayerSpec

Codes = NDArray[np.int32]


def between(
    before: LayerSpec, maps: Sequence[MapCall], after: QuantizedModule, name: str
) -> list[Layer]:
    """Layers that turn the output codes of `before` into the input codes of `after`.

    Args:
        before: the layer that writes.
        maps: the activations between.
        after: the layer that reads.
        name: its name in the network.

    Raises:
        NetworkError: no integer layers do exactly that.
    """
    spec = after.spec
    codes = _output_codes(before)
    values = _apply(maps, _real(before, codes))
    try:
        wanted = after.quantize_input(values).numpy().astype(np.int32)
    except ValueError as error:  # an activation made NaN of some code
        raise NetworkError(f"layer {name!r}: {error}") from None
    ratio = float(np.float32(spec.codes_per_unit_x)) / float(np.float32(before.codes_per_unit_y))
    log2 = _log2(ratio)
    found = _search(before, codes, maps, wanted, log2, spec.shift_codes, spec.x_limits, name)
    if found is not None:
        return found
    if log2 is None:
        raise NetworkError(
            f"layer {name!r}: reads {spec.codes_per_unit_x:g} codes per unit where {before.name!r} writes "
            f"{before.codes_per_unit_y:g}: found the ratio {ratio:g}, wanted a power of two in "
            "2^-16..2^16; give both the same fixed scale, or let them calibrate"
        )
    raise NetworkError(
        f"layer {name!r}: found {_titles(maps) or 'a step of scale'} after {before.name!r} that no integer "
        f"layer equals on all codes; a table wants y_bits=8 and x_bits=8 (found {before.y_bits} and "
        f"{spec.x_bits}) and results in one byte"
    )


def leading(maps: Sequence[MapCall], after: LayerSpec) -> list[Layer]:
    """Layers for activations before the first array layer; the network's input is quantised before them."""
    if not maps:
        return []
    if any(m.function != "relu" for m in maps):
        raise NetworkError(
            f"model: found {_titles(maps)} before the first layer, wanted at most a ReLU there; apply it to "
            "the data instead"
        )
    low, high = after.x_limits
    zero = after.pad_code  # what 0.0 becomes
    if low == zero:
        return []  # the quantiser limits at zero itself
    return [Rescale(maps[0].name, 0, 0, zero, high)]


def trailing(before: LayerSpec, maps: Sequence[MapCall]) -> list[Layer]:
    """Layers for activations after the last array layer, whose scale the output keeps."""
    if not maps:
        return []
    codes = _output_codes(before)
    values = _apply(maps, _real(before, codes)).numpy()
    units = np.float32(before.codes_per_unit_y)
    limit = np.float32(1 << 15)
    wanted = np.rint(np.nan_to_num(values * units, nan=limit).clip(-limit, limit)).astype(np.int32)
    found = None
    if np.array_equal(wanted.astype(np.float32) / units, values):
        low, high = int(wanted.min()), int(wanted.max())
        found = _search(before, codes, maps, wanted, 0, 0, (low, high), maps[-1].name)
    if found is None:
        raise NetworkError(
            f"model: found {_titles(maps)} after the last layer {before.name!r}, whose results are no codes "
            f"at its {before.codes_per_unit_y:g} codes per unit; apply it to the network's output instead"
        )
    return found


def _titles(maps: Sequence[MapCall]) -> str:
    return ", ".join(f"{m.name!r} ({m.function})" for m in maps)


def _output_codes(spec: LayerSpec) -> NDArray[np.generic]:
    """Every code that a layer can write, in its dtype."""
    rule = spec.requant
    return np.arange(rule.lo, rule.hi + 1).astype(rule.dtype)


def _real(spec: LayerSpec, codes: NDArray[np.generic]) -> torch.Tensor:
    """What the layer writes for each code: the forward pass's own division."""
    return torch.from_numpy(codes.astype(np.float32) / np.float32(spec.codes_per_unit_y))


def _apply(maps: Sequence[MapCall], values: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        for step in maps:
            values = step.apply(values)
    return values


def _log2(ratio: float) -> int | None:
    mantissa, exponent = math.frexp(ratio)
    return exponent - 1 if mantissa == 0.5 and abs(exponent - 1) <= 16 else None


def _search(
    before: LayerSpec,
    codes: NDArray[np.generic],
    maps: Sequence[MapCall],
    wanted: Codes,
    log2: int | None,
    shift: int,
    limits: tuple[int, int],
    name: str,
) -> list[Layer] | None:
    """The first form that makes `wanted` of `codes`, code for code."""
    for form in _forms(before, maps, wanted, log2, shift, limits, name):
        result = codes.reshape(1, -1)
        for layer in form:
            result = layer.run(result)
        if np.array_equal(result[0].astype(np.int32), wanted):
            return form
    return None


def _forms(
    before: LayerSpec,
    maps: Sequence[MapCall],
    wanted: Codes,
    log2: int | None,
    shift: int,
    limits: tuple[int, int],
    name: str,
) -> Iterator[list[Layer]]:
    """Forms that may fit, the chip's own first."""
    low, high = int(wanted.min()), int(wanted.max())
    if all(m.function == "relu" for m in maps):
        relu: list[Layer] = [Relu(m.name) for m in maps[:1]]
        yield relu
        if maps and before.y_bits == 8:
            yield [Relu(maps[0].name, gain=2)]
        for move in _moves(f"{name}.rescale", log2, shift, limits):
            yield relu + move
        return
    own = maps[-1].name
    if high <= 255:
        yield [Clip(own, max(high, 0))]
    # An activation that only limits: quantising keeps the order, so the limits are codes.
    yield from _moves(own, log2, shift, (low, high))
    if before.y_bits == 8 and low >= -128 and high <= (127 if low < 0 else 255):
        # Indexed by the code's byte: 0..127, then -128..-1.
        table = np.roll(wanted, 128).astype(np.int8 if low < 0 else np.uint8)
        yield [Lookup(own, table)]


def _moves(
    name: str, log2: int | None, shift: int, limits: tuple[int, int]
) -> Iterator[list[Layer]]:
    """Codes to another scale, plus the shift."""
    if log2 is None:
        return
    yield [Rescale(name, log2, shift, *limits)]
    scaled = shift << max(-log2, 0)
    if scaled < 1 << 15:
        # Where codes are divided, an odd shift moves the ties: training adds it before it rounds.
        yield [
            Rescale(f"{name}.shift", 0, scaled, -(1 << 15), (1 << 15) - 1),
            Rescale(name, log2, 0, *limits),
        ]
