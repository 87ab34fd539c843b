# SPDX-License-Identifier: Apache-2.0
"""`bittwin.nn`'s digital operators: codes against a plain integer model, calibration, gradients, refusals."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import digital_model as model
import numpy as np
import pytest
import torch

import bittwin
from bittwin import nn
from bittwin.compat import witin_nn
from bittwin.nn import DigitalConfig
from bittwin.nn.digital import norms, pairs, pointwise, quantizers

PAIRS = (nn.Add, nn.Mul, nn.Divide, nn.MatMul, nn.Cat, nn.Hypot)
ONES = (nn.Sigmoid, nn.Tanh, nn.GELU, nn.PReLU, nn.Sqrt, nn.InvSqrt, nn.Mean, nn.ClnBn2d)
EVERY = (*PAIRS, *ONES, nn.BatchNorm2d)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fixed(kind: type[Any], **changes: Any) -> DigitalConfig:
    scales = {"x": 16.0, "other": 32.0, "w": 64.0, "y": 8.0}
    given = {f"codes_per_unit_{o}": scales[o] for o in kind.operands}
    return DigitalConfig(**{**given, **changes})


def build(kind: type[Any], config: DigitalConfig | None = None, **options: Any) -> Any:
    first = (3,) if kind is nn.BatchNorm2d else ()
    return kind(*first, config=config, **options)


def values(seed: int, count: int, scale: float, bits: int) -> torch.Tensor:
    """Corner-weighted reals: ends, half codes, exact ties, a few beyond, zeros."""
    rng = np.random.default_rng(seed)
    top = 1 << (bits - 1)
    corners = [
        0,
        1,
        -1,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        top - 1,
        top,
        -top,
        top + 0.5,
        -top - 0.5,
        3 * top,
    ]
    far = rng.choice(corners, count) + rng.choice([0, 0, 0.25], count)
    near = rng.integers(-2 * top, 2 * top, count) / 2
    return torch.from_numpy(
        (np.where(rng.random(count) < 0.5, far, near) / scale).astype(np.float32)
    )


def codes(y: torch.Tensor, scale: float) -> list[int]:
    found = y.detach().numpy().astype(np.float64) * scale
    assert (found == np.rint(found)).all()
    return found.astype(int).ravel().tolist()


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("scales", [(16, 32, 8), (128, 4, 64), (8, 8, 1), (0.5, 2, 0.25)])
@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
def test_add_and_mul_equal_the_integer_model(bits: int, scales: Any, rounding: str) -> None:
    sa, sb, sy = scales
    config = DigitalConfig(x_bits=bits, y_bits=bits, rounding=rounding, codes_per_unit_x=sa,
                           codes_per_unit_other=sb, codes_per_unit_y=sy)  # fmt: skip
    a, b = values(1, 400, sa, bits), values(2, 400, sb, bits)
    for kind, rule in ((nn.Add, model.add), (nn.Mul, model.mul)):
        wanted = [rule(u, v, sa, sb, sy, bits, rounding) for u, v in zip(a, b, strict=True)]
        assert codes(kind(config)(a, b), sy) == wanted, kind


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("scales", [(16, 16, 16), (64, 16, 32), (4, 32, 1)])
def test_divide_and_matmul_equal_the_integer_model(bits: int, scales: Any) -> None:
    sa, sb, sy = scales
    config = DigitalConfig(x_bits=bits, y_bits=bits, codes_per_unit_x=sa, codes_per_unit_other=sb,
                           codes_per_unit_y=sy)  # fmt: skip
    a, b = values(3, 400, sa, bits), values(4, 400, sb, bits)
    wanted = [model.divide(u, v, sa, sb, sy, bits) for u, v in zip(a, b, strict=True)]
    assert codes(nn.Divide(config)(a, b), sy) == wanted
    rows, columns = a.reshape(8, 50), b.reshape(50, 8)
    wanted = [model.matmul(r, c, sa, sb, sy, bits) for r in rows for c in columns.t()]
    assert codes(nn.MatMul(config)(rows, columns), sy) == wanted


def test_matmul_is_exact_beyond_float32() -> None:
    """Sums of 2^29: a float32 product would round them on the way."""
    config = DigitalConfig(x_bits=12, y_bits=12, codes_per_unit_x=1, codes_per_unit_other=1,
                           codes_per_unit_y=1)  # fmt: skip
    a = torch.full((1, 131), 2047.0)
    b = torch.full((131, 1), 2047.0)
    a[0, 65:], a[0, -1] = -2047.0, 3.0
    found = nn.MatMul(config)(a, b).item()
    assert found == min(65 * 2047 * 2047 - 65 * 2047 * 2047 + 3 * 2047, 2047)
    b[-1] = 1.0
    assert nn.MatMul(config)(a, b).item() == 3.0


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (8, 16), (10, 4), (12, 8), (9, 12)])
def test_roots_equal_the_integer_model(bits: int, shift: int) -> None:
    sx, sy = 8.0, 32.0
    config = DigitalConfig(x_bits=bits, y_bits=bits, codes_per_unit_x=sx, codes_per_unit_y=sy)
    x = values(5, 600, sx, bits + 1)
    cases = ((nn.Sqrt, model.sqrt), (nn.InvSqrt, model.inv_sqrt))
    for kind, rule in cases:
        found = kind(config, shift_bits=shift)(x)
        assert codes(found, sy) == [rule(v, sx, sy, bits, shift) for v in x], kind
    a, b = values(6, 600, sx, bits), values(7, 600, sx, bits)
    if 2 * bits + shift <= 32:
        found = nn.Hypot(config, shift_bits=shift)(a, b)
        wanted = [model.hypot(u, v, sx, sy, bits, shift) for u, v in zip(a, b, strict=True)]
        assert codes(found, sy) == wanted


@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
@pytest.mark.parametrize("sum_bits", [8, 11, 55])
def test_mean_equals_the_integer_model(rounding: str, sum_bits: int) -> None:
    config = DigitalConfig(rounding=rounding, codes_per_unit_x=4)
    x = values(8, 720, 4, 8).reshape(30, 4, 6)
    found = nn.Mean(1, config=config, sum_bits=sum_bits)(x)
    rows = [[model.code(v, 4, 8) for v in x[i, :, j]] for i in range(30) for j in range(6)]
    assert codes(found, 4) == [model.mean_code(r, sum_bits, rounding) for r in rows]
    both = nn.Mean((-1, 0), True, config=config)(x)
    assert both.shape == (1, 4, 1)
    assert nn.Mean(config=config)(x).shape == ()
    assert nn.Mean(keepdim=True, config=config)(x).shape == (1, 1, 1)


@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize(
    ("bits", "shift", "sums"), [(8, 8, 55), (8, 16, 12), (12, 8, 55), (10, 0, 55)]
)
def test_layer_norm_equals_the_integer_model(
    bits: int, shift: int, sums: int, simple: bool
) -> None:
    sx, sy = 8.0, 32.0
    config = DigitalConfig(x_bits=bits, y_bits=bits, codes_per_unit_x=sx, codes_per_unit_y=sy)
    x = values(9, 240, sx, bits).reshape(2, 3, 4, 10)
    x[0, :, 0] = 1.0  # no variance
    found = nn.ClnBn2d(config, shift_bits=shift, sum_bits=sums, simple=simple)(x)
    for b in range(2):
        for t in range(4):
            wanted = model.cln(x[b, :, t].flatten().tolist(), sx, sy, bits, shift, sums, simple)
            assert codes(found[b, :, t], sy) == wanted


def test_functions_on_every_code() -> None:
    config = DigitalConfig(x_bits=12, y_bits=12, codes_per_unit_x=256, codes_per_unit_y=1024)
    x = torch.arange(-2048, 2048) / 256.0
    v = x.double()
    wanted = {
        nn.Sigmoid: 1 / (1 + torch.exp(-v)), nn.Tanh: torch.tanh(v),
        nn.GELU: v * 0.5 * (1 + torch.erf(v * 0.5**0.5)),
    }  # fmt: skip
    for kind, real in wanted.items():
        found = kind(config=config)(x)
        top = 4095 if kind is nn.Sigmoid else 2047
        rounded = torch.round(real * 1024).clamp(-2048, top)
        near_tie = ((real * 1024) % 1 - 0.5).abs() < 1e-3  # float32's own rounding may decide there
        assert torch.equal((found * 1024).double()[~near_tie], rounded[~near_tie])
        assert near_tie.sum() < 20


def test_sigmoid_rounds_the_exponential_and_the_quotient() -> None:
    x = torch.arange(-2048, 2048) / 256.0
    found = pointwise.sigmoid(x, 256.0, quantizers.signed(12)).number.numpy()
    exponential = np.exp(-x.numpy().astype(np.float64))
    twice = np.float32(1) / (np.float32(1) + exponential.astype(np.float32))
    np.testing.assert_array_equal(found, twice)
    assert (found != (1 / (1 + exponential)).astype(np.float32)).any()


def test_float32_steps_stand_in_the_written_order() -> None:
    """Real numbers before their output quantiser, with scales that are no powers of two."""
    rng = np.random.default_rng(4)
    a, b = (rng.integers(-127, 128, shape).astype(np.float32) for shape in ((40, 7), (7, 40)))
    sides = [
        pairs.Side(torch.from_numpy(v / np.float32(s)), s, 8) for v, s in ((a, 12.5), (b, 3.7))
    ]
    found = pairs.matmul(*sides).number.numpy()
    np.testing.assert_array_equal(found, (a @ b) / np.float32(12.5) / np.float32(3.7))
    assert (found != (a @ b) / np.float32(12.5 * 3.7)).any()
    mean, weight, bias = (rng.normal(0, 3, 500).astype(np.float32) for _ in range(3))
    var = rng.uniform(0.1, 4, 500).astype(np.float32)
    folded = norms.fold_norm(*(torch.from_numpy(v) for v in (mean, var, weight, bias)), 1e-5)
    deviation = np.sqrt(var + np.float32(1e-5))
    np.testing.assert_array_equal(folded.factor.numpy(), weight / deviation)
    np.testing.assert_array_equal(folded.offset.numpy(), bias - (mean * weight) / deviation)


@pytest.mark.parametrize("kind", EVERY)
def test_codes_are_the_compat_layers(kind: type[Any]) -> None:
    """One implementation: fixed scales give what the tool's layer gives, odd scales included."""
    scales = {"x": 12.5, "other": 50.0, "w": 37.0, "y": 25.0}
    ours = build(kind, DigitalConfig(**{f"codes_per_unit_{o}": scales[o] for o in kind.operands}))
    config = witin_nn.WitinLayerConfig(
        1, use_quantization=True, use_auto_scale=False, scale_x=12.5, scale_x_left=12.5,
        scale_x_right=50, scale_weight=37, scale_y=25)  # fmt: skip
    name = {"Add": "ElementAdd", "Mul": "ElementMul", "Divide": "ElementDivide"}.get(
        kind.__name__, kind.__name__
    )
    sizes = (3,) if kind is nn.BatchNorm2d else ()
    theirs = getattr(witin_nn, f"Witin{name}")(*sizes, layer_config=config)
    own = {n: t for n, t in ours.state_dict().items() if not n.startswith("scales.")}
    theirs.load_state_dict(own, strict=False)
    xs = [values(s, 2 * 3 * 5 * 5, 12.5, 8).reshape(2, 3, 5, 5) for s in (10, 11)]
    xs = xs[: 2 if kind in PAIRS else 1]
    for training in (True, False):
        found = ours.train(training)(*xs)
        assert torch.equal(found, theirs.train(training)(*xs))


