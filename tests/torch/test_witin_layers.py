# SPDX-License-Identifier: Apache-2.0
"""The compat layers as torch modules: checkpoints, copies, refusals, odd inputs, the limits of the masks."""

from __future__ import annotations

import copy
import doctest
import importlib
import io
import pickle
import pkgutil
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from witin_cases import build, layer_config

from bittwin.compat import witin_nn
from bittwin.compat.witin_nn import straight_through

KEYS = ["weight", "bias", "autoscale_x_obj.io_max", "autoscale_y_obj.io_max",
        "autoscale_weight_obj.io_max"]  # fmt: skip
CHILDREN = ["autoscale_x_obj", "autoscale_y_obj", "autoscale_weight_obj"]


def layer(kind: str = "lin", w: Any = None, b: Any = None, **fields: Any) -> Any:
    """A quantised layer with fixed scales 1; `conv`: its geometry."""
    conv, more = fields.pop("conv", {}), {}
    if "use_auto_scale" in fields:
        more["use_auto_scale"] = fields.pop("use_auto_scale")
    if "use_quantization" in fields:
        more["use_quantization"] = fields.pop("use_quantization")
    if w is None:
        rng = np.random.default_rng(1)
        w = rng.integers(-128, 128, (3, 4) if kind == "lin" else (4, 4, 2, 3))
        b = rng.integers(-900, 900, 3 if kind == "lin" else 4)
    b = None if b is None else np.array(b, np.float32)
    return build(kind, conv, layer_config(fields, **more), np.array(w, np.float32), b)


def inputs(kind: str, batch: int = 2) -> torch.Tensor:
    shape = (batch, 4) if kind == "lin" else (batch, 4, 5, 6)
    return torch.randint(-40, 400, shape, generator=torch.Generator().manual_seed(0)) / 1.5


KINDS = pytest.mark.parametrize("kind", ["lin", "conv2d", "convT"])


@KINDS
def test_state_dict_children_and_attributes(kind: str) -> None:
    made = layer(kind, x_quant_bits=10, y_quant_bits=9)
    assert list(made.state_dict()) == KEYS
    assert [name for name, _ in made.named_children()] == CHILDREN
    statistics = [getattr(made, name).io_max for name in CHILDREN]
    assert [float(s) for s in statistics] == [10, 9, 8]
    assert not any(s.requires_grad or s.ndim for s in statistics)
    assert made.use_quantization is True
    assert made.auto_scale_updata_step == 2
    assert made.index == made.layer_config.index
    without = layer(kind, np.ones((2, 2) if kind == "lin" else (2, 2, 1, 1)))
    assert list(without.state_dict()) == [k for k in KEYS if k != "bias"]
    torch_class = {
        "lin": torch.nn.Linear,
        "conv2d": torch.nn.Conv2d,
        "convT": torch.nn.ConvTranspose2d,
    }
    assert isinstance(made, torch_class[kind])


def test_weights_start_like_torchs_own() -> None:
    torch.manual_seed(3)
    ours = witin_nn.WitinConv2d(2, 3, 3, layer_config=layer_config({}))
    torch.manual_seed(3)
    theirs = torch.nn.Conv2d(2, 3, 3)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def network() -> torch.nn.Sequential:
    fields = {
        "x_quant_bits": 9,
        "handle_neg_in": "PN",
        "scale_x": 64,
        "scale_weight": 64,
        "scale_y": 64,
    }
    return torch.nn.Sequential(
        witin_nn.WitinConv2d(
            1, 2, 3, padding=1, layer_config=layer_config(fields, use_auto_scale=True)
        ),
        torch.nn.Tanh(),
        witin_nn.WitinConvTranspose2d(
            2, 1, 2, layer_config=layer_config(fields, use_auto_scale=True)
        ),
        torch.nn.Flatten(),
        witin_nn.WitinLinear(25, 3, layer_config=layer_config(fields, use_auto_scale=True)),
    )


