# SPDX-License-Identifier: Apache-2.0
"""What one layer needs on the array: blocks of rows and columns, bias rows, a gain, cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittwin.chips import ChipSpec
from bittwin.golden.writing.storable import split_bias
from bittwin.mapping.results import ERROR, WARNING, Finding
from bittwin.optimize import Limits, Optimization, optimize_layer, signed_layer, split_weight
from bittwin.requant import Requant

#: The vendor's optimiser stays within this, the manual allows more (docs/spec/chip.md).
OPTIMISER_CELLS = Limits().weight
#: Lets `bittwin.optimize` compute what a plan gives; what does not fit is said here.
_NO_LIMITS = Limits(1, 1 << 40, 1 << 40, 1 << 40, 1 << 40)
#: Instead of a number of split inputs: nobody says whether the inputs are signed.
UNSAID = -1
#: Part, weight [out, in], bias, rule, inputs split by sign.
Part: TypeAlias = "tuple[str, NDArray[Any], Any, Requant, NDArray[np.bool_] | None]"


@dataclass(frozen=True, eq=False)
class Matrix:
    """One matrix of a layer, as it is put on the array."""

    layer: str
    part: str
    weight: NDArray[Any]
    """[columns, rows], copies and sign halves included."""
    bias: NDArray[np.int32] | None
    requant: Requant
    bias_rows: int

    @property
    def gain(self) -> int | None:
        """Accumulator units per code, where the rule has one gain."""
        gain = self.requant.gain
        return gain if isinstance(gain, int) and self.requant.channels == 1 else None


def layer_matrices(
    layer: Any, chip: ChipSpec, plan: Optimization | None, split_inputs: int | None = None
) -> tuple[list[Matrix], list[Finding]]:
    """The matrices that a layer puts on the array, and what is wrong with each; none for digital layers.

    Args:
        layer: any layer.
        chip: whose limits.
        plan: the mapper's optimisation.
        split_inputs: how many leading inputs (channels) of a signed layer are split by sign, the others being
            shifted by 128; all of them when None; `UNSAID`: the layer is counted as unsigned.
    """
    matrices: list[Matrix] = []
    findings: list[Finding] = []
    most, copies = chip.rows_per_half, 1 << (0 if plan is None else plan.duplicate)
    phases = _rows(_parts(layer, split_inputs), copies) > most and _has_phases(layer)
    if phases:
        rows = _rows(_parts(layer, split_inputs), copies)
        text = f"found {rows} rows as one matrix: counted by the phases of its stride (inferred)"
        findings.append(Finding(layer.name, "rows", WARNING, text))
    for part, weight, bias, requant, signed in _parts(layer, split_inputs, phases):

        def say(level: str, resource: str, text: str, part: str = part) -> None:
            findings.append(
                Finding(layer.name, resource, level, f"{part}: {text}" if part else text)
            )

        if signed is not None and split_inputs is None and not hasattr(layer, "cell"):
            rows = weight.shape[1] * copies
            if rows <= most < 2 * rows:
                signed = np.zeros_like(signed)
                text = f"splitting all of them by sign takes {2 * rows} rows: counted as shifted by 128"
                say(WARNING, "signed inputs", text)
        if signed is not None:
            # Sign halves: X and -X, each with the negatives set to 0 (docs/spec/recurrent.md).
            weight, bias = _split_signs(weight, bias, signed, hasattr(layer, "cell"))
        if plan is not None and isinstance(requant.gain, int):
            try:
                weight, bias, gain = optimize_layer(
                    weight, bias, requant.gain, plan, limits=_NO_LIMITS
                )
                requant = Requant(rule=requant.rule, gain=gain)  # only looked at, never run
            except (ValueError, OverflowError) as error:
                say(ERROR, "optimise config", str(error))
        bias_rows = _bias_rows(bias, chip, say)
        matrix = Matrix(layer.name, part, weight, bias, requant, bias_rows)
        _check(matrix, chip, say)
        matrices.append(matrix)
    if matrices:
        _check_inputs(layer, chip, findings)
        if split_inputs == UNSAID:
            text = "the file does not say whether they are signed: counted as unsigned"
            findings.append(Finding(layer.name, "inputs", WARNING, text))
    return matrices, findings


def _parts(layer: Any, split_inputs: int | None, phases: bool = False) -> Iterator[Part]:
    """Part, weight [out, in], bias, rule, and which inputs are split by sign (None: no one is signed)."""
    from bittwin.network import ArrayLayer

    if isinstance(layer, ArrayLayer):
        sparse: Any = layer
        mode = getattr(layer, "mode", "SIM")  # of a sparse layer
        if mode == "DIG":
            return  # computed by the processor
        weight, bias = (_phase_columns if phases else _dense_columns)(layer)
        if mode == "MIX":
            weight = split_weight(weight, bits=sparse.bits, low=sparse.low)[0]
        signed = None
        if layer.x_signed and split_inputs != UNSAID:
            # Inputs (channels) are the outermost axis of the rows.
            inputs = layer.weight.shape[0 if layer.out_axis == 1 else 1] * getattr(
                layer, "groups", 1
            )
            split = inputs if split_inputs is None else min(split_inputs, inputs)
            signed = np.arange(weight.shape[1]) < split * (weight.shape[1] // max(inputs, 1))
        yield "", weight, bias, layer.requant, signed
        return
    cell = getattr(layer, "cell", None)
    if cell is None:
        return
    if not hasattr(cell, "matrices"):  # TDNN: a linear layer over several frames
        signed = np.ones(cell.weight.shape[1], np.bool_) if layer.x_signed else None
        yield "", cell.weight, cell.bias, cell.requant, signed
        return
    for name, (weight, bias) in cell.matrices().items():
        part = name.removeprefix("weight_")
        yield (
            part,
            weight,
            bias,
            getattr(cell, f"requant_{part}"),
            _signed_inputs(layer, part, weight),
        )


def _signed_inputs(layer: Any, part: str, weight: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which inputs of a recurrent layer's matrix can be negative: the state, and x where it is signed."""
    inputs, hidden = layer.cell.inputs, layer.cell.hidden
    of_x = np.full(inputs if weight.shape[1] != hidden or part == "input" else 0, layer.x_signed)
    of_h = np.ones(weight.shape[1] - of_x.size, np.bool_)
    order = getattr(layer.cell, "row_order", "xh")
    signed = np.concatenate([of_x, of_h] if order == "xh" else [of_h, of_x])
    return signed if signed.any() else None


