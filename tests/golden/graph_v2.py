# SPDX-License-Identifier: Apache-2.0
"""The graph in `network_v2.npz` and its codes by the big-integer oracle.

``python tests/golden/graph_v2.py FOLDER`` wrote the two files; they are never written again.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import bittwin
from bittwin import tables
from bittwin.network import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    Linear,
    Lookup,
    Lstm,
    MaxPool,
    Mul,
    Network,
    Relu,
    Rescale,
)
from bittwin.recurrent import LstmCell
from bittwin.testing import oracle

FRAMES = 12
SHAPES = {"image": (2, 5, 4), "context": (3,)}
Codes = dict[str, np.ndarray]


def parameters() -> Codes:
    """Weights and biases, by name."""
    rng = np.random.default_rng(2026)

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-128, 128, shape).astype(np.int8)

    def bias(count: int) -> np.ndarray:
        return (128 * rng.integers(-60, 60, count)).astype(np.int32)

    return {
        "conv": weight(3, 2, 3, 3), "conv_bias": bias(3), "fc": weight(4, 36), "fc_bias": bias(4),
        "ctx": weight(4, 3), "gates": weight(9, 11), "gates_bias": bias(9), "candidate": weight(3, 11),
        "candidate_bias": bias(3),
    }  # fmt: skip


def inputs() -> Codes:
    """Codes of both inputs: ends and zeros among them."""
    rng = np.random.default_rng(7)
    image = rng.integers(0, 256, (FRAMES, *SHAPES["image"]))
    image[rng.random(image.shape) < 0.3] = 255
    context = rng.integers(-255, 256, (FRAMES, *SHAPES["context"]))
    context[rng.random(context.shape) < 0.3] = -255
    image[0], context[0] = 0, 0
    return {"image": image.astype(np.uint8), "context": context.astype(np.int16)}


def network() -> Network:
    """A branch, a sum, a product, a join, a memory and two outputs."""
    p = parameters()
    sigmoid, tanh = tables.sigmoid(256, q_in=5), tables.tanh(256, q_in=7)
    cell = LstmCell(p["gates"], p["candidate"], p["gates_bias"], p["candidate_bias"], bittwin.readout(2048),
                    bittwin.readout(1024), sigmoid, tanh, tanh, shift_bits=(0, 0, -7, -7))  # fmt: skip
    layers = [
        Conv2d(
            "conv",
            p["conv"],
            p["conv_bias"],
            bittwin.readout(2048),
            padding=(1, 1, 1, 1),
            pad_value=3,
        ),
        Relu("relu", gain=2),
        MaxPool("pool", 2, 1),
        Flatten("flat"),
        Linear("fc", p["fc"], p["fc_bias"], bittwin.half_even(4096)),
        Lookup("gate", sigmoid),
        Linear("ctx", p["ctx"], None, bittwin.readout(512), x_signed=True),
        Mul("mul", -7),
        Add("sum", bits=16, broadcast="numpy"),
        Rescale("scale", -1, 0, -128, 127),
        Concat("cat"),
        Lstm("memory", cell, x_signed=True),
    ]
    wires = {
        "conv": ["image"], "gate": ["fc"], "ctx": ["context"], "mul": ["gate", "ctx"], "sum": ["mul", "fc"],
        "scale": ["sum"], "cat": ["scale", "fc"], "memory": ["cat"],
    }  # fmt: skip
    return Network(layers, "graph_v2", inputs=wires, outputs=["memory", "sum"], input_shapes=SHAPES)


# -- by the oracle ----------------------------------------------------------------------------


def half_up(v: int, bits: int) -> int:
    return (v + (1 << (bits - 1))) >> bits


def int8(v: int) -> int:
    return min(max(v, -128), 127)


def oracle_codes(x: Codes) -> Codes:
    """The codes of every layer but those that only move them."""
    p = parameters()
    sigmoid, tanh = tables.sigmoid(256, q_in=5).tolist(), tables.tanh(256, q_in=7).tolist()
    conv = oracle.readout(
        oracle.conv2d(x["image"], p["conv"], p["conv_bias"], padding=(1, 1, 1, 1), pad_value=3),
        gain=2048,
    )
    relu = oracle.relu(conv, gain=2)
    pool = np.array([[[[max(image[r : r + 2, c : c + 2].ravel()) for c in range(3)] for r in range(4)]
                      for image in frame] for frame in relu])  # fmt: skip
    flat = pool.reshape(len(pool), -1)
    fc = oracle.linear(flat, p["fc"], p["fc_bias"], partial(oracle.half_even, gain=4096))
    gate = oracle.lookup(fc, sigmoid)
    ctx = oracle.linear(x["context"], p["ctx"], None, partial(oracle.readout, gain=512))
    mul = np.vectorize(lambda a, b: int8(half_up(int(a) * int(b), 7)))(gate, ctx)
    total = mul + fc
    scale = np.vectorize(lambda v: int8(round(int(v) / 2)))(total)
    cat = np.concatenate([scale, fc], 1)
    h, c, memory = [0] * 3, [0] * 3, []
    for frame in cat:
        v = [*frame.tolist(), *h]
        product = partial(oracle.linear, [v])
        g = product(p["gates"], p["gates_bias"], partial(oracle.readout, gain=2048))[0].tolist()
        n = product(p["candidate"], p["candidate_bias"], partial(oracle.readout, gain=1024))[
            0
        ].tolist()
        i, f, o = (([sigmoid[k & 255] for k in g[s : s + 3]]) for s in (0, 3, 6))
        c = [int8(half_up(f[j] * c[j] + i[j] * tanh[n[j] & 255], 7)) for j in range(3)]
        h = [int8(half_up(o[j] * tanh[c[j] & 255], 7)) for j in range(3)]
        memory.append(h)
    return {"conv": conv, "relu": relu, "pool": pool, "fc": fc, "gate": gate, "ctx": ctx, "mul": mul,
            "sum": total, "scale": scale, "cat": cat, "memory": np.array(memory)}  # fmt: skip


def main(folder: Path) -> None:
    network().save(folder / "network_v2.npz")
    x = inputs()
    codes: dict[str, Any] = {f"input/{k}": v for k, v in x.items()}
    codes |= {f"codes/{k}": v.astype(np.int16) for k, v in oracle_codes(x).items()}
    np.savez_compressed(folder / "network_v2_codes.npz", **codes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
