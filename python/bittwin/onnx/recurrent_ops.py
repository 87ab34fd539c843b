# SPDX-License-Identifier: Apache-2.0
"""Importers of Tdnn, Lstm, Gru (both forms) and Gru2Array. The file's weights are [in, out]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import network as n
from bittwin import recurrent as r
from bittwin.errors import NetworkError
from bittwin.onnx.builder import Builder, Value
from bittwin.onnx.document import Node
from bittwin.onnx.tensors import integers
from bittwin.requant import Requant, readout


def _weight(b: Builder, node: Node, i: int) -> NDArray[Any]:
    return b.weight(b.codes(node, i, 2).T)


def _gain(node: Node, name: str) -> Requant:
    """An attribute that holds a gain, 1024 say."""
    return readout(node.integer(name))


def _tables(b: Builder, node: Node, count: int) -> dict[str, Any]:
    """A cell's tables, of one TENSOR [n, size] or of a list of TENSORS, whose lengths may differ."""
    known = {"sigmoid", "tanh"}
    types = node.texts("activate_type")
    if set(types) - known:
        raise NetworkError(f"attribute 'activate_type': found {types}, wanted sigmoid and tanh")
    rows: list[NDArray[Any]] = []
    for array in node.tensors("activate_table"):
        rows += list(array.reshape(-1, array.shape[-1])) if array.ndim and array.size else []
    if len(rows) != count:
        raise NetworkError(f"attribute 'activate_table': found {len(rows)} tables, wanted {count}")
    names = ("sigmoid_table", "tanh_table", "state_table")
    return {
        name: b.table(row, f"attribute 'activate_table'[{i}]")
        for i, (name, row) in enumerate(zip(names, rows, strict=False))
    }


def _shifts(node: Node, counts: tuple[int, ...], default: tuple[int, ...]) -> tuple[int, ...]:
    found = node.numbers("shift_bits")
    shifts = default if found is None else tuple(found)
    if len(shifts) not in counts:
        raise NetworkError(
            f"attribute 'shift_bits': found {len(shifts)} entries, wanted {' or '.join(map(str, counts))}"
        )
    return shifts


def _source(b: Builder, node: Node, width: int) -> Value:
    return b.widen_input(b.value(node, 0), width)


def lstm(b: Builder, node: Node) -> None:
    """``Lstm(x, W_ioft, W_ct, b_ioft, b_ct; ...)``: columns i | f | o, x before h in the rows."""
    gates, candidate = _weight(b, node, 1), _weight(b, node, 2)
    cell = r.LstmCell(
        gates,
        candidate,
        b.bias(node, 3, gates.shape[0]),
        b.bias(node, 4, candidate.shape[0]),
        _gain(node, "scale_ioft"),
        _gain(node, "scale_ct"),
        **_tables(b, node, 3),
        shift_bits=_shifts(node, (2, 4), (0, 0, -7, -7)),
        clean_after=node.integer("clean_ctht", 0),
    )
    source = _source(b, node, cell.inputs)
    b.add(node, n.Lstm(b.name(node), cell, not source.unsigned), [source])


def gru(b: Builder, node: Node) -> None:
    """``Gru`` with 5 inputs (x, W_zr, W_h, b_zr, b_h) or 7 (x, W1, W2, W3, b1, b2, b3)."""
    if len(node.inputs) == 7:
        _gru_new(b, node)
        return
    if len(node.inputs) != 5:
        raise NetworkError(f"found {len(node.inputs)} inputs, wanted 5 or 7")
    gates, candidate = _weight(b, node, 1), _weight(b, node, 2)
    cell = r.GruCell(
        gates,
        candidate,
        b.bias(node, 3, gates.shape[0]),
        b.bias(node, 4, candidate.shape[0]),
        _gain(node, "scale_zr"),
        _gain(node, "scale_ht"),
        **_tables(b, node, 2),
        shift_bits=_shifts(node, (2,), (-7, -7)),
        ones=node.integer("scale_ones", 127),
        clean_after=node.integer("clean_ht", 0),
    )
    source = _source(b, node, cell.inputs)
    b.add(node, n.Gru(b.name(node), cell, not source.unsigned), [source])


def _gru_new(b: Builder, node: Node) -> None:
    gates, hidden, source_weight = (_weight(b, node, i) for i in (1, 2, 3))
    cell = r.GruNewCell(
        gates,
        hidden,
        source_weight,
        b.bias(node, 4, gates.shape[0]),
        b.bias(node, 5, hidden.shape[0]),
        b.bias(node, 6, source_weight.shape[0]),
        _gain(node, "scale_zr"),
        _gain(node, "scale_ht"),
        _gain(node, "scale_in"),
        **_tables(b, node, 2),
        shift_bits=_shifts(node, (2,), (-7, -7)),
        ones=node.integer("scale_ones", 127),
        clean_after=node.integer("clean_ht", 0),
    )
    source = _source(b, node, cell.inputs)
    b.add(node, n.GruNew(b.name(node), cell, not source.unsigned), [source])


def gru2array(b: Builder, node: Node) -> None:
    """``Gru2Array(x, W1, W2, b1, b2; ...)``: columns z | r | n."""
    node.integer("input_offset", 0)  # the tool does not use it
    if node.integer("groupNum", 1) not in (0, 1):
        raise NetworkError(f"attribute 'groupNum': found {node.integer('groupNum')}, wanted 0 or 1")
    w_input, w_hidden = _weight(b, node, 1), _weight(b, node, 2)
    cell = r.Gru2ArrayCell(
        w_input,
        w_hidden,
        b.bias(node, 3, w_input.shape[0]),
        b.bias(node, 4, w_hidden.shape[0]),
        _gain(node, "scale_input"),
        _gain(node, "scale_hidden"),
        **_tables(b, node, 2),
        shift_bits=_shifts(node, (4,), (-7, -7, 0, 0)),
        hidden_shift=node.integer("hidden_shift_bit", 0),
        ones=node.integer("scale_ones", 128),
        clean_after=node.integer("clean_ht", 0),
    )
    source = _source(b, node, cell.inputs)
    b.add(node, n.Gru2Array(b.name(node), cell, not source.unsigned), [source])


def tdnn(b: Builder, node: Node) -> None:
    """``Tdnn(x, W; time_offsets, bias_params, scale_params)``."""
    weight = _weight(b, node, 1)
    offsets = node.tensors("time_offsets")
    if len(offsets) != 1:
        raise NetworkError("attribute 'time_offsets': found none, wanted one tensor")
    times = integers(offsets[0].reshape(-1), "attribute 'time_offsets'", -(1 << 20), 1 << 20)
    biases = node.tensors("bias_params")
    bias: NDArray[np.int32] | None = None
    if biases:
        bias = b.bias_codes(node, biases[0], "attribute 'bias_params'", weight.shape[0])
    cell = r.TdnnCell(weight, bias, _gain(node, "scale_params"), tuple(int(t) for t in times))
    source = _source(b, node, cell.inputs)
    b.add(node, n.Tdnn(b.name(node), cell, not source.unsigned), [source])