def _rows(parts: Iterator[Part], copies: int) -> int:
    """Rows of the tallest part, with its sign halves and copies."""
    tall = (w.shape[1] + (0 if s is None else int(s.sum())) for _, w, _, _, s in parts)
    return max(tall, default=0) * copies


def _dense_columns(layer: Any) -> tuple[NDArray[Any], Any]:
    """Weight [out, in] and bias; channel groups as one matrix with zeros (how the chip does it: unknown)."""
    columns: NDArray[Any] = layer.columns()
    groups = getattr(layer, "groups", 1)
    if groups == 1:
        return columns, layer.bias
    out, inner = columns.shape
    dense = np.zeros((out, inner * groups), columns.dtype)
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        dense[rows, group * inner : (group + 1) * inner] = columns[rows]
    return dense, layer.bias


def _has_phases(layer: Any) -> bool:
    """A transposed convolution whose outputs see only a part of the kernel each."""
    return bool(layer.kind.endswith("conv_transpose2d") and max(layer.stride) > 1)


def _phase_columns(layer: Any) -> tuple[NDArray[Any], Any]:
    """A transposed convolution as an ordinary one with as many outputs per position as its stride has phases.

    Output h sees the kernel rows i with (h + padding - i) divisible by the stride, so a phase needs
    ceil(kh / stride) of them. Inferred: a shipped config splits the 112 inputs of a 3 x 2 kernel with stride
    (2, 1) by sign, which fits the 896 rows of a half in this layout and no other.
    """
    inputs, outputs, height, width = layer.weight.shape
    (sh, sw), reach = layer.stride, layer.dilation
    taps = np.zeros(
        (inputs, outputs, (height - 1) * reach[0] + 1, (width - 1) * reach[1] + 1),
        layer.weight.dtype,
    )
    taps[:, :, :: reach[0], :: reach[1]] = layer.weight
    pads = (-taps.shape[2] % sh, -taps.shape[3] % sw)
    taps = np.pad(taps, ((0, 0), (0, 0), (0, pads[0]), (0, pads[1])))
    cut = taps.reshape(inputs, outputs, taps.shape[2] // sh, sh, taps.shape[3] // sw, sw)
    table = cut.transpose(1, 3, 5, 0, 2, 4)
    bias = None if layer.bias is None else np.repeat(layer.bias, sh * sw)
    return np.ascontiguousarray(table.reshape(outputs * sh * sw, -1)), bias


def _split_signs(
    weight: NDArray[Any], bias: Any, signed: NDArray[np.bool_], others_unsigned: bool
) -> tuple[NDArray[Any], Any]:
    """Rows W for the positive half and -W for the negative one; the other inputs are shifted by 128."""
    first = np.concatenate([weight[:, signed], weight[:, ~signed]], axis=1)
    count = int(signed.sum())
    if others_unsigned:  # beside a recurrent state: neither a second half nor a shift
        return np.concatenate([first, -first[:, :count].astype(np.int16)], axis=1), bias
    return signed_layer(first, bias, count, limits=_NO_LIMITS)


def _bias_rows(bias: Any, chip: ChipSpec, say: Any) -> int:
    """Bias rows that the bias takes; says what it cannot hold."""
    if bias is None:
        return 1
    odd = int(np.count_nonzero(bias % chip.bias_input))
    if odd:
        say(
            WARNING,
            "bias rows",
            f"found {odd} of {bias.size} biases that are no multiples of {chip.bias_input}, "
            "which is what bias rows hold",
        )
    grid = np.rint(bias / chip.bias_input).astype(np.int64) * chip.bias_input  # half even
    try:
        return len(split_bias(grid, bias.size, "bias"))
    except ValueError:
        pass
    most = chip.bias_rows * chip.cell_limit * chip.bias_input
    largest = int(grid[np.abs(grid).argmax()])
    if abs(largest) > most:
        say(ERROR, "bias rows", f"found the bias {largest}, wanted -{most}..{most}")
    else:
        cell = -(-abs(largest) // (chip.bias_rows * chip.bias_input))
        say(
            WARNING,
            "bias rows",
            f"found the bias {largest}, which takes cells of {cell} in all {chip.bias_rows} rows "
            "(more than int8, within the manual's limit)",
        )
    return chip.bias_rows


def _check(matrix: Matrix, chip: ChipSpec, say: Any) -> None:
    columns, rows = matrix.weight.shape
    if rows > chip.rows_per_half:
        say(
            ERROR,
            "rows",
            f"found {rows}, wanted at most {chip.rows_per_half} (one half of the array)",
        )
    if columns > chip.columns:
        say(WARNING, "columns", f"found {columns}: they take several blocks of {chip.columns}")
    if matrix.weight.size:
        largest = int(np.abs(matrix.weight.astype(np.int64)).max())
        if largest > chip.cell_limit:
            say(
                ERROR, "weights",
                f"found {largest}, wanted -{chip.cell_limit}..{chip.cell_limit} (more only in the "
                "sparse modes)",
            )  # fmt: skip
        elif largest > OPTIMISER_CELLS:
            say(
                WARNING,
                "weights",
                f"found {largest}, the mapper's optimiser stays within {OPTIMISER_CELLS}",
            )
    _check_rule(matrix, chip, say)


def _check_rule(matrix: Matrix, chip: ChipSpec, say: Any) -> None:
    gain, rule = matrix.gain, matrix.requant
    ends = f"a power of two {chip.gains[0]}..{chip.gains[-1]}"
    if gain is None:
        say(ERROR, "gain", f"found the rule {rule.rule} without a single gain, wanted {ends}")
        return
    if gain not in chip.gains:
        say(ERROR, "gain", f"found {gain}, wanted {ends}")
    elif gain not in chip.mapper_gains:
        last = chip.mapper_gains[-1]
        say(WARNING, "gain", f"found {gain}: the register takes it, the mapper ends at {last}")
    if rule.rule != "readout":
        say(WARNING, "rule", f"found {rule.rule}, the array rounds by readout")


def _check_inputs(layer: Any, chip: ChipSpec, findings: list[Finding]) -> None:
    bits = int(getattr(getattr(layer, "cell", layer), "x_bits", 8))
    if bits > max(chip.x_bits):
        text = f"found {bits} bits, wanted at most {max(chip.x_bits)}"
        findings.append(Finding(layer.name, "inputs", ERROR, text))
    elif bits > 8 and not hasattr(layer, "low_bits"):
        text = f"found {bits} bits in one round, the array reads 8 (a split layer takes two rounds)"
        findings.append(Finding(layer.name, "inputs", WARNING, text))
