# SPDX-License-Identifier: Apache-2.0
"""Small dumps in memory, right until a test spoils one of their arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

import bittwin
from bittwin.golden.dump import CodeSet, Dump, DumpLayer
from bittwin.network import Linear, Relu

START = 4  # calibration_start


@dataclass(eq=False)
class ArrayCodes:
    """Golden codes held in an array that tests may change."""

    array: np.ndarray
    source: str

    @property
    def frames(self):
        return self.array.shape[0]

    @property
    def columns(self):
        return self.array.shape[1]

    def block(self, start, stop):
        assert 0 <= start <= stop <= self.frames
        return self.array[start:stop].copy()


@dataclass(eq=False)
class Case:
    """A dump and the arrays that it reads."""

    dump: Dump
    inputs: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)

    def verify(self, **choices):
        return bittwin.verify(self.dump, **choices)

    def layer(self, name):
        return self.dump.layer(name)


def result(found, name, set_name="expected", mode="teacher_forced"):
    """The entry of one layer, set and mode."""
    (one,) = [r for r in found.layers if (r.name, r.set, r.mode) == (name, set_name, mode)]
    return one


def top(found, name, set_name="expected", mode="teacher_forced"):
    """The first diagnosis of one layer, set and mode."""
    return result(found, name, set_name, mode).diagnosis[0]


def make_case(
    widths=(24, 32, 20, 12), *, frames=60, rule="readout", gain=256, seed=0, bias=True, relu=True,
    x_signed=False, sets=("expected", "complete", "debug"), x_high=200,
):  # fmt: skip
    """A chain of linear layers with ReLU between them, expected rows shuffled with repeats."""
    rng = np.random.default_rng(seed)
    low = -x_high // 2 if x_signed else 0
    high = x_high // 2 if x_signed else x_high
    x = rng.integers(low, high, (frames, widths[0])).astype(np.int16)
    case = Case(None)
    layers = []
    complete = np.arange(START, frames)
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        name = f"linear_{i + 1}"
        last = i + 2 == len(widths)
        signed = x_signed and i == 0
        operator = Linear(
            name,
            rng.integers(-40, 44, (n_out, n_in)).astype(np.int8),
            (rng.integers(-30, 30, n_out) * 128).astype(np.int32) if bias else None,
            bittwin.requant.by_name(rule, gain * (1 if i == 0 else 4)),
            x_signed=signed,
        )
        activation = () if last or not relu else (Relu(f"{name}.relu", 1),)
        layer = DumpLayer(
            net=0, index=i + 1, name=name, operator=operator, activation=activation,
            activation_label="relu" if activation else "none", activation_source="sidecar",
            inferred=False, linked=i > 0 and relu, link_note="" if relu else "not chained in this test",
            in_columns=n_in, out_columns=n_out, gain=operator.requant.gain, bias_rows=None,
            bias_high=None, region=None, sets=(),
        )  # fmt: skip
        before = layer.run_rows(x).astype(np.int16)
        after = layer.activate_rows(before).astype(np.int16)
        shuffled = rng.permutation(frames - START)
        index = {
            "expected": START + np.concatenate([shuffled, shuffled[:6]]),
            "complete": complete,
            "debug": np.arange(frames),
        }
        found = []
        for set_name in sets:
            rows = index[set_name].astype(np.int64)
            case.inputs[name, set_name] = x[rows]
            case.outputs[name, set_name] = (after if set_name == "debug" else before)[rows]
            found.append(
                CodeSet(
                    set_name,
                    ArrayCodes(case.inputs[name, set_name], f"{set_name}_in"),
                    ArrayCodes(case.outputs[name, set_name], f"{set_name}_out"),
                    set_name == "debug",
                    rows,
                )
            )
        layers.append(_replace(layer, sets=tuple(found)))
        x = after if relu else rng.integers(0, x_high, (frames, n_out)).astype(np.int16)
    case.dump = Dump(Path("memory"), tuple(layers), START, False, ())
    return case


def _replace(layer, **changes):
    from dataclasses import replace

    return replace(layer, **changes)
