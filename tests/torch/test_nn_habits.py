# SPDX-License-Identifier: Apache-2.0
"""What people do with torch layers: copies, pickles, autocast, hooks, checkpointing, dtypes, devices."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 16.0}
X = torch.linspace(-0.1, 1.1, 8 * 36).reshape(8, 1, 6, 6)


def net(**fields: Any) -> torch.nn.Sequential:
    torch.manual_seed(0)
    config = QATConfig(**{"calibration_steps": 2, **fields})
    return torch.nn.Sequential(
        Conv2d(1, 3, 3, stride=2, padding=1, config=config),
        torch.nn.ReLU(),
        ConvTranspose2d(3, 2, 2, config=config),
        torch.nn.Flatten(),
        Linear(32, 4, config=config.with_(negative_input="split_sign")),
    )


# -- copies -----------------------------------------------------------------------------------


def by_pickle(model: torch.nn.Module) -> torch.nn.Module:
    return pickle.loads(pickle.dumps(model))


def by_file(model: torch.nn.Module) -> torch.nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("way", [copy.deepcopy, by_pickle, by_file])
def test_a_copy_computes_the_same_and_goes_its_own_way(way: Any) -> None:
    model = net()
    model(X)
    y = model(X)
    other = way(model)
    assert torch.equal(other(X), y)
    assert [m.config for m in other if hasattr(m, "config")] == [
        m.config for m in model if hasattr(m, "config")]  # fmt: skip
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    assert not torch.equal(other(X), y)
    assert torch.equal(model(X), y)
    other(X).sum().backward()
    assert all(p.grad is None for p in model.parameters())


def test_a_copy_in_the_middle_of_a_calibration() -> None:
    model = net(calibration_steps=3)
    model(X)
    other = copy.deepcopy(model)
    for size in (2.0, 5.0, 9.0):
        assert torch.equal(model(X * size), other(X * size))
    assert torch.equal(model[0].scales.codes_per_unit, other[0].scales.codes_per_unit)


def test_repr_names_widths_and_gain() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES, x_bits=10))
    text = repr(layer)
    for part in ("in_features=4", "readout", "x10", "w8", "y8", "gain 2048"):
        assert part in text
    assert "gain" not in repr(Linear(4, 3))


def test_layers_are_torch_layers() -> None:
    for ours, theirs in ((Linear(4, 3), torch.nn.Linear), (Conv2d(1, 1, 1), torch.nn.Conv2d),
                         (ConvTranspose2d(1, 1, 1), torch.nn.ConvTranspose2d)):  # fmt: skip
        assert isinstance(ours, theirs)
        assert len(list(ours.parameters())) == 2


def test_positional_arguments_are_those_of_torch() -> None:
    Linear(4, 3, False, "cpu", torch.float32)
    conv = Conv2d(4, 4, 3, 2, 1, 2, 2, False, "reflect", "cpu", torch.float32)
    assert (conv.stride, conv.padding, conv.dilation, conv.groups) == ((2, 2), (1, 1), (2, 2), 2)
    up = ConvTranspose2d(4, 4, 3, 2, 1, 1, 1, False, 1, "zeros", "cpu", torch.float32)
    assert up.output_padding == (1, 1)


def test_float_mode_is_torchs_own_layer() -> None:
    model = net(mode="float")
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, 2, 1), torch.nn.ReLU(), torch.nn.ConvTranspose2d(3, 2, 2),
        torch.nn.Flatten(), torch.nn.Linear(32, 4))  # fmt: skip
    plain.load_state_dict(model.state_dict(), strict=False)
    assert torch.equal(model(X), plain(X))
    assert torch.equal(model.double()(X.double()), plain.double()(X.double()))


# -- dtypes and devices -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_runs_the_layer_in_float32(dtype: torch.dtype) -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    x = torch.rand(5, 4, dtype=dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
        before = torch.nn.functional.linear(x, torch.rand(4, 4))
        assert before.dtype == dtype
        assert layer(before).dtype == torch.float32
        assert torch.equal(layer(x.detach().float()), y)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_calibration_under_autocast_sees_float32() -> None:
    first, second = (Linear(4, 3, config=QATConfig()) for _ in range(2))
    second.load_state_dict(first.state_dict())
    x = torch.rand(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = first(x)
    assert torch.equal(second(x), y)
    assert torch.equal(first.scales.maxima, second.scales.maxima)


DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
          torch.complex64)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes_are_refused_by_name(dtype: torch.dtype) -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    layer.layer_name = "head"
    with pytest.raises(
        TypeError, match=rf"layer 'head': found input {dtype}, wanted torch.float32"
    ):
        layer(torch.zeros(2, 4).to(dtype))
    low = dtype in (torch.bfloat16, torch.float16)
    refused = contextlib.nullcontext() if low else pytest.raises(TypeError)
    with torch.autocast("cpu", dtype=torch.bfloat16), refused:
        layer(torch.zeros(2, 4).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"dtype: found .*, wanted torch.float32"):
        Linear(4, 3, dtype=dtype)
    layer = Linear(4, 3, config=QATConfig(**SCALES)).to(dtype)
    with pytest.raises(TypeError, match="layer 'Linear': found weight"):
        layer(torch.rand(2, 4))


def test_other_devices_are_refused_by_name() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    layer.layer_name = "head"
    with pytest.raises(TypeError, match=r"layer 'head'.*meta"):
        layer(torch.zeros(2, 4, device="meta"))
    layer = Linear(4, 3, device="meta", config=QATConfig(**SCALES))
    with pytest.raises(TypeError, match=r"layer 'Linear'.*meta"):
        layer(torch.zeros(2, 4))


def test_a_layer_made_on_the_meta_device() -> None:
    """The usual way to build a model without memory, and to fill it from a checkpoint."""
    with torch.device("meta"):
        layer = Linear(4, 3, config=QATConfig(**SCALES))
    source = Linear(4, 3, config=QATConfig(**SCALES))
    layer.load_state_dict(source.state_dict(), assign=True)
    x = torch.rand(2, 4)
    assert torch.equal(layer(x), source(x))


def test_empty_weights_are_filled_later() -> None:
    layer = Linear(4, 3, device="meta", config=QATConfig(**SCALES)).to_empty(device="cpu")
    source = Linear(4, 3, config=QATConfig(**SCALES))
    layer.load_state_dict(source.state_dict())
    x = torch.rand(2, 4)
    assert torch.equal(layer(x), source(x))


# -- autograd habits --------------------------------------------------------------------------


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    from torch.utils.checkpoint import checkpoint

    model = net()
    model(X)
    model(X)
    wanted = _grads(model, lambda x: model(x))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            wanted, _grads(model, lambda x: checkpoint(model, x, use_reentrant=False)), strict=True
        )
    )


def _grads(model: torch.nn.Module, run: Any) -> list[torch.Tensor]:
    model.zero_grad()
    x = X.clone().requires_grad_()
    run(x).square().sum().backward()
    assert x.grad is not None
    return [x.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def test_inputs_and_outputs_may_be_changed_in_place_afterwards() -> None:
    layer = Conv2d(1, 2, 3, config=QATConfig(**SCALES))
    x = X.clone().requires_grad_()
    inner = x * 1.0
    y = layer(inner)
    with torch.no_grad():
        inner.zero_()
    y.relu_()
    y.sum().backward()
    grad = x.grad
    x.grad = None
    torch.relu(layer(x * 1.0)).sum().backward()
    assert grad is not None
    assert torch.equal(grad, x.grad)


def test_hooks_see_inputs_outputs_and_gradients() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    seen: list[str] = []
    layer.register_forward_pre_hook(lambda m, args: seen.append("pre"))
    layer.register_forward_hook(lambda m, args, out: seen.append("post"))
    layer.register_full_backward_hook(lambda m, gin, gout: seen.append("back"))
    layer(torch.rand(2, 4, requires_grad=True)).sum().backward()
    assert seen == ["pre", "post", "back"]


def test_anomaly_mode() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly():
        layer(torch.rand(2, 4)).sum().backward()


def test_a_graph_may_be_walked_twice() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    y = layer(torch.rand(2, 4)).sum()
    y.backward(retain_graph=True)
    first = layer.weight.grad.clone()
    y.backward()
    assert torch.equal(layer.weight.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


# -- threads and forks ------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", [True, False])
def test_threads_at_once_give_the_same_results(prepared: bool) -> None:
    model = net()
    model(X)
    model(X)
    y = model(X)
    inputs = [torch.rand(8, 1, 6, 6) for _ in range(12)]
    expected = [model(x) for x in inputs]
    start = threading.Barrier(6)

    def run(i: int) -> list[torch.Tensor]:
        start.wait()
        if not prepared and i == 0:
            for module in model:
                if hasattr(module, "invalidate"):
                    module.invalidate()
        return [model(x) for x in inputs for _ in range(3)]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, range(6)))
    for found in results:
        for i, got in enumerate(found):
            assert torch.equal(got, expected[i // 3])
    assert torch.equal(model(X), y)


def test_threads_may_go_backward_at_once() -> None:
    layer = Linear(4, 3, config=QATConfig(**SCALES))
    inputs = [torch.rand(5, 4) for _ in range(8)]

    def run(x: torch.Tensor) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(layer(leaf).square().sum(), leaf)
        return grad

    wanted = [run(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, want in zip(pool.map(run, inputs), wanted, strict=True):
                assert torch.equal(got, want)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_the_same() -> None:
    layer = Conv2d(1, 2, 3, config=QATConfig(**SCALES))
    wanted = layer(X).detach().numpy()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # as a DataLoader's worker does
        ok = b"0"
        try:
            with torch.no_grad():
                ok = b"1" if np.array_equal(layer(X).numpy(), wanted) else b"0"
        finally:
            os.write(writer, ok)
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 1)
    os.close(reader)
    os.waitpid(child, 0)
    assert said == b"1", sys.platform
