# SPDX-License-Identifier: Apache-2.0
"""Scales: how they are found, kept, carried in a checkpoint and refused."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig
from bittwin.nn.scales import choose, power_of_two_scale

SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}


def scales_of(layer: torch.nn.Module) -> list[float]:
    return layer.scales.codes_per_unit.tolist()


def fc(**fields: object) -> Linear:
    torch.manual_seed(1)
    layer = Linear(6, 3, config=QATConfig(**{"calibration_steps": 3, **fields}))
    layer.layer_name = "net.fc1"
    return layer


def batch(largest: float, rows: int = 4) -> torch.Tensor:
    x = torch.rand(rows, 6, generator=torch.Generator().manual_seed(rows)) * largest
    x[0, 0] = largest
    return x


# -- the schedule -----------------------------------------------------------------------------


def test_calibrates_for_n_steps_and_freezes() -> None:
    layer = fc(rounding="half_even")
    assert not layer.calibrated
    assert layer.calibrating
    found = []
    for largest in (0.4, 1.5, 0.3, 100.0):
        layer(batch(largest))
        found.append(scales_of(layer)[0])
    # 2^8 codes for the power of two at or above the largest input so far; the fourth batch is too late.
    assert found == [512.0, 128.0, 128.0, 128.0]
    assert not layer.calibrating
    assert int(layer.scales.steps) == 3


def test_every_batch_is_computed_with_the_scales_that_include_it() -> None:
    layer = fc()
    y = layer(batch(0.9))
    fixed = fc(**dict(zip(SCALES, scales_of(layer), strict=True)))
    assert torch.equal(y, fixed(batch(0.9)))


def test_eval_neither_calibrates_nor_forgets() -> None:
    layer = fc()
    layer(batch(1.0))
    before = copy.deepcopy(layer.state_dict())
    layer.eval()
    layer(batch(50.0))
    layer.train()
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    layer(batch(3.0))
    assert scales_of(layer)[0] == 64.0
    assert int(layer.scales.steps) == 2


@pytest.mark.parametrize(("treatment", "codes"), [("clamp", 256), ("split_sign", 256),
                                                  ("shift", 128)])  # fmt: skip
@pytest.mark.parametrize("bits", [8, 9, 12])
def test_input_scale_by_treatment(treatment: str, codes: int, bits: int) -> None:
    """Shifted inputs have half of the codes on each side of zero."""
    layer = fc(negative_input=treatment, x_bits=bits, rounding="half_even")
    x = batch(0.75)
    x[1] = -0.5
    if treatment == "clamp":
        x[2] = -9.0  # does not count
    layer(x)
    assert scales_of(layer)[0] == codes * 2.0 ** (bits - 8)
    codes_seen = layer.quantize_input(x)
    assert int(codes_seen.max()) <= (1 << bits) - 1


def test_weight_and_output_scales() -> None:
    layer = fc(rounding="half_even", weight_bits=6, y_bits=10)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0] = -0.3
        assert layer.bias is not None
        layer.bias.zero_()
    layer(batch(2.0))
    assert scales_of(layer) == [128.0, 64.0, 512.0]  # 0.3 -> 0.5: 2^5 codes; 0.6 -> 1: 2^9


@pytest.mark.parametrize(("mode", "wanted"), [("never", 512.0), ("epoch", 8.0)])
def test_recalibration(mode: str, wanted: float) -> None:
    layer = fc(recalibrate=mode, rounding="half_even", calibration_steps=1)
    layer(batch(0.5))
    assert scales_of(layer)[0] == 512.0
    layer.train()  # no change of mode: no new epoch
    layer(batch(30.0))
    assert scales_of(layer)[0] == 512.0
    layer.eval()
    layer(batch(30.0))
    layer.train()
    assert scales_of(layer)[0] == 512.0  # the old ones hold until a batch comes
    layer(batch(30.0))
    assert scales_of(layer)[0] == wanted


def test_recalibration_through_a_container() -> None:
    net = torch.nn.Sequential(fc(recalibrate="epoch", calibration_steps=1), torch.nn.ReLU())
    net(batch(0.5))
    net.eval()
    net.train()
    assert net[0].calibrating
    net(batch(30.0))
    net.train()
    assert not net[0].calibrating


def test_float_mode_calibrates_nothing() -> None:
    layer = fc(mode="float")
    x = batch(1.0)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    assert not layer.calibrated
    assert layer(x.double().float()).requires_grad


# -- checkpoints ------------------------------------------------------------------------------


def test_a_checkpoint_keeps_its_scales_when_training_goes_on() -> None:
    layer = fc()
    for largest in (0.4, 1.5, 0.3):
        layer(batch(largest))
    other = fc()
    other.load_state_dict(layer.state_dict())
    assert scales_of(other) == scales_of(layer)
    other.train()
    other(batch(99.0))
    assert scales_of(other) == scales_of(layer)
    assert torch.equal(other(batch(0.7)), layer(batch(0.7)))


def test_a_checkpoint_of_the_middle_of_a_calibration_goes_on_in_the_middle() -> None:
    layer = fc()
    layer(batch(1.5))
    kept = io.BytesIO()
    torch.save(layer.state_dict(), kept)
    kept.seek(0)
    other = fc()
    other.load_state_dict(torch.load(kept, weights_only=True))
    for model in (layer, other):
        model(batch(0.4))
        model(batch(0.9))
        model(batch(70.0))
    assert scales_of(other) == scales_of(layer)
    assert int(other.scales.steps) == 3


def test_state_dict_keys() -> None:
    assert set(fc().state_dict()) == {
        "weight", "bias", "scales.codes_per_unit", "scales.maxima", "scales.steps"}  # fmt: skip


@pytest.mark.parametrize("cast", ["float", "double", "half", "bfloat16"])
def test_module_casts_leave_the_scales_alone(cast: str) -> None:
    layer = fc(codes_per_unit_x=100.3, codes_per_unit_w=2.0**20, codes_per_unit_y=0.1,
               rounding="half_even")  # fmt: skip
    wanted = scales_of(layer)
    getattr(layer, cast)()
    assert scales_of(layer) == wanted


# -- refusals ---------------------------------------------------------------------------------


def test_eval_before_calibration() -> None:
    with pytest.raises((RuntimeError, ValueError), match=r"layer 'net\.fc1': found no scales"):
        fc().eval()(batch(1.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["input", "weight"])
def test_nan_and_infinity_in_calibration(bad: float, where: str) -> None:
    layer, x = fc(negative_input="split_sign"), batch(1.0)
    with torch.no_grad():
        (x if where == "input" else layer.weight)[0, 1] = bad
    with pytest.raises(
        ValueError, match=rf"layer 'net\.fc1': found NaN or infinity in the {where}"
    ):
        layer(x)
    assert int(layer.scales.steps) == 0
    assert scales_of(layer) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("name", "letter"), [("input", "x"), ("weight", "w"), ("output", "y")])
def test_all_zeros_in_calibration(name: str, letter: str) -> None:
    layer, x = fc(), batch(1.0)
    with torch.no_grad():
        if name == "input":
            x.zero_()
        else:
            layer.weight.zero_()
            assert layer.bias is not None
            layer.bias.zero_()
    if name == "output":
        layer.config = layer.config.with_(codes_per_unit_w=128.0)
    with pytest.raises(ValueError, match=rf"net\.fc1'.*nothing.*in the {name}") as error:
        layer(x)
    assert f"codes_per_unit_{letter}" in str(error.value)


def test_nothing_above_zero_under_clamp() -> None:
    with pytest.raises(ValueError, match=r"net\.fc1'.*nothing above zero in the input"):
        fc()(-batch(1.0))
    fc(negative_input="split_sign")(-batch(1.0))
    fc(negative_input="shift")(-batch(1.0))


def test_a_later_batch_of_zeros_is_no_error() -> None:
    layer = fc()
    layer(batch(1.0))
    layer(torch.zeros(4, 6))
    assert int(layer.scales.steps) == 2


def test_an_empty_batch_is_no_calibration() -> None:
    layer = fc()
    layer(batch(1.0))
    layer(torch.zeros(0, 6))
    assert int(layer.scales.steps) == 1


@pytest.mark.parametrize("rounding", ["readout", "half_even"])
@pytest.mark.parametrize("size", [1e-42, 1e-38, 1e38])
def test_numbers_that_no_float32_scale_can_hold(size: float, rounding: str) -> None:
    """Either it works or the layer and its trouble are named; never a bare overflow."""
    layer = fc(rounding=rounding)
    try:
        y = layer(batch(1.0) * size)
    except ValueError as error:
        assert "net.fc1" in str(error)
    else:
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("op", [Linear, Conv2d, ConvTranspose2d])
def test_every_operator_names_itself(op: type) -> None:
    layer = op(4, 3, config=QATConfig()) if op is Linear else op(4, 3, 2, config=QATConfig())
    layer.layer_name = "decoder.up"
    x = torch.zeros(2, 4) if op is Linear else torch.zeros(1, 4, 5, 5)
    with pytest.raises(ValueError, match=r"layer 'decoder\.up'"):
        layer(x)


# -- the gain that readout takes --------------------------------------------------------------


def gain(scales: list[float]) -> float:
    return scales[0] * scales[1] / scales[2]


@settings(max_examples=300)
@given(
    maxima=st.tuples(*[st.floats(1e-6, 1e6)] * 3),
    max_gain=st.sampled_from([1 << g for g in range(8, 16)]),
    bits=st.tuples(st.integers(8, 12), st.integers(2, 12), st.integers(8, 12)),
    treatment=st.sampled_from(("clamp", "split_sign", "shift")),
)
def test_calibrated_gains_are_powers_of_two_in_range(
    maxima: tuple[float, ...], max_gain: int, bits: tuple[int, int, int], treatment: str
) -> None:
    config = QATConfig(max_gain=max_gain, x_bits=bits[0], weight_bits=bits[1], y_bits=bits[2],
                       negative_input=treatment)  # fmt: skip
    x, w, y = found = choose(config, "layer", list(maxima))
    assert gain(found) in [float(1 << g) for g in range(8, max_gain.bit_length())]
    free = choose(config.with_(rounding="half_even"), "layer", list(maxima))
    assert x == free[0]
    assert w <= free[1]
    assert y <= free[2]  # never finer than asked: the largest output still fits
    if 256 <= gain(free) <= max_gain:
        assert found == free
    assert [math.frexp(v)[0] for v in found] == [0.5] * 3


@settings(max_examples=200)
@given(largest=st.floats(1e-30, 1e30), bits=st.integers(1, 12))
def test_power_of_two_scale(largest: float, bits: int) -> None:
    scale = power_of_two_scale(bits, largest)
    assert math.frexp(scale)[0] == 0.5
    assert largest * scale <= 2.0**bits < 2 * largest * scale or largest * scale == 2.0**bits


def test_small_gain_makes_the_output_coarser() -> None:
    layer = fc()
    with torch.no_grad():
        layer.weight.mul_(1e-3)
        assert layer.bias is not None
        layer.bias.zero_()
    layer(batch(1.0))
    assert 256 <= gain(scales_of(layer)) <= 8192
    assert layer(batch(1.0)).shape == (4, 3)


def test_large_gain_makes_the_weights_coarser() -> None:
    torch.manual_seed(0)
    layer = Linear(512, 2, bias=False, config=QATConfig(max_gain=256))
    torch.nn.init.constant_(layer.weight, 0.9)
    layer(torch.ones(1, 512))
    x, w, y = scales_of(layer)
    assert (x, y) == (256.0, 0.25)  # 460.8 -> 512: 2^7 codes
    assert w == 0.25  # 256 * w / 0.25 = 256


@pytest.mark.parametrize("fixed", [{"codes_per_unit_x": 3.0}, {"codes_per_unit_y": 0.3},
                                   {"codes_per_unit_w": 100.0, "codes_per_unit_y": 1.0},
                                   {"codes_per_unit_x": 1.0, "codes_per_unit_w": 1.0,
                                    "codes_per_unit_y": None, "weight_bits": 8}])  # fmt: skip
def test_fixed_scales_that_leave_no_gain(fixed: dict[str, object]) -> None:
    layer = fc(**fixed)
    try:
        layer(batch(1.0))
    except ValueError as error:
        assert "layer 'net.fc1': found the gain" in str(error)
        assert "power of two in 256..32768" in str(error)
    else:
        assert 256 <= gain(scales_of(layer)) <= 32768
        assert math.frexp(gain(scales_of(layer)))[0] == 0.5


def test_all_fixed_and_impossible_is_refused_at_once() -> None:
    for y in (1000.0, 0.01, 16.1):
        with pytest.raises(ValueError, match="gain"):
            QATConfig(**{**SCALES, "codes_per_unit_y": y})
    QATConfig(**{**SCALES, "codes_per_unit_y": 16.1}, rounding="half_even")


def test_some_fixed_some_calibrated() -> None:
    layer = fc(codes_per_unit_x=64.0, rounding="half_even")
    layer(batch(100.0))
    assert scales_of(layer)[0] == 64.0
    assert layer.calibrated


def test_a_new_config_puts_its_fixed_scales_in_force() -> None:
    layer = Linear(6, 4)
    layer.config = QATConfig(codes_per_unit_x=512.0, codes_per_unit_w=512.0, codes_per_unit_y=64.0)
    assert layer.codes_per_unit == (512.0, 512.0, 64.0)
    layer(torch.rand(8, 6))  # nothing left to calibrate
    assert not layer.calibrating


def test_a_config_with_other_widths_starts_a_calibration() -> None:
    torch.manual_seed(0)
    layer = Linear(6, 4, config=QATConfig(calibration_steps=1))
    layer(torch.rand(8, 6))
    old = layer.codes_per_unit
    layer.config = layer.config.with_(backward_dtype="bfloat16")
    assert not layer.calibrating
    layer.config = layer.config.with_(x_bits=10)
    assert layer.calibrating
    assert layer.codes_per_unit == old  # until its first batch
    layer(torch.rand(8, 6))
    assert layer.codes_per_unit[0] == 4 * old[0]


def test_a_checkpoint_does_not_override_fixed_scales_in_silence() -> None:
    torch.manual_seed(0)
    trained = Linear(6, 4, config=QATConfig(calibration_steps=1))
    trained(torch.rand(8, 6))
    fixed = QATConfig(codes_per_unit_x=512.0, codes_per_unit_w=512.0, codes_per_unit_y=64.0)
    layer = Linear(6, 4, config=fixed)
    with pytest.warns(UserWarning, match="holds other scales than the config fixes"):
        layer.load_state_dict(trained.state_dict())
    assert layer.codes_per_unit == (512.0, 512.0, 64.0)


def test_calibration_keeps_half_even_gains_in_range_too() -> None:
    torch.manual_seed(0)
    layer = Linear(6, 4, config=QATConfig(rounding="half_even", calibration_steps=1))
    with torch.no_grad():
        layer.weight.mul_(0.01)
        layer.bias.fill_(100.0)
    layer(torch.rand(4, 6))
    assert 1 <= layer.spec.gain <= layer.config.max_gain


def test_an_impossible_gain_leaves_the_scales_alone() -> None:
    config = QATConfig(
        rounding="half_even", codes_per_unit_w=2.0**40, codes_per_unit_y=1.0, calibration_steps=1
    )
    layer = Linear(6, 4, config=config)
    with pytest.raises(ValueError, match="layer 'Linear': codes_per_unit"):
        layer(torch.rand(4, 6))
    assert int(layer.scales.steps) == 0
