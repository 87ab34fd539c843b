# SPDX-License-Identifier: Apache-2.0
"""`prepare_qat`: what is swapped, what is left and why, and that a model stays the model it was."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from bittwin import nn as bnn
from bittwin.nn import PrepareReport, QATConfig, prepare_qat
from bittwin.nn.base import QuantizedModule

CONFIG = QATConfig(calibration_steps=2)
pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block()])
        self.up = nn.ModuleDict({"a": nn.ConvTranspose2d(4, 2, 2)})
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(2 * 7 * 7, 8), nn.BatchNorm1d(8), nn.ReLU(),
                                  nn.Sequential(nn.Linear(8, 3)))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(self.up["a"](x))


def reported(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[nn.Module, PrepareReport]:
    found: list[PrepareReport] = []
    result = prepare_qat(model, *args, report=found.append, **kwargs)
    return result, found[0]


def reason(model: nn.Module, name: str, *args: Any, **kwargs: Any) -> str:
    _, report = reported(model, *(args or (CONFIG,)), **kwargs)
    return {m.name: m.reason for m in report.left}[name]


def test_nested_layers_are_swapped_and_named() -> None:
    model = Model()
    twin, report = reported(model, CONFIG)
    names = ["blocks.0.conv", "up.a", "head.1", "head.4.0"]
    assert [s.name for s in report.swapped] == names
    for name in names:
        layer = twin.get_submodule(name)
        assert isinstance(layer, QuantizedModule)
        assert layer.layer_name == name
        assert type(layer).__name__ == type(model.get_submodule(name)).__name__
        assert not isinstance(model.get_submodule(name), QuantizedModule), "a copy was changed"
    assert {m.name for m in report.left} == {"blocks.0.norm", "head.2"}
    assert "fold_batchnorm=True" in str(report)
    twin(torch.rand(4, 2, 6, 6)).sum().backward()


def test_inplace_keeps_objects_and_the_optimizer() -> None:
    torch.manual_seed(0)
    model = Model()
    modules, parameters = list(model.modules()), list(model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    assert prepare_qat(model, CONFIG, inplace=True) is model
    kept = [m for m in model.modules() if not isinstance(m, bnn.scales.Scales)]
    assert all(a is b for a, b in zip(kept, modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    before = [p.detach().clone() for p in parameters]
    x, target = torch.rand(16, 2, 6, 6), torch.randint(0, 3, (16,))
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert losses[-1] < losses[0] - 0.1


def test_float_mode_gives_the_float_model() -> None:
    torch.manual_seed(1)
    model = Model().eval()
    twin = prepare_qat(model, QATConfig(mode="float"))
    x = torch.rand(3, 2, 6, 6)
    assert torch.equal(twin(x), model(x))
    assert not twin.training


def test_training_flags_requires_grad_hooks_and_attributes_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)).eval()
    model[1].train()
    model[0].weight.requires_grad_(False)
    model[0].note = "mine"
    seen: list[str] = []
    handle = model[0].register_forward_hook(lambda *_: seen.append("forward"))
    prepare_qat(model, QATConfig(codes_per_unit_x=1.0, codes_per_unit_w=256.0, codes_per_unit_y=1.0),
                inplace=True)  # fmt: skip
    assert [m.training for m in model] == [False, True]
    assert [m.scales.training for m in model] == [False, True]
    assert not model[0].weight.requires_grad
    assert model[0].note == "mine"
    model(torch.rand(2, 3))
    handle.remove()
    model(torch.rand(2, 3))
    assert seen == ["forward"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.other = nn.Linear(4, 4)
        self.other.weight = self.first.weight
        self.plain = [self.other]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.plain[0](self.again(self.first(x)))


@pytest.mark.parametrize("inplace", [False, True])
def test_shared_modules_and_weights_stay_shared(inplace: bool) -> None:
    twin, report = reported(Tied(), CONFIG, inplace=inplace)
    assert twin.first is twin.again
    assert twin.plain[0] is twin.other
    assert isinstance(twin.plain[0], bnn.Linear)
    assert twin.first.weight is twin.other.weight
    assert twin.first.scales is not twin.other.scales
    assert [s.name for s in report.swapped] == ["first", "other"]


def test_a_layer_alone() -> None:
    layer = prepare_qat(nn.Linear(3, 2), CONFIG)
    assert isinstance(layer, bnn.Linear)
    assert layer.layer_name == "Linear"


def test_state_dict_copies_and_pickles() -> None:
    torch.manual_seed(2)
    twin = prepare_qat(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), CONFIG)
    x = torch.rand(6, 5)
    for _ in range(3):
        twin(x)
    twin.eval()
    state = twin.state_dict()
    assert {k.split(".", 1)[1] for k in state} == {
        "weight", "bias", "scales.codes_per_unit", "scales.maxima", "scales.steps",
    }  # fmt: skip
    fresh = prepare_qat(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), CONFIG).eval()
    fresh.load_state_dict(state, strict=True)
    for other in (fresh, copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))):
        assert torch.equal(other(x), twin(x))
        assert other[0].layer_name == "0"
    # A float checkpoint loads, but for the scales.
    found = fresh.load_state_dict(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).state_dict(),
                                  strict=False)  # fmt: skip
    assert all("scales" in key for key in found.missing_keys)
    assert not found.unexpected_keys


# -- overrides --------------------------------------------------------------------------------


def test_overrides_first_match_decides() -> None:
    wide, narrow = CONFIG.with_(x_bits=10), CONFIG.with_(y_bits=9)
    twin, report = reported(
        Model(), CONFIG, {"head.4.*": None, "head.*": wide, "*.conv": narrow, "head.4.0": narrow}
    )
    configs = {s.name: s.config for s in report.swapped}
    assert configs == {"blocks.0.conv": narrow, "up.a": CONFIG, "head.1": wide}
    assert type(twin.get_submodule("head.4.0")) is nn.Linear
    assert {m.name: m.reason for m in report.left}["head.4.0"] == "overrides['head.4.*'] is None"


def test_overrides_match_every_name_of_a_shared_module() -> None:
    _, report = reported(Tied(), CONFIG, {"again": CONFIG.with_(y_bits=9)})
    assert report.swapped[0].name == "first"
    assert report.swapped[0].config.y_bits == 9


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("blocks.0.cnov", ["'blocks.0.cnov'", "matches no layer", "'blocks.0.conv'"]),
        ("head", ["'head' holds layers", "'head.*'"]),
        ("head.2", ["no Linear, Conv2d or ConvTranspose2d"]),
    ],
)
def test_pattern_without_a_layer(pattern: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match="overrides") as found:
        prepare_qat(Model(), CONFIG, {pattern: CONFIG})
    assert all(word in str(found.value) for word in words), str(found.value)


def test_bad_arguments() -> None:
    for args, word in [
        (("model", CONFIG), "model: found str"),
        ((Model(), None), "config: found NoneType"),
        ((Model(), CONFIG, ["head"]), "overrides: found list"),
        ((Model(), CONFIG, {3: CONFIG}), "overrides: found the key 3"),
        ((Model(), CONFIG, {"head.1": 8}), r"overrides\['head.1'\]: found int"),
    ]:
        with pytest.raises(TypeError, match=word):
            prepare_qat(*args)  # type: ignore[type-var,arg-type]
    with pytest.raises(ValueError, match="found no Linear"):
        prepare_qat(nn.Sequential(nn.ReLU()), CONFIG)


# -- what is left -----------------------------------------------------------------------------


class OwnLinear(nn.Linear):
    pass


def hooked_forward() -> nn.Module:
    layer = nn.Linear(3, 3)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


LEFT: dict[str, tuple[Any, str, str]] = {
    "groups": (lambda: nn.ConvTranspose2d(4, 4, 2, groups=2), "clamp", "2 groups"),
    "shift": (lambda: nn.ConvTranspose2d(4, 4, 2), "shift", "'shift' is not possible"),
    "dtype": (lambda: nn.Linear(3, 3).double(), "clamp", "torch.float64; wanted torch.float32"),
    "subclass": (lambda: OwnLinear(3, 3), "clamp", "a subclass (test_prepare)"),
    "parametrized": (lambda: parametrizations.weight_norm(nn.Linear(3, 3)), "clamp", "parametrized"),
    "pruned": (lambda: prune.identity(nn.Linear(3, 3), "weight"), "clamp", "is no parameter"),
    "lazy": (lambda: nn.LazyLinear(3), "clamp", "lazy"),
    "forward": (hooked_forward, "clamp", "forward was replaced"),
    "bittwin": (lambda: bnn.Linear(3, 3), "clamp", "a bittwin layer already"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(LEFT))
def test_left_with_a_reason(case: str) -> None:
    build, negative_input, word = LEFT[case]
    layer = build()
    model = nn.Sequential(layer, nn.Linear(3, 3))
    config = CONFIG.with_(negative_input=negative_input)
    assert word in reason(model, "0", config, inplace=True)
    assert model[0] is layer
    assert isinstance(layer, QuantizedModule) == (case == "bittwin")


def test_attention_and_fused_layers_are_left() -> None:
    model = nn.ModuleDict(
        {"t": nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), "fc": nn.Linear(2, 2)}
    )
    assert "never calls it" in reason(model, "t.self_attn.out_proj")
    assert "fused" in reason(model, "t.linear1")
    assert "no integer layer of this kind" in reason(model, "t.self_attn")
    assert "no integer layer of this kind" in reason(model, "t.norm1")


# -- BatchNorm --------------------------------------------------------------------------------


def trained(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """A model whose norms have statistics, gains and offsets of their own."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    model.train()
    with torch.no_grad():
        for _ in range(5):
            model(x + torch.rand_like(x))
    return model.eval()


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (8, 5)),
        (
            lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4, affine=False)),
            (8, 5),
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4, eps=0.1)),
            (8, 2, 5, 5),
        ),
        (
            lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 2, bias=False), nn.BatchNorm2d(3)),
            (8, 2, 5, 5),
        ),
        (Model, (8, 2, 6, 6)),
    ],
)
def test_folding_keeps_the_function(build: Any, shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape)
    model = trained(build(), x)
    twin, report = reported(model, QATConfig(mode="float"), fold_batchnorm=True)
    assert not any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in twin.modules())
    assert len(report.folded) == (2 if build is Model else 1)
    assert not report.left
    with torch.no_grad():
        torch.testing.assert_close(twin(x), model(x), rtol=1e-4, atol=1e-5)
    added = [f for f in report.folded if f.added_bias]
    assert all(twin.get_submodule(f.layer).bias.requires_grad for f in added)


