# SPDX-License-Identifier: Apache-2.0
"""The straight-through rule as a graph of clamps and roundings in float64, differentiated by torch.

bittwin's backward is written out by hand; here torch.autograd derives it. `torch.clamp` lets a gradient pass
where lo <= v <= hi, both ends included, which is the tool's mask; rounding lets everything pass. Scaled
values are formed in float32 first, so that both sides decide a limit alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def through(v: Tensor) -> Tensor:
    """Round half to even; the gradient passes."""
    return v + (torch.round(v) - v).detach()


def sat(v: Tensor, bits: int) -> Tensor:
    return torch.clamp(v, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)


def exact(v: Tensor, float32: Tensor) -> Tensor:
    """The gradient of v, the value of the float32 computation."""
    return v + (float32.double() - v).detach()


class GradientModel:
    """``y = forward(x, w, b)`` for one layer, everything differentiable."""

    def __init__(self, kind: str, cfg: dict[str, Any], conv: dict[str, Any]) -> None:
        self.kind, self.cfg = kind, cfg
        self.conv = {k: tuple(v) if isinstance(v, list) else v for k, v in conv.items()}
        self.linear_rules = kind == "lin" or cfg["to_linear"]

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        if self.kind == "lin":
            return functional.linear(x, w)
        geometry = {k: v for k, v in self.conv.items() if k != "padding_mode"}
        if self.kind == "convT":
            return functional.conv_transpose2d(x, w, **geometry)
        return functional.conv2d(x, w, **(geometry | {"padding": 0}))

    def padded(self, x: Tensor, w: Tensor) -> Tensor:
        if self.kind != "conv2d":
            return x
        padding, dilation = self.conv.get("padding", 0), self.conv.get("dilation", 1)
        dilations = (dilation, dilation) if isinstance(dilation, int) else dilation
        if padding == "same":
            sides = []
            for i in (1, 0):
                total = dilations[i] * (w.shape[2 + i] - 1)
                sides += [total // 2, total - total // 2]
        else:
            padding = 0 if padding == "valid" else padding
            height, width = (padding, padding) if isinstance(padding, int) else padding
            sides = [width, width, height, height]
        mode = self.conv.get("padding_mode", "zeros")
        return functional.pad(x, sides, mode="constant" if mode == "zeros" else mode)

    def over_outputs(self, v: Tensor) -> Tensor:
        return v if self.kind == "lin" or v.ndim == 0 else v[:, None, None]

    def forward(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        c = self.cfg
        sx, sw, sy, g = c["scale_x"], c["scale_weight"], c["scale_y"], c["G_algo"]
        xb, yb, neg = c["x_quant_bits"], c["y_quant_bits"], c["handle_neg_in"]
        x = self.padded(x, w)
        high = 2.0**xb - 1
        v = exact(x.double() * sx, x.float() * sx)
        shift = 0.0
        if neg == "Shift":
            shift = float(np.float32(c["shift_num"] * sx))
            shift = min(max(float(np.rint(shift)), 0), 2.0**xb if self.linear_rules else 128.0)
            inside = torch.clamp(exact(v + shift, (x.float() * sx) + shift), 0, high)
        elif neg == "PN":
            positive = torch.clamp(torch.relu(v), 0, high)
            negative = torch.clamp(torch.relu(-v), 0, high)
            inside = positive - negative
        elif self.kind == "conv2d" and not self.linear_rules:
            inside = sat(v, xb)
        else:
            inside = torch.clamp(v, 0, high)
        limit = c["w_clip"]
        wl = torch.clamp(w, -np.float32(limit).item(), np.float32(limit).item()) if limit else w
        wv = exact(wl.double() * sw, wl.float() * sw)
        wq = through(sat(wv, c["weight_quant_bits"]))
        axes = {"lin": (1,), "conv2d": (1, 2, 3), "convT": (0, 2, 3)}[self.kind]
        s = shift * wq.sum(axes)
        vb = (
            torch.zeros_like(s) if b is None else exact(b.double() * sx * sw, b.float() * (sx * sw))
        )
        lowest, highest = -128 * c["bias_row_N"], 127 * c["bias_row_N"]
        unit = sx * sw
        if self.linear_rules and xb > 8:
            xq = through(inside)
            d = torch.round(torch.as_tensor(c["bias_d"]).float() * unit / 128).double()
            n = torch.clamp(through(through(vb / 128) - d - s / 128), lowest, highest)
            magnitude = torch.round(xq.detach().abs())
            parts_low = torch.remainder(magnitude, 256) * xq.detach().sign()
            # All of x's gradient goes through the high part.
            parts_high = exact(xq / 256, torch.floor(magnitude / 256) * xq.detach().sign())
            low = self.product(parts_low, wq) + self.over_outputs(128 * n)
            up = 256 * self.product(parts_high, wq) + self.over_outputs(128 * d)
            code_low = through(sat(low / (unit * g) * sy, yb))
            code = sat(code_low + through(up / np.rint(unit * g / sy)), yb)
        else:
            n = through(torch.clamp((vb - s) / 128, lowest, highest))
            if neg == "PN" and not self.linear_rules:
                mirrored = through(sat(-wv, c["weight_quant_bits"]))
                values = self.product(through(positive), wq) + self.over_outputs(128 * n)
                values = values + self.product(through(negative), mirrored)
            else:
                values = self.product(through(inside), wq) + self.over_outputs(128 * n)
            values = values / (unit * g)
            limit = c["output_fp_clip"]
            if limit and not self.linear_rules:
                values = torch.clamp(values, -limit, limit)
            code = through(sat(values * sy, yb))
        if c["to_linear"] and self.kind != "lin":
            code = sat(code, 8)
        y = code / sy
        if self.kind == "conv2d" and not c["to_linear"]:
            again = (code.float() / sy) * sy
            y = sat(exact(y * sy, again), 8 if neg == "PN" else yb) / sy
        return y
