# SPDX-License-Identifier: Apache-2.0
"""Gradients against the straight-through rule in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_cases import OPS, Case, cases
from nn_gradient_model import GradientModel, gradients_of

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's
SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}


def upstream(shape: torch.Size, seed: int) -> torch.Tensor:
    """Small whole numbers, of which float32 sums are exact: sums that cancel need no tolerance."""
    numbers = torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(seed))
    return numbers.float()


def assert_close(
    got: torch.Tensor, wanted: torch.Tensor, tolerance: float, size: float, what: str
) -> None:
    """Equal within `tolerance` of `size`, the largest sum of magnitudes that one gradient can be."""
    assert got.shape == wanted.shape, what
    assert got.dtype == torch.float32, what
    worst = float((got.double() - wanted).abs().max()) if wanted.numel() else 0.0
    assert worst <= tolerance * size, f"{what}: off by {worst}, tolerance {tolerance} of {size}"


def check(case: Case, tolerance: float, seed: int = 0) -> None:
    layer = case.layer
    with torch.no_grad():
        shape = layer(case.x).shape
    gy = upstream(shape, seed)
    gx, gw, gb, y = gradients_of(layer, case.x, gy)
    wanted_x, wanted_w, wanted_b, model_y = GradientModel(layer).run(case.x, gy)
    assert torch.equal(y, (model_y * layer.codes_per_unit[2]).round().float()
                       / torch.tensor(layer.codes_per_unit[2]).float())  # fmt: skip
    largest_x = (2.0**layer.config.x_bits) / layer.codes_per_unit[0]
    largest_w = (2.0 ** (layer.config.weight_bits - 1)) / layer.codes_per_unit[1]
    total = float(gy.abs().sum())
    assert_close(gx, wanted_x, tolerance, total * largest_w, "gx")
    assert_close(gw, wanted_w, tolerance, total * largest_x, "gw")
    if wanted_b is not None:
        assert gb is not None
        assert_close(gb, wanted_b, tolerance, total, "gb")


def with_images(data: st.DataObject, op: str, **given: object) -> Case:
    case: Case = data.draw(cases(op, **given))
    if case.op != "linear" and case.x.shape[0] == 0:  # empty batches have a test of their own
        case.x = torch.ones(1, *case.x.shape[1:])
    return case


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=70)
@given(data=st.data())
def test_equal_the_float64_model(op: str, data: st.DataObject) -> None:
    check(with_images(data, op), 3e-7)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=30)
@given(data=st.data())
def test_bfloat16_backward_is_near_the_float64_model(op: str, data: st.DataObject) -> None:
    check(with_images(data, op, backward_dtype="bfloat16"), 0.01)


# -- every mask by hand: one input, one weight ------------------------------------------------


def one(x: float, w: float, b: float | None = None, **fields: object) -> tuple[float, float, float]:
    """gx, gw, gb of a 1 x 1 layer for an upstream gradient of 1."""
    layer = Linear(1, 1, b is not None, config=QATConfig(**{**SCALES, **fields}))
    with torch.no_grad():
        layer.weight.fill_(w)
        if b is not None:
            layer.bias.fill_(b)
    gx, gw, gb, _ = gradients_of(layer, torch.tensor([[x]]), torch.ones(1, 1))
    return float(gx), float(gw), float(gb) if gb is not None else 0.0


# With SCALES one unit of x is 256 codes, of w 128, of y 16 (gain 2048).
def test_in_range_the_gradient_is_that_of_the_codes() -> None:
    assert one(0.5, 0.25, 0.0) == (0.25, 0.5, 1.0)
    # 0.126 * 256 = 32.256 -> 32; 0.2501 * 128 = 32.01 -> 32: the codes count, not the floats
    assert one(0.126, 0.2501, 0.0) == (0.25, 0.125, 1.0)


@pytest.mark.parametrize(("codes", "passes"), [(0.0, 1), (255.0, 1), (255.01, 0), (-0.01, 0),
                                               (255.4, 0), (300.0, 0), (-3.0, 0)])  # fmt: skip
def test_limited_input(codes: float, passes: int) -> None:
    gx, gw, gb = one(codes / 256, 0.25, 0.0)
    saturated = min(max(round(codes), 0), 255) / 256
    assert (gx, gw, gb) == (0.25 * passes, saturated, 1.0)


@pytest.mark.parametrize(("codes", "passes"), [(-255.0, 1), (-255.01, 0), (0.0, 1), (255.01, 0)])
def test_limited_input_of_both_signs(codes: float, passes: int) -> None:
    gx, _, _ = one(codes / 256, 0.25, negative_input="split_sign")
    assert gx == 0.25 * passes


@pytest.mark.parametrize(("codes", "passes"), [(-128.0, 1), (-128.01, 0), (127.0, 1), (127.01, 0)])
def test_limited_shifted_input(codes: float, passes: int) -> None:
    gx, gw, _ = one(codes / 256, 0.25, negative_input="shift")
    assert gx == 0.25 * passes
    assert gw == min(max(round(codes), -128), 127) / 256  # the shift is taken out again


@pytest.mark.parametrize(("codes", "passes"), [(127.0, 1), (127.01, 0), (-128.0, 1), (-128.2, 0)])
def test_limited_weight(codes: float, passes: int) -> None:
    gx, gw, _ = one(0.5, codes / 128)
    assert gw == 0.5 * passes
    assert gx == min(max(round(codes), -128), 127) / 128


@pytest.mark.parametrize(("counts", "passes"), [(127.0, 1), (127.01, 0), (-128.0, 1), (-128.01, 0)])
def test_limited_bias(counts: float, passes: int) -> None:
    gx, gw, gb = one(0.5, 0.25, counts * 128 / 32768, bias_rows=1)
    assert (gx, gw, gb) == (0.25, 0.5, float(passes))


@pytest.mark.parametrize(
    ("counts", "passes"), [(127.0, 1), (127.4, 1), (127.6, 0), (-128.4, 1), (-128.6, 0)]
)
def test_limited_bias_of_two_rounds_is_one_that_rounds_outside(counts: float, passes: int) -> None:
    """As in the training tool: the bias is rounded before the shift is taken out."""
    found = one(0.5, 0.25, counts * 128 / 32768, bias_rows=1, x_bits=10)
    assert found == (0.25, 0.5, float(passes))


@pytest.mark.parametrize(("bits", "rounding"), [(8, "readout"), (8, "half_even"), (10, "readout"),
                                                (10, "half_even")])  # fmt: skip
def test_limited_bias_of_a_shifted_input_keeps_no_shift(bits: int, rounding: str) -> None:
    """A limited bias takes no shift out any more, so the weight sees the shifted code."""
    half = 1 << (bits - 1)
    fields = {
        "negative_input": "shift",
        "bias_rows": 1,
        "x_bits": bits,
        "rounding": rounding,
        "codes_per_unit_w": 16.0,
        "codes_per_unit_y": 1.0,  # so that neither the output nor the low part is limited
        "y_bits": 12,
    }
    free = one(0.25, 0.25, 0.0, **fields)
    assert free == (0.25, 0.25, 1.0)
    full = one(0.25, 0.25, 100.0, **fields)
    assert full == (0.25, 0.25 + half / 256, 0.0)


# The accumulator of x = 128 codes and w = 64 codes is 8192; the bias brings it to the end of the range.
@pytest.mark.parametrize("rounding", ["readout", "half_even"])
@pytest.mark.parametrize(("acc", "passes"), [(127 * 2048, 1), (127 * 2048 + 128, 0),
                                             (-128 * 2048, 1), (-128 * 2048 - 128, 0)])  # fmt: skip
def test_limited_output(acc: int, passes: int, rounding: str) -> None:
    found = one(0.5, 0.5, (acc - 8192) / 32768, bias_rows=32, rounding=rounding)
    assert found == (0.5 * passes, 0.5 * passes, 1.0 * passes)


def test_limited_low_part_of_a_split_layer() -> None:
    """half_even limits the low code: its share leaves gw and gb, gx keeps all."""
    fields = {"x_bits": 10, "rounding": "half_even", "bias_rows": 32}
    x = (512 + 100) / 256  # low 100, high 512
    inside = one(x, 0.5, 0.0, **fields)
    assert inside == (0.5, x, 1.0)
    # A bias of -200 codes with a high part of +2 * 256 * 64 / 2048 = 16: the low part saturates, and so
    # does the sum unless the high part pulls it back.
    limited = one(x, 0.5, -200 / 16, **fields)
    assert limited == (0.5, 512 / 256, 0.0)
    # The readout limits the sum only.
    assert one(x, 0.5, -140 / 16, **{**fields, "rounding": "readout"}) == (0.5, x, 1.0)
    assert one(x, 0.5, -200 / 16, **{**fields, "rounding": "readout"}) == (0.0, 0.0, 0.0)


def test_codes_just_over_a_tie_are_masked_although_they_round_inside() -> None:
    layer = Linear(1, 1, False, config=QATConfig(**SCALES))
    with torch.no_grad():
        layer.weight.fill_(127.3 / 128)
    gx, gw, _, _ = gradients_of(layer, torch.tensor([[255.4 / 256]]), torch.ones(1, 1))
    assert (float(gx), float(gw)) == (0.0, 0.0)


# -- geometry ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("treatment", ["clamp", "split_sign", "shift"])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("kernel", [(2, 4), (4, 3), (1, 2)])
def test_same_padding_with_even_kernels(kernel: tuple[int, int], bits: int, treatment: str) -> None:
    rng = np.random.default_rng(3)
    config = QATConfig(**SCALES, x_bits=bits, negative_input=treatment, y_bits=12)
    for dilation in (1, 2):
        layer = Conv2d(2, 4, kernel, padding="same", dilation=dilation, groups=2, config=config)
        x = torch.from_numpy(rng.uniform(-0.4, 0.9, (2, 2, 7, 6)).astype(np.float32))
        check(Case("conv2d", config, layer, x), 1e-6)


def test_pixels_that_no_stride_reaches_have_no_gradient() -> None:
    config = QATConfig(**SCALES, negative_input="split_sign")
    layer = Conv2d(1, 1, 2, stride=3, config=config)
    x = torch.rand(1, 1, 7, 6)
    check(Case("conv2d", config, layer, x), 1e-6)
    gx, _, _, _ = gradients_of(layer, x, torch.ones(1, 1, 2, 2))
    assert not gx[:, :, 2].any()
    assert not gx[:, :, 5:].any()
    assert gx[:, :, 0, 0].any()


@pytest.mark.parametrize("output_padding", [0, 1, 2])
def test_transposed_convolution_with_output_padding(output_padding: int) -> None:
    config = QATConfig(**SCALES, y_bits=12)
    layer = ConvTranspose2d(2, 3, (3, 2), (3, 3), (2, 1), output_padding, dilation=(1, 2),
                            config=config)  # fmt: skip
    check(Case("conv_transpose2d", config, layer, torch.rand(2, 2, 4, 3)), 1e-6)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("bits", [8, 10])
def test_empty_batches_have_zero_gradients(op: str, bits: int) -> None:
    config = QATConfig(**SCALES, x_bits=bits)
    layer = {"linear": Linear(4, 3, config=config), "conv2d": Conv2d(4, 3, 2, config=config),
             "conv_transpose2d": ConvTranspose2d(4, 3, 2, config=config)}[op]  # fmt: skip
    x = torch.zeros((0, 4) if op == "linear" else (0, 4, 5, 5), requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    for parameter in (layer.weight, layer.bias):
        assert parameter.grad is not None
        assert parameter.grad.shape == parameter.shape
        assert not parameter.grad.any()


# -- who asks for what ------------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=10)
@given(data=st.data())
def test_each_gradient_alone_equals_all_together(op: str, data: st.DataObject) -> None:
    case = with_images(data, op)
    layer = case.layer
    gy = upstream(layer(case.x).shape, 1)
    gx, gw, gb, _ = gradients_of(layer, case.x, gy)
    layer.weight.requires_grad_(False)
    if layer.bias is not None:
        layer.bias.requires_grad_(False)
    leaf = case.x.detach().requires_grad_()
    layer(leaf).backward(gy)
    assert torch.equal(leaf.grad, gx)
    layer.weight.grad = None
    layer.weight.requires_grad_(True)
    layer(case.x.detach()).backward(gy)
    assert torch.equal(layer.weight.grad, gw)
    if layer.bias is not None:
        layer.weight.requires_grad_(False)
        layer.bias.requires_grad_(True)
        layer.bias.grad = None
        layer(case.x.detach()).backward(gy)
        assert torch.equal(layer.bias.grad, gb)


def test_nothing_asked_nothing_recorded() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES)).requires_grad_(False)
    assert not layer(torch.rand(2, 4)).requires_grad
    layer.requires_grad_(True)
    with torch.no_grad():
        assert not layer(torch.rand(2, 4)).requires_grad


@pytest.mark.parametrize("op", OPS)
def test_second_derivatives_are_refused(op: str) -> None:
    config = QATConfig(**SCALES)
    layer = {"linear": Linear(4, 3, config=config), "conv2d": Conv2d(4, 3, 2, config=config),
             "conv_transpose2d": ConvTranspose2d(4, 3, 2, config=config)}[op]  # fmt: skip
    x = torch.rand((2, 4) if op == "linear" else (1, 4, 5, 5), requires_grad=True)
    (gx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|twice"):
        gx.sum().backward()


def test_expanded_and_sliced_upstream_gradients() -> None:
    layer = Conv2d(2, 3, 2, config=QATConfig(**SCALES))
    x = torch.rand(2, 2, 4, 4)
    ones = gradients_of(layer, x, torch.ones(2, 3, 3, 3))
    spread = gradients_of(layer, x, torch.ones(()).expand(2, 3, 3, 3))
    for a, b in zip(ones, spread, strict=True):
        assert torch.equal(a, b)
    gy = torch.randn(2, 3, 3, 3)
    last = gradients_of(layer, x, gy.contiguous(memory_format=torch.channels_last))
    for a, b in zip(gradients_of(layer, x, gy), last, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_do_not_depend_on_the_memory_layout_of_the_input() -> None:
    layer = Conv2d(2, 3, 2, padding=1, config=QATConfig(**SCALES, negative_input="shift"))
    x = torch.rand(2, 2, 4, 4) - 0.5
    gy = torch.randn(2, 3, 5, 5)
    plain = gradients_of(layer, x, gy)
    last = gradients_of(layer, x.contiguous(memory_format=torch.channels_last), gy)
    for a, b in zip(plain, last, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_accumulate_over_shared_use() -> None:
    layer = Linear(4, 4, config=QATConfig(**SCALES))
    x, gy = torch.rand(3, 4), torch.randn(3, 4)
    _, gw, _, y = gradients_of(layer, x, gy)
    layer.zero_grad()
    (layer(x) + layer(x)).backward(gy)
    torch.testing.assert_close(layer.weight.grad, 2 * gw)
    assert torch.equal(layer(x), y)


def test_an_optimiser_learns_through_the_layer() -> None:
    torch.manual_seed(0)
    target = torch.randn(8, 4)
    x = torch.rand(64, 8)
    layer = Linear(8, 4, config=QATConfig(calibration_steps=3))
    optimiser = torch.optim.Adam(layer.parameters(), 0.02)
    losses = []
    for _ in range(80):
        loss = (layer(x) - x @ target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