class Uses(nn.Module):
    """A layer and a norm in ways that forbid folding."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4, track_running_stats=how != "no statistics")
        self.other = nn.Linear(4, 4)
        if how == "shared weight":
            self.other.weight = self.fc.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        if self.how == "other users":
            return self.norm(y) + y
        if self.how == "between":
            return self.norm(torch.relu(y))
        if self.how == "layer twice":
            return self.norm(self.fc(y))
        if self.how == "norm twice":
            return self.norm(self.other(self.norm(y)))
        if self.how == "read":
            return self.norm(y) @ self.fc.weight
        if self.how == "control" and bool(y.sum() > 0):
            return y
        if self.how == "not called":
            return y
        return self.norm(y)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("other users", "other users"),
        ("between", "does not directly follow"),
        ("layer twice", "more than once"),
        ("norm twice", "more than once"),
        ("shared weight", "used elsewhere"),
        ("read", "used elsewhere"),
        ("no statistics", "no running statistics"),
        ("control", "cannot trace"),
        ("not called", "does not call it"),
    ],
)
def test_norms_that_cannot_be_folded_are_left(how: str, word: str) -> None:
    x = torch.randn(8, 4)
    model = trained(Uses(how), x)
    twin, report = reported(model, QATConfig(mode="float"), fold_batchnorm=True)
    assert not report.folded
    assert word in {m.name: m.reason for m in report.left}["norm"]
    assert torch.equal(twin(x), model(x))


def test_norm_behind_a_layer_that_stays_is_left() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    text = reason(model, "1", CONFIG, {"0": None}, fold_batchnorm=True)
    assert "the layer before it is not swapped" in text


def test_report_as_a_table() -> None:
    _, report = reported(Model(), CONFIG, {"up.a": None}, fold_batchnorm=True)
    assert (
        str(report)
        == """\
swapped 3, folded 2, left 1
  swapped  blocks.0.conv  Conv2d           quantized, readout, x8 w8 y8, clamp
  swapped  head.1         Linear           quantized, readout, x8 w8 y8, clamp
  swapped  head.4.0       Linear           quantized, readout, x8 w8 y8, clamp
  folded   blocks.0.norm  BatchNorm2d      into blocks.0.conv, which got a bias parameter
  folded   head.2         BatchNorm1d      into head.1
  left     up.a           ConvTranspose2d  overrides['up.a'] is None"""
    )
