# SPDX-License-Identifier: Apache-2.0
"""Sums and products of real numbers that are codes: exact in 16 bits, without any rounding."""

from __future__ import annotations

from collections.abc import Sequence

from bittwin.errors import NetworkError
from bittwin.network import Add, Layer, Mul
from bittwin.nn.bridge import Grid, Reader
from bittwin.nn.digital.base import is_power_of_two
from bittwin.nn.nodes import PairCall

_LOW, _HIGH = -(1 << 15), (1 << 15) - 1


def pair_layer(node: PairCall, readers: Sequence[Reader]) -> tuple[Layer, Grid]:
    """The layer of a sum or product, and its codes.

    A quotient by a power of two is exact in float32, so the sum of two such numbers is the sum of their
    codes; with other scales float32 rounds, and no integer follows it.

    Args:
        node: the sum or product.
        readers: of its inputs, exact ones; of a sum at one scale.

    Raises:
        NetworkError: scales that are no powers of two, or a range beyond 16 bits.
    """
    module = f"bittwin.nn.{node.function.capitalize()}"
    use = f"use {module}, which has scales and a rounding of its own"
    if not all(is_power_of_two(r.units) for r in readers):
        found = " and ".join(f"{r.units:g}" for r in readers)
        raise NetworkError(
            f"layer {node.name!r}: found the {node.function} of codes at {found} per unit, wanted powers of "
            f"two; {use}"
        )
    (a, b), (c, d) = readers[0].limits, readers[1].limits
    layer: Layer
    if node.function == "add":
        low, high, units = a + c, b + d, readers[0].units
        layer = Add(node.name, bits=16, broadcast="numpy")
    else:
        products = [x * y for x in (a, b) for y in (c, d)]
        low, high, units = min(products), max(products), readers[0].units * readers[1].units
        layer = Mul(node.name, bits=16, overflow="saturate", broadcast="numpy")
    if not _LOW <= low <= high <= _HIGH:
        raise NetworkError(
            f"layer {node.name!r}: found the {node.function} of codes that reaches {low}..{high}, wanted 16 "
            f"bits; {use}"
        )
    return layer, Grid(node.name, units, low, high, "int16")
