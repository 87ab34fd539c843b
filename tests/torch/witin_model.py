# SPDX-License-Identifier: Apache-2.0
"""A second model of the training tool's forward, in int64 and float32, written from its measured rules.

It shares no code with bittwin: sums are loops over the kernel, roundings are numpy's, convolutions under
``to_linear`` are still convolutions. Only for sums below 2^24, where float32 is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
f32 = np.float32


def convolve(x: Array, w: Array, stride: Any, dilation: Any, groups: int) -> Array:
    """[N, C, H, W] int64, already padded, with [O, C / groups, kh, kw]."""
    n, _, height, width = x.shape
    o, per_group, kh, kw = w.shape
    oh = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow), np.int64)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            window = x[:, :, top : top + stride[0] * oh : stride[0], left:]
            window = window[:, :, :oh, : stride[1] * ow : stride[1]]
            for g in range(groups):
                outs = slice(g * o // groups, (g + 1) * o // groups)
                ins = window[:, g * per_group : (g + 1) * per_group]
                y[:, outs] += np.einsum("nchw,oc->nohw", ins, w[outs, :, i, j])
    return y


def convolve_transposed(
    x: Array, w: Array, stride: Any, padding: Any, extra: Any, dilation: Any
) -> Array:
    """[N, C, H, W] int64 with [C, O, kh, kw]: scatter, then crop."""
    n, _, height, width = x.shape
    _, o, kh, kw = w.shape
    size = [
        (s - 1) * stride[a] + dilation[a] * (k - 1) + 1 + extra[a]
        for a, (s, k) in enumerate(((height, kh), (width, kw)))
    ]
    full = np.zeros((n, o, *size), np.int64)
    for i in range(kh):
        for j in range(kw):
            for row in range(height):
                for column in range(width):
                    at = row * stride[0] + i * dilation[0], column * stride[1] + j * dilation[1]
                    full[:, :, at[0], at[1]] += x[:, :, row, column] @ w[:, :, i, j]
    return full[:, :, padding[0] : size[0] - padding[0], padding[1] : size[1] - padding[1]]


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def rne(v: Array) -> Array:
    return np.rint(v)


def sat(v: Array, bits: int) -> Array:
    return np.clip(v, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)


@dataclass
class Model:
    """One layer: `kind` lin, conv2d or convT, `cfg` the tool's own names, `conv` torch's geometry."""

    kind: str
    cfg: dict[str, Any]
    conv: dict[str, Any]
    w: Array
    b: Array | None
    scales: tuple[float, float, float] = field(init=False)
    y_max: float = 0.0
    x_max: float = 0.0

    def __post_init__(self) -> None:
        c = self.cfg
        self.scales = (c["scale_x"], c["scale_weight"], c["scale_y"])

    @property
    def linear_rules(self) -> bool:
        return self.kind == "lin" or bool(self.cfg["to_linear"])

    def product(self, x: Array, w: Array) -> Array:
        x, w = x.astype(np.int64), w.astype(np.int64)
        if self.kind == "lin":
            return x @ w.T
        stride, dilation = pair(self.conv.get("stride", 1)), pair(self.conv.get("dilation", 1))
        if self.kind == "conv2d":
            return convolve(x, w, stride, dilation, self.conv.get("groups", 1))
        padding = pair(self.conv.get("padding", 0))
        extra = pair(self.conv.get("output_padding", 0))
        return convolve_transposed(x, w, stride, padding, extra, dilation)

    def padded(self, x: Array) -> Array:
        if self.kind != "conv2d":
            return x
        dilation, padding = pair(self.conv.get("dilation", 1)), self.conv.get("padding", 0)
        if padding == "same":
            totals = [dilation[i] * (self.w.shape[2 + i] - 1) for i in (0, 1)]
            sides = [(t // 2, t - t // 2) for t in totals]
        else:
            sides = [(p, p) for p in ((0, 0) if padding == "valid" else pair(padding))]
        modes = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}
        mode: Any = self.conv.get("padding_mode", "zeros")
        return np.pad(x, [(0, 0), (0, 0), *sides], mode=modes.get(mode, mode))

    def per_output(self, v: Any) -> Any:
        return v if self.kind == "lin" or np.ndim(v) == 0 else np.asarray(v)[:, None, None]

    def forward(self, x: Array, trailing_scale: Any = None) -> Array:
        """Real outputs; `trailing_scale`: called for the y scale that the trailing clip uses."""
        c, (sx, sw, sy) = self.cfg, self.scales
        with np.errstate(all="ignore"):
            x = self.padded(x)
            self.x_max = float(np.abs(x).max())
            if self.kind == "conv2d" and c["to_linear"]:
                self.x_max = self.largest_seen(np.abs(x))
            if self.kind != "lin" and c["hardware"] == "VPU" and not c["to_linear"]:
                return self.vector_unit(x, sx, sw, sy)
            return self.array(x, sx, sw, sy, trailing_scale)

    def largest_seen(self, x: Array) -> float:
        """Of the pixels that some kernel position touches; a stride may skip others."""
        stride, dilation = pair(self.conv.get("stride", 1)), pair(self.conv.get("dilation", 1))
        height, width = ((x.shape[2 + a] - dilation[a] * (self.w.shape[2 + a] - 1)) for a in (0, 1))
        return max(
            float(x[:, :, i * dilation[0] :, j * dilation[1] :][:, :, :height, :width]
                  [:, :, :: stride[0], :: stride[1]].max())
            for i in range(self.w.shape[2])
            for j in range(self.w.shape[3])
        )  # fmt: skip

    def weights(self, sw: float, sign: int = 1) -> Array:
        limit = self.cfg["w_clip"]
        w = np.clip(self.w, f32(-limit), f32(limit)) if limit else self.w
        return sat(rne(w * f32(sw) * f32(sign)), self.cfg["weight_quant_bits"])

    def vector_unit(self, x: Array, sx: float, sw: float, sy: float) -> Array:
        c = self.cfg
        acc = self.product(sat(rne(x * f32(sx)), c["x_quant_bits"]), self.weights(sw))
        total = acc.astype(f32)
        if self.b is not None:
            total = total + self.per_output(rne(self.b * f32(sx * sw)))
        return sat(rne(total / f32(sx * sw / sy)), c["y_quant_bits"]).astype(f32) / f32(sy)

    def array(self, x: Array, sx: float, sw: float, sy: float, trailing_scale: Any) -> Array:
        c, g = self.cfg, self.cfg["G_algo"]
        xb, yb, neg = c["x_quant_bits"], c["y_quant_bits"], c["handle_neg_in"]
        unit = sx * sw
        high = 2.0**xb - 1
        v = x * f32(sx)
        shift = f32(0)
        if neg == "Shift":
            most = 2.0**xb if self.linear_rules else 128.0
            shift = f32(np.clip(rne(f32(c["shift_num"] * sx)), 0, most))
            xq = np.clip(rne(v + shift), 0, high)
        elif neg == "PN":
            xq = np.clip(rne(v), -high, high)
        elif self.kind == "conv2d" and not self.linear_rules:
            xq = sat(rne(v), xb)
        else:
            xq = np.clip(rne(v), 0, high)
        wq = self.weights(sw)
        axes = (1,) if self.kind == "lin" else ((0, 2, 3) if self.kind == "convT" else (1, 2, 3))
        outputs = self.w.shape[1 if self.kind == "convT" else 0]
        s = shift * wq.sum(axes).astype(f32) if neg == "Shift" else np.zeros(outputs, f32)
        b = np.zeros(outputs, f32) if self.b is None else self.b
        vb = b * f32(unit)
        limits = -128 * c["bias_row_N"], 127 * c["bias_row_N"]
        if self.linear_rules and xb > 8:
            code = self.split(xq, wq, vb, s, limits, unit)
        else:
            bq = self.per_output(128 * np.clip(rne((vb - s) / f32(128)), *limits).astype(np.int64))
            if neg == "PN" and not self.linear_rules:
                positive = self.product(np.maximum(xq, 0), wq) + bq
                negative = self.product(np.maximum(-xq, 0), self.weights(sw, -1))
                values = positive.astype(f32) / f32(unit * g) + negative.astype(f32) / f32(unit * g)
            else:
                values = (self.product(xq, wq) + bq).astype(f32) / f32(unit * g)
            limit = c["output_fp_clip"]
            if limit and not self.linear_rules:
                values = np.clip(values, f32(-limit), f32(limit))
            self.y_max = float(np.abs(values).max())
            code = sat(rne(values * f32(sy)), yb)
        if c["to_linear"] and self.kind != "lin":
            code = sat(code, 8)
        y = code.astype(f32) / f32(sy)
        sy_now = trailing_scale() if trailing_scale else sy
        if self.kind == "conv2d" and not c["to_linear"]:
            y = sat(y * f32(sy_now), 8 if neg == "PN" else yb).astype(f32) / f32(sy_now)
        return y

    def split(self, xq: Array, wq: Array, vb: Array, s: Array, limits: Any, unit: float) -> Array:
        c, g, sy = self.cfg, self.cfg["G_algo"], self.scales[2]
        sign, m = np.sign(xq).astype(np.int64), np.abs(xq).astype(np.int64)
        d = rne(np.asarray(c["bias_d"], f32) * f32(unit) / f32(128))
        n = rne(rne(vb / f32(128)) - d - s / f32(128))
        b_low = self.per_output(128 * np.clip(n, *limits).astype(np.int64))
        b_high = self.per_output(128 * d.astype(np.int64))
        low = self.product(sign * (m & 255), wq) + b_low
        high = 256 * self.product(sign * (m >> 8), wq) + b_high
        values = low.astype(f32) / f32(unit * g)
        self.y_max = float(np.abs(values).max())
        whole = f32(rne(unit * g / sy))
        yb = c["y_quant_bits"]
        return sat(sat(rne(values * f32(sy)), yb) + rne(high.astype(f32) / whole), yb)


def auto_scale(bits: int, maximum: float) -> float:
    if maximum == 0:
        raise AssertionError("Unable to determine quant scale, because max_v = 0")
    return 2.0 ** (bits - 1) / 2.0 ** math.ceil(f32(math.log2(f32(maximum))))


@dataclass
class Training:
    """The state machine of the automatic scales round a `Model`."""

    model: Model
    step: int
    training: bool = True
    count: int = 0
    io: list[float] = field(default_factory=list)
    seen: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        c = self.model.cfg
        self.io = [float(c["x_quant_bits"]), 8.0, float(c["y_quant_bits"])]

    def train(self) -> None:
        self.training, self.count, self.seen = True, 0, []
        self.io = [8.0, 8.0, 8.0]

    def rescale(self) -> float:
        c, m = self.model.cfg, self.model
        signed = m.kind == "conv2d" and not m.linear_rules
        plus = {"PN": 1, "Shift": 0, "FALSE": 0 if signed else 1}[c["handle_neg_in"]]
        bits = c["x_quant_bits"] + plus, c["weight_quant_bits"], c["y_quant_bits"]
        sx, sw, sy = (auto_scale(b, v) for b, v in zip(bits, self.io, strict=True))
        m.scales = (sx, sw, sy)
        return sy

    def forward(self, x: Array) -> Array:
        if not self.training:
            self.rescale()
            return self.model.forward(x)

        def after_statistics() -> float:
            self.count += 1
            if self.count <= self.step:
                w_max = float(np.abs(self.model.w).max())
                self.seen.append([self.model.x_max, w_max, self.model.y_max])
                self.io = [max(column) for column in zip(*self.seen, strict=True)]
            return self.rescale() if self.count >= self.step else self.model.scales[2]

        return self.model.forward(x, after_statistics)