def test_checkpoint_copies_and_pickles_give_the_same_outputs() -> None:
    torch.manual_seed(0)
    net = network().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        net(torch.randn(8, 1, 4, 4)).square().mean().backward()
        optimizer.step()
    x = torch.randn(5, 1, 4, 4)
    wanted = net.eval()(x)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    loaded = network()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded.eval()(x), wanted)
    assert torch.equal(copy.deepcopy(net)(x), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), wanted)
    loaded.train()  # the tool's own trap: the checkpoint's maxima are gone
    assert {float(m.io_max) for m in loaded.modules() if isinstance(m, witin_nn.AutoScale)} == {8.0}


def test_training_lowers_a_loss() -> None:
    torch.manual_seed(0)
    net = network().train()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    x, target = torch.rand(32, 1, 4, 4), torch.rand(32, 3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (net(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def test_config_is_taken_over_when_the_layer_is_built() -> None:
    config = layer_config({"scale_y": 0.5, "bias_d": 3.0})
    first = build("lin", {}, config, np.ones((1, 1), np.float32), None)
    second = build("lin", {}, config, np.ones((1, 1), np.float32), None)
    config.scale_y = 2
    config.bias_d = torch.tensor(1000.0)
    assert first(torch.tensor([[5.0]])).item() == 4
    first.autoscale_x_obj.io_max.data.fill_(99)
    assert float(second.autoscale_x_obj.io_max) == 8
    assert first.layer_config is config


@KINDS
@pytest.mark.parametrize("neg", ["FALSE", "PN"])
@pytest.mark.parametrize("x_bits", [8, 10])
def test_empty_batch(kind: str, neg: str, x_bits: int) -> None:
    made = layer(kind, handle_neg_in=neg, x_quant_bits=x_bits, use_auto_scale=True)
    x = inputs(kind, 0).requires_grad_()
    wanted = made(inputs(kind)).shape[1:]
    before = made.autoscale_x_obj.io_max.clone()
    y = made(x)
    assert y.shape == (0, *wanted)
    y.sum().backward()
    assert not made.weight.grad.any()
    assert x.grad.shape == x.shape
    assert torch.equal(made.autoscale_x_obj.io_max, before)


@KINDS
def test_memory_layout_changes_nothing(kind: str) -> None:
    made, x = layer(kind, scale_y=1 / 512), inputs(kind)
    wanted = made(x)
    assert torch.equal(made(x.transpose(0, 1).contiguous().transpose(0, 1)), wanted)
    assert torch.equal(made(torch.stack([x, x], -1)[..., 0]), wanted)
    if kind != "lin":
        assert torch.equal(made(x.to(memory_format=torch.channels_last)), wanted)
        assert torch.equal(made(x[0]), wanted[0])
    else:
        assert torch.equal(made(x[0]), wanted[0])
        assert torch.equal(made(x.reshape(1, 2, 1, 4)), wanted.reshape(1, 2, 1, 3))


@KINDS
def test_wrong_dtypes_are_refused(kind: str) -> None:
    x = inputs(kind)
    for quantized in (True, False):
        made = layer(kind, use_quantization=quantized)
        for dtype in (torch.float64, torch.float16, torch.int32):
            with pytest.raises(RuntimeError):
                made(x.to(dtype))
    with pytest.raises(RuntimeError, match="float16 input"):
        layer(kind).half()(x.half())


@KINDS
@pytest.mark.parametrize("x_bits", [8, 10])
@pytest.mark.parametrize("neg", ["FALSE", "PN"])
def test_double_layer_gives_the_same_codes(kind: str, x_bits: int, neg: str) -> None:
    made = layer(kind, x_quant_bits=x_bits, handle_neg_in=neg, scale_y=1 / 256)
    x = inputs(kind)
    y = made(x)
    doubled = copy.deepcopy(made).double()(x.double())
    assert doubled.dtype == torch.float64
    assert torch.equal(doubled.float(), y)


@KINDS
def test_autocast_runs_in_float32(kind: str) -> None:
    made, x = layer(kind, scale_y=1 / 256), inputs(kind).bfloat16().float()
    wanted = made(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (x, x.bfloat16()):
            assert torch.equal(made(given), wanted)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"found input \(2, 5\), wanted \[..., 4\]"):
        layer()(torch.zeros(2, 5))
    for kind in ("conv2d", "convT"):
        with pytest.raises(
            RuntimeError, match=r"found input \(2, 3, 5, 5\), wanted \[N, 4, H, W\]"
        ):
            layer(kind)(torch.zeros(2, 3, 5, 5))


def test_noise_is_refused_until_its_models_are_here() -> None:
    words = "noise_level 4, wanted 0; noise models come with another release"
    with pytest.raises(NotImplementedError, match=words):
        layer(noise_level=4)
    made = layer(noise_level=4, use_quantization=False)
    assert made(torch.ones(1, 4)).shape == (1, 3)
    made.use_quantization = True
    with pytest.raises(NotImplementedError, match=words):
        made(torch.ones(1, 4))
    # The vector unit has no noise at any level.
    quiet, vpu = layer("conv2d", hardware="VPU"), layer("conv2d", hardware="VPU", noise_level=4)
    assert torch.equal(quiet(inputs("conv2d")), vpu(inputs("conv2d")))


@pytest.mark.parametrize(
    ("field", "value"),
    [("x_quant_bits", 0), ("x_quant_bits", 17), ("weight_quant_bits", -1), ("y_quant_bits", 33)],
)
def test_widths_that_cannot_run_are_refused_in_forward(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"WitinLinear: found {field} {value}, wanted 1.."):
        layer(**{field: value})(torch.ones(1, 4))


def test_refusals_in_the_tools_words() -> None:
    x = inputs("convT")
    with pytest.raises(
        AssertionError,
        match=r"^ConvTranspose2d operator does not support handle_neg_in == HandleNegInType.Shift$",
    ):
        layer("convT", handle_neg_in="Shift")(x)
    grouped = np.ones((4, 2, 1, 1))
    config = layer_config({})
    made = witin_nn.WitinConvTranspose2d(4, 4, 1, groups=2, layer_config=config)
    with pytest.raises(
        AssertionError, match=r"^currently groups must be 1 in witin_nn.conv2d\(\)!$"
    ):
        made(x)
    with pytest.raises(AssertionError, match=r"^witin_nn.conv2d: groups must be 1!$"):
        layer("conv2d", grouped, to_linear=True, conv={"groups": 2})(x)
    with pytest.raises(ValueError, match="zeros"):
        layer("convT", conv={"padding_mode": "reflect"})
    for conv in ({"stride": 2}, {"padding": 3}):
        with pytest.raises(RuntimeError, match="to_linear"):
            layer("convT", to_linear=True, conv=conv)(x)
    zero = layer(use_auto_scale=True, auto_scale_updata_step=1)
    for _ in range(2):
        with pytest.raises(
            AssertionError, match=r"^Unable to determine quant scale, because max_v = 0$"
        ):
            zero(torch.zeros(1, 4))


@pytest.mark.parametrize("g", [None, "2"])
def test_g_algo_that_is_no_number_fails_in_forward(g: Any) -> None:
    for quantized in (True, False):
        made = layer(G_algo=g, use_quantization=quantized)
        with pytest.raises(TypeError):
            made(torch.ones(1, 4))


def test_g_algo_divides_in_both_modes() -> None:
    x = torch.tensor([[100.0]])
    for g in (2, 2.0, torch.tensor(2.0), -2):
        for quantized in (True, False):
            y = layer(w=[[2.0]], G_algo=g, use_quantization=quantized)(x)
            assert abs(y.item()) == 100


def test_scales_of_zero_and_below() -> None:
    x = torch.tensor([[3.0]])
    with pytest.raises(ZeroDivisionError):
        layer(w=[[2.0]], scale_y=0)(x)
    for field in ("scale_x", "scale_weight"):
        assert torch.isnan(layer(w=[[2.0]], **{field: 0})(x)).all()
    assert layer(w=[[2.0]], scale_weight=-1)(x).item() == 6
    assert layer(w=[[2.0]], scale_y=-1)(x).item() == 6
    assert layer(w=[[2.0]], scale_x=-1, handle_neg_in="PN")(x).item() == 6


@KINDS
@pytest.mark.parametrize("x_bits", [8, 10])
def test_infinities_saturate_and_nan_stays(kind: str, x_bits: int) -> None:
    made, x = layer(kind, x_quant_bits=x_bits, scale_y=1 / 1024), inputs(kind)
    finite, infinite = x.clone(), x.clone()
    finite.view(-1)[0], infinite.view(-1)[0] = 1e9, torch.inf
    assert torch.equal(made(finite), made(infinite))
    x.view(-1)[0] = torch.nan
    x.requires_grad_()
    y = made(x)
    assert torch.isnan(y[0]).any()
    assert not torch.isnan(y[1]).any()
    if kind == "lin":
        assert torch.isnan(y[0]).all()
    y.nansum().backward()
    assert not torch.isnan(made.weight.grad).any()


def test_float_mode_overwrites_the_weight_with_w_clip() -> None:
    made = layer(w=[[5.0, -5.0]], w_clip=2.0, use_quantization=False).eval()
    assert made(torch.ones(1, 2)).item() == 0
    assert made.weight.tolist() == [[2.0, -2.0]]
    kept = layer(w=[[5.0, -5.0]], w_clip=2.0)
    assert kept(torch.tensor([[3.0, 1.0]])).item() == 4
    assert kept.weight.tolist() == [[5.0, -5.0]]
    assert layer(w=[[5.0]], w_clip=0.0)(torch.ones(1, 1)).item() == 5
    assert layer(w=[[5.0, 1.0]], w_clip=-3.0)(torch.ones(1, 2)).item() == -6


def test_accumulators_beyond_float32_stay_exact() -> None:
    """The tool's float32 sums give 33161482 here (batch 1); ours are the INT32 kernels'."""
    w = np.full((1, 1024), 127.0)
    w[0, -1] = 126
    wide = layer(w=w, scale_y=1, y_quant_bits=32)(torch.full((1, 1024), 255.0))
    assert wide.item() == np.float32(33161985)


def gradients(made: Any, x: list[Any], upstream: float = 1.0) -> tuple[Any, Any, Any]:
    given = torch.tensor(x, dtype=torch.float32, requires_grad=True)
    made(given).backward(torch.full(made(given).shape, upstream))
    bias = None if made.bias is None else made.bias.grad.tolist()
    return given.grad.tolist(), made.weight.grad.tolist(), bias


def test_masks_are_inclusive_and_taken_before_rounding() -> None:
    made = layer(w=[[0.5], [2.0]], b=[0, 0])
    # 2 * 255 saturates at 127, so only the first output passes; 0.5 rounds to 0, 127.0 is inside.
    assert gradients(layer(w=[[1.0]], b=[0]), [[127.0]]) == ([[1.0]], [[127.0]], [1.0])
    assert gradients(layer(w=[[1.0]], b=[0]), [[127.4]])[0] == [[1.0]]
    assert gradients(layer(w=[[1.0]], b=[0]), [[128.0]]) == ([[0.0]], [[0.0]], [0.0])
    assert gradients(layer(w=[[0.0]], b=[0]), [[255.0]])[1] == [[255.0]]
    assert gradients(made, [[20.25]])[0] == [[2.0]]
    small = {"scale_y": 1 / 4}
    assert gradients(layer(w=[[1.0]], **small), [[255.0]])[0] == [[1.0]]
    assert gradients(layer(w=[[1.0]], **small), [[255.01]])[:2] == ([[0.0]], [[255.0]])
    assert gradients(layer(w=[[1.0]], **small), [[-0.01]])[0] == [[0.0]]
    assert gradients(layer(w=[[3.0]], handle_neg_in="PN"), [[0.0]])[0] == [[0.0]]


def test_bias_mask_of_one_and_of_two_rounds() -> None:
    for count, one_round, two_rounds in ((127, 1, 1), (127.4, 0, 1), (127.6, 0, 0)):
        fields = {"bias_row_N": 1, "scale_y": 1 / 256}
        one = layer(w=[[1.0]], b=[count * 128], **fields)
        two = layer(w=[[1.0]], b=[count * 128], x_quant_bits=9, **fields)
        assert gradients(one, [[1.0]])[2] == [one_round], count
        assert gradients(two, [[1.0]])[2] == [two_rounds], count
    # Shift: the compensation -S * w / 128 is a fraction of a row; its mask sees the rounded count too.
    for shift, passes in ((51, 1), (77, 0)):
        two = layer(w=[[-1.0]], b=[127 * 128], x_quant_bits=9, handle_neg_in="Shift",
                    shift_num=float(shift), **fields)  # fmt: skip
        assert gradients(two, [[1.0]])[2] == [passes], shift


def test_trailing_clip_of_conv2d_under_pn() -> None:
    for value, passes in ((-128.4, 1.0), (-128.6, 0.0)):
        fields = {"y_quant_bits": 10, "handle_neg_in": "PN", "scale_x": 5, "x_quant_bits": 10}
        made = layer("conv2d", [[[[1.0]]]], **fields)
        assert gradients(made, [[[[value]]]])[0] == [[[[passes]]]]
    assert layer("conv2d", [[[[1.0]]]], **fields)(torch.full((1, 1, 1, 1), 200.0)).item() < 128


def test_low_round_that_saturates_takes_its_share_of_the_gradient() -> None:
    # low = (255 * 4 - 4 * 2) / 4 = 253 > 127, high = -256 * 2 / 4: the sum is back in range.
    made = layer(w=[[4.0, 2.0]], b=[0], x_quant_bits=9, scale_y=1 / 4, handle_neg_in="PN")
    x, w, b = gradients(made, [[255.0, -260.0]])
    assert x == [[4.0, 2.0]]
    assert w == [[0.0, -256.0]]
    assert b == [0.0]


def test_backward_twice_is_refused() -> None:
    made, x = layer(w=[[1.0]]), torch.ones(1, 1, requires_grad=True)
    (grad,) = torch.autograd.grad(made(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.sum(), x)


def test_frozen_weights_and_no_grad() -> None:
    made, x = layer("conv2d", scale_y=1 / 512), inputs("conv2d")
    wanted = made(x)
    made.requires_grad_(False)
    assert not made(x).requires_grad
    x.requires_grad_()
    made(x).sum().backward()
    assert made.weight.grad is None
    assert x.grad is not None
    with torch.no_grad():
        assert torch.equal(made(x), wanted)


def test_compiled_model_runs_the_layer_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(scale_y=1 / 256), inputs("lin")
    wanted, inside = made(x), []
    run = straight_through.run

    def spy(*args: Any) -> Any:
        inside.append(torch.compiler.is_compiling())
        return run(*args)

    monkeypatch.setattr(straight_through, "run", spy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of graph breaks, and of torch's own making
        compiled = torch.compile(torch.nn.Sequential(made, torch.nn.Identity()), backend="eager")
        assert torch.equal(compiled(x), wanted)
        compiled(x).sum().backward()
    assert inside == [False, False]
    assert made.weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@KINDS
def test_cuda_tensors_give_the_same_codes_and_gradients(kind: str) -> None:
    made, x = layer(kind, scale_y=1 / 256), inputs(kind).requires_grad_()
    wanted = made(x)
    wanted.sum().backward()
    moved, y_x = copy.deepcopy(made).cuda(), x.detach().cuda().requires_grad_()
    moved.zero_grad()
    y = moved(y_x)
    y.sum().backward()
    assert y.is_cuda
    assert torch.equal(y.cpu(), wanted)
    torch.testing.assert_close(y_x.grad.cpu(), x.grad, rtol=1e-2, atol=1e-2)


def test_docstring_examples() -> None:
    package = importlib.import_module("bittwin.compat.witin_nn")
    witin_nn.GlobalConfigFactory.show_defaut_config()
    modules = [package]
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        modules.append(importlib.import_module(found.name))
    results = [doctest.testmod(module) for module in modules]
    assert sum(r.attempted for r in results) >= 10
    assert not any(r.failed for r in results)
