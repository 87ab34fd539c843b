# SPDX-License-Identifier: Apache-2.0
"""What a layer keeps for its backward pass, measured: a byte per activation at 8 bits, two above."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 512.0, "codes_per_unit_y": 16.0}
SHAPES = {
    "linear": (lambda c: Linear(1024, 1024, config=c), (256, 1024)),
    "narrow linear": (lambda c: Linear(1024, 16, config=c), (256, 1024)),
    "wide linear": (lambda c: Linear(64, 1024, config=c), (256, 64)),
    "conv2d": (lambda c: Conv2d(16, 32, 3, padding=1, config=c), (4, 16, 24, 24)),
    "conv2d stride": (lambda c: Conv2d(16, 64, 3, 2, 1, config=c), (4, 16, 24, 24)),
    "conv_transpose2d": (lambda c: ConvTranspose2d(16, 8, 2, 2, config=c), (4, 16, 12, 12)),
}
MODES = {
    "clamp": ({}, 1),
    "shift": ({"negative_input": "shift"}, 1),
    "split_sign": ({"negative_input": "split_sign"}, 1),
    "9 bits": ({"x_bits": 9}, 2),
    "12 bits half_even": ({"x_bits": 12, "rounding": "half_even"}, 2),
    "12 bits shift": ({"x_bits": 12, "negative_input": "shift"}, 2),
}


def kept_bytes(layer: Any, x: torch.Tensor) -> tuple[int, int, int]:
    """Bytes kept by the graph, without and with the weight codes, and the number of activations."""
    storages: dict[int, int] = {}
    weights = {layer.prepared().weight_codes.untyped_storage().data_ptr()}
    weights |= {p.untyped_storage().data_ptr() for p in layer.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = layer(x)
    activations = sum(size for at, size in storages.items() if at not in weights)
    return activations, sum(storages.values()), x.numel() + y.numel()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limited", [False, True])
def test_bytes_per_activation(
    shape: str, mode: str, limited: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    make, size = SHAPES[shape]
    fields, allowed = MODES[mode]
    if shape == "conv_transpose2d" and "shift" in mode:
        pytest.skip("a transposed convolution takes no shift")
    torch.manual_seed(0)
    layer = make(QATConfig(**SCALES, **fields))
    with torch.no_grad():
        layer.weight.mul_(4.0 if limited else 0.1)  # many numbers out of range, or none
    x = torch.rand(size) * (40.0 if limited else 0.4)
    x[..., 0] = -1.0 if limited else 0.0
    activations, total, count = kept_bytes(layer, x.requires_grad_())
    with capsys.disabled():
        if shape == "linear" and limited:
            print(f"\n{mode}: {activations / count:.3f} bytes per activation", end="")
    # In a narrow layer the byte per input code leaves no room for bits: mask, and split_sign's signs.
    bits = 0.0
    if shape == "narrow linear" and allowed == 1:
        bits = 0.26 if mode == "split_sign" else 0.13
    assert activations <= (allowed + bits) * count
    assert total - activations <= layer.weight.numel()  # the weight codes, one byte each


def test_without_gradients_nothing_is_kept() -> None:
    layer = Linear(64, 64, config=QATConfig(**SCALES)).requires_grad_(False)
    assert kept_bytes(layer, torch.rand(8, 64))[1] == 0
    layer.requires_grad_(True)
    with torch.no_grad():
        assert kept_bytes(layer, torch.rand(8, 64))[1] == 0


def test_the_compiled_path_keeps_no_more() -> None:
    layer = Linear(256, 256, config=QATConfig(**SCALES))
    x = (torch.rand(64, 256) * 3).requires_grad_()
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in layer.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    scales, spec = layer.scales.codes_per_unit, layer._spec_text
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = torch.ops.bittwin.quantized_layer(x, layer.weight, layer.bias, scales, spec)[0]
    assert sum(n for at, n in kept.items() if at not in parameters) <= x.numel() + y.numel()
