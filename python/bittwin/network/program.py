# SPDX-License-Identifier: Apache-2.0
"""Chains of linear layers and activations in one call: the way `Network.run` takes where it can.

The codes are those of the layers one by one, and so are the refusals: a program that meets a code which a
layer refuses says only that, and the layers then say what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin.network.activations import Clip, Lookup, Relu
from bittwin.network.arrays import Linear
from bittwin.network.base import Layer

BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


class Programs:
    """The programs of one chain, one per dtype of its input; made when first asked for.

    Args:
        layers: the chain.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._made: dict[np.dtype[Any], _core.Program | None] = {}

    def run(self, x: Any) -> NDArray[Any] | None:
        """Codes of a batch, or None where the layers have to be asked one by one.

        Args:
            x: anything; a program takes [frames, in], uint8 or int8, dense.
        """
        if type(x) is not np.ndarray or x.ndim != 2 or not x.flags.c_contiguous:
            return None
        dtype = x.dtype
        if dtype not in self._made:
            self._made[dtype] = _program(self._layers, dtype) if dtype in BYTES else None
        program = self._made[dtype]
        if program is None or x.shape[1] != program.inputs:
            return None
        out = np.empty((x.shape[0], program.outputs), BYTES[program.is_signed])
        return out if program.run(x, out) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return Programs, (self._layers,)  # compiled objects stay here


def _program(layers: Sequence[Layer], dtype: np.dtype[Any]) -> _core.Program | None:
    """Compile a chain; None where a layer has no place in a program."""
    first = layers[0]
    if type(first) is not Linear:
        return None
    program = _core.Program(first.fan_in, dtype == np.int8)
    for layer in layers:
        if not _add(program, layer):
            return None
    return program


def _add(program: _core.Program, layer: Layer) -> bool:
    if type(layer) is Linear:
        return _add_linear(program, layer)
    if type(layer) is Relu and (layer.gain == 1 or program.is_signed):
        program.add_relu(layer.gain)
    elif type(layer) is Clip:
        program.add_clip(layer.limit)
    elif type(layer) is Lookup and (layer.table.size == 256 or program.is_signed):
        program.add_lookup(layer.table)
    else:
        return False
    return True


def _add_linear(program: _core.Program, layer: Linear) -> bool:
    signed = layer.x_signed
    # Signed codes of 8 bits are sign and magnitude: every int8 is one, a uint8 needs another dtype.
    takes = program.is_signed and layer.x_bits == 8 if signed else layer.x_bits <= 8
    if not takes or layer.fan_in != program.outputs or layer.requant.dtype not in BYTES:
        return False
    program.add_linear(
        layer.packed.core, layer.bias, layer.requant.core, not signed, (1 << layer.x_bits) - 1
    )
    return program.is_signed == (layer.requant.dtype == np.int8)
