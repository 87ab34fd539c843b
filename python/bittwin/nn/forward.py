# SPDX-License-Identifier: Apache-2.0
"""The forward pass: one C++ call on views of torch's own memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin import _core
from bittwin.conv import conv2d_accumulate, conv_transpose2d_accumulate
from bittwin.functional import accumulate
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepared import Prepared
from bittwin.nn.spec import LayerSpec
from bittwin.split import split_codes


class Saved(NamedTuple):
    """What the backward pass needs of a forward: codes, and one bit per number where some were limited."""

    codes: torch.Tensor
    """Input codes, uint8 or int16 ([N, C, H, W] dense, padded where `LayerSpec.framed`)."""
    x_inside: torch.Tensor | None
    """uint8, packed bits, x's NCHW order; None: no input was limited."""
    y_inside: torch.Tensor | None
    """The same for outputs."""
    low_inside: torch.Tensor | None
    """The same for the low codes of a split layer."""


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


def code_shape(spec: LayerSpec, x: torch.Size) -> tuple[int, ...]:
    """Shape of the codes of x."""
    return tuple(x)


def code_dtype(spec: LayerSpec) -> torch.dtype:
    """One byte per code where it fits."""
    return torch.uint8 if spec.x_bits == 8 and not spec.x_signed else torch.int16


def bit_bytes(count: int) -> int:
    """Bytes for `count` bits, and one to spare: tracing takes sizes of 0 and 1 for constants."""
    return (count + 7) // 8 + 1


def empty_bits(count: int) -> torch.Tensor:
    """Room for `count` bits."""
    return torch.zeros(bit_bytes(count), dtype=torch.uint8)


def result_format(x: torch.Tensor) -> torch.memory_format:
    """Memory format of y for x: channels-last only where x is that and nothing else."""
    channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return (
        torch.channels_last if channels_last and not x.is_contiguous() else torch.contiguous_format
    )


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
        y, float32, in x's memory format, and what the backward pass needs.
    """
    spec = prepared.spec
    shape = output_shape(spec, x.shape, prepared.weight_codes.shape)
    x = x.contiguous()
    y = torch.empty(shape)
    codes = torch.empty(code_shape(spec, x.shape), dtype=code_dtype(spec))
    x_bits = empty_bits(x.numel()) if masks else None
    y_bits = empty_bits(y.numel()) if masks else None
    low_bits = empty_bits(y.numel()) if masks and spec.limits_low else None
    run = _fused if noise is None else _with_noise
    x_all, y_all, low_all = run(prepared, x, y, codes, x_bits, y_bits, low_bits, noise)
    saved = Saved(
        codes,
        None if x_all else x_bits,
        None if y_all else y_bits,
        None if low_all else low_bits,
    )
    return y, saved


def _view(bits: torch.Tensor | None) -> NDArray[Any] | None:
    return None if bits is None else bits.numpy()


def refuse_nan(spec: LayerSpec, found: bool) -> None:
    """NaN has no code."""
    if found:
        raise ValueError(f"layer {spec.name!r}: found NaN in the input, wanted real numbers")


def _fused(
    prepared: Prepared,
    x: torch.Tensor,
    y: torch.Tensor,
    codes: torch.Tensor,
    x_bits: torch.Tensor | None,
    y_bits: torch.Tensor | None,
    low_bits: torch.Tensor | None,
    noise: NoiseHook | None,
) -> tuple[bool, bool, bool]:
    spec = prepared.spec
    nan, x_all, y_all, low_all = _core.qat_forward(
        spec.op,
        x.numpy(),
        prepared.weight,
        prepared.bias,
        prepared.bias_digital,
        spec.geometry,
        False,
        (spec.codes_per_unit_x, spec.shift_codes),
        spec.x_limits,
        spec.pad_code if spec.op == "conv2d" else 0,
        spec.requant.core,
        spec.split_rule,
        spec.codes_per_unit_y,
        y.numpy(),
        codes.numpy(),
        _view(x_bits),
        _view(y_bits),
        _view(low_bits),
    )
    refuse_nan(spec, nan)
    return x_all, y_all, low_all


def _with_noise(
    prepared: Prepared,
    x: torch.Tensor,
    y: torch.Tensor,
    codes: torch.Tensor,
    x_bits: torch.Tensor | None,
    y_bits: torch.Tensor | None,
    low_bits: torch.Tensor | None,
    noise: NoiseHook | None,
) -> tuple[bool, bool, bool]:
    """The same in three steps, so that noise can stand between accumulator and requantiser."""
    spec = prepared.spec
    nan, x_all = _core.qat_quantize(
        x.numpy(),
        (spec.codes_per_unit_x, spec.shift_codes),
        spec.x_limits,
        codes.numpy(),
        _view(x_bits),
    )
    refuse_nan(spec, nan)
    acc, acc_high = accumulators(prepared, codes.numpy())
    assert noise is not None
    noisy = noise(acc, layer=spec.name, gain=spec.gain)
    if not isinstance(noisy, np.ndarray) or noisy.dtype != np.int32 or noisy.shape != acc.shape:
        array = isinstance(noisy, np.ndarray)
        found = f"{noisy.dtype} {noisy.shape}" if array else type(noisy).__name__
        raise ValueError(
            f"layer {spec.name!r}: noise: the hook returned {found}, wanted int32 {acc.shape}"
        )
    y_all, low_all = _core.qat_finish(
        np.ascontiguousarray(noisy),
        acc_high,
        prepared.bias_digital,
        spec.requant.core,
        spec.split_rule,
        spec.codes_per_unit_y,
        y.numpy(),
        _view(y_bits),
        _view(low_bits),
    )
    return x_all, y_all, low_all


def accumulators(
    prepared: Prepared, codes: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
    """The accumulators of input codes: of the one round, or of the low and the high round."""
    spec = prepared.spec
    if not spec.split:
        return _products(prepared, codes, prepared.bias, spec.x_bits), None
    x_lo, x_hi = split_codes(codes, spec.x_bits)
    low = _products(prepared, x_lo, prepared.bias, 8)
    return low, _products(prepared, x_hi, None, 8)


def _products(
    prepared: Prepared, codes: NDArray[Any], bias: NDArray[np.int32] | None, x_bits: int
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
            codes, prepared.weight, bias, groups=spec.groups, pad_value=spec.pad_code, **sizes, **common
        )
    return conv_transpose2d_accumulate(
        codes, prepared.weight, bias, output_padding=spec.output_padding, **sizes, **common
    )
