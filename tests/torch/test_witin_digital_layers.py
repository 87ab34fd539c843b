# SPDX-License-Identifier: Apache-2.0
"""Names, defaults, messages, schedule and peculiarities of the tool's digital layers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from bittwin.compat import witin_nn
from bittwin.compat.witin_nn import WitinLayerConfig

PAIRS = ("WitinElementAdd", "WitinElementMul", "WitinElementDivide", "WitinMatMul", "WitinCat")
ONES = ("WitinSigmoid", "WitinTanh", "WitinGELU", "WitinSqrt", "WitinInvSqrt", "WitinClnBn2d")
NAMES = (*PAIRS, *ONES, "WitinPReLU", "WitinMean", "WitinHypot", "WitinBatchNorm2d")
ARGUMENTS = {
    "WitinGELU": {"approximate": "none"},
    "WitinPReLU": {"num_parameters": 1, "init": 0.25, "device": None, "dtype": None},
    "WitinCat": {"dim": 0},
    "WitinMean": {"dim": None, "keepdim": False},
    "WitinBatchNorm2d": {
        "num_features": inspect.Parameter.empty, "eps": 1e-5, "momentum": 0.1, "affine": True,
        "track_running_stats": True, "device": None, "dtype": None,
    },
}  # fmt: skip


def config(**fields: Any) -> WitinLayerConfig:
    return WitinLayerConfig(1, **{"use_quantization": True, "use_auto_scale": False, **fields})


def make(name: str, *sizes: Any, layer_config: Any = None, **fields: Any) -> Any:
    first = (3,) if name == "WitinBatchNorm2d" and not sizes else sizes
    return getattr(witin_nn, name)(*first, layer_config=layer_config or config(**fields))


@pytest.mark.parametrize("name", NAMES)
def test_constructor_arguments_and_missing_config(name: str) -> None:
    found = inspect.signature(getattr(witin_nn, name)).parameters
    wanted = {**ARGUMENTS.get(name, {}), "layer_config": None}
    assert {key: p.default for key, p in found.items()} == wanted
    sizes = (3,) if name == "WitinBatchNorm2d" else ()
    for given in (None, {}):
        with pytest.raises(AssertionError, match=f"^{name} layer_config is None$"):
            getattr(witin_nn, name)(*sizes, layer_config=given)


@pytest.mark.parametrize("name", NAMES)
def test_state_has_the_tools_names_and_first_values(name: str) -> None:
    layer = make(name, x_quant_bits=9, y_quant_bits=10, x_left_quant_bits=11, x_right_quant_bits=12,
                 weight_quant_bits=7, sqrt_left_shift_bits=0)  # fmt: skip
    own = {"WitinPReLU": ["weight"], "WitinBatchNorm2d": ["weight", "bias", "running_mean",
           "running_var", "num_batches_tracked"]}.get(name, [])  # fmt: skip
    values = {"x": 9.0, "y": 10.0, "x1": 11.0, "x2": 12.0, "weight": 7.0}
    order = ["x", "y"]
    if name in PAIRS:
        order = ["x1", "x2", "y"]
    elif own:
        order = ["x", "y", "weight"]
    elif name == "WitinMean":
        order = ["x"]
    elif name == "WitinHypot":
        order = ["x1", "y"]
    state = layer.state_dict()
    assert list(state) == own + [f"autoscale_{n}_obj.io_max" for n in order]
    assert [float(state[f"autoscale_{n}_obj.io_max"]) for n in order] == [values[n] for n in order]
    assert layer.layer_config.index == layer.index
    assert not any(p.requires_grad for n, p in layer.named_parameters() if "io_max" in n)


def test_train_resets_the_maxima_and_keeps_the_scales() -> None:
    layer = make("WitinTanh", use_auto_scale=True, scale_x=4, scale_y=16)
    layer.autoscale_x_obj.io_max.data.fill_(1.0)
    layer.train()
    assert float(layer.autoscale_x_obj.io_max) == 8.0
    layer(torch.tensor([0.9]))
    layer(torch.tensor([0.5]))
    assert layer._scales == {"x": 128.0, "y": 128.0}
    layer(torch.tensor([30.0]))  # frozen after two
    assert float(layer.autoscale_x_obj.io_max) == pytest.approx(0.9)
    assert layer.train()._scales == {"x": 128.0, "y": 128.0}
    layer.eval()(torch.tensor([1.0]))
    assert layer._scales == {"x": 16.0, "y": 16.0}  # from the 8.0


def test_empty_batch_does_not_count() -> None:
    layer = make("WitinElementAdd", use_auto_scale=True)
    assert layer(torch.zeros(0), torch.zeros(0)).shape == (0,)
    assert layer._forwards == 0


def test_sqrt_calibrates_with_the_configured_scales() -> None:
    fields = {"use_auto_scale": True, "scale_x": 4, "scale_y": 4}
    sqrt, inverse = make("WitinSqrt", **fields), make("WitinInvSqrt", **fields)
    for layer in (sqrt, inverse):
        for value in (0.5, 0.5):
            layer(torch.tensor([value]))
        assert layer._scales["x"] == 512.0  # 2^8 / 2^-1
        layer.train()
        layer(torch.tensor([0.5]))
    assert sqrt._scales["x"] == 4.0
    assert inverse._scales["x"] == 512.0


def test_zero_statistic_is_refused_at_the_last_step() -> None:
    layer = make("WitinTanh", use_auto_scale=True)
    layer(torch.zeros(3))
    with pytest.raises(
        AssertionError, match=r"^Unable to determine quant scale, because max_v = 0$"
    ):
        layer(torch.zeros(3))


def test_zero_code_makes_inv_sqrt_nan_after_calibration() -> None:
    x = torch.tensor([0.0, 4.0])
    layer = make("WitinInvSqrt", use_auto_scale=True)
    layer(x)
    assert float(layer.autoscale_y_obj.io_max) == float("inf")
    layer(x)
    assert layer(x).isnan().all()
    limited = make("WitinInvSqrt", use_auto_scale=True, output_fp_clip=2.5)
    limited(x)
    assert float(limited.autoscale_y_obj.io_max) == 2.5


def test_divide_is_a_whole_quotient_of_codes() -> None:
    layer = make("WitinElementDivide", scale_x_left=16, scale_x_right=16, scale_y=16)
    found = layer(torch.tensor([7.0, 5.0, 1.0, -1.0, 0.0]), torch.tensor([2.0, 2.0, 0.0, 0.0, 0.0]))
    assert found.tolist() == [4.0, 2.0, 127 / 16, -8.0, 0.0]
    free = make("WitinElementDivide", use_quantization=False)
    assert free(torch.tensor([90.0]), torch.tensor([3.0])).tolist() == [8.0]


def test_cat_gives_the_narrow_side_more_resolution() -> None:
    layer = make("WitinCat", x_left_quant_bits=8, x_right_quant_bits=9, scale_y=4, y_quant_bits=12)
    found = layer(torch.tensor([0.5, 127.6, 200.0]), torch.tensor([0.4]))
    assert found.tolist() == [0.5, 127.5, 127.5, 0.0]


def test_add_uses_the_smaller_scale() -> None:
    layer = make("WitinElementAdd", scale_x_left=16, scale_x_right=2, scale_y=2, y_quant_bits=12)
    assert layer(torch.tensor([0.25, 60.0]), torch.tensor([0.25, 0.0])).tolist() == [0.0, 60.0]
    wide = make("WitinElementAdd", x_left_quant_bits=20, y_quant_bits=24)
    assert wide(torch.tensor([1e6]), torch.tensor([0.0])).tolist() == [32767.0]


def test_gelu_shift_widens_the_output() -> None:
    x = torch.tensor([200.0])
    fields = {"y_quant_bits": 8, "x_quant_bits": 10}
    assert make("WitinGELU", **fields)(x).item() == 127.0
    for shift in (1e-9, -3.0):
        assert make("WitinGELU", gelu_shift_num=shift, **fields)(x).item() == round(200 + shift)
    assert make("WitinGELU", gelu_shift_num=0, **fields)(x).item() == 127.0


def test_gradients_of_roots_are_the_tools() -> None:
    x = torch.tensor([-1.0, 0.0, 400.0, 4.0], requires_grad=True)
    make("WitinSqrt")(x).sum().backward()
    assert x.grad.isnan().tolist() == [True, False, False, False]
    assert x.grad[1:].tolist() == [float("inf"), pytest.approx(0.025), 0.25]
    x = torch.tensor([0.0, 0.0, 300.0], requires_grad=True)
    make("WitinInvSqrt", scale_y=16)(x).backward(torch.tensor([1.0, -1.0, 1.0]))
    assert x.grad.tolist() == [float("inf"), float("inf"), 0.0]
    a, b = (torch.zeros(1, requires_grad=True) for _ in range(2))
    make("WitinHypot")(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (0.0, 0.0)


@pytest.mark.parametrize(("name", "at_most"), [("WitinSqrt", 16), ("WitinInvSqrt", 16)])
def test_radicand_of_one_input(name: str, at_most: int) -> None:
    make(name, x_quant_bits=at_most, sqrt_left_shift_bits=16)
    message = "^sqrt_left_shift_bits plus x_quant_bits must be less than 32!$"
    with pytest.raises(AssertionError, match=message):
        make(name, x_quant_bits=at_most + 1, sqrt_left_shift_bits=16)
    late = make(name, x_quant_bits=at_most + 1, sqrt_left_shift_bits=16, use_quantization=False)
    late.use_quantization = True
    with pytest.raises(AssertionError, match=message):
        late(torch.ones(1))


def test_radicand_of_squares() -> None:
    make("WitinHypot", x_left_quant_bits=12, sqrt_left_shift_bits=8)
    with pytest.raises(AssertionError, match=r"plus x_quant_bits must be less than 32!$"):
        make("WitinHypot", x_left_quant_bits=12, sqrt_left_shift_bits=12)
    make("WitinClnBn2d", x_quant_bits=12, sqrt_left_shift_bits=8)
    with pytest.raises(AssertionError, match=r"plus x_quant_bits\*2 must be less than 32!$"):
        make("WitinClnBn2d", x_quant_bits=12, sqrt_left_shift_bits=12)


@pytest.mark.parametrize("value", [1, 2, 6, 17, -4, 8.0, "8", None])
def test_other_shifts_are_refused(value: Any) -> None:
    with pytest.raises(AssertionError, match=r"^sqrt_left_shift_bits type error$"):
        config(sqrt_left_shift_bits=value)


def test_mean_limits() -> None:
    make("WitinMean", 0)(torch.zeros(4096, 1))
    with pytest.raises(AssertionError, match=r"^Supports up to 4096 int12 nums additions$"):
        make("WitinMean", 0)(torch.zeros(4097, 1))
    with pytest.raises(AssertionError, match="4096"):
        make("WitinClnBn2d")(torch.zeros(1, 2, 1, 2049))
    for dim in ((0, 1), [0]):
        kind = type(dim).__name__
        with pytest.raises(TypeError, match=f"^'<' not supported between .* '{kind}' and 'int'$"):
            make("WitinMean", dim)(torch.zeros(2, 2))
    for dim in (2, -3):
        with pytest.raises(IndexError, match=f"but got {dim}"):
            make("WitinMean", dim)(torch.zeros(2, 2))
    both = make("WitinMean", (0, 1), use_quantization=False)
    assert both(torch.ones(2, 2)).item() == 1.0
    assert make("WitinMean")(torch.tensor(2.0)).item() == 2.0


def test_mean_saturates_its_sum() -> None:
    layer = make("WitinMean", 0, mean_sum_quant_bits=8, scale_y=1000, y_quant_bits=2)
    assert layer(torch.full((4,), 100.0)).item() == 32.0  # 127 / 4


def test_batch_norm_refusals_and_running_statistics() -> None:
    message = r"^unsupported operand type\(s\) for \*: 'float' and 'NoneType'$"
    layer = witin_nn.WitinBatchNorm2d(2, track_running_stats=False, layer_config=config())
    for training in (True, False):
        with pytest.raises(TypeError, match=message):
            layer.train(training)(torch.zeros(1, 2, 2, 2))
    ours, torchs = make("WitinBatchNorm2d", 2, scale_x=16, scale_y=16), torch.nn.BatchNorm2d(2)
    x = torch.randn(4, 2, 3, 3)
    ours(x), torchs(x)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ours, name), getattr(torchs, name))
    with pytest.raises(ValueError, match="expected 4D"):
        ours(torch.zeros(2, 2))


def test_batch_norm_without_affine_adds_eps_to_the_code() -> None:
    layer = witin_nn.WitinBatchNorm2d(
        1, eps=1.0, affine=False, layer_config=config(scale_x=4, scale_y=8)
    )
    layer.eval().running_var.fill_(0.0625)  # deviation 0.25: code 1, plus eps: 2
    assert layer(torch.full((1, 1, 1, 1), 1.25)).item() == 2.5  # code 5 / 2
    assert layer.train()(torch.randn(2, 1, 2, 2)).shape == (2, 1, 2, 2)


def test_wrong_inputs() -> None:
    with pytest.raises(RuntimeError, match="b c t f"):
        make("WitinClnBn2d")(torch.zeros(2, 2, 2))
    for name in ("WitinElementAdd", "WitinElementMul"):
        for pair in ((torch.zeros(1), 1.0), (2, torch.zeros(1))):
            with pytest.raises(AttributeError, match="no attribute 'clone'"):
                make(name)(*pair)
    with pytest.raises(RuntimeError, match="one shape"):
        make("WitinHypot")(torch.zeros(2), torch.zeros(2, 1))
    with pytest.raises(TypeError):
        make("WitinCat")(torch.zeros(1), torch.zeros(1), torch.zeros(1))


def test_other_dtypes() -> None:
    double = torch.float64
    for name in ("WitinGELU", "WitinSigmoid", "WitinTanh", "WitinMean"):
        assert make(name)(torch.ones(3, dtype=double)).dtype == double
    for name in ("WitinSqrt", "WitinInvSqrt"):
        assert make(name)(torch.ones(3, dtype=double)).dtype == torch.float32
    pair = torch.ones(2, 2, dtype=double), torch.ones(2, 2, dtype=double)
    for name in ("WitinElementAdd", "WitinElementDivide", "WitinMatMul"):
        assert make(name)(*pair).dtype == double
    for name in ("WitinElementMul", "WitinHypot"):
        assert make(name)(*pair).dtype == torch.float32
    for dtype in (double, torch.float16):
        with pytest.raises(RuntimeError):
            make("WitinPReLU")(torch.ones(2, dtype=dtype))
    for name in ("WitinMean", "WitinElementAdd", "WitinHypot"):
        half = [torch.ones(2, dtype=torch.float16)] * (1 if name == "WitinMean" else 2)
        with pytest.raises(RuntimeError, match="overflows"):
            make(name)(*half)


def test_ends_and_not_a_number() -> None:
    x = torch.tensor([float("inf"), -float("inf"), float("nan")])
    found = make("WitinTanh", scale_y=64)(x)
    assert found[:2].tolist() == [1.0, -1.0]
    assert found[2].isnan()
    assert make("WitinSigmoid", scale_y=1000)(x)[0].item() == pytest.approx(0.255)


@pytest.mark.parametrize("name", NAMES)
def test_float_mode_is_plain(name: str) -> None:
    layer = make(name, use_quantization=False, output_fp_clip=0.01, gelu_shift_num=3.0).eval()
    x = torch.rand(2, 3, 4, 4) + 0.5
    found = layer(x, x) if name in (*PAIRS, "WitinHypot") else layer(x)
    plain = {
        "WitinSigmoid": torch.sigmoid, "WitinTanh": torch.tanh, "WitinSqrt": torch.sqrt,
        "WitinInvSqrt": torch.rsqrt, "WitinGELU": torch.nn.functional.gelu, "WitinMean": torch.mean,
        "WitinElementAdd": lambda v: v + v, "WitinElementMul": lambda v: v * v,
        "WitinElementDivide": lambda v: v / v, "WitinMatMul": lambda v: v @ v,
        "WitinCat": lambda v: torch.cat((v, v)), "WitinHypot": lambda v: torch.hypot(v, v),
        "WitinPReLU": lambda v: v, "WitinBatchNorm2d": lambda v: v / (1 + 1e-5) ** 0.5,
        "WitinClnBn2d": lambda v: torch.nn.functional.layer_norm(
            v.permute(0, 2, 1, 3), (3, 4), eps=0.0).permute(0, 2, 1, 3),
    }  # fmt: skip
    torch.testing.assert_close(found, plain[name](x))


def test_x_clip_acts_before_everything() -> None:
    for mode in (True, False):
        layer = make("WitinSigmoid", x_clip=0.5, scale_x=64, scale_y=256, use_quantization=mode)
        assert torch.equal(layer(torch.tensor([3.0])), layer(torch.tensor([0.5])))
        constant = make("WitinTanh", x_clip=-0.5, scale_x=64, scale_y=64, use_quantization=mode)
        assert len(set(constant(torch.tensor([-3.0, 0.0, 3.0])).tolist())) == 1
    layer = make("WitinTanh", x_clip=0.5, use_auto_scale=True)
    layer(torch.tensor([3.0]))
    assert float(layer.autoscale_x_obj.io_max) == 0.5


def test_autocast_and_views() -> None:
    layer = make("WitinMatMul", scale_x_left=16, scale_x_right=16, scale_y=4, y_quant_bits=12)
    a = torch.randn(5, 6)[:, ::2]
    b = torch.randn(4, 3).t()
    wanted = layer(a.contiguous(), b.contiguous())
    assert torch.equal(layer(a, b), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(a, b), wanted)
