# SPDX-License-Identifier: Apache-2.0
"""Digital operators and cells as integer layers: every code equal, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bittwin import nn
from bittwin.errors import NetworkError
from bittwin.nn import DigitalConfig
from bittwin.nn.digital.export import to_layer

ONE = {"codes_per_unit_x": 32.0, "codes_per_unit_y": 64.0}
TWO = {"codes_per_unit_x": 32.0, "codes_per_unit_other": 32.0, "codes_per_unit_y": 16.0}
BYTES = np.arange(256, dtype=np.uint8)


def real(codes: Any, scale: float) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(codes).astype(np.float32)) / scale


def assert_same(layer: Any, module: Any, *inputs: Any) -> None:
    scales = module.codes_per_unit
    reals = [real(c, scales[o]) for c, o in zip(inputs, module.operands, strict=False)]
    with torch.no_grad():
        wanted = (module(*reals) * scales.get("y", scales["x"])).numpy()
    found = layer.run_many(*inputs)
    np.testing.assert_array_equal(found, wanted)
    assert found.size


@pytest.mark.parametrize(
    "module",
    [
        nn.Sigmoid(DigitalConfig(**ONE)),
        nn.Tanh(DigitalConfig(**ONE), input_limit=1.5),
        nn.GELU(config=DigitalConfig(**ONE)),
        nn.PReLU(config=DigitalConfig(codes_per_unit_w=64, **ONE)),
        nn.Sqrt(DigitalConfig(**ONE)),
        nn.InvSqrt(DigitalConfig(**ONE), limit=3.0),
    ],
)
def test_one_input_of_eight_bits_is_a_table(module: Any) -> None:
    layer = to_layer(module, "act")
    codes = BYTES if "x" in module.without_sign else BYTES.view(np.int8)
    assert layer.kind == "lookup"
    assert_same(layer, module, codes.reshape(4, 64))


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
@pytest.mark.parametrize("y_units", [2.0, 16.0, 32.0, 128.0])
def test_add_and_mul_are_shifts(rounding: str, y_units: float) -> None:
    config = DigitalConfig(**{**TWO, "codes_per_unit_y": y_units}, rounding=rounding)
    a = np.repeat(BYTES, 256).view(np.int8).reshape(64, -1)
    b = np.tile(BYTES, 256).view(np.int8).reshape(64, -1)
    for module in (nn.Add(config), nn.Mul(config)):
        assert_same(to_layer(module, "sum"), module, a, b)


@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
def test_mean_and_cat(rounding: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-128, -3, -1, 0, 1, 2, 127], np.int8), (50, 4, 6))
    config = DigitalConfig(codes_per_unit_x=8, rounding=rounding)
    for dim, keep in ((1, False), ((1, 2), True), (2, True)):
        module = nn.Mean(dim, keep, config=config)
        assert_same(to_layer(module, "mean"), module, x)
    same = dict.fromkeys(TWO, 32.0)
    module = nn.Cat(1, DigitalConfig(**same))
    assert_same(to_layer(module, "cat"), module, x, x[:, :2])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GruNew", "Gru2Array"])
def test_cells_are_recurrent_layers(kind: str) -> None:
    torch.manual_seed(3)
    sequence = getattr(nn, kind)(5, 4)
    x = torch.randn(9, 5)
    y, _ = sequence(x)
    layer = to_layer(sequence.cell, "memory")
    assert layer.output_shape((5,)) == (4,)
    found = layer.run(sequence.cell.quantize_input(x))
    np.testing.assert_array_equal(found, (y * 128).detach().numpy())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Tanh(DigitalConfig(x_bits=9, **ONE)), "bits of x: found 9, wanted 8"),
        (nn.GELU(config=DigitalConfig(**ONE), offset=0.5), "bits of y: found 9, wanted 8"),
        (nn.Add(DigitalConfig(**{**TWO, "codes_per_unit_x": 16.0})), "insert a Rescale"),
        (nn.Mul(DigitalConfig(**{**TWO, "codes_per_unit_y": 3.0})), "wanted a power of two"),
        (nn.Cat(1, DigitalConfig(**TWO)), "wanted one of each"),
        (nn.Cat(0, DigitalConfig(**dict.fromkeys(TWO, 32.0))), "axis 0 counts frames"),
        (nn.Mean(config=DigitalConfig(codes_per_unit_x=8)), "axis 0 counts frames"),
        (nn.Mean(1, config=DigitalConfig(codes_per_unit_x=8), sum_bits=19), "wanted 20 or more"),
        (nn.Tanh(DigitalConfig(mode="float")), "found mode='float'"),
    ],
)  # fmt: skip
def test_what_the_chip_cannot_do_is_refused(module: Any, message: str) -> None:
    with pytest.raises(NetworkError, match=f"^layer 'it': .*{message}"):
        to_layer(module, "it")


def test_other_modules_are_refused() -> None:
    with pytest.raises(TypeError, match="module: found ReLU"):
        to_layer(torch.nn.ReLU(), "it")
