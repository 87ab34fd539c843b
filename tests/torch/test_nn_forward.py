# SPDX-License-Identifier: Apache-2.0
"""The forward pass against big integers, and the three ways to the same codes against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_cases import OPS, Case, cases, codes_of
from nn_forward_model import ForwardModel
from nn_networks import network_layer

import bittwin
from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's
SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}


def as_layer_shape(case: Case, y: torch.Tensor) -> torch.Tensor:
    """y with the axes that the model gives: rows, or a batch of images."""
    if case.op == "linear":
        return y.reshape(-1, y.shape[-1])
    return y if y.dim() == 4 else y.unsqueeze(0)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=80)
@given(data=st.data())
def test_codes_equal_the_oracle(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    kept = case.x.clone()
    y = case.layer(case.x)
    wanted = ForwardModel(case.layer).forward(case.x.numpy())
    got = codes_of(case.layer, as_layer_shape(case, y))
    assert got.shape == wanted.shape
    assert np.array_equal(got, wanted)
    assert torch.equal(kept, case.x)
    assert y.dtype == torch.float32
    assert y.shape == case.layer.float_forward(torch.nan_to_num(case.x)).shape


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=60)
@given(data=st.data())
def test_train_eval_and_network_give_the_same_codes(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    layer = case.layer
    trained = layer.train()(case.x)
    evaluated = layer.eval()(case.x)
    assert torch.equal(trained, evaluated)
    with torch.no_grad():
        assert torch.equal(trained, layer(case.x))
    codes = codes_of(layer, as_layer_shape(case, trained))
    integers, inner = network_layer(layer, case.x)
    assert np.array_equal(integers.run(inner), codes)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=25)
@given(data=st.data())
def test_numpy_functions_give_the_same_codes(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op, negative_input=data.draw(st.sampled_from(("clamp", "split_sign")))))
    layer, prepared = case.layer, case.layer.prepared()
    _, inner = network_layer(layer, case.x)
    spec = prepared.spec
    options: dict[str, object] = {"x_bits": spec.x_bits}
    name = spec.op
    if name != "linear":
        options |= {k: getattr(spec, k) for k in ("stride", "padding", "dilation")}
        more = "groups" if name == "conv2d" else "output_padding"
        options[more] = getattr(spec, more)
    if spec.split:
        options["bias_digital"] = prepared.bias_digital
    function = getattr(bittwin, ("split_" if spec.split else "") + name)
    y = function(inner, prepared.weight, prepared.bias, spec.requant, **options)
    assert np.array_equal(y, codes_of(layer, as_layer_shape(case, layer(case.x))))


@settings(max_examples=30)
@given(data=st.data())
def test_batch_split_changes_nothing(data: st.DataObject) -> None:
    case = data.draw(cases(data.draw(st.sampled_from(OPS))))
    x = case.x if case.x.dim() in (2, 4) else case.x.unsqueeze(0)
    if case.op == "linear":
        x = x.reshape(-1, x.shape[-1])
    whole = case.layer(x)
    for i in range(len(x)):
        assert torch.equal(case.layer(x[i : i + 1]), whole[i : i + 1])


@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_output_has_the_memory_format_of_the_input(layout: str) -> None:
    x = torch.rand(2, 3, 5, 6)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    for layer in (Conv2d(3, 4, 3, config=QATConfig(**SCALES)),
                  ConvTranspose2d(3, 4, 3, config=QATConfig(**SCALES))):  # fmt: skip
        y = layer(x)
        assert y.is_contiguous(
            memory_format=torch.channels_last if layout != "plain" else torch.contiguous_format
        )
        assert torch.equal(y, layer(x.contiguous()))


def test_expanded_and_sliced_inputs() -> None:
    layer = Conv2d(2, 3, 3, padding=1, config=QATConfig(**SCALES))
    one = torch.rand(1, 2, 6, 6)
    assert torch.equal(layer(one.expand(3, -1, -1, -1)), layer(one).expand(3, -1, -1, -1))
    wide = torch.rand(2, 2, 9, 9)
    part = wide[:, :, 1:7, 2:8]
    assert torch.equal(layer(part), layer(part.clone()))
    flipped = part.flip(3)
    assert torch.equal(layer(flipped), layer(flipped.clone()))


def test_a_conjugate_view_is_an_input_like_any_other() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    x = torch.rand(5, 4)
    lazy = torch.complex(torch.zeros(5, 4), -x).conj().imag
    assert lazy.is_neg()
    assert torch.equal(layer(lazy), layer(x))


def test_zero_size_layers() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    assert layer(torch.zeros(0, 4)).shape == (0, 3)
    assert layer(torch.zeros(2, 0, 4)).shape == (2, 0, 3)
    conv = Conv2d(2, 3, 3, config=QATConfig(**SCALES))
    assert conv(torch.zeros(0, 2, 5, 5)).shape == (0, 3, 3, 3)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_inputs_leave_the_bias() -> None:
    layer = Linear(0, 5, config=QATConfig(**SCALES))
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.fill_(1.0)
    assert torch.equal(layer(torch.zeros(3, 0)), torch.ones(3, 5))


@pytest.mark.parametrize(("bits", "shift"), [(8, 1.0), (8, 0.998), (10, 4.0), (12, 16.0)])
@pytest.mark.parametrize("rounding", ["readout", "half_even"])
def test_padding_of_a_fully_shifted_image_is_the_highest_code(
    bits: int, shift: float, rounding: str
) -> None:
    """A shift of the whole range gives 0.0 the code 2^bits, which saturates like any input."""
    config = QATConfig(
        **{**SCALES, "codes_per_unit_y": 128.0},  # gain 256: one code of padding shows
        x_bits=bits,
        y_bits=12,
        negative_input="shift",
        shift=shift,
        rounding=rounding,
    )
    layer = Conv2d(1, 1, 3, padding=1, bias=False, config=config)
    torch.nn.init.constant_(layer.weight, 0.25)
    x = torch.zeros(1, 1, 4, 4)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    plain = Conv2d(1, 1, 3, bias=False, config=config)
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), plain(padded))
    assert np.array_equal(codes_of(layer, layer(x)), ForwardModel(layer).forward(x.numpy()))


@pytest.mark.parametrize("op", OPS)
def test_nan_is_refused_by_name(op: str) -> None:
    config = QATConfig(**SCALES)
    shape = {"linear": (2, 3), "conv2d": (1, 3, 4, 4), "conv_transpose2d": (1, 3, 4, 4)}[op]
    layer = {"linear": Linear(3, 2, config=config), "conv2d": Conv2d(3, 2, 2, config=config),
             "conv_transpose2d": ConvTranspose2d(3, 2, 2, config=config)}[op]  # fmt: skip
    layer.layer_name = "encoder.0"
    x = torch.rand(shape)
    x.view(-1)[-1] = float("nan")
    with pytest.raises(ValueError, match=r"layer 'encoder\.0': found NaN in the input"):
        layer(x)


def test_shapes_are_refused_by_name() -> None:
    fc, conv = Linear(4, 3, config=QATConfig(**SCALES)), Conv2d(2, 3, 3, config=QATConfig(**SCALES))
    for layer, x in ((fc, torch.rand(2, 5)), (conv, torch.rand(1, 3, 5, 5)),
                     (conv, torch.rand(2, 5)), (conv, torch.rand(1, 2, 2, 2)),
                     (fc, torch.tensor(1.0))):  # fmt: skip
        with pytest.raises(ValueError, match=rf"layer '{type(layer).__name__}': found"):
            layer(x)


def test_the_widest_split_layer_fits() -> None:
    """Each round of 4096 rows fits INT32, although one round of 12 bits would not."""
    scales = {**SCALES, "codes_per_unit_y": 2.0**-10}  # gain 2^25
    config = QATConfig(**scales, x_bits=12, y_bits=12, weight_bits=12, rounding="half_even")
    layer = Linear(4096, 1, bias=False, config=config)
    torch.nn.init.constant_(layer.weight, 2047 / 128)
    x = torch.full((1, 4096), 4095 / 256)
    codes = codes_of(layer, layer(x))
    assert np.array_equal(codes, ForwardModel(layer).forward(x.numpy()))
    assert 1000 < codes[0, 0] < 2047


@pytest.mark.parametrize("bits", [8, 10])
def test_biases_next_to_ties(bits: int) -> None:
    """b * fl32(x * w codes per unit), one rounding: two roundings give another count now and then."""
    scales = {"codes_per_unit_x": 100.3, "codes_per_unit_w": 33.3, "codes_per_unit_y": 7.0}
    config = QATConfig(**scales, rounding="half_even", x_bits=bits)
    layer = Linear(1, 4000, config=config)
    counts = np.arange(-1000, 1000) + 0.5
    biases = (128 * counts / (100.3 * 33.3)).astype(np.float32)
    biases = np.concatenate([biases, np.nextafter(biases, np.float32(np.inf))])
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(biases))
    wanted = ForwardModel(layer).bias
    assert np.array_equal(layer.prepared().bias, wanted)
    twice = biases * np.float32(100.3) * np.float32(33.3)
    assert not np.array_equal(128 * np.rint(twice / np.float32(128)), wanted)


def test_an_accumulator_that_may_overflow_is_refused() -> None:
    narrow = QATConfig(**SCALES, weight_bits=12)
    layer = Linear(8192, 1, bias=False, config=narrow)
    torch.nn.init.constant_(layer.weight, 20.0)
    with pytest.raises(ValueError, match=r"layer 'Linear'.*INT32"):
        layer(torch.zeros(1, 8192))