@pytest.mark.parametrize("kind", EVERY)
def test_gradients_are_finite_everywhere(kind: type[Any]) -> None:
    layer = build(kind, fixed(kind))
    xs = [values(s, 150, 16, 8).reshape(2, 3, 5, 5) for s in (12, 13)][: 2 if kind in PAIRS else 1]
    for x in xs:
        x[0, 0] = 0.0  # zeros meet zeros
        x[1] = x[1].abs() / 64
    xs = [x.requires_grad_() for x in xs]
    layer(*xs).pow(2).sum().backward()
    for x in (*xs, *layer.parameters()):
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_gradients_follow_the_values() -> None:
    x = torch.tensor([0.5, 7.96875, 8.5], requires_grad=True)  # codes 8, 127.5 -> 128, 136
    nn.Tanh(fixed(nn.Tanh, codes_per_unit_y=100))(x).sum().backward()
    assert x.grad.tolist() == [pytest.approx(1 - np.tanh(0.5) ** 2), 0.0, 0.0]
    x = torch.tensor([0.0, 4.0, 400.0], requires_grad=True)
    nn.Sqrt(fixed(nn.Sqrt))(x).sum().backward()
    assert x.grad.tolist() == [pytest.approx(0.5 / np.sqrt(1 / 16)), pytest.approx(0.25), 0.0]
    a = torch.tensor([1.0, 1.0, 0.0], requires_grad=True)
    b = torch.tensor([0.5, 0.0, 0.0], requires_grad=True)
    nn.Divide(fixed(nn.Divide, codes_per_unit_other=16))(a, b).sum().backward()
    assert a.grad.tolist() == [2.0, 0.0, 16.0]  # beyond +-8 nothing passes; 0 / 0: of one code
    assert b.grad.tolist() == [-4.0, 0.0, 0.0]
    a = torch.tensor([1.0, 200.0], requires_grad=True)
    nn.Mul(fixed(nn.Mul))(a, torch.tensor([2.0, 2.0])).sum().backward()
    assert a.grad.tolist() == [2.0, 0.0]


