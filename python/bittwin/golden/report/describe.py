# SPDX-License-Identifier: Apache-2.0
"""What is in a dump or a network: layers, shapes, gains, regions, bias rows, accumulator bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bittwin.golden.report.tables import Block, Cell, Line, Table, count

if TYPE_CHECKING:
    from bittwin.golden.dump import Dump, DumpLayer
    from bittwin.network import Network


def dump_facts(dump: Dump) -> dict[str, Any]:
    """Facts of a dump as plain objects, for JSON and the report."""
    return {
        "kind": "dump",
        "path": str(dump.path),
        "nets": list(dump.nets),
        "sidecar": dump.sidecar,
        "calibration_start": dump.calibration_start,
        "layers": [_dump_layer(layer) for layer in dump.layers],
        "notes": list(dump.notes),
    }


def network_facts(network: Network, path: str) -> dict[str, Any]:
    """Facts of a network as plain objects."""
    return {
        "kind": "network",
        "path": path,
        "name": network.name,
        "input_shape": None if network.input_shape is None else list(network.input_shape),
        "layers": [_operator(layer) for layer in network.layers],
        "notes": [],
    }


def _operator(layer: Any) -> dict[str, Any]:
    """A network layer: kind, shape of the weights, requantiser, bound."""
    found: dict[str, Any] = {"name": layer.name, "kind": layer.kind}
    weight = getattr(layer, "weight", None)
    if weight is not None:
        found["weight_shape"] = list(weight.shape)
        found["weight_range"] = [int(weight.min()), int(weight.max())] if weight.size else None
        bias = getattr(layer, "bias", None)
        found["bias_used"] = bool(bias is not None and np.any(bias))
    requant = getattr(layer, "requant", None)
    if requant is not None:
        found["rule"] = requant.rule
        found["gain"] = requant.gain
    bound = layer.bound()
    found["accumulator"] = None
    if bound is not None:
        found["accumulator"] = {
            "low": int(bound.low),
            "high": int(bound.high),
            "column": int(bound.column),
            "fits_int32": bool(bound.fits),
            "int32_share": max(abs(int(bound.low)), abs(int(bound.high))) / 2**31,
        }
    for key in ("limit", "stride", "padding", "dilation", "groups", "output_padding", "x_bits"):
        value = getattr(layer, key, None)
        if value is not None:
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def _dump_layer(layer: DumpLayer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": layer.name,
        "net": layer.net,
        "index": layer.index,
        "kind": None if layer.operator is None else layer.operator.kind,
        "in": layer.in_columns,
        "out": layer.out_columns,
        "gain": layer.gain,
        "rule": None if layer.operator is None else layer.operator.requant.rule,
        "activation": layer.activation_label,
        "activation_source": layer.activation_source,
        "activation_inferred": layer.inferred,
        "linked": layer.linked,
        "link_note": layer.link_note,
        "region": None,
        "bias_rows": None,
        "bias_rows_used": None,
        "bias_high": layer.bias_high is not None,
        "sets": {
            s.name: {
                "frames": s.frames,
                "input": s.input is not None,
                "output": s.output is not None,
                "order_known": s.frame_index is not None,
            }
            for s in layer.sets
        },
        "operator": None if layer.operator is None else _operator(layer.operator),
    }
    if layer.region is not None:
        r = layer.region
        found["region"] = {
            "columns": [r.column_first, r.column_last],
            "rows": [r.row_first, r.row_last],
            "bias_rows": [r.bias_first, r.bias_last],
        }
    if layer.bias_rows is not None:
        found["bias_rows"] = int(layer.bias_rows.shape[0])
        found["bias_rows_used"] = int(np.count_nonzero(np.any(layer.bias_rows != 0, axis=1)))
    return found


def describe_dump(facts: dict[str, Any]) -> list[Block]:
    """The report of a dump."""
    nets = len(facts["nets"])
    layers = facts["layers"]
    sidecar = "with" if facts["sidecar"] else "without"
    blocks: list[Block] = [
        Line(
            f"{facts['path']}: dump, {len(layers)} layer{'s' * (len(layers) != 1)} in {nets} "
            f"net{'s' * (nets != 1)}, {sidecar} sidecar bittwin.json, "
            f"calibration starts at frame {facts['calibration_start']}",
            "bold",
        )
    ]
    table = Table(
        [
            "layer",
            "net",
            "kind",
            "shape",
            "gain",
            "rule",
            "activation",
            "array columns",
            "rows",
            "bias rows",
            "accumulator",
            "of INT32",
            "expected",
            "complete",
            "debug",
        ],
        right=(1, 4, 11, 12, 13, 14),
    )
    for x in layers:
        region = x["region"] or {}
        bound = (x["operator"] or {}).get("accumulator")
        how = "inferred: " if x["activation_inferred"] else ""
        table.rows.append(
            [
                Cell(x["name"], "bold"),
                Cell(str(x["net"])),
                Cell(x["kind"] or "no weights"),
                Cell(f"{x['in']} -> {x['out']}"),
                Cell(str(x["gain"])),
                Cell(x["rule"] or "-"),
                Cell(f"{x['activation']} ({how}{x['activation_source']})"),
                Cell(_ends(region.get("columns"))),
                Cell(_ends(region.get("rows"))),
                Cell(_bias(x)),
                *_bound_cells(bound),
                *(Cell(_frames(x["sets"].get(name))) for name in ("expected", "complete", "debug")),
            ]
        )
    blocks.append(table)
    for x in layers:
        if x["index"] > 1 and not x["linked"]:
            note = x["link_note"] or "not known to read the layer before it"
            blocks.append(Line(f"note: {x['name']}: {note}", "dim"))
        if x["bias_high"]:
            blocks.append(
                Line(f"note: {x['name']}: bias_high.txt is not zero; it is not applied", "dim")
            )
    return blocks + [Line(f"note: {note}", "dim") for note in facts["notes"]]


def describe_network(facts: dict[str, Any]) -> list[Block]:
    """The report of a network."""
    shape = facts["input_shape"]
    blocks: list[Block] = [
        Line(
            f"{facts['path']}: network {facts['name']}, {len(facts['layers'])} layers"
            + (f", input {shape}" if shape else ""),
            "bold",
        )
    ]
    table = Table(
        [
            "layer",
            "kind",
            "weights",
            "weight range",
            "bias",
            "rule",
            "gain",
            "accumulator",
            "of INT32",
        ],
        right=(6, 8),
    )
    for x in facts["layers"]:
        weights = " x ".join(str(n) for n in x.get("weight_shape", ())) or "-"
        table.rows.append(
            [
                Cell(x["name"], "bold"),
                Cell(x["kind"]),
                Cell(weights),
                Cell(_ends(x.get("weight_range"))),
                Cell("-" if "bias_used" not in x else "yes" if x["bias_used"] else "zero"),
                Cell(x.get("rule") or "-"),
                Cell("-" if x.get("gain") is None else str(x["gain"])),
                *_bound_cells(x["accumulator"]),
            ]
        )
    blocks.append(table)
    return blocks


def _ends(pair: list[int] | None) -> str:
    return "-" if not pair else f"{pair[0]}..{pair[1]}"


def _bias(layer: dict[str, Any]) -> str:
    if layer["bias_rows"] is None:
        return "-"
    region = layer["region"]
    where = f" ({_ends(region['bias_rows'])})" if region else ""
    return f"{layer['bias_rows_used']} of {layer['bias_rows']} used{where}"


def _bound_cells(bound: dict[str, Any] | None) -> list[Cell]:
    if bound is None:
        return [Cell("-"), Cell("-")]
    style = "" if bound["fits_int32"] else "bold red"
    span = f"{count(bound['low'])}..{count(bound['high'])}"
    return [Cell(span, style), Cell(f"{100 * bound['int32_share']:.2f} %", style)]


def _frames(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    if found["input"] and found["output"]:
        return str(found["frames"])
    return f"{found['frames']} ({'input' if found['input'] else 'output'} only)"
