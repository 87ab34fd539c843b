# SPDX-License-Identifier: Apache-2.0
"""What every operator's importer works with: tensors by name, layers so far, and the choices of the call."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice
from bittwin.errors import NetworkError
from bittwin.functional import requantize
from bittwin.network import Layer
from bittwin.onnx._library import OnnxWarning
from bittwin.onnx.document import Document, Node
from bittwin.onnx.tensors import integers, narrowest
from bittwin.requant import Requant, readout

BIASES: Final = ("round", "keep", "refuse")
TIMES: Final = ("auto", "frames", "image")
#: Codes of one frame of one tensor; far above any chip, and small enough to hold.
MAX_CODES: Final = 1 << 28
_BIAS_STEP: Final = 128
_LOG2_GAINS: Final = (8, 15)
_FAR: Final = 1 << 62
_GRID: Final = Requant(
    rule="bias grid", shift1=(7,), rounding1="half_even", lo=-(1 << 24), hi=(1 << 24) - 1
)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Choices:
    """The named choices of `load_onnx`."""

    bias: str = "round"
    default_gain: int | None = None
    time: str = "auto"

    def __post_init__(self) -> None:
        choice("bias", self.bias, BIASES)
        choice("time", self.time, TIMES)
        if self.default_gain is not None:
            readout(self.default_gain)


@dataclass(frozen=True)
class Value:
    """A computed tensor: where it comes from, one frame's shape, whether a code can be negative."""

    source: str
    shape: Shape | None
    unsigned: bool = False
    is_input: bool = False
    dtype: str = "int8"
    """Standard quantised files only."""


