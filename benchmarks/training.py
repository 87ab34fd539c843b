# SPDX-License-Identifier: Apache-2.0
"""Training layers beside float32 torch and fake-quantise: forward, and forward with backward.

    python benchmarks/training.py [RECORD.json]

Contenders per shape: torch's float32 layer, torch with fake-quantised input, weight and output, Brevitas
when it is installed, and bittwin.nn with each kernel that this CPU can run. Before timing, bittwin's forward
is compared with the numpy API: equal codes, or no figure. BITTWIN_BENCH_SHAPES=all adds the large shapes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch
from harness import median_seconds, pin_to_one_core, report

import bittwin
from bittwin import _core
from bittwin.nn import Conv2d, Linear, QATConfig

#: batch, in, out
LINEAR = {
    "S1": (1, 256, 256),
    "S2": (100, 800, 256),
    "S3": (256, 1024, 1024),
    "S4": (1024, 512, 512),
    "S5": (4096, 2048, 1024),
}
#: input shape, out channels, kernel, stride, padding, groups
CONV = {
    "conv 8x16": ((8, 16, 32, 32), 32, 3, 1, 1, 1),
    "conv depthwise": ((32, 128, 28, 28), 128, 3, 1, 1, 128),
    "conv 32x64": ((32, 64, 56, 56), 64, 3, 1, 1, 1),
    "conv 7x7 s2": ((32, 3, 224, 224), 64, 7, 2, 3, 1),
}


def layers(shape: str) -> tuple[torch.Tensor, torch.nn.Module, Linear | Conv2d]:
    """An input, torch's layer and ours."""
    config = QATConfig(calibration_steps=1)
    if shape in LINEAR:
        m, k, n = LINEAR[shape]
        x = torch.rand(m, k, requires_grad=True)
        return x, torch.nn.Linear(k, n), Linear(k, n, config=config)
    size, out, kernel, stride, padding, groups = CONV[shape]
    x = torch.rand(size, requires_grad=True)
    fields = {"stride": stride, "padding": padding, "groups": groups}
    plain = torch.nn.Conv2d(size[1], out, kernel, **fields)
    return x, plain, Conv2d(size[1], out, kernel, **fields, config=config)


def fake_quantised(x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
    fake = torch.fake_quantize_per_tensor_affine
    weight = fake(layer.weight, 1 / 1024, 0, -128, 127)
    codes = fake(x, 1 / 256, 0, 0, 255)
    if isinstance(layer, torch.nn.Linear):
        y = torch.nn.functional.linear(codes, weight, layer.bias)
    else:
        y = layer._conv_forward(codes, weight, layer.bias)
    return fake(y, 1 / 64, 0, -128, 127)


def brevitas_layer(plain: torch.nn.Module) -> torch.nn.Module | None:
    if not isinstance(plain, torch.nn.Linear):
        return None
    try:
        from brevitas.nn import QuantLinear
        from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat
    except ImportError:
        return None
    layer: torch.nn.Module = QuantLinear(
        plain.in_features,
        plain.out_features,
        bias=True,
        input_quant=Uint8ActPerTensorFloat,
        output_quant=Int8ActPerTensorFloat,
    )
    return layer


def check(layer: Linear | Conv2d, x: torch.Tensor) -> None:
    """bittwin.nn's forward against the numpy API, code by code."""
    prepared, spec = layer.prepared(), layer.spec
    codes = layer.quantize_input(x).numpy()
    if isinstance(layer, Linear):
        y = bittwin.linear(codes, prepared.weight, prepared.bias, spec.requant)
    else:
        fields = {"stride": spec.stride, "padding": spec.padding, "groups": spec.groups}
        y = bittwin.conv2d(codes, prepared.weight, prepared.bias, spec.requant, **fields)
    values = layer(x).detach().numpy() * np.float32(layer.codes_per_unit[2])
    np.testing.assert_array_equal(values, y)


def step(run: Callable[[], torch.Tensor]) -> Callable[[], object]:
    def train() -> None:
        run().sum().backward()

    return train


def main() -> None:
    pin_to_one_core()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wanted = os.environ.get("BITTWIN_BENCH_SHAPES", "S1,S2,S3,S4,conv 8x16,conv depthwise")
    rows: dict[str, float] = {}
    for shape in [*LINEAR, *CONV] if wanted == "all" else wanted.split(","):
        x, plain, ours = layers(shape)
        ours(x)  # calibrates
        forwards: dict[str, Callable[[], torch.Tensor]] = {
            "torch float32": lambda x=x, layer=plain: layer(x),
            "torch fake-quantise": lambda x=x, layer=plain: fake_quantised(x, layer),
        }
        peer = brevitas_layer(plain)
        if peer is not None:
            forwards["brevitas"] = lambda x=x, layer=peer: layer(x)
        for kernel in (entry.name for entry in bittwin.kernels() if entry.available):
            _core.force_kernel(kernel)
            check(ours, x)

            def forced(
                x: torch.Tensor = x, layer: torch.nn.Module = ours, name: str = kernel
            ) -> torch.Tensor:
                _core.force_kernel(name)
                return layer(x)

            forwards[f"bittwin.nn, {kernel}"] = forced
        for name, seconds in median_seconds(forwards, rounds=5).items():
            rows[f"{shape} forward, {name}"] = 1e6 * seconds
        steps = {name: step(run) for name, run in forwards.items()}
        for name, seconds in median_seconds(steps, rounds=5).items():
            rows[f"{shape} forward + backward, {name}"] = 1e6 * seconds
    _core.force_kernel("")
    report("training layers, one thread, medians of 5, interleaved", "us", rows)


if __name__ == "__main__":
    main()
