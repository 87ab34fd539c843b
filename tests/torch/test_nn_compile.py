# SPDX-License-Identifier: Apache-2.0
"""The registered operators: torch.library's own checks, torch.compile and torch.export equal to eager."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "readout": {},
    "readout split": {"x_bits": 10, "y_bits": 9},
    "half_even split": {"rounding": "half_even", "x_bits": 11},
    "float scales": {"rounding": "half_even", "codes_per_unit_x": 100.3},
    "split_sign": {"negative_input": "split_sign"},
    "shift": {"negative_input": "shift", "shift": 0.3},
    "bfloat16": {"backward_dtype": "bfloat16"},
}

# Torch's own, some only in some versions.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`"),
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """No compiled code left over, and no thread of the compiler's logging."""
    torch._dynamo.reset()
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    yield
    torch._dynamo.reset()


def layer_and_input(op: str, **fields: Any) -> tuple[Any, torch.Tensor]:
    torch.manual_seed(3)
    config = QATConfig(**{**SCALES, **fields})
    if op == "linear":
        return Linear(6, 5, config=config), torch.rand(7, 6) * 1.1 - 0.1
    kind: Any = Conv2d if op == "conv2d" else ConvTranspose2d
    return kind(2, 3, (3, 2), padding=1, config=config), torch.rand(2, 2, 5, 6) * 1.1 - 0.1


def gradients(layer: Any, run: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """y and all gradients of `run`."""
    layer.zero_grad()
    leaf = x.clone().requires_grad_()
    y = run(leaf)
    y.backward(torch.linspace(-1, 1, y.numel()).reshape(y.shape))
    assert leaf.grad is not None
    return [y.detach(), leaf.grad, *(p.grad.clone() for p in layer.parameters())]


def assert_equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        assert torch.equal(a, b), i


# -- the operators ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("op", ["linear", "conv2d", "conv_transpose2d"])
def test_opcheck(op: str, name: str) -> None:
    fields = CONFIGS[name]
    if op == "conv_transpose2d" and "shift" in name:
        pytest.skip("a transposed convolution takes no shift")
    layer, x = layer_and_input(op, **fields)
    scales, spec = layer.scales.codes_per_unit, layer._spec_text
    bias = layer.bias if name != "readout" else None
    arguments = (x.requires_grad_(), layer.weight, bias, scales, spec)
    torch.library.opcheck(torch.ops.bittwin.quantized_layer, arguments)
    with torch.no_grad():
        y, *saved = torch.ops.bittwin.quantized_layer(*arguments)
        backward = (torch.randn_like(y), layer.weight.detach(), bias, scales, *saved,
                    list(x.shape), spec)  # fmt: skip
    # Its own second derivative is not defined, so the autograd checks do not apply.
    torch.library.opcheck(
        torch.ops.bittwin.quantized_layer_backward,
        tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in backward),
    )


def test_opcheck_of_channels_last_and_empty_batches() -> None:
    layer, x = layer_and_input("conv2d")
    for image in (x.contiguous(memory_format=torch.channels_last), x[:0]):
        arguments = (image, layer.weight, layer.bias, layer.scales.codes_per_unit, layer._spec_text)
        torch.library.opcheck(torch.ops.bittwin.quantized_layer, arguments,
                              test_utils=("test_schema", "test_faketensor"))  # fmt: skip


# -- compile ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("op", ["linear", "conv2d", "conv_transpose2d"])
def test_compiled_equals_eager(op: str, name: str) -> None:
    if op == "conv_transpose2d" and "shift" in name:
        pytest.skip("a transposed convolution takes no shift")
    layer, x = layer_and_input(op, **CONFIGS[name])
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    wanted = gradients(layer, layer, x)
    assert_equal(gradients(layer, compiled, x), wanted)
    layer.eval()
    assert torch.equal(compiled(x), wanted[0])


@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")),
    reason="no C++ compiler, which inductor needs",
)
def test_compiled_by_inductor_equals_eager() -> None:
    net = torch.nn.Sequential(layer_and_input("conv2d")[0], torch.nn.ReLU(), torch.nn.Flatten(),
                              Linear(105, 3, config=QATConfig(**SCALES)))  # fmt: skip
    x = torch.rand(2, 2, 5, 6)
    wanted = gradients(net, net, x)
    assert_equal(gradients(net, torch.compile(net, backend="inductor"), x), wanted)


def test_compiled_in_one_graph_with_other_modules() -> None:
    net = torch.nn.Sequential(layer_and_input("linear")[0], torch.nn.ReLU(),
                              Linear(5, 2, config=QATConfig(**SCALES)))  # fmt: skip
    x = torch.rand(3, 6)
    assert_equal(
        gradients(net, torch.compile(net, backend="aot_eager", fullgraph=True), x),
        gradients(net, net, x),
    )


def test_weights_changed_after_compilation() -> None:
    layer, x = layer_and_input("linear")
    compiled = torch.compile(layer, backend="aot_eager")
    before = compiled(x)
    with torch.no_grad():
        layer.weight.mul_(0.3)
    assert torch.equal(compiled(x), layer(x))
    assert not torch.equal(compiled(x), before)