@dataclass
class Builder:
    """A network in the making."""

    document: Document
    choices: Choices
    over_time: bool = False
    """The last axis of [1, C, H, T] is time: frames are columns [C, H, 1]."""
    baked: int | None = None
    """T in the file's Reshape constants."""
    tdnn: frozenset[str] = frozenset()
    """Nodes that the optimise config runs over time, with history in place of padding."""
    layers: list[Layer] = field(default_factory=list)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    input_shapes: dict[str, Shape | None] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    absorbed: set[int] = field(default_factory=set)
    """Numbers of the Scale nodes that became a gain."""
    taken: set[str] = field(default_factory=set)
    """Names of layers and network inputs."""
    counted: dict[str, int] = field(default_factory=dict)
    """Names that were made up, by what they begin with: the last number given."""
    rounded: dict[str, int] = field(default_factory=dict)
    made_of: dict[str, str] = field(default_factory=dict)
    """Layer name by the name of the node it came from."""

    def value(self, node: Node, i: int) -> Value:
        """The computed tensor that is input i."""
        name = node.inputs[i] if i < len(node.inputs) else ""
        if name in self.values:
            return self.values[name]
        if name in self.document.protos:
            raise NetworkError(
                f"input {i}: found the constant {name!r}, wanted codes that a layer computes"
            )
        found = f"{name!r}, which no node before it makes" if name else "none"
        raise NetworkError(f"input {i}: found {found}, wanted a tensor")

    def is_constant(self, node: Node, i: int) -> bool:
        """Whether input i is an initializer."""
        return (
            i < len(node.inputs)
            and node.inputs[i] in self.document.protos
            and node.inputs[i] not in self.values
        )

    def constant(self, node: Node, i: int) -> NDArray[Any] | None:
        """The numbers of input i; None where it is left out."""
        name = node.inputs[i] if i < len(node.inputs) else ""
        if not name:
            return None
        array = None if name in self.values else self.document.constant(name)
        if array is None:
            raise NetworkError(f"input {i}: found {name!r}, wanted a constant (an initializer)")
        return array

    def codes(self, node: Node, i: int, axes: int | None = None) -> NDArray[np.int64]:
        """Input i as integers of a weight."""
        array = self.constant(node, i)
        if array is None:
            raise NetworkError(f"input {i}: found none, wanted a constant")
        what = f"input {i} {node.inputs[i]!r}"
        if axes is not None and array.ndim != axes:
            raise NetworkError(f"{what}: found shape {array.shape}, wanted {axes} axes")
        return integers(array, what, -(1 << 15), (1 << 15) - 1)

    def weight(self, codes: NDArray[np.int64]) -> NDArray[Any]:
        """Weight codes in the narrower of int8 and int16."""
        return narrowest(codes, ("int8", "int16"))

    def bias(self, node: Node, i: int, columns: int) -> NDArray[np.int32] | None:
        """Input i as a bias on the grid of the bias rows, or as `Choices.bias` says."""
        array = self.constant(node, i)
        if array is None:
            return None
        return self.bias_codes(node, array, f"input {i} {node.inputs[i]!r}", columns)

    def bias_codes(
        self, node: Node, array: NDArray[Any], what: str, columns: int
    ) -> NDArray[np.int32]:
        """Numbers as a bias."""
        if array.size != columns:
            raise NetworkError(f"{what}: found shape {array.shape}, wanted {columns} entries")
        numbers = integers(array.reshape(columns), what, -(1 << 30), 1 << 30).astype(np.int32)
        off = numbers % _BIAS_STEP != 0
        if not off.any() or self.choices.bias == "keep":
            return numbers
        if self.choices.bias == "refuse":
            raise NetworkError(
                f"{what}: found {int(off.sum())} of {columns} entries that are no multiple of 128, the "
                f"first {int(numbers[off][0])}; wanted multiples (bias='round' or 'keep' takes them)"
            )
        key = node.name or node.outputs[0]
        self.rounded[key] = self.rounded.get(key, 0) + int(off.sum())
        grid: NDArray[np.int32] = np.asarray(requantize(numbers, _GRID), np.int32)
        grid *= _BIAS_STEP
        return grid

    def table(self, array: NDArray[Any], what: str) -> NDArray[Any]:
        """Numbers as an activation table."""
        flat = integers(array.reshape(-1), what, -128, 255)
        if flat.size and flat.min() < 0 and flat.max() > 127:
            raise NetworkError(
                f"{what}: found entries from {flat.min()} to {flat.max()}, wanted one byte"
            )
        return narrowest(flat, ("int8", "uint8"))

    def axis(self, axis: int, value: Value, what: str = "axis") -> int:
        """An axis counted from the front: 1 or more, and not the time axis."""
        rank = None if value.shape is None else len(value.shape) + 1
        if axis < 0:
            if rank is None:
                raise NetworkError(
                    f"{what}: found {axis}, wanted 1 or more (the input's shape is unknown)"
                )
            axis += rank
        if axis < 1 or (rank is not None and axis >= rank):
            raise NetworkError(
                f"{what}: found {axis}, wanted an axis of the frame's {value.shape}, from 1"
            )
        if self.over_time and rank == 4 and axis == 3:
            raise NetworkError(
                f"{what}: found {axis}, the time axis, in a network that runs over time"
            )
        return axis

    def name(self, node: Node, output: int = 0) -> str:
        """A name that no layer and no input has yet: the node's, or its output's."""
        outputs = [o for o in node.outputs[output : output + 1] if o]
        wanted = [n for n in (node.name if output == 0 else "", *outputs) if n and n.isprintable()]
        for name in wanted:
            if name not in self.taken:
                return name
        base = (wanted or [node.op if node.op.isprintable() else "node"])[0]
        count = self.counted.get(base, 1) + 1
        while f"{base}_{count}" in self.taken:
            count += 1
        self.counted[base] = count  # thousands of equal names cost as many steps, not their square
        return f"{base}_{count}"

    def add(
        self,
        node: Node,
        layer: Layer,
        sources: Sequence[Value],
        *,
        unsigned: bool = False,
        output: int = 0,
        dtype: str = "int8",
    ) -> Value:
        """Append a layer and make it the node's output."""
        shapes = [s.shape for s in sources]
        shape: Shape | None = None
        if all(s is not None for s in shapes):
            shape = tuple(layer.output_shape_many(*shapes))  # type: ignore[arg-type]
            if math.prod(shape) > MAX_CODES:
                raise NetworkError(f"found {shape} codes in a frame, wanted at most {MAX_CODES}")
        self.layers.append(layer)
        self.taken.add(layer.name)
        self.inputs[layer.name] = [s.source for s in sources]
        if node.name:
            self.made_of.setdefault(node.name, layer.name)
        made = Value(layer.name, shape, unsigned, dtype=dtype)
        if output < len(node.outputs) and node.outputs[output]:
            self.bind(node.outputs[output], made)
        return made

    def bind(self, tensor: str, value: Value) -> None:
        """Say what a tensor is; once."""
        if tensor in self.values:
            raise NetworkError(f"output {tensor!r}: found this tensor made twice")
        self.values[tensor] = value

    def widen_input(self, value: Value, width: int) -> Value:
        """Correct the declared width of a network input that goes straight into an array layer."""
        if not value.is_input or value.shape is None or value.shape[-1:] == (width,):
            return value
        others = [n for n, own in self.inputs.items() if value.source in own]
        if others:
            return value  # somebody else took it as declared; the shape check will say more
        warnings.warn(
            f"input {value.source!r}: the file declares {value.shape}, its weights want ({width},), "
            "which is taken",
            OnnxWarning,
            stacklevel=2,
        )
        corrected = replace(value, shape=(width,))
        self.input_shapes[value.source] = (width,)
        for tensor, known in self.values.items():
            if known is value:
                self.values[tensor] = corrected
        return corrected

    def gain(self, node: Node) -> tuple[int, Node | None]:
        """The gain 2^n of the Scale that follows an array operator, and that Scale, now part of it."""
        tensor = node.outputs[0] if node.outputs else ""
        users = self.document.readers.get(tensor, [])
        if len(users) == 1 and tensor not in self.document.outputs:
            scale = self.document.nodes[users[0]]
            if scale.op == "Scale" and scale.outputs and scale.inputs == (tensor,):
                mantissa, exponent = math.frexp(scale.number("scale"))
                if mantissa == 0.5 and _LOG2_GAINS[0] <= 1 - exponent <= _LOG2_GAINS[1]:
                    scale.finish()
                    self.absorbed.add(users[0])
                    return 1 << (1 - exponent), scale
        if self.choices.default_gain is not None:
            return self.choices.default_gain, None
        raise NetworkError(
            f"found no Scale of 2^-8 to 2^-15 that alone reads {tensor!r}, so the gain is unknown; "
            "default_gain= names one"
        )

    def add_array(self, node: Node, layer: Layer, source: Value, scale: Node | None) -> None:
        """Append an array layer; the output of the Scale that gave its gain is its output too."""
        made = self.add(node, layer, [source])
        if scale is not None:
            self.bind(scale.outputs[0], made)

    def positions(self, node: Node, i: int) -> list[int] | None:
        """Input i as positions along an axis; what lies far outside is cut to +-2^62."""
        array = self.constant(node, i)
        if array is None:
            return None
        found = array.reshape(-1).tolist()
        if not all(isinstance(v, int) or (math.isfinite(v) and v == int(v)) for v in found):
            raise NetworkError(f"input {i} {node.inputs[i]!r}: found fractions, wanted integers")
        return [max(min(int(v), _FAR), -_FAR) for v in found]
