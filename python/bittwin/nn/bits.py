# SPDX-License-Identifier: Apache-2.0
"""Masks as bits, and input codes in as few bytes as they fit: what a layer keeps until its backward pass.

Bits lie in the memory order of the tensor that they belong to, least significant first: that of a contiguous
or of a channels-last tensor.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from bittwin import _core
from bittwin.nn.spec import LayerSpec


class Saved(NamedTuple):
    """What the backward pass needs of a forward: codes, and one bit per number where some were limited."""

    codes: torch.Tensor
    """Input codes, uint8 or int16, x's shape, contiguous or channels-last."""
    x_inside: torch.Tensor | None
    """uint8, packed bits, the codes' memory order; None: no input was limited."""
    y_inside: torch.Tensor | None
    """The same for outputs; their memory order is of the codes' kind."""
    low_inside: torch.Tensor | None
    """The same for the low codes of a split layer."""


def memory_format(x: torch.Tensor) -> torch.memory_format:
    """Channels-last only where x is that and nothing else."""
    # A plain look at the last stride first: this is on the path of every call.
    if x.dim() != 4 or x.is_contiguous():
        return torch.contiguous_format
    if x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Bools to bits, least significant first, as the kernels pack them.

    >>> import torch
    >>> from bittwin.nn.bits import pack
    >>> pack(torch.tensor([True, False, True])).tolist()
    [5]
    """
    if memory_format(mask) == torch.channels_last:
        mask = mask.permute(0, 2, 3, 1)
    flat = F.pad(mask.reshape(-1).to(torch.uint8), (0, -mask.numel() % 8)).reshape(-1, 8)
    weights = torch.tensor([1 << i for i in range(8)], dtype=torch.uint8, device=mask.device)
    return (flat * weights).sum(dim=1, dtype=torch.uint8)


def unpack(
    bits: torch.Tensor,
    shape: torch.Size | tuple[int, ...],
    layout: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Packed bits to a bool tensor of `shape` whose memory lies as `layout` says.

    >>> import torch
    >>> from bittwin.nn.bits import unpack
    >>> unpack(torch.tensor([5], dtype=torch.uint8), (3,)).tolist()
    [True, False, True]
    """
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    flat = (bits.unsqueeze(1) >> places).bitwise_and_(1).reshape(-1)
    count = 1
    for n in shape:
        count *= n
    flat = flat[:count].bool()
    if layout != torch.channels_last:
        return flat.reshape(shape)
    n, c, h, w = shape
    return flat.reshape(n, h, w, c).permute(0, 3, 1, 2)


def keep_where(
    values: torch.Tensor,
    bits: torch.Tensor,
    layout: torch.memory_format,
    *,
    in_place: bool = False,
) -> torch.Tensor:
    """The values whose bits are set, zeros elsewhere; their memory lies as `layout` says.

    Args:
        values: float32.
        bits: as many bits, in the memory order of `layout`.
        layout: contiguous or channels-last.
        in_place: `values` may be overwritten.

    >>> import torch
    >>> from bittwin.nn.bits import keep_where
    >>> bits = torch.tensor([5], dtype=torch.uint8)
    >>> keep_where(torch.tensor([1.0, 2.0, 3.0]), bits, torch.contiguous_format)
    tensor([1., 0., 3.])
    """
    if not values.is_cpu:
        return torch.where(unpack(bits, values.shape, layout), values, 0.0)
    dense = values.contiguous(memory_format=layout)
    count = dense.numel()
    if values.dtype != torch.float32 or bits.dtype != torch.uint8 or 8 * bits.numel() < count:
        raise TypeError(
            f"keep_where: found {values.dtype} with {bits.numel()} bytes of {bits.dtype} bits, wanted "
            f"torch.float32 with {(count + 7) // 8} bytes of torch.uint8"
        )
    kept = dense if in_place or dense is not values else torch.empty_like(dense)
    _core.keep_where(
        dense.data_ptr(),
        bits.contiguous().data_ptr(),
        count,
        kept.data_ptr(),
        False,
        torch.get_num_threads(),
    )
    return kept


def code_values(
    codes: torch.Tensor, shift: float, codes_per_unit: float, dtype: torch.dtype
) -> torch.Tensor:
    """The real numbers of codes: ``(codes - shift) / codes_per_unit``, in the codes' memory order.

    Args:
        codes: uint8, int8 or int16.
        shift: codes that were added.
        codes_per_unit: codes per real unit.
        dtype: torch.float32, or torch.bfloat16 for the nearest of those.

    >>> import torch
    >>> from bittwin.nn.bits import code_values
    >>> code_values(torch.tensor([129, 130], dtype=torch.uint8), 128, 2.0, torch.float32)
    tensor([0.5000, 1.0000])
    """
    kinds = (torch.uint8, torch.int8, torch.int16)
    dense = codes
    if not codes.is_contiguous():
        dense = codes.contiguous(memory_format=memory_format(codes))
    if not codes.is_cpu or codes.dtype not in kinds:
        return ((dense.float() - shift) / codes_per_unit).to(dtype)
    values = torch.empty_like(dense, dtype=dtype)
    _core.code_values(
        dense.data_ptr(),
        dense.element_size(),
        dense.dtype != torch.uint8,
        dense.numel(),
        shift,
        codes_per_unit,
        values.data_ptr(),
        dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    return values


class Compact(NamedTuple):
    """`Saved` with its codes in fewer bytes."""

    codes: torch.Tensor
    sign: torch.Tensor | None
    """Bits of negative codes; then `codes` are magnitudes, one byte each."""
    x_inside: torch.Tensor | None
    y_inside: torch.Tensor | None
    low_inside: torch.Tensor | None


def has_flag(spec: LayerSpec) -> bool:
    """Whether the mask of x rides in bit 0 of its codes: wide codes leave bits of their int16 free."""
    return spec.x_bits > 8


def shrinks(spec: LayerSpec) -> bool:
    """Whether `compact` changes anything."""
    return spec.x_bits > 8 or spec.x_signed


def compact(spec: LayerSpec, saved: Saved) -> Compact:
    """Pack what `forward` gave."""
    codes, x_inside = saved.codes, saved.x_inside
    sign = None
    if has_flag(spec):
        codes = codes * 2
        if x_inside is not None:
            codes += ~unpack(x_inside, codes.shape, memory_format(codes))
            x_inside = None
    elif spec.x_signed:
        sign, codes = pack(codes < 0), codes.abs().to(torch.uint8)
    return Compact(codes, sign, x_inside, saved.y_inside, saved.low_inside)


def expand(spec: LayerSpec, kept: Compact) -> Saved:
    """Give back what `compact` packed."""
    codes, x_inside = kept.codes, kept.x_inside
    if has_flag(spec):
        x_inside, codes = pack((codes & 1) == 0), codes >> 1
    elif kept.sign is not None:
        size = codes.to(torch.int16)
        codes = torch.where(unpack(kept.sign, codes.shape, memory_format(codes)), -size, size)
    return Saved(codes, x_inside, kept.y_inside, kept.low_inside)