@pytest.mark.parametrize("kind", EVERY)
def test_calibration_freezes_and_travels_with_the_checkpoint(kind: type[Any]) -> None:
    torch.manual_seed(1)
    layer = build(kind, DigitalConfig(calibration_steps=2))
    xs = [torch.randn(2, 3, 5, 5) for _ in range(2 if kind in PAIRS else 1)]
    with pytest.raises(ValueError, match=f"layer '{kind.__name__}': found no scale of x; run"):
        build(kind).eval()(*xs)
    for factor in (1.0, 3.0, 100.0):
        layer(*(factor * x for x in xs))
    found = layer.codes_per_unit
    assert set(found) == set(kind.operands)
    assert all(np.frexp(v)[0] == 0.5 for v in found.values())
    assert not layer.calibrating
    used = xs[0].clamp_min(0) if "x" in kind.without_sign else xs[0].abs()
    if kind is nn.Hypot:
        used = torch.maximum(used, xs[1].abs())
    top = 2.0 ** (7 + ("x" in kind.without_sign))
    assert top / 2 < float(3 * used.max()) * found["x"] <= top
    fresh = build(kind).eval()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(*xs), layer.eval()(*xs))
    assert torch.equal(copy.deepcopy(layer).half().float()(*xs), layer(*xs)) or kind in (
        nn.PReLU, nn.BatchNorm2d)  # fmt: skip
    layer.config = layer.config.with_(codes_per_unit_x=2.0)
    assert layer.codes_per_unit["x"] == 2.0
    assert layer.train().calibrating == (len(kind.operands) > 1)


