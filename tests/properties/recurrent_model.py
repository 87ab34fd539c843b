# SPDX-License-Identifier: Apache-2.0
"""The recurrent cells once more, in plain Python integers, one number at a time.

Written from docs/spec/recurrent.md alone and sharing nothing with the package: lists of ints in, lists of
ints out. A model is called with one frame and the state, and returns all that the frame computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Ints = Sequence[int]
Rows = Sequence[Sequence[int]]


def limit(v: int, low: int, high: int) -> int:
    return low if v < low else high if v > high else v


def readout(acc: int, gain: int) -> int:
    t = abs(acc) * 4 // gain
    return limit(((t if acc >= 0 else -t) + 2) >> 2, -128, 127)


def shift(v: int, bits: int, rounding: str = "half_up") -> int:
    if bits >= 0:
        return v * 2**bits
    divisor = 2**-bits
    quotient, rest = divmod(v, divisor)
    if rounding == "floor":
        return quotient
    above = 2 * rest > divisor or (2 * rest == divisor and rounding == "half_up")
    return quotient + above


def wrap16(v: int) -> int:
    return (v + 32768) % 65536 - 32768


def store16(v: int, overflow: str) -> int:
    return wrap16(v) if overflow == "wrap16" else limit(v, -32768, 32767)


def dot(row: Ints, codes: Ints) -> int:
    return sum(a * b for a, b in zip(row, codes, strict=True))


def product(weight: Rows, codes: Ints, bias: Ints | None, gain: int) -> list[int]:
    offsets = bias or [0] * len(weight)
    return [readout(dot(row, codes) + b, gain) for row, b in zip(weight, offsets, strict=True)]


def look(table: Ints, code: int) -> int:
    return table[(2 * code if len(table) == 1024 else code) % len(table)]


def look_sum(table: Ints, total: int, sum_bits: int) -> int:
    if len(table) == 256 or sum_bits == 8:
        return look(table, limit(total, -128, 127))
    return table[limit(2 * total, -512, 511) % 1024]


def lstm(p: dict[str, Any], x: Ints, state: tuple[list[int], list[int]]) -> dict[str, list[int]]:
    h, c = state
    size = len(h)
    fed = [max(v, -127) for v in h] if p["cmodel"] else h
    v = [*x, *fed]
    gates = product(p["weight_gates"], v, p["bias_gates"], p["gain_gates"])
    candidate = product(p["weight_candidate"], v, p["bias_candidate"], p["gain_candidate"])
    gated = [look(p["sigmoid_table"], g) for g in gates]
    i, f, o = gated[:size], gated[size : 2 * size], gated[2 * size :]
    n = [look(p["tanh_table"], q) for q in candidate]
    bits = p["shift_bits"] if len(p["shift_bits"]) == 4 else (0, 0, *p["shift_bits"])
    r, kind = p["rounding"], p["product_overflow"]
    fc = [store16(shift(a * b, bits[0], r), kind) for a, b in zip(f, c, strict=True)]
    ic = [store16(shift(a * b, bits[1], r), kind) for a, b in zip(i, n, strict=True)]
    total = [a + b for a, b in zip(fc, ic, strict=True)]
    new_c = [limit(shift(v, bits[2], r), -128, 127) for v in total]
    c_tanh = [look(p["state_table"], v) for v in new_c]
    new_h = [limit(shift(a * b, bits[3], r), -128, 127) for a, b in zip(o, c_tanh, strict=True)]
    return {"h": new_h, "c": new_c, "gates": gates, "candidate": candidate, "i": i, "f": f, "o": o,
            "n": n, "fc": fc, "ic": ic, "c_sum": total, "c_tanh": c_tanh}  # fmt: skip


def blend(p: dict[str, Any], z: Ints, n: Ints, h: Ints, bits: tuple[int, int, int]) -> Any:
    sums, codes = [], []
    for gate, new, old in zip(z, n, h, strict=True):
        first, second = (new, old) if p["blend"] == "torch" else (old, new)
        total = shift((p["ones"] - gate) * first, bits[1]) + shift(gate * second, bits[2])
        sums.append(total)
        codes.append(limit(shift(total, bits[0], p["blend_rounding"]), p["lowest"], 127))
    return sums, codes


def ordered(p: dict[str, Any], h: Ints, x: Ints) -> list[int]:
    return [*h, *x] if p["row_order"] == "hx" else [*x, *h]


def gru(p: dict[str, Any], x: Ints, state: tuple[list[int]]) -> dict[str, list[int]]:
    (h,) = state
    size = len(h)
    gates = product(p["weight_gates"], ordered(p, h, x), p["bias_gates"], p["gain_gates"])
    gated = [look(p["sigmoid_table"], g) for g in gates]
    z, r = gated[:size], gated[size:]
    bits = p["shift_bits"]
    rh = [limit(shift(a * b, bits[0], p["rounding"]), -128, 127) for a, b in zip(r, h, strict=True)]
    candidate = product(
        p["weight_candidate"], ordered(p, rh, x), p["bias_candidate"], p["gain_candidate"]
    )
    n = [look(p["tanh_table"], q) for q in candidate]
    total, new_h = blend(p, z, n, h, (bits[1], 0, 0))
    return {"h": new_h, "gates": gates, "candidate": candidate, "z": z, "r": r, "rh": rh, "n": n,
            "h_sum": total}  # fmt: skip


def gru_new(p: dict[str, Any], x: Ints, state: tuple[list[int]]) -> dict[str, list[int]]:
    (h,) = state
    size = len(h)
    gates = product(p["weight_gates"], ordered(p, h, x), p["bias_gates"], p["gain_gates"])
    gated = [look(p["sigmoid_table"], g) for g in gates]
    z, r = gated[:size], gated[size:]
    b = product(p["weight_hidden"], h, p["bias_hidden"], p["gain_hidden"])
    a = product(p["weight_input"], x, p["bias_input"], p["gain_input"])
    bits = p["shift_bits"]
    rb = [shift(u * v, bits[0], p["rounding"]) for u, v in zip(r, b, strict=True)]
    n = [look_sum(p["tanh_table"], u + v, p["sum_bits"]) for u, v in zip(a, rb, strict=True)]
    total, new_h = blend(p, z, n, h, (bits[1], 0, 0))
    return {"h": new_h, "gates": gates, "hidden": b, "input": a, "z": z, "r": r, "rb": rb, "n": n,
            "h_sum": total}  # fmt: skip


def gru2array(p: dict[str, Any], x: Ints, state: tuple[list[int]]) -> dict[str, list[int]]:
    (h,) = state
    size = len(h)
    a = product(p["weight_input"], x, p["bias_input"], p["gain_input"])
    b = product(p["weight_hidden"], h, p["bias_hidden"], p["gain_hidden"])
    top = 128 if p["hidden_overflow"] == "saturate" else 32768
    b = [limit(shift(v, p["hidden_shift"], p["rounding"]), -top, top - 1) for v in b]
    sums = [u + v for u, v in zip(a, b, strict=True)]
    gated = [look_sum(p["sigmoid_table"], v, p["sum_bits"]) for v in sums[: 2 * size]]
    z, r = gated[:size], gated[size:]
    bits = p["shift_bits"]
    rb = [shift(u * v, bits[0], p["rounding"]) for u, v in zip(r, b[2 * size :], strict=True)]
    n = [
        look_sum(p["tanh_table"], u + v, p["sum_bits"])
        for u, v in zip(a[2 * size :], rb, strict=True)
    ]
    total, new_h = blend(p, z, n, h, (bits[1], bits[2], bits[3]))
    return {"h": new_h, "input": a, "hidden": b, "z": z, "r": r, "rb": rb, "n": n, "h_sum": total}


def frames(model: Any, p: dict[str, Any], x: Rows, size: int, states: int) -> dict[str, Any]:
    """Run frame after frame from zeros, forgetting after clean_after frames."""
    zeros = tuple([0] * size for _ in range(states))
    state, seen = zeros, []
    for done, row in enumerate(x, start=1):
        values = model(p, row, state)
        seen.append(values)
        state = tuple(values[name] for name in ("h", "c")[:states])
        if p["clean_after"] and done % p["clean_after"] == 0:
            state = zeros
    names = seen[0] if seen else ()
    return {name: [v[name] for v in seen] for name in names} | {"state": state}


def tdnn(weight: Rows, bias: Ints | None, gain: int, offsets: Ints, x: Rows) -> list[list[int]]:
    out = []
    for t in range(len(x)):
        seen: list[int] = []
        for offset in offsets:
            at = t - max(offsets) + offset
            seen += x[at] if at >= 0 else [0] * len(x[0])
        out.append(product(weight, seen, bias, gain))
    return out