def test_scales_changed_after_compilation() -> None:
    layer, x = layer_and_input("linear")
    layer.config = QATConfig()  # calibrated scales: a checkpoint's count
    layer.eval()
    compiled = torch.compile(layer, backend="aot_eager")
    before = compiled(x)
    state = copy.deepcopy(layer.state_dict())
    state["scales.codes_per_unit"] = torch.tensor([128.0, 128.0, 8.0], dtype=torch.float64)
    layer.load_state_dict(state)
    assert torch.equal(compiled(x), layer(x))
    assert not torch.equal(compiled(x), before)


def test_config_changed_after_compilation() -> None:
    layer, x = layer_and_input("linear")
    compiled = torch.compile(layer, backend="aot_eager")
    before = compiled(x)
    layer.config = layer.config.with_(y_bits=12, rounding="half_even", negative_input="split_sign")
    assert torch.equal(compiled(x), layer(x))
    assert not torch.equal(compiled(x), before)


def test_a_calibration_inside_a_compiled_model() -> None:
    torch.manual_seed(0)
    layer = Linear(6, 5, config=QATConfig(calibration_steps=3))
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, backend="aot_eager")
    for size in (1.0, 4.0, 16.0, 1.0, 30.0):
        x = torch.rand(7, 6) * size
        assert torch.equal(compiled(x), twin(x))
        assert torch.equal(layer.scales.codes_per_unit, twin.scales.codes_per_unit)
    assert int(layer.scales.steps) == 3


def test_recalibration_inside_a_compiled_model() -> None:
    torch.manual_seed(0)
    layer = Linear(6, 5, config=QATConfig(calibration_steps=1, recalibrate="epoch"))
    twin = copy.deepcopy(layer)
    compiled = torch.compile(layer, backend="aot_eager")
    for size in (1.0, 9.0, 60.0):
        x = torch.rand(7, 6) * size
        for _ in range(2):
            assert torch.equal(compiled(x), twin(x))
        assert torch.equal(layer.scales.codes_per_unit, twin.scales.codes_per_unit)
        for model in (layer, twin):
            model.eval()
        assert torch.equal(compiled(x), twin(x))
        for model in (layer, twin):
            model.train()


def test_one_dynamic_graph_serves_all_batch_sizes() -> None:
    layer, x = layer_and_input("linear")
    layer.eval()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter, dynamic=True)
    for rows in range(2, 14):
        part = x[:1].expand(rows, -1).contiguous()
        assert torch.equal(compiled(part), layer(part))
    assert counter.frame_count <= 2


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
def test_compiled_with_noise() -> None:
    layer, x = layer_and_input("linear", noise=lambda acc, **_: acc + np.int32(4096))
    compiled = torch.compile(layer, backend="aot_eager")
    assert_equal(gradients(layer, compiled, x), gradients(layer, layer, x))


@pytest.mark.filterwarnings("ignore")
def test_nan_is_refused_in_compiled_code_too() -> None:
    layer, x = layer_and_input("linear")
    compiled = torch.compile(layer, backend="aot_eager")
    compiled(x)
    x[0, 0] = float("nan")
    with pytest.raises(ValueError, match="layer 'Linear': found NaN"):
        compiled(x)


# -- export -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["readout", "half_even split", "shift"])
def test_export(name: str, strict: bool) -> None:
    conv, x = layer_and_input("conv2d", **CONFIGS[name])
    net = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.Flatten(),
                              Linear(105, 3, config=QATConfig(**SCALES)))  # fmt: skip
    net.eval()
    program = torch.export.export(net, (x,), strict=strict)
    assert torch.equal(program.module()(x), net(x))
    other = torch.rand_like(x)
    assert torch.equal(program.module()(other), net(other))
    graphs = [m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    names = {str(node.target) for graph in graphs for node in graph.graph.nodes}
    assert "bittwin.quantized_layer.default" in names


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_any_batch_size(strict: bool) -> None:
    layer, x = layer_and_input("linear")
    layer.eval()
    batch = torch.export.Dim("batch", min=2, max=4096)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},), strict=strict)
    for rows in (2, 3, 100):
        part = torch.rand(rows, 6)
        assert torch.equal(program.module()(part), layer(part))


def test_exported_program_saves_and_loads(tmp_path: Any) -> None:
    layer, x = layer_and_input("linear")
    program = torch.export.export(layer.eval(), (x,))
    torch.export.save(program, tmp_path / "layer.pt2")
    assert torch.equal(torch.export.load(tmp_path / "layer.pt2").module()(x), layer(x))


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_a_dynamic_batch_exports_for_narrow_outputs_too(outputs: int) -> None:
    torch.manual_seed(0)
    layer = Linear(6, outputs, config=QATConfig(**SCALES)).eval()
    batch = {0: torch.export.Dim("batch", min=2)}
    exported = torch.export.export(layer, (torch.rand(8, 6),), dynamic_shapes=(batch,)).module()
    for frames in (2, 3, 17):
        x = torch.rand(frames, 6)
        assert torch.equal(exported(x), layer(x))
