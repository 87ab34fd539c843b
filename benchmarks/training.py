# SPDX-License-Identifier: Apache-2.0
"""Training layers beside float32 torch and fake-quantise: forward, and forward with backward.

    python benchmarks/training.py [RECORD.json]

Contenders per shape: torch's float32 layer, torch with fake-quantised input, weight and output, Brevitas
when it is installed, and bittwin.nn with each kernel that this CPU can run. Before timing, bittwin's forward
is compared with the numpy API: equal codes, or no figure.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from harness import median_seconds, pin_to_one_core, report

import bittwin
from bittwin import _core
from bittwin.nn import Linear, QATConfig

SHAPES = {
    "S1": (1, 256, 256),
    "S2": (100, 800, 256),
    "S3": (256, 1024, 1024),
    "S4": (1024, 512, 512),
}


def fake_quantised(x: torch.Tensor, layer: torch.nn.Linear) -> torch.Tensor:
    fake = torch.fake_quantize_per_tensor_affine
    y = torch.nn.functional.linear(
        fake(x, 1 / 256, 0, 0, 255), fake(layer.weight, 1 / 1024, 0, -128, 127), layer.bias
    )
    return fake(y, 1 / 64, 0, -128, 127)


def brevitas_layer(k: int, n: int) -> torch.nn.Module | None:
    try:
        from brevitas.nn import QuantLinear
        from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat
    except ImportError:
        return None
    layer: torch.nn.Module = QuantLinear(
        k, n, bias=True, input_quant=Uint8ActPerTensorFloat, output_quant=Int8ActPerTensorFloat
    )
    return layer


def check(layer: Linear, x: torch.Tensor) -> None:
    """bittwin.nn's forward against the numpy API, code by code."""
    prepared = layer.prepared()
    codes = bittwin.linear(
        layer.quantize_input(x).numpy(), prepared.weight, prepared.bias, layer.spec.requant
    )
    values = layer(x).detach().numpy() * np.float32(layer.codes_per_unit[2])
    np.testing.assert_array_equal(values, codes)


def step(run: Callable[[], torch.Tensor]) -> Callable[[], object]:
    def train() -> None:
        run().sum().backward()

    return train


def main() -> None:
    pin_to_one_core()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows: dict[str, float] = {}
    for shape, (m, k, n) in SHAPES.items():
        x = torch.rand(m, k, requires_grad=True)
        plain = torch.nn.Linear(k, n)
        ours = Linear(k, n, config=QATConfig(calibration_steps=1))
        ours(x)  # calibrates
        forwards: dict[str, Callable[[], torch.Tensor]] = {
            "torch float32": lambda x=x, layer=plain: layer(x),
            "torch fake-quantise": lambda x=x, layer=plain: fake_quantised(x, layer),
        }
        peer = brevitas_layer(k, n)
        if peer is not None:
            forwards["brevitas"] = lambda x=x, layer=peer: layer(x)
        for kernel in (k.name for k in bittwin.kernels() if k.available):
            _core.force_kernel(kernel)
            check(ours, x)

            def forced(
                x: torch.Tensor = x, layer: Linear = ours, name: str = kernel
            ) -> torch.Tensor:
                _core.force_kernel(name)
                return layer(x)

            forwards[f"bittwin.nn, {kernel}"] = forced
        for name, seconds in median_seconds(forwards, rounds=7).items():
            rows[f"{shape} forward, {name}"] = 1e6 * seconds
        for name, seconds in median_seconds(
            {n: step(f) for n, f in forwards.items()}, rounds=7
        ).items():
            rows[f"{shape} forward + backward, {name}"] = 1e6 * seconds
    _core.force_kernel("")
    report("training layers, one thread, medians of 7, interleaved", "us", rows)


if __name__ == "__main__":
    main()
