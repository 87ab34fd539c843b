# SPDX-License-Identifier: Apache-2.0
"""The passes over memory around the two float products of a backward pass, with every kernel of this CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from nn_cases import OPS
from nn_gradient_model import gradients_of

import bittwin
from bittwin import _core
from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig
from bittwin.nn.bits import code_values, keep_where, memory_format, pack, unpack

KERNELS = [name for name, _, reason in _core.kernels() if not reason]
SIZES = (0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 200, 4096, 4097, 140_000)
SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}
FIRST, LAST = torch.contiguous_format, torch.channels_last


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    _core.force_kernel(request.param)
    yield request.param
    _core.force_kernel("")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("codes", [torch.uint8, torch.int8, torch.int16])
def test_code_values(kernel: str, codes: torch.dtype, dtype: torch.dtype) -> None:
    info = torch.iinfo(codes)
    for size in SIZES:
        c = torch.randint(info.min, info.max + 1, (size,), dtype=codes)
        c[: min(size, 2)] = torch.tensor([info.min, info.max], dtype=codes)[:size]
        for shift, per_unit in ((0, 256.0), (128, 100.3), (2048, 7.77)):
            wanted = ((c.float() - shift) / torch.tensor(per_unit, dtype=torch.float32)).to(dtype)
            assert torch.equal(code_values(c, shift, per_unit, dtype), wanted)


def test_keep_where(kernel: str) -> None:
    for size in SIZES:
        mask = torch.rand(size) < 0.5
        v = torch.randn(size)
        v[::5] = torch.tensor([float("nan"), float("inf"), -0.0])[torch.arange(len(v[::5])) % 3]
        wanted = torch.where(mask, v, 0.0)
        bits = torch.cat([pack(mask), torch.zeros(1, dtype=torch.uint8)])
        found = keep_where(v, bits, FIRST)
        assert np.array_equal(found.numpy().view(np.int32), wanted.numpy().view(np.int32))
        found = keep_where(v, bits, FIRST, in_place=True)
        assert found.data_ptr() == v.data_ptr()
        assert np.array_equal(found.numpy().view(np.int32), wanted.numpy().view(np.int32))


def test_keep_where_follows_the_layout_of_the_bits(kernel: str) -> None:
    mask, v = torch.rand(2, 3, 4, 5) < 0.5, torch.randn(2, 3, 4, 5)
    for layout in (FIRST, LAST):
        bits = pack(mask.contiguous(memory_format=layout))
        assert torch.equal(unpack(bits, mask.shape, layout), mask)
        for source in (v, v.contiguous(memory_format=LAST), v[:1].expand(2, 3, 4, 5)):
            found = keep_where(source, bits, layout)
            assert torch.equal(found, torch.where(mask, source, 0.0))
            assert found.is_contiguous(memory_format=layout)


def test_too_few_bits_are_refused() -> None:
    bits = torch.zeros(1, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"wanted torch\.float32 with 2 bytes"):
        keep_where(torch.zeros(9), bits, FIRST)
    with pytest.raises(TypeError, match=r"keep_where: found torch\.float64"):
        keep_where(torch.zeros(8, dtype=torch.float64), bits, FIRST)


def layer_of(op: str, **fields: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = QATConfig(**{**SCALES, **fields})
    if op == "linear":
        return Linear(40, 50, config=config)
    if op == "conv2d":
        return Conv2d(5, 7, 3, 2, 1, config=config)
    return ConvTranspose2d(5, 7, 3, 2, 1, config=config)


@pytest.mark.parametrize("x_bits", [8, 12])
@pytest.mark.parametrize("sign", ["clamp", "split_sign"])
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_channels_last_changes_the_layout_only(
    kernel: str, op: str, sign: str, x_bits: int
) -> None:
    layer = layer_of(op, x_bits=x_bits, negative_input=sign, rounding="half_even", y_bits=8,
                     codes_per_unit_y=64.0)  # fmt: skip
    x = torch.randn(2, 5, 9, 8) * 16
    shape = layer(x).shape
    gy = torch.randint(-9, 10, shape).float()
    wanted = gradients_of(layer, x, gy)
    assert memory_format(layer(x)) == FIRST
    for upstream in (gy, gy.contiguous(memory_format=LAST)):
        wanted = [None if t is None else t.clone() for t in gradients_of(layer, x, gy)]
        found = gradients_of(layer, x.contiguous(memory_format=LAST), upstream)
        assert memory_format(found[3]) == LAST
        assert torch.equal(found[3], wanted[3])
        for got, want in zip(found[:3], wanted[:3], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("op", OPS)
def test_the_number_of_threads_changes_nothing(op: str) -> None:
    layer = layer_of(op)
    x = torch.randn(*((9000, 40) if op == "linear" else (60, 5, 31, 29)))
    gy = torch.randint(-9, 10, layer(x).shape).float()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        layer.invalidate()
        gx, _, _, y = gradients_of(layer, x, gy)
        found.append((gx == 0, y))
    for zeros, y in found[1:]:
        assert torch.equal(y, found[0][1])
        assert torch.equal(zeros, found[0][0])


@pytest.mark.usefixtures("two_threads")
def test_torch_decides_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the process's own number stays as it is."""
    before = bittwin.get_num_threads()
    layer, x = layer_of("linear"), torch.randn(3000, 40)
    asked: list[int] = []
    real = torch.get_num_threads
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked.append(real()) or real())
    for threads in (1, 2):
        torch.set_num_threads(threads)
        asked.clear()
        layer.invalidate()
        layer(x)
        assert asked
        assert set(asked) == {threads}
    assert bittwin.get_num_threads() == before


@pytest.mark.parametrize("size", [0, 1, 7, 8, 17, 63, 64, 65, 1000])
@pytest.mark.parametrize("wide", [False, True])
def test_input_bits_of_every_size(kernel: str, size: int, wide: bool) -> None:
    x = np.random.default_rng(size).normal(0, 200, size).astype(np.float32)
    x[: min(size, 4)] = np.array([np.inf, -np.inf, 255.0, 255.25], np.float32)[:size]
    limits = (-511, 511) if wide else (0, 255)
    codes = np.empty(size, np.int16 if wide else np.uint8)
    bits = np.zeros(size // 8 + 2, np.uint8)
    nan, inside = _core.qat_quantize(x, (1.0, 0.0), limits, codes, bits)
    wanted = (x >= limits[0]) & (x <= limits[1])
    assert not nan
    assert inside == wanted.all()
    assert np.array_equal(codes, np.rint(np.clip(x, *limits)))
    found = np.unpackbits(bits, count=size, bitorder="little")
    assert np.array_equal(found, wanted)
    if size:
        x[-1] = np.nan
        assert _core.qat_quantize(x, (1.0, 0.0), limits, codes, bits)[0]
