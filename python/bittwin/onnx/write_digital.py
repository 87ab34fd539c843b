# SPDX-License-Identifier: Apache-2.0
"""Writers of the digital layers and of those that move codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bittwin import digital
from bittwin._check import four_sides, pair
from bittwin.errors import NetworkError
from bittwin.network import Layer
from bittwin.onnx.writer import Writer


def _refused(layer: Layer, why: str) -> NetworkError:
    return NetworkError(f"layer {layer.name!r} ({layer.kind}): {why}")


def relu(w: Writer, layer: Any) -> None:
    """Relu."""
    if layer.gain != 1:
        raise _refused(layer, f"found gain {layer.gain}, which the dialect cannot say")
    w.simple("Relu", layer)


def scale(w: Writer, layer: Any) -> None:
    """Scale."""
    w.simple("Scale", layer, scale=float(layer.factor))


def scalar(w: Writer, layer: Any) -> None:
    """Scalar."""
    w.simple(
        "Scalar", layer, scale=float(layer.number), shift_bit=layer.shift_bit, op_types=layer.op
    )


def float_scale(w: Writer, layer: Any) -> None:
    """FloatScale."""
    w.simple("FloatScale", layer, scale=float(layer.factor), clip_bits=layer.clip_bits)


def clear_low_bits(w: Writer, layer: Any) -> None:
    """ClearLowBits."""
    w.simple("ClearLowBits", layer, bits=layer.bits)


def lookup(w: Writer, layer: Any) -> None:
    """ActLut: a table without negative entries in the sigmoid slot, others in the tanh slot."""
    table = layer.table.astype(np.int16)
    slot = "sigmoid" if int(table.min()) >= 0 else "tanh"
    w.simple("ActLut", layer, act_type=slot, table_params=w.tensor(table[None]))


def two(w: Writer, layer: Any) -> None:
    """Add or Mul, with a constant or a second layer."""
    if layer.bits != 8:
        raise _refused(layer, f"found {layer.bits} bits, which the dialect cannot say")
    own = []
    if layer.constant is not None:
        shape = layer.constant.shape
        own = [
            w.constant(
                layer,
                "constant",
                layer.constant.reshape(shape if layer.constant.size == 1 else (1, *shape)),
            )
        ]
    w.simple(layer.kind.capitalize(), layer, *own, shift_bit=layer.shift_bit)


def pool(w: Writer, layer: Any) -> None:
    """AveragePool or MaxPool."""
    kernel = pair("kernel", layer.kernel, 1)
    stride = kernel if layer.stride is None else pair("stride", layer.stride, 1)
    scales = (
        {"scale_in": layer.scale_in, "scale_out": layer.scale_out}
        if layer.kind == "average_pool"
        else {}
    )
    w.simple(
        "AveragePool" if scales else "MaxPool",
        layer,
        kernel_shape=list(kernel),
        strides=list(stride),
        pads=list(four_sides("padding", layer.padding)),
        **scales,
    )


def global_average_pool(w: Writer, layer: Any) -> None:
    """GlobalAveragePool."""
    w.simple("GlobalAveragePool", layer, scale_in=layer.scale_in, scale_out=layer.scale_out)


def global_max_pool(w: Writer, layer: Any) -> None:
    """GlobalMaxPool."""
    w.simple("GlobalMaxPool", layer)


def reduce_mean(w: Writer, layer: Any) -> None:
    """ReduceMean."""
    axes = layer.axes if isinstance(layer.axes, tuple) else (layer.axes,)
    w.simple("ReduceMean", layer, axes=list(axes), keepdims=int(layer.keepdims))


def along(w: Writer, layer: Any) -> None:
    """Softmax or SumNorm."""
    op = "Softmax" if layer.kind == "softmax" else "SumNorm"
    w.simple(op, layer, axis=layer.axis, scale_in=layer.scale_in, scale_out=layer.scale_out)


def group_norm(w: Writer, layer: Any) -> None:
    """GroupNorm."""
    w.simple(
        "GroupNorm",
        layer,
        w.constant(layer, "alpha", layer.alpha),
        w.constant(layer, "beta", layer.beta),
        num_groups=layer.num_groups,
        num_channels=int(layer.alpha.size),
        scale_out=layer.scale_out,
    )


def batch_norm(w: Writer, layer: Any) -> None:
    """BatchNormalization whose variance and epsilon add up to 1 and whose mean is 0: gamma and beta as is."""
    w.simple(
        "BatchNormalization",
        layer,
        w.constant(layer, "scale", layer.gamma),
        w.constant(layer, "bias", layer.beta),
        w.constant(layer, "mean", np.zeros_like(layer.gamma)),
        w.constant(layer, "var", np.full_like(layer.gamma, 0.75)),
        epsilon=0.25,
        scale_in=layer.scale_in,
        scale_out=layer.scale_out,
    )


def concat(w: Writer, layer: Any) -> None:
    """Concat."""
    w.simple("Concat", layer, axis=layer.axis)


def cut(w: Writer, layer: Any) -> None:
    """Slice."""
    steps = layer.steps or (1,) * len(layer.starts)
    parts = {"starts": layer.starts, "ends": layer.ends, "axes": layer.axes, "steps": steps}
    w.simple("Slice", layer, *(w.positions(layer, k, v) for k, v in parts.items()))


def split(w: Writer, layer: Any) -> None:
    """Split; parts that nobody takes have no name."""
    even = not isinstance(layer.sections, tuple)
    count = layer.sections if even else len(layer.sections)
    if count > 1 << 16:
        raise _refused(layer, f"found {count} parts, wanted at most {1 << 16}")
    outputs = ["" if i != layer.index else layer.name for i in range(count)]
    sizes = None if even else list(layer.sections)
    w.node("Split", "", w.sources(layer), outputs, {"axis": layer.axis, "split": sizes})


def permute(w: Writer, layer: Any) -> None:
    """Permute."""
    w.simple("Permute", layer, dims=list(layer.dims))


def transpose(w: Writer, layer: Any) -> None:
    """Transpose."""
    w.simple("Transpose", layer, perm=list(layer.dims))


def reshape(w: Writer, layer: Any) -> None:
    """Reshape; the chip's order is the only one there is."""
    if layer.order != "chip":
        _any_order(w, layer, layer.shape)
    shape = layer.shape
    sizes = [w.frames if w.over_time else 1, *shape]
    if w.over_time and len(shape) == 3 and shape[2] == 1:
        sizes = [1, *shape[:2], w.frames]
    w.simple("Reshape", layer, w.constant(layer, "shape", np.array(sizes)))


def flatten(w: Writer, layer: Any) -> None:
    """Flatten, where the order of the codes is the chip's."""
    _any_order(w, layer, (-1,))
    w.simple("Flatten", layer)


def _any_order(w: Writer, layer: Layer, shape: tuple[int, ...]) -> None:
    """Refuse a reshape whose codes the chip would order otherwise."""
    source = w.source_shape(layer)
    if source is None:
        raise _refused(
            layer, "found an unknown input shape, wanted input_shape given to the Network"
        )
    if math.prod(source) <= 1 << 15:
        numbers = np.arange(math.prod(source), dtype=np.int16).reshape(1, *source)
        plain = digital.reshape(numbers, (1, *_filled(source, shape)))
        if np.array_equal(plain, digital.reshape(numbers, plain.shape, order="chip")):
            return
    elif sum(n > 1 for n in source) <= 1:
        return
    raise _refused(
        layer,
        f"found torch's order of a frame {source}, and the chip stores [W][H][C]; wanted "
        "Reshape(shape, order='chip') and the rows of the next weight in that order",
    )


def _filled(source: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` without its zeros, which keep an axis of the frame."""
    return tuple(source[i] if n == 0 and i < len(source) else n for i, n in enumerate(shape))
