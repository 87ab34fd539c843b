# SPDX-License-Identifier: Apache-2.0
"""Importers of the operators that move codes. The vendor's feature maps are stored [W][H][C]."""

from __future__ import annotations

from bittwin.errors import NetworkError
from bittwin.network import Concat, Permute, Reshape, Slice, SplitPart, Transpose
from bittwin.onnx.builder import Builder, Shape, Value
from bittwin.onnx.document import Node


def concat(b: Builder, node: Node) -> None:
    """``Concat(x, ...; axis)``."""
    xs = [b.value(node, i) for i in range(len(node.inputs))]
    if not xs:
        raise NetworkError("found no inputs, wanted at least one")
    axis = b.axis(node.integer("axis", 1), xs[0], "attribute 'axis'")
    dtype = xs[0].dtype
    layer = Concat(b.name(node), axis)
    b.add(node, layer, xs, unsigned=all(x.unsigned for x in xs), dtype=dtype)


def cut(b: Builder, node: Node) -> None:
    """``Slice(x, starts, ends, axes, steps)``."""
    x = b.value(node, 0)
    starts, ends = b.positions(node, 1), b.positions(node, 2)
    if starts is None or ends is None:
        raise NetworkError("inputs 1 and 2: found none, wanted starts and ends")
    axes = b.positions(node, 3)
    axes = list(range(len(starts))) if axes is None else axes
    steps = b.positions(node, 4)
    along = tuple(b.axis(a, x, "input 3 (axes)") for a in axes)
    layer = Slice(
        b.name(node),
        tuple(starts),
        tuple(ends),
        along,
        None if steps is None else tuple(steps),
    )
    b.add(node, layer, [x], unsigned=x.unsigned, dtype=x.dtype)


def split(b: Builder, node: Node) -> None:
    """``Split(x; axis, split)`` or ``Split(x, split)``: one layer per part."""
    x = b.value(node, 0)
    axis = b.axis(node.integer("axis", 1), x, "attribute 'axis'")
    sizes = node.numbers("split")
    if sizes is None and len(node.inputs) > 1:
        sizes = b.positions(node, 1)
    count = len(node.outputs)
    if node.integer("num_outputs", count) != count or (sizes is not None and len(sizes) != count):
        raise NetworkError(f"found {count} outputs, wanted as many as there are parts")
    sections = count if sizes is None else tuple(sizes)
    for i in range(count):
        if not node.outputs[i]:
            continue
        layer = SplitPart(b.name(node, i), sections, i, axis)
        b.add(node, layer, [x], unsigned=x.unsigned, output=i, dtype=x.dtype)


def permute(b: Builder, node: Node) -> None:
    """``Permute(x; dims)``, the vendor's."""
    dims = node.numbers("dims")
    if not dims:
        raise NetworkError("attribute 'dims': found none, wanted the order of the axes")
    _reorder(b, node, Permute, tuple(dims))


def transpose(b: Builder, node: Node) -> None:
    """``Transpose(x; perm)``; without perm the axes are reversed, which moves the frames."""
    perm = node.numbers("perm")
    if not perm:
        raise NetworkError("attribute 'perm': found none, wanted an order that starts with 0")
    _reorder(b, node, Transpose, tuple(perm))


def _reorder(b: Builder, node: Node, kind: type[Permute], dims: tuple[int, ...]) -> None:
    x = b.value(node, 0)
    if b.over_time and len(dims) == 4 and dims[3] != 3:
        raise NetworkError(f"found the order {dims}, wanted the time axis to stay the last one")
    b.add(node, kind(b.name(node), dims), [x], unsigned=x.unsigned, dtype=x.dtype)


def identity(b: Builder, node: Node) -> None:
    """``Identity(x)``: another name for the same codes."""
    x = b.value(node, 0)
    if not node.outputs:
        raise NetworkError("found no output, wanted one")
    b.bind(node.outputs[0], x)


def flatten(b: Builder, node: Node) -> None:
    """``Flatten(x; axis=1)`` in the chip's order."""
    if node.integer("axis", 1) != 1:
        raise NetworkError(f"attribute 'axis': found {node.integer('axis')}, wanted 1")
    _reshape(b, node, (-1,), "chip")


def reshape(b: Builder, node: Node) -> None:
    """``Reshape(x, shape)``; the shape tensor may be float32, and may count frames first."""
    _reshape(b, node, frame_shape(b, reshape_sizes(b, node)), "chip")


def reshape_sizes(b: Builder, node: Node) -> list[int]:
    """The entries of a Reshape's shape."""
    sizes = b.positions(node, 1)
    if not sizes or node.integer("allowzero", 0):
        raise NetworkError("input 1: found no shape (or allowzero), wanted at least one size")
    return sizes


def _reshape(b: Builder, node: Node, shape: Shape, order: str) -> None:
    x: Value = b.value(node, 0)
    layer = Reshape(b.name(node), shape, order)
    b.add(node, layer, [x], unsigned=x.unsigned, dtype=x.dtype)


def frame_shape(b: Builder, sizes: list[int]) -> Shape:
    """One frame's shape of a Reshape's sizes.

    The first entry counts frames, be it 1, -1, 0 or a number that was baked in. Over time, four entries that
    start with 1 are [1, C, H, T], a frame of which is [C, H, 1]. One entry, or [-1, 1], is a frame's vector.
    """
    if b.over_time and len(sizes) == 4 and sizes[0] == 1:
        return sizes[1], sizes[2], 1
    if len(sizes) == 1 or sizes == [-1, 1]:
        return (sizes[0],)
    return tuple(sizes[1:])