def test_unsigned_operands_calibrate_with_all_their_bits() -> None:
    layer = nn.Sigmoid(DigitalConfig(calibration_steps=1))
    layer(torch.tensor([30.0]))
    assert layer.codes_per_unit == {"x": 4.0, "y": 256.0}


def test_recalibrate_every_epoch() -> None:
    layer = nn.Tanh(DigitalConfig(calibration_steps=1, recalibrate="epoch"))
    layer(torch.tensor([0.9]))
    layer.eval().train()
    layer(torch.tensor([3.9]))
    assert layer.codes_per_unit["x"] == 32.0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3), "found nothing but zeros in the input during calibration"),
        (torch.tensor([float("inf")]), "found NaN or infinity in the input during calibration"),
        (torch.tensor([float("nan")]), "found NaN in the input"),
    ],
)
def test_useless_inputs_are_refused(x: torch.Tensor, message: str) -> None:
    layer = nn.Tanh()
    layer.layer_name = "act"
    with pytest.raises(ValueError, match=f"^layer 'act': {message}"):
        layer(x)
    assert int(layer.scales.steps) == 0


def test_empty_batch_calibrates_nothing_and_runs() -> None:
    layer = nn.Tanh(DigitalConfig(codes_per_unit_x=16))
    with pytest.raises(ValueError, match="found no scale of y"):
        layer(torch.zeros(0))
    assert nn.Tanh(fixed(nn.Tanh))(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"x_bits": 7}, ValueError, "x_bits: found 7, wanted an integer in 8..12"),
        ({"other_bits": 13}, ValueError, "other_bits: found 13"),
        ({"weight_bits": 1}, ValueError, "weight_bits: found 1"),
        ({"y_bits": 8.0}, TypeError, "y_bits: found 8.0"),
        ({"mode": "int"}, ValueError, "mode: found 'int'"),
        ({"rounding": "readout"}, ValueError, "rounding: found 'readout'"),
        ({"codes_per_unit_x": 0}, ValueError, "codes_per_unit_x"),
        ({"calibration_steps": 0}, ValueError, "calibration_steps"),
        ({"recalibrate": "always"}, ValueError, "recalibrate"),
    ],
)
def test_impossible_settings_are_refused(fields: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DigitalConfig(**fields)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Tanh(nn.QATConfig()), TypeError, "config: found QATConfig, wanted a DigitalConfig"),
        (lambda: nn.Tanh(DigitalConfig(codes_per_unit_w=1)), ValueError, "Tanh has only codes_per_unit_x, "),
        (lambda: nn.Tanh(DigitalConfig(other_bits=8)), ValueError, "Tanh has no second input"),
        (lambda: nn.Tanh(DigitalConfig(rounding="half_up")), ValueError, "Tanh wants 'half_even'"),
        (lambda: nn.Mean(0, config=DigitalConfig(rounding="half_up")), ValueError, "'half_away'"),
        (lambda: nn.Tanh(input_limit=0), ValueError, "input_limit: found 0"),
        (lambda: nn.GELU("fast"), ValueError, "approximate: found 'fast'"),
        (lambda: nn.Sqrt(shift_bits=5), ValueError, "shift_bits: found 5"),
        (lambda: nn.Sqrt(shift_bits=True), ValueError, "shift_bits: found True"),
        (lambda: nn.Hypot(DigitalConfig(x_bits=12), shift_bits=12), ValueError, "24 bits, wanted 32"),
        (lambda: nn.ClnBn2d(DigitalConfig(x_bits=11), shift_bits=12), ValueError, "22 bits"),
        (lambda: nn.ClnBn2d(sum_bits=56), ValueError, "sum_bits: found 56"),
        (lambda: nn.BatchNorm2d(2, affine=False), ValueError, "wants True for both"),
        (lambda: nn.BatchNorm2d(2, track_running_stats=False), ValueError, "wants True for both"),
        (lambda: nn.Tanh(fixed(nn.Tanh))(1.0), TypeError, "found float, wanted a tensor"),
        (lambda: nn.Tanh(fixed(nn.Tanh))(torch.zeros(1, dtype=torch.float64)), TypeError, "float64"),
        (lambda: nn.Tanh(fixed(nn.Tanh))(torch.zeros(1).half()), TypeError, "torch.float16"),
        (lambda: nn.Mean(0, config=fixed(nn.Mean))(torch.zeros(4097)), ValueError, "4097 numbers"),
        (lambda: nn.Mean(0, config=fixed(nn.Mean))(torch.zeros(0)), ValueError, "0 numbers"),
        (lambda: nn.Mean(2, config=fixed(nn.Mean))(torch.zeros(1)), ValueError, "dim: found 2"),
        (lambda: nn.Mean((0, -1), config=fixed(nn.Mean))(torch.zeros(1)), ValueError, "different axes"),
        (lambda: nn.ClnBn2d(fixed(nn.ClnBn2d))(torch.zeros(1)), ValueError, r"wanted \[b, c, t, f\]"),
        (lambda: nn.Add(fixed(nn.Add, rounding="half_up", codes_per_unit_y=3))(torch.zeros(1),
         torch.zeros(1)), ValueError, "wants a power of two"),
    ],
)  # fmt: skip
def test_misuse_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_new_width_must_fit_the_radicand() -> None:
    layer = nn.Hypot(fixed(nn.Hypot), shift_bits=16)
    with pytest.raises(ValueError, match="shift_bits: found 16 beside a radicand of 18 bits"):
        layer.config = layer.config.with_(x_bits=9)
    assert layer.config.x_bits == 8


