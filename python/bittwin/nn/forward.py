# SPDX-License-Identifier: Apache-2.0
"""The forward pass: one C++ call on torch's own memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin import _core
from bittwin.conv import conv2d_accumulate, conv_transpose2d_accumulate
from bittwin.functional import accumulate
from bittwin.nn.bits import Saved, memory_format
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepared import Prepared
from bittwin.nn.spec import LayerSpec
from bittwin.split import split_codes


def output_shape(spec: LayerSpec, x: torch.Size, weight: torch.Size) -> tuple[int, ...]:
    """Shape of y for x: [m, k] or [N, C, H, W]."""
    if spec.op == "linear":
        return x[0], weight[0]
    top, left, bottom, right = spec.padding
    sizes = []
    for i, around in ((0, top + bottom), (1, left + right)):
        extent, kernel = x[2 + i], (weight[2 + i] - 1) * spec.dilation[i] + 1
        if spec.op == "conv2d":
            sizes.append((extent + around - kernel) // spec.stride[i] + 1)
        else:
            sizes.append((extent - 1) * spec.stride[i] + kernel + spec.output_padding[i] - around)
    channels = weight[1] if spec.op == "conv_transpose2d" else weight[0]
    if min(sizes) < 0 or (spec.op == "conv2d" and min(sizes) < 1):
        raise ValueError(f"layer {spec.name!r}: found input {tuple(x)}, too small for its kernel")
    return x[0], channels, sizes[0], sizes[1]


def code_dtype(spec: LayerSpec) -> torch.dtype:
    """One byte per code where it fits."""
    return spec.code_dtype


def bit_bytes(count: int) -> int:
    """Bytes for `count` bits, and one to spare: tracing takes sizes of 0 and 1 for constants."""
    return (count + 7) // 8 + 1


def forward(
    prepared: Prepared, x: torch.Tensor, *, masks: bool, noise: NoiseHook | None = None
) -> tuple[torch.Tensor, Saved]:
    """Run a layer.

    Args:
        prepared: its integers.
        x: float32 on the CPU, [m, k] or [N, C, H, W], any strides.
        masks: whether a backward pass will need the bits.
        noise: disturbs the accumulators of the analog round; None: exact.

    Returns:
        y, float32, channels-last where x is, else contiguous, and what the backward pass needs.
    """
    spec = prepared.spec
    if x.dtype is not torch.float32 or not x.is_cpu:
        raise TypeError(
            f"layer {spec.name!r}: found input {x.dtype} on {x.device}, wanted torch.float32 on cpu"
        )
    shape = output_shape(spec, x.shape, prepared.weight_codes.shape)
    layout = memory_format(x)
    if layout is torch.contiguous_format:
        x = x.contiguous()
        y = x.new_empty(*shape)
        codes = torch.empty_like(x, dtype=spec.code_dtype)
    else:
        y = torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=layout)
        codes = torch.empty_like(x, dtype=spec.code_dtype, memory_format=layout)
    if noise is not None:
        return y, _with_noise(prepared, x, y, codes, masks, noise)
    size = x.shape
    nan, x_bits, y_bits, low_bits = prepared.layer.forward(
        x.data_ptr(),
        size if len(size) == 4 else (size[0], size[1], 1, 1),
        layout is torch.channels_last,
        y.data_ptr(),
        y.numel(),
        codes.data_ptr(),
        codes.element_size(),
        masks,
        torch.get_num_threads(),
    )
    if nan:
        refuse_nan(spec, nan)
    return y, Saved(
        codes,
        None if x_bits is None else torch.from_numpy(x_bits),
        None if y_bits is None else torch.from_numpy(y_bits),
        None if low_bits is None else torch.from_numpy(low_bits),
    )


def refuse_nan(spec: LayerSpec, found: bool) -> None:
    """NaN has no code."""
    if found:
        raise ValueError(f"layer {spec.name!r}: found NaN in the input, wanted real numbers")


def _with_noise(
    prepared: Prepared,
    x: torch.Tensor,
    y: torch.Tensor,
    codes: torch.Tensor,
    masks: bool,
    noise: NoiseHook,
) -> Saved:
    """The same in three steps, so that noise can stand between accumulator and requantiser."""
    spec = prepared.spec
    x_bits = _empty_bits(x.numel()) if masks else None
    y_bits = _empty_bits(y.numel()) if masks else None
    low_bits = _empty_bits(y.numel()) if masks and spec.limits_low else None
    nan, x_all = _core.qat_quantize(
        _in_memory_order(x),
        (spec.codes_per_unit_x, spec.shift_codes),
        spec.x_limits,
        _in_memory_order(codes),
        _view(x_bits),
    )
    refuse_nan(spec, nan)
    acc, acc_high = accumulators(prepared, codes.numpy())
    noisy = noise(acc, layer=spec.name, gain=spec.gain)
    if not isinstance(noisy, np.ndarray) or noisy.dtype != np.int32 or noisy.shape != acc.shape:
        array = isinstance(noisy, np.ndarray)
        found = f"{noisy.dtype} {noisy.shape}" if array else type(noisy).__name__
        raise ValueError(
            f"layer {spec.name!r}: noise: the hook returned {found}, wanted int32 {acc.shape}"
        )
    rows, rows_high = noisy, acc_high
    if not y.is_contiguous():  # channels-last: as rows of channels
        rows = _pixels(noisy)
        rows_high = None if acc_high is None else _pixels(acc_high)
    y_all, low_all = _core.qat_finish(
        np.ascontiguousarray(rows),
        None if rows_high is None else np.ascontiguousarray(rows_high),
        prepared.bias_digital,
        spec.requant.core,
        spec.split_rule,
        spec.codes_per_unit_y,
        _in_memory_order(y).reshape(rows.shape),
        _view(y_bits),
        _view(low_bits),
    )
    return Saved(
        codes,
        None if x_all else x_bits,
        None if y_all else y_bits,
        None if low_all else low_bits,
    )


def _in_memory_order(tensor: torch.Tensor) -> NDArray[Any]:
    """A dense view of a contiguous or channels-last tensor."""
    array: NDArray[Any] = tensor.numpy()
    return array if tensor.is_contiguous() else array.transpose(0, 2, 3, 1)


def _pixels(acc: NDArray[Any]) -> NDArray[Any]:
    """[N, C, H, W] as [N * H * W, C]."""
    rows: NDArray[Any] = acc.transpose(0, 2, 3, 1).reshape(-1, acc.shape[1])
    return rows


def _empty_bits(count: int) -> torch.Tensor:
    return torch.zeros(bit_bytes(count), dtype=torch.uint8)


def _view(bits: torch.Tensor | None) -> NDArray[Any] | None:
    return None if bits is None else bits.numpy()


def accumulators(
    prepared: Prepared, codes: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
    """The accumulators of input codes: of the one round, or of the low and the high round."""
    spec = prepared.spec
    if not spec.split:
        return _products(prepared, codes, prepared.bias, spec.x_bits, spec.pad_code), None
    x_lo, x_hi = split_codes(codes, spec.x_bits)
    low = _products(prepared, x_lo, prepared.bias, 8, spec.pad_code & 255)
    return low, _products(prepared, x_hi, None, 8, spec.pad_code >> 8)


def _products(
    prepared: Prepared,
    codes: NDArray[Any],
    bias: NDArray[np.int32] | None,
    x_bits: int,
    pad_code: int,
) -> NDArray[np.int32]:
    spec = prepared.spec
    # `prepare` has proven the layer, so no call has to.
    common: dict[str, Any] = {"overflow": "wrap32", "x_bits": x_bits}
    if spec.op == "linear":
        return accumulate(codes, prepared.weight, bias, **common)
    sizes: dict[str, Any] = {
        "stride": spec.stride,
        "padding": spec.padding,
        "dilation": spec.dilation,
    }
    if spec.op == "conv2d":
        return conv2d_accumulate(
            codes, prepared.weight, bias, groups=spec.groups, pad_value=pad_code, **sizes, **common
        )
    return conv_transpose2d_accumulate(
        codes, prepared.weight, bias, output_padding=spec.output_padding, **sizes, **common
    )
