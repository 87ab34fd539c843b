# SPDX-License-Identifier: Apache-2.0
"""The one call that makes the gradients of a small linear layer, against float64 and the general path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import bittwin
from bittwin import _core
from bittwin.nn import Linear, QATConfig, backward


@pytest.fixture(autouse=True)
def _any_kernel() -> Iterator[None]:
    yield
    _core.force_kernel("")


def layer_of(inputs: int, outputs: int, **config: Any) -> Linear:
    scales = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 128.0}
    layer = Linear(inputs, outputs, config=QATConfig(**{**scales, **config}))
    layer.weight.data.mul_(4)  # some beyond the range
    return layer


def step(layer: Linear, x: torch.Tensor, gy: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().requires_grad_()
    return list(torch.autograd.grad(layer(x), [x, *layer.parameters()], gy))


def wanted(layer: Linear, x: torch.Tensor, gy: torch.Tensor) -> list[torch.Tensor]:
    """Float64, from the definition."""
    spec, w = layer.spec, layer.weight.detach()
    scaled_x, scaled_w = x.double() * 256 + spec.shift_codes, w.double() * 128
    codes = scaled_x.round().clamp(0, 255)
    real_x, real_w = (codes - spec.shift_codes) / 256, scaled_w.round().clamp(-128, 127) / 128
    assert layer.bias is not None
    y = (real_x @ real_w.T + layer.bias.detach().double()) * 128
    g = gy.double() * ((y >= -128) & (y <= 127))
    gx = g @ real_w * ((scaled_x >= 0) & (scaled_x <= 255))
    gw = g.T @ real_x * ((scaled_w >= -128) & (scaled_w <= 127))
    return [gx, gw, g.sum(0)]


@pytest.mark.parametrize("negative", ["clamp", "shift"])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 16, 16), (3, 1, 9), (7, 17, 5), (1, 64, 64)])
def test_equal_to_the_definition(m: int, k: int, n: int, negative: str) -> None:
    torch.manual_seed(m * k * n)
    layer = layer_of(k, n, negative_input=negative)
    torch.nn.init.zeros_(layer.bias)
    assert m * k * n <= backward.SMALL
    x, gy = torch.randn(m, k), torch.randn(m, n)
    for found, want in zip(step(layer, x, gy), wanted(layer, x, gy), strict=True):
        torch.testing.assert_close(found, want.float(), rtol=1e-5, atol=1e-5)
        assert found.shape == want.shape


def test_both_paths_agree_where_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = layer_of(12, 20), torch.rand(4, 12) * 1.2 - 0.1
    gy = torch.randint(-8, 9, (4, 20)).float()  # whole numbers times codes: no sum rounds
    small = step(layer, x, gy)
    monkeypatch.setattr(backward, "SMALL", 0)
    for a, b in zip(small, step(layer, x, gy), strict=True):
        assert torch.equal(a, b)


def test_every_kernel_gives_the_same_bits() -> None:
    torch.manual_seed(1)
    layer, x, gy = layer_of(13, 21), torch.randn(5, 13), torch.randn(5, 21)
    results = []
    for kernel in bittwin.kernels():
        if kernel.available:
            _core.force_kernel(kernel.name)
            results.append(step(layer, x, gy))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_gradients_of_any_layout() -> None:
    torch.manual_seed(2)
    layer, x = layer_of(6, 4), torch.rand(4, 6)
    plain = torch.randn(4, 4)
    forms = [
        plain.t().contiguous().t(),  # transposed
        torch.complex(plain, -plain).conj().imag,  # a pending negation
        torch.stack([plain, plain], 2)[:, :, 0],
    ]
    assert forms[1].is_neg()
    for form in forms:
        for a, b in zip(step(layer, x, form), step(layer, x, plain), strict=True):
            assert torch.equal(a, b)
    ones = step(layer, x, torch.ones(4, 4))
    x = x.requires_grad_()
    layer(x).sum().backward()  # one number, expanded
    assert torch.equal(x.grad, ones[0])  # type: ignore[arg-type]


def test_only_what_is_asked_for() -> None:
    layer, x = layer_of(6, 4), torch.rand(2, 6)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    assert layer.bias is not None
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_empty_batch() -> None:
    layer = layer_of(6, 4)
    gx, gw, gb = step(layer, torch.rand(0, 6), torch.rand(0, 4))
    assert gx.shape == (0, 6)
    assert not gw.any()
    assert not gb.any()
