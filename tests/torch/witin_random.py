# SPDX-License-Identifier: Apache-2.0
"""Random layers of the training tool: corner-weighted inputs, ties, odd scales, every option."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ODD_SCALES = (3, 5.5, 7.7, 12.3, 44.89, 100, 242.07, 727)


def pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def scale(rng: np.random.Generator, odd: bool, low: int = 0, high: int = 9) -> Any:
    return pick(rng, *ODD_SCALES) if odd else 2 ** int(rng.integers(low, high))


def near_codes(
    rng: np.random.Generator, shape: Any, per_unit: float, low: int, high: int
) -> NDArray[np.float32]:
    """Values whose codes are whole, half or any number, many of them at and beyond the ends."""
    codes = rng.uniform(low, high, shape)
    kind = rng.integers(0, 6, shape)
    codes = np.where(kind == 0, np.rint(codes), codes)
    codes = np.where(kind == 1, np.floor(codes) + 0.5, codes)
    ends = np.array(
        [low, low - 0.5, low - 0.49, low - 3, high, high + 0.5, high + 0.49, high + 9, 0]
    )
    codes = np.where(kind == 2, ends[rng.integers(0, len(ends), shape)], codes)
    codes = np.where(kind == 3, codes / 16, codes)
    return (codes / per_unit).astype(np.float32)


def geometry(rng: np.random.Generator, kind: str, to_linear: bool) -> dict[str, Any]:
    if kind == "lin":
        return {}
    conv: dict[str, Any] = {"dilation": pick(rng, 1, 1, 2, (1, 2))}
    if kind == "conv2d":
        conv["padding"] = pick(rng, 0, 1, 2, (1, 0), "valid", "same")
        conv["stride"] = 1 if conv["padding"] == "same" else pick(rng, 1, 1, 2, (2, 1), 3)
        conv["padding_mode"] = pick(rng, "zeros", "zeros", "reflect", "replicate", "circular")
        conv["groups"] = 1 if to_linear else pick(rng, 1, 1, 2)
    elif to_linear:
        conv["padding"] = pick(rng, 0, 0, 1)
    else:
        conv["padding"] = pick(rng, 0, 1, (0, 1))
        conv["stride"] = pick(rng, 1, 2, 3, (1, 2))
        conv["output_padding"] = 0 if conv["stride"] == 1 else pick(rng, 0, 0, (0, 1))
    return conv


def case(seed: int, kind: str, *, auto: bool = False, gradient: bool = False) -> dict[str, Any]:
    """One layer with inputs: kind, cfg, conv, and data x, w, b."""
    rng = np.random.default_rng([seed, {"lin": 0, "conv2d": 1, "convT": 2}[kind]])
    odd = not auto and rng.random() < 0.4
    convolution = kind != "lin"
    to_linear = bool(convolution and rng.random() < 0.2)
    vpu = bool(convolution and not to_linear and not auto and not gradient and rng.random() < 0.15)
    negatives = ("FALSE", "PN", "Shift") if kind != "convT" else ("FALSE", "PN")
    x_bits = pick(rng, 8, 8, 8, 9, 10, 11, 12, 4, *(() if gradient else (1, 13, 16)))
    y_bits = pick(rng, 8, 8, 9, 10, 11, 12, 6, *(() if gradient else (2, 16)))
    w_bits = pick(rng, 8, 8, 8, 8, 6, *(() if gradient else (4, 10)))
    sx, sw = scale(rng, odd), scale(rng, odd)
    channels, outputs = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    if kind == "lin":
        # Sums stay below 2^24, where the tool's float32 is exact.
        inputs = int(rng.integers(1, 24 if x_bits <= 12 and w_bits <= 8 else 4))
        x_shape: tuple[int, ...] = (6, inputs)
        w_shape: tuple[int, ...] = (5, inputs)
    else:
        conv_kernel = pick(rng, (1, 1), (2, 2), (2, 3), (3, 1)) if x_bits <= 12 else (1, 1)
        x_shape = (2, channels, int(rng.integers(5, 8)), int(rng.integers(5, 8)))
        w_shape = (outputs, channels, *conv_kernel)
        if kind == "convT":
            w_shape = (channels, outputs, *conv_kernel)
    conv = geometry(rng, kind, to_linear)
    if kind == "convT" and to_linear:
        conv["padding"] = 0
    if conv.get("groups", 1) == 2:
        x_shape = (2, 2 * channels, *x_shape[2:])
        w_shape = (2 * outputs, *w_shape[1:])
    count = w_shape[1] if kind == "convT" else w_shape[0]
    fan_in = int(np.prod(w_shape)) / count
    high, w_high = 2**x_bits - 1, 2 ** (w_bits - 1) - 1
    # An output scale that puts most codes inside the range and ties everywhere.
    gain = (
        2.0 ** rng.integers(0, 12)
        if rng.random() < 0.3
        else fan_in**0.5 * high * w_high / 2**y_bits
    )
    g = pick(rng, 1, 1, 1, 2, 3, 8)
    sy = sx * sw * g / 2.0 ** np.rint(np.log2(gain))
    if odd:
        sy = pick(rng, sy, scale(rng, True))
    unit = 128 / (sx * sw)
    rows = pick(rng, 1, 2, 3, 8, 16, 32)
    cfg: dict[str, Any] = {
        "x_quant_bits": x_bits,
        "y_quant_bits": y_bits,
        "weight_quant_bits": w_bits,
        "bias_row_N": rows,
        "scale_x": sx,
        "scale_weight": sw,
        "scale_y": sy,
        "handle_neg_in": pick(rng, *negatives),
        "shift_num": pick(rng, 1.0, 127.5, high / 2, high * 2, -3.0, 63.25) / sx,
        "bias_d": pick(rng, 0.0, 3.0 * unit, 2.5 * unit, -7.25 * unit),
        "w_clip": pick(rng, None, None, 0.0, w_high * 0.7 / sw),
        "output_fp_clip": pick(rng, None, None, 0.0, 2.0 ** (y_bits - 2) / sy),
        "G_algo": g,
        "to_linear": to_linear,
        "hardware": "VPU" if vpu else "ARRAY",
    }
    lowest = 0 if cfg["handle_neg_in"] == "FALSE" and rng.random() < 0.5 else -high
    x = near_codes(rng, x_shape, sx, lowest, high)
    w = near_codes(rng, w_shape, sw, -w_high - 1, w_high)
    b = None
    if rng.random() < 0.8:
        b = near_codes(rng, (count,), 1 / unit, *pick(rng, (-9, 9), (-128 * rows, 127 * rows)))
    return {"kind": kind, "cfg": cfg, "conv": conv, "data": {"x": x, "w": w, "b": b}}
