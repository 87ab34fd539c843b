# SPDX-License-Identifier: Apache-2.0
"""Masks as bits, and input codes in as few bytes as they fit: what a layer keeps until its backward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from bittwin.nn.forward import Saved
from bittwin.nn.spec import LayerSpec


def pack(mask: torch.Tensor) -> torch.Tensor:
    """Bools to bits, least significant first, as the kernels pack them.

    >>> import torch
    >>> from bittwin.nn.bits import pack
    >>> pack(torch.tensor([True, False, True])).tolist()
    [5]
    """
    flat = F.pad(mask.reshape(-1).to(torch.uint8), (0, -mask.numel() % 8)).reshape(-1, 8)
    weights = torch.tensor([1 << i for i in range(8)], dtype=torch.uint8, device=mask.device)
    return (flat * weights).sum(dim=1, dtype=torch.uint8)


def unpack(bits: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Packed bits to a bool tensor of `shape`.

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
    return flat[:count].reshape(shape).bool()


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
    return spec.x_bits > 8 and not spec.framed


def compact(spec: LayerSpec, saved: Saved) -> Compact:
    """Pack what `forward` gave."""
    codes, x_inside = saved.codes, saved.x_inside
    sign = None
    if has_flag(spec):
        limited = 0 if x_inside is None else ~unpack(x_inside, codes.shape)
        codes, x_inside = codes * 2 + limited, None
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
        codes = torch.where(unpack(kept.sign, codes.shape), -size, size)
    return Saved(codes, x_inside, kept.y_inside, kept.low_inside)
