# SPDX-License-Identifier: Apache-2.0
"""The noise hook stands between accumulator and requantiser, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_cases import OPS, cases
from nn_forward_model import ForwardModel
from nn_gradient_model import gradients_of
from numpy.typing import NDArray

from bittwin.nn import Conv2d, Linear, NoiseHook, QATConfig

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's
SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}
Acc = NDArray[np.int32]


class Recorder:
    """Adds a constant and remembers how it was called."""

    def __init__(self, add: int = 0, *, in_place: bool = False) -> None:
        self.add, self.in_place, self.calls = add, in_place, []  # type: ignore[var-annotated]

    def __call__(self, acc: Acc, *, layer: str, gain: float, **context: Any) -> Acc:
        self.calls.append((acc.dtype, acc.shape, layer, gain))
        if self.in_place:
            acc += np.int32(self.add)
            return acc
        return acc + np.int32(self.add)


def same(acc: Acc, *, layer: str, gain: float, **context: Any) -> Acc:
    return acc


def fc(noise: Any, **fields: Any) -> Linear:
    torch.manual_seed(0)
    return Linear(6, 3, config=QATConfig(**{**SCALES, **fields}, noise=noise))


X = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))


def test_hooks_follow_the_protocol() -> None:
    assert isinstance(same, NoiseHook)
    assert isinstance(Recorder(), NoiseHook)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=40)
@given(data=st.data())
def test_an_unchanged_accumulator_is_the_exact_path(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    layer = case.layer
    wanted_y = layer(case.x).detach()
    gy = torch.randn(wanted_y.shape, generator=torch.Generator().manual_seed(0))
    wanted = gradients_of(layer, case.x, gy)
    layer.config = layer.config.with_(noise=same)
    for got, want in zip(gradients_of(layer, case.x, gy), wanted, strict=True):
        assert (got is None and want is None) or torch.equal(got, want)


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=25)
@given(data=st.data())
def test_noise_joins_the_low_accumulator(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    layer, add = case.layer, data.draw(st.sampled_from((1, -3, 700, -100_000)))
    model = ForwardModel(layer)
    low, high = model.accumulators(model.coded_images(case.x.numpy()))
    wanted = model.output_codes(np.asarray(low) + add, high)
    layer.config = layer.config.with_(noise=Recorder(add, in_place=data.draw(st.booleans())))
    y = layer(case.x)
    images = y.reshape(-1, y.shape[-1]) if op == "linear" else y if y.dim() == 4 else y[None]
    codes = np.rint(images.detach().numpy().astype(np.float64) * layer.codes_per_unit[2])
    assert np.array_equal(codes, wanted)


def test_the_output_mask_is_that_of_the_noisy_accumulator() -> None:
    quiet, loud = fc(None), fc(Recorder(10_000_000))
    ones = torch.ones(4, 3)
    assert gradients_of(quiet, X, ones)[1].any()
    gx, gw, gb, y = gradients_of(loud, X, ones)
    assert (y == 127 / 16).all()
    assert not gx.any()
    assert not gw.any()
    assert gb is not None
    assert not gb.any()


def test_the_hook_is_told_layer_and_gain() -> None:
    hook = Recorder()
    layer = Conv2d(2, 3, 3, config=QATConfig(**SCALES, noise=hook))
    layer.layer_name = "encoder.conv"
    layer(torch.rand(2, 2, 5, 5))
    assert hook.calls == [(np.dtype(np.int32), (2, 3, 3, 3), "encoder.conv", 2048.0)]


def test_channels_are_on_axis_1() -> None:
    def third(acc: Acc, **context: Any) -> Acc:
        acc[:, 2] += 40_960
        return acc

    # half_even, because the readout steps differently below zero
    config = QATConfig(**SCALES, y_bits=12, rounding="half_even")
    layer = Conv2d(2, 3, 3, config=config)
    for x in (torch.rand(2, 2, 5, 5), torch.rand(2, 5, 5),
              torch.rand(2, 2, 5, 5).contiguous(memory_format=torch.channels_last)):  # fmt: skip
        layer.config = config
        exact = layer(x)
        layer.config = config.with_(noise=third)
        moved = (layer(x) - exact) * 16
        assert sorted(moved.unique().tolist()) == [0.0, 20.0]
        assert (moved.select(-3, 2) == 20.0).all()


@pytest.mark.parametrize(
    ("training", "in_eval", "calls"),
    [(True, False, 1), (False, False, 0), (False, True, 1), (True, True, 1)],
)
def test_when_it_acts(training: bool, in_eval: bool, calls: int) -> None:
    hook = Recorder(50_000)
    layer = fc(hook, noise_in_eval=in_eval).train(training)
    y = layer(X)
    assert len(hook.calls) == calls
    assert torch.equal(y, fc(None)(X)) == (calls == 0)


def test_float_mode_has_no_noise() -> None:
    hook = Recorder(1)
    fc(hook, mode="float")(X)
    assert not hook.calls


def test_calibration_does_not_see_the_noise() -> None:
    loud = Linear(6, 3, config=QATConfig(noise=Recorder(1 << 20), calibration_steps=2))
    quiet = Linear(6, 3, config=QATConfig(calibration_steps=2))
    quiet.load_state_dict(loud.state_dict())
    for _ in range(3):
        loud(X)
        quiet(X)
    assert torch.equal(loud.scales.codes_per_unit, quiet.scales.codes_per_unit)


WRONG: dict[str, Any] = {
    "float": lambda acc, **_: acc.astype(np.float32),
    "int64": lambda acc, **_: acc.astype(np.int64),
    "fewer": lambda acc, **_: acc[:1],
    "flat": lambda acc, **_: acc.reshape(-1),
    "nothing": lambda acc, **_: None,
    "a number": lambda acc, **_: 3,
    "a tensor": lambda acc, **_: torch.from_numpy(acc),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_refused(name: str) -> None:
    layer = fc(WRONG[name])
    layer.layer_name = "fc"
    with pytest.raises(
        (TypeError, ValueError), match=r"layer 'fc': noise: .*, wanted int32 \(4, 3\)"
    ):
        layer(X)


def test_memory_order_of_the_answer_does_not_matter() -> None:
    layer = fc(lambda acc, **_: np.asfortranarray(acc))
    assert torch.equal(layer(X), fc(None)(X))
    reverse = fc(lambda acc, **_: acc[::-1][::-1])
    assert torch.equal(reverse(X), fc(None)(X))


def test_an_error_of_the_hook_comes_out() -> None:
    def broken(acc: Acc, **context: Any) -> Acc:
        raise RuntimeError("no such chip")

    with pytest.raises(RuntimeError, match="no such chip"):
        fc(broken)(X)


def test_nan_is_refused_with_noise_too() -> None:
    x = X.clone()
    x[0, 0] = float("nan")
    with pytest.raises(ValueError, match="found NaN in the input"):
        fc(same)(x)