@pytest.mark.parametrize("kind", EVERY)
def test_float_mode_is_the_plain_operator(kind: type[Any]) -> None:
    layer = build(kind, DigitalConfig(mode="float")).eval()
    x = torch.rand(2, 3, 4, 4) + 0.5
    found = layer(x, x) if kind in PAIRS else layer(x)
    plain = {
        nn.Sigmoid: torch.sigmoid, nn.Tanh: torch.tanh, nn.Sqrt: torch.sqrt, nn.InvSqrt: torch.rsqrt,
        nn.GELU: torch.nn.functional.gelu, nn.Mean: torch.mean, nn.Add: lambda v: v + v,
        nn.Mul: lambda v: v * v, nn.Divide: torch.ones_like, nn.MatMul: lambda v: v @ v,
        nn.Cat: lambda v: torch.cat((v, v)), nn.Hypot: lambda v: torch.hypot(v, v),
        nn.PReLU: lambda v: v, nn.BatchNorm2d: lambda v: v / (1 + 1e-5) ** 0.5,
        nn.ClnBn2d: lambda v: torch.nn.functional.layer_norm(
            v.permute(0, 2, 1, 3), (3, 4), eps=0.0).permute(0, 2, 1, 3),
    }  # fmt: skip
    torch.testing.assert_close(found, plain[kind](x))


