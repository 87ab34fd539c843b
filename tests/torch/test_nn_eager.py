# SPDX-License-Identifier: Apache-2.0
"""`never_compiled`: the compiler is not loaded for nothing, and does not look inside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch._dynamo.testing

from bittwin import nn
from bittwin.nn import DigitalConfig
from bittwin.nn.eager import never_compiled

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("module", ["bittwin.nn", "bittwin.compat.witin_nn"])
def test_importing_and_training_does_not_load_the_compiler(module: str) -> None:
    code = (
        f"import sys, torch, {module}\n"
        "from bittwin.nn import Linear, Tanh\n"
        "model = torch.nn.Sequential(Linear(3, 2), Tanh())\n"
        "model(torch.rand(4, 3)).sum().backward()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_a_graph_break_and_plain_python_inside() -> None:
    seen: list[bool] = []

    def inner(x: torch.Tensor) -> torch.Tensor:
        seen.append(torch.compiler.is_compiling())
        return x * 2

    apart = never_compiled(inner)

    def inside(x: torch.Tensor) -> Any:
        return apart(x + 1) - 1

    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(inside, backend=counter)
    x = torch.rand(3)
    for _ in range(3):
        assert torch.equal(compiled(x), inside(x))
    assert seen == [False] * 6
    assert counter.frame_count == 2  # before and behind; the multiplication is in neither
    assert counter.op_count == 2
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(inside, backend="eager", fullgraph=True)(x)


def test_a_compiled_digital_operator_keeps_its_roundings() -> None:
    module = nn.Sigmoid(DigitalConfig(codes_per_unit_x=32, codes_per_unit_y=256))
    x = torch.linspace(-4, 4, 1001)
    compiled = torch.compile(lambda v: module(v) + 1, backend="eager")
    assert torch.equal(compiled(x), module(x) + 1)
