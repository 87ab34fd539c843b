# SPDX-License-Identifier: Apache-2.0
"""Weights become integers once, and again as soon as anything has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bittwin.nn import Conv2d, Linear, QATConfig

SCALES = {"codes_per_unit_x": 256.0, "codes_per_unit_w": 128.0, "codes_per_unit_y": 128.0}
X = torch.linspace(0, 0.99, 5 * 16).reshape(5, 16)


def fc() -> Linear:
    torch.manual_seed(0)
    return Linear(16, 16, config=QATConfig(**SCALES, y_bits=12))


def fresh(layer: Linear) -> torch.Tensor:
    """What a new layer with the same numbers computes."""
    new = fc()
    with torch.no_grad():
        new.weight.copy_(layer.weight)
        assert new.bias is not None
        new.bias.copy_(layer.bias)
        new.config = layer.config  # puts its fixed scales in force, so the layer's come after it
        new.scales.codes_per_unit.copy_(layer.scales.codes_per_unit)
    return new(X)


def test_nothing_changed_nothing_made() -> None:
    layer = fc()
    first = layer.prepared()
    layer(X).sum().backward()
    with torch.no_grad():
        layer(X)
    layer.eval()
    layer(X)
    layer.train()
    layer.zero_grad()
    assert layer.prepared() is first
    layer.requires_grad_(False)
    assert layer.prepared() is first


def in_place(layer: Linear) -> None:
    with torch.no_grad():
        layer.weight.mul_(0.5)


def element(layer: Linear) -> None:
    with torch.no_grad():
        layer.weight[3, 5] = 0.9


def bias(layer: Linear) -> None:
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.add_(0.1)


def copied(layer: Linear) -> None:
    with torch.no_grad():
        layer.weight.copy_(layer.weight.flip(0))


def loaded(layer: Linear) -> None:
    layer.load_state_dict(
        {k: v * 0.5 if k == "weight" else v for k, v in layer.state_dict().items()}
    )


def assigned(layer: Linear) -> None:
    state = {k: v * 0.5 if k == "weight" else v for k, v in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


def replaced(layer: Linear) -> None:
    layer.weight = torch.nn.Parameter(layer.weight.detach() * 0.5)


def data(layer: Linear) -> None:
    layer.weight.data = layer.weight.data * 0.5


def data_in_place(layer: Linear) -> None:
    layer.weight.data.mul_(0.5)


def detached_in_place(layer: Linear) -> None:
    layer.weight.detach().mul_(0.5)


def scales(layer: Linear) -> None:
    layer.scales.codes_per_unit.copy_(torch.tensor([256.0, 64.0, 64.0], dtype=torch.float64))


def config(layer: Linear) -> None:
    layer.config = layer.config.with_(rounding="half_even")


def vector(layer: Linear) -> None:
    flat = torch.nn.utils.parameters_to_vector(layer.parameters()).detach()
    torch.nn.utils.vector_to_parameters(flat * 0.5, layer.parameters())


CHANGES = (in_place, element, bias, copied, loaded, assigned, replaced, data, data_in_place,
           detached_in_place, scales, config, vector)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
def test_a_change_is_noticed(change: Callable[[Linear], None]) -> None:
    layer = fc()
    before, old = layer(X), layer.prepared()
    change(layer)
    after = layer(X)
    assert torch.equal(after, fresh(layer))
    assert not torch.equal(after, before)
    assert layer.prepared() is not old


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.5),
    "momentum": lambda p: torch.optim.SGD(p, 0.5, momentum=0.9, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, 0.05, foreach=False),
    "adam foreach": lambda p: torch.optim.Adam(p, 0.05, foreach=True),
    "adam fused": lambda p: torch.optim.Adam(p, 0.05, fused=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, 0.05, fused=True),
    "sgd fused": lambda p: torch.optim.SGD(p, 0.5, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.05),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_step_is_noticed(name: str) -> None:
    layer = fc()
    optimiser = OPTIMISERS[name](layer.parameters())
    for _ in range(3):
        before = layer(X)
        before.square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        after = layer(X)
        assert torch.equal(after, fresh(layer))
        assert not torch.equal(after, before)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_changes_few_weights_is_noticed(fused: bool) -> None:
    """Fused optimisers raise no version, and a sample of the numbers may miss a change."""
    x = torch.zeros(2, 16)
    x[:, 5] = 0.5
    layer = fc()
    assert layer.bias is not None
    layer.bias.requires_grad_(False)
    optimiser = torch.optim.SGD([layer.weight], 0.5, fused=fused)
    for _ in range(3):
        before = layer(x)
        before.square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        assert torch.equal(layer(X), fresh(layer))
        assert not torch.equal(layer(x), before)


def test_lbfgs() -> None:
    layer = fc()
    optimiser = torch.optim.LBFGS(layer.parameters(), 0.1, max_iter=3)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = layer(X).square().mean()
        loss.backward()
        assert torch.equal(layer(X), fresh(layer))
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    assert torch.equal(layer(X), fresh(layer))


def test_new_memory_at_an_old_address_is_noticed() -> None:
    layer = fc()
    base = torch.rand(16, 16) - 0.5
    for i in range(20):
        layer.weight.data = base * 0.25
        layer.weight.data = base * 0.8**i  # may get the memory that the line above freed
        assert torch.equal(layer(X), fresh(layer))


def test_functional_calls_use_the_weights_they_are_given() -> None:
    layer, other = fc(), fc()
    weight = layer.weight.detach()
    for i in range(12):
        scaled = weight * 0.7**i
        y = torch.func.functional_call(layer, {"weight": scaled}, (X,))
        del scaled
        with torch.no_grad():
            other.weight.copy_(weight * 0.7**i)
        assert torch.equal(y, other(X))


def test_functional_calls_that_change_one_weight() -> None:
    layer, other = fc(), fc()
    weight = layer.weight.detach()
    for i in range(12):
        changed = weight.clone()
        changed[2, 5] = i / 16
        y = torch.func.functional_call(layer, {"weight": changed}, (X,))
        del changed
        with torch.no_grad():
            other.weight.copy_(weight)
            other.weight[2, 5] = i / 16
        assert torch.equal(y, other(X))


class Squash(torch.nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.tanh()


@pytest.mark.parametrize("way", ["tanh", "weight_norm", "spectral_norm"])
def test_parametrised_weights(way: str) -> None:
    layer: torch.nn.Module = fc()
    if way == "tanh":
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", Squash())
    else:
        layer = getattr(torch.nn.utils.parametrizations, way)(layer)
    optimiser = torch.optim.SGD(layer.parameters(), 1.0)
    for _ in range(12):
        layer(X).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        layer.eval()  # spectral_norm iterates in train mode
        y = layer(X)
        assert torch.equal(y, fresh(layer))
        layer.train()


@pytest.mark.parametrize("structured", [False, True])
def test_pruned_weights(structured: bool) -> None:
    from torch.nn.utils import prune

    layer = fc()
    if structured:
        prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)
    else:
        prune.l1_unstructured(layer, "weight", 0.5)
    optimiser = torch.optim.SGD(layer.parameters(), 0.5)
    for _ in range(6):
        layer(X).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        y = layer(X)
        assert torch.equal(y, fresh(layer))


def test_averaged_model() -> None:
    layer = fc()
    averaged = torch.optim.swa_utils.AveragedModel(layer)
    for _ in range(3):
        in_place(layer)
        averaged.update_parameters(layer)
        assert torch.equal(averaged(X), fresh(averaged.module))


def test_shared_weights_are_prepared_per_layer() -> None:
    first, second = fc(), fc()
    second.weight = first.weight
    scales(second)
    assert torch.equal(first(X), fresh(first))
    assert torch.equal(second(X), fresh(second))
    in_place(first)
    assert torch.equal(second(X), fresh(second))


def test_what_was_prepared_in_inference_mode_serves_training() -> None:
    layer = Conv2d(1, 2, 2, config=QATConfig(**SCALES))
    x = torch.rand(1, 1, 4, 4)
    with torch.inference_mode():
        y = layer(x)
    assert torch.equal(layer(x).detach(), y.clone())
    layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_a_layer_made_in_inference_mode_works() -> None:
    with torch.inference_mode():
        layer = fc()
        first = layer(X).clone()
        layer.weight.mul_(0.5)
        assert not torch.equal(layer(X), first)


def test_a_backward_pass_uses_the_weights_of_its_forward() -> None:
    layer = fc()
    x = X.clone().requires_grad_()
    y = layer(x)
    (wanted,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    in_place(layer)
    layer(X)
    (got,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(got, wanted)