def test_limits_and_offset_act_before_the_output_quantiser() -> None:
    x = torch.tensor([-9.0, 3.0, 100.0])
    config = fixed(nn.GELU, x_bits=12)
    assert nn.GELU(config=config, limit=2.0)(x).tolist() == [0.0, 2.0, 2.0]
    assert nn.GELU(config=config)(x)[2].item() == 127 / 8
    wide = nn.GELU(config=config, offset=0.25)(x)
    assert wide.tolist() == [0.25, 3.25, 255 / 8]  # one more bit
    assert nn.Sigmoid(fixed(nn.Sigmoid), input_limit=1.0)(x)[0] == nn.Sigmoid(fixed(nn.Sigmoid))(
        -torch.ones(1)
    )
    assert nn.Divide(fixed(nn.Divide), limit=1.0)(x, torch.ones(3)).tolist() == [-1.0, 1.0, 1.0]


def test_quantizer_equals_bittwins() -> None:
    x = values(20, 500, 12.5, 8)
    for limits, is_signed in ((quantizers.signed(8), True), (quantizers.unsigned(8), False)):
        found = quantizers.quantize(x, 12.5, limits).numpy()
        assert (found == bittwin.quantize(x.numpy(), 12.5, bits=8, signed=is_signed)).all()


def test_autocast_and_views() -> None:
    layer = nn.Mul(fixed(nn.Mul))
    a, b = torch.randn(4, 6)[:, ::2], torch.randn(3, 4).t()
    wanted = layer(a.contiguous(), b.contiguous())
    assert torch.equal(layer(a, b), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(a.bfloat16(), b).dtype == torch.float32
    assert "x8 other8 y8" in repr(layer)
    with pytest.raises(RuntimeError):
        layer(torch.zeros(2), torch.zeros(3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_compiled_models_give_the_same_codes_and_gradients() -> None:
    torch._dynamo.reset()
    compat = witin_nn.WitinLayerConfig(
        1, use_quantization=True, use_auto_scale=False, scale_x=16, scale_y=64
    )
    model = torch.nn.Sequential(
        nn.PReLU(config=fixed(nn.PReLU)), witin_nn.WitinTanh(layer_config=compat), nn.GRU(3, 2).cell
    )
    x = torch.randn(4, 3)
    wanted = model(x)
    wanted.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    found = torch.compile(model, backend="eager")(x)
    assert torch.equal(found, wanted)
    found.sum().backward()
    again = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))
    torch._dynamo.reset()


def test_a_slope_learns() -> None:
    torch.manual_seed(0)
    head = nn.PReLU(config=DigitalConfig(calibration_steps=4))
    optimizer = torch.optim.SGD(head.parameters(), 0.3)
    x, losses = torch.randn(16, 2, 4, 4), []
    for _ in range(30):
        loss = (head(x) - torch.where(x > 0, x, 0.6 * x)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 20
    assert head.weight.item() == pytest.approx(0.6, abs=0.03)
