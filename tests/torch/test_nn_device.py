# SPDX-License-Identifier: Apache-2.0
"""The path for other devices: equal to the kernels on the CPU, and on a GPU where there is one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_cases import OPS, Case, cases
from nn_gradient_model import gradients_of

from bittwin.nn import Linear, QATConfig
from bittwin.nn.device import device_forward

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's
SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def assert_near(got: torch.Tensor, wanted: torch.Tensor, reach: float = 0.0) -> None:
    """Equal but for the order of float32 sums whose terms have magnitudes that add up to `reach` at most."""
    largest = float(wanted.abs().max()) if wanted.numel() else 0.0
    torch.testing.assert_close(got.cpu(), wanted, rtol=1e-6, atol=1e-6 * (largest + reach))


def compare(case: Case) -> None:
    """Outputs equal; gradients are the same sums, perhaps in another order."""
    layer = case.layer
    with torch.no_grad():
        shape = layer(case.x).shape
    gy = torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(0)).float()
    gx, gw, gb, y = gradients_of(layer, case.x, gy)
    layer.zero_grad()
    leaf = case.x.detach().clone().requires_grad_()
    images = layer.to_images(leaf)
    found = layer.from_images(device_forward(layer.spec, images, layer.weight, layer.bias), leaf)
    assert torch.equal(found, y)
    found.backward(gy)
    assert leaf.grad is not None
    assert_near(leaf.grad, gx)
    assert_near(layer.weight.grad, gw)
    if gb is not None:
        assert_near(layer.bias.grad, gb)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=80)
@given(data=st.data())
def test_equals_the_kernels(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    if op != "linear" and case.x.shape[0] == 0:
        case.x = torch.rand(1, *case.x.shape[1:])
    compare(case)


def test_large_accumulators_are_exact() -> None:
    """Beyond 2^24, where a float32 product would round."""
    config = QATConfig(**{**SCALES, "codes_per_unit_y": 1.0}, y_bits=12, weight_bits=12)
    layer = Linear(1024, 2, config=config)
    with torch.no_grad():
        layer.weight.fill_(127.0 / 128)
        layer.weight[:, -1] = 126.0 / 128
    x = torch.full((2, 1024), 255.0 / 256)
    assert torch.equal(device_forward(layer.spec, x, layer.weight, layer.bias), layer(x))


def test_nan_is_refused() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    with pytest.raises(ValueError, match="layer 'Linear': found NaN"):
        device_forward(layer.spec, torch.full((1, 4), float("nan")), layer.weight, layer.bias)


def test_noise_is_refused() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    with pytest.raises(TypeError, match="layer 'Linear': found a noise hook"):
        device_forward(layer.spec, torch.rand(1, 4), layer.weight, None, lambda acc, **_: acc)


def test_second_derivatives_are_refused() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    x = torch.rand(2, 4, requires_grad=True)
    y = device_forward(layer.spec, x, layer.weight, layer.bias)
    (gx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|twice"):
        gx.sum().backward()


@gpu
@pytest.mark.parametrize("op", OPS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_gpu_gives_the_codes_of_the_cpu(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    if op != "linear" and case.x.shape[0] == 0:
        case.x = torch.rand(1, *case.x.shape[1:])
    layer = case.layer
    gy = torch.randint(-9, 10, layer(case.x).shape).float()
    gx, gw, _, y = gradients_of(layer, case.x, gy)
    gw = (
        gw.clone()
    )  # `cuda()` moves a parameter together with its gradient, also where others hold that
    spec = layer.spec
    w_reach = 2.0 ** (spec.weight_bits - 1) / spec.codes_per_unit_w
    x_reach = 2.0**spec.x_bits / spec.codes_per_unit_x
    total = float(gy.abs().sum())
    there = layer.cuda()
    # cuDNN takes 10 bits of every factor of a float32 convolution unless told otherwise.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        got_x, got_w, _, got = gradients_of(there, case.x.cuda(), gy.cuda())
    assert torch.equal(got.cpu(), y)
    assert_near(got_x, gx, total * w_reach)
    assert_near(got_w, gw, total * x_reach)


@gpu
def test_input_and_weight_on_different_devices_are_refused() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    with pytest.raises(TypeError, match="layer 'Linear'"):
        layer(torch.rand(2, 4).cuda())
    with pytest.raises(TypeError, match="layer 'Linear'"):
        layer.cuda()(torch.rand(2, 4))
