# SPDX-License-Identifier: Apache-2.0
"""`prepare_qat`: an existing torch model with its layers swapped for bittwin's."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

import torch
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from bittwin.nn.base import QuantizedModule
from bittwin.nn.config import QATConfig
from bittwin.nn.digital.config import DigitalConfig
from bittwin.nn.fold import NORMS, fold_batchnorms
from bittwin.nn.layers import Conv2d, ConvTranspose2d, Linear
from bittwin.nn.prepare_digital import KINDS, Config, is_candidate, swap_digital, why_not
from bittwin.nn.prepare_report import FoldedNorm, LeftModule, PrepareReport, SwappedLayer

M = TypeVar("M", bound=torch.nn.Module)

SWAPS: Final[dict[type[torch.nn.Module], type[QuantizedModule]]] = {
    torch.nn.Linear: Linear,
    torch.nn.Conv2d: Conv2d,
    torch.nn.ConvTranspose2d: ConvTranspose2d,
}
_CANDIDATES = tuple(SWAPS)
_KINDS: Final = "Linear, Conv2d or ConvTranspose2d"


def prepare_qat(
    model: M,
    config: QATConfig,
    overrides: Mapping[str, QATConfig | None] | None = None,
    *,
    digital: Mapping[str, Config] | None = None,
    fold_batchnorm: bool = False,
    inplace: bool = False,
    report: Callable[[PrepareReport], Any] | None = None,
) -> M:
    """Turn the Linear, Conv2d and ConvTranspose2d layers of a model into `bittwin.nn` layers.

    A layer keeps its identity: the same module object changes its class, so that lists of layers, weights
    shared by two layers, a layer used in two places, hooks and the training flag stay what they were. Its
    parameters stay the same objects; with ``inplace=True`` an optimizer made before goes on working.

    Args:
        model: any module, at any depth; a single layer too.
        config: settings of every layer that no override names.
        overrides: pattern on the dotted module name (``*``, ``?`` and ``[...]`` as in `fnmatch`, a ``*``
            also across dots) -> settings, or None to leave the layer in float. The first pattern that
            matches decides.
        digital: pattern on the dotted module name -> settings, for modules that stay float otherwise: a
            `DigitalConfig` for Sigmoid, Tanh, GELU, PReLU and BatchNorm2d, a `QATConfig` for LSTM and GRU of
            one layer and direction (its codes_per_unit_x, a power of two, is the input's; default 128). The
            first pattern that matches decides. ReLU needs none: it is exact.
        fold_batchnorm: fold every BatchNorm1d or 2d that follows a swapped layer, and nothing else, into it,
            with its running statistics: ``W' = gamma W / sqrt(var + eps)``,
            ``b' = beta + gamma (b - mean) / sqrt(var + eps)``. torch.fx finds them; what it cannot follow
            stays and is reported.
        inplace: change `model` itself; otherwise a deep copy is changed and returned.
        report: called once with the `PrepareReport`, which says what was swapped, folded and left and why;
            ``print`` prints it as a table.

    Returns:
        The model. Every swapped layer's `layer_name` is its dotted name.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a pattern that matches no layer, or a model without any layer that could be swapped.

    A GRU becomes the chip's form with two products. LSTM and GRU get new parameters of another layout, so an
    optimizer made before does not know them; their states stay [1, batch, hidden] and
    batch_first what it was.

    >>> import torch
    >>> from bittwin.nn import QATConfig, prepare_qat
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> twin = prepare_qat(model, QATConfig(), {"2": QATConfig(y_bits=10)}, report=print)
    swapped 2, folded 0, left 0
      swapped  0  Linear  quantized, readout, x8 w8 y8, clamp
      swapped  2  Linear  quantized, readout, x8 w8 y10, clamp
    """
    patterns = _checked(model, config, overrides)
    asked = _checked_digital(digital)
    if not inplace:
        model = copy.deepcopy(model)
    names = _names(model)
    modules = {id(m): m for m in model.modules()}
    candidates = {key: m for key, m in modules.items() if isinstance(m, _CANDIDATES)}
    if not candidates and not asked:
        raise ValueError(
            f"model: found no Linear, Conv2d or ConvTranspose2d in {type(model).__name__}, wanted one"
        )
    _check_patterns("overrides", patterns, {key: names[key] for key in candidates}, names, _KINDS)
    others = {key: m for key, m in modules.items() if is_candidate(m)}
    _check_patterns("digital", asked, {key: names[key] for key in others}, names, KINDS)
    fused = _inside_fused_layers(model)
    chosen: dict[int, QATConfig] = {}
    reasons: dict[int, str] = {}
    for key, module in candidates.items():
        pattern = _first_match(patterns, names[key])
        settings = config if pattern is None else patterns[pattern]
        reason = _why_not(module, settings, pattern, key in fused)
        if reason is None:
            assert settings is not None
            chosen[key] = settings
        else:
            reasons[key] = reason
    wanted: dict[int, Config] = {}
    for key, module in others.items():
        pattern = _first_match(asked, names[key])
        if pattern is not None:
            reason = why_not(module, asked[pattern], pattern)
            if reason is None:
                wanted[key] = asked[pattern]
            else:
                reasons[key] = reason
    folded: list[FoldedNorm] = []
    if fold_batchnorm:
        folded, unfolded = fold_batchnorms(model, {k: modules[k] for k in chosen}, names)
        reasons |= unfolded
    swapped = []
    for key, settings in chosen.items():
        module, name = modules[key], names[key][0]
        kind = type(module).__name__
        _swap(module, settings, name)
        swapped.append(SwappedLayer(name, kind, settings))
    for key, own in wanted.items():
        module, name = modules[key], names[key][0]
        if is_candidate(module) and any(
            module is m for m in model.modules()
        ):  # no norm that was folded
            kind = type(module).__name__
            swap_digital(module, own, name)
            swapped.append(SwappedLayer(name, kind, own))
    inside = {id(m) for key in wanted for m in modules[key].modules()}
    left = []
    for module in model.modules():
        reason = reasons.get(id(module)) or _stays_float(
            module, id(module) in chosen or id(module) in inside
        )
        if reason is not None:
            left.append(LeftModule(names[id(module)][0], type(module).__name__, reason))
    if report is not None:
        report(PrepareReport(tuple(swapped), tuple(folded), tuple(left)))
    return model


def _checked(model: Any, config: Any, overrides: Any) -> dict[str, QATConfig | None]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: found {type(model).__name__}, wanted a torch.nn.Module")
    if not isinstance(config, QATConfig):
        raise TypeError(f"config: found {type(config).__name__}, wanted a bittwin.nn.QATConfig")
    if overrides is not None and not isinstance(overrides, Mapping):
        raise TypeError(f"overrides: found {type(overrides).__name__}, wanted a mapping")
    for pattern, settings in (overrides or {}).items():
        if not isinstance(pattern, str):
            raise TypeError(f"overrides: found the key {pattern!r}, wanted a pattern of names")
        if settings is not None and not isinstance(settings, QATConfig):
            raise TypeError(
                f"overrides[{pattern!r}]: found {type(settings).__name__}, wanted a QATConfig or None"
            )
    return dict(overrides or {})


def _checked_digital(digital: Any) -> dict[str, Config]:
    if digital is not None and not isinstance(digital, Mapping):
        raise TypeError(f"digital: found {type(digital).__name__}, wanted a mapping")
    for pattern, settings in (digital or {}).items():
        if not isinstance(pattern, str):
            raise TypeError(f"digital: found the key {pattern!r}, wanted a pattern of names")
        if not isinstance(settings, DigitalConfig | QATConfig):
            raise TypeError(
                f"digital[{pattern!r}]: found {type(settings).__name__}, wanted a DigitalConfig or "
                "a QATConfig"
            )
    return dict(digital or {})


def _names(model: torch.nn.Module) -> dict[int, list[str]]:
    """All dotted names of every module, by its id."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return names


def _first_match(patterns: Mapping[str, Any], names: list[str]) -> str | None:
    found = (p for p in patterns if any(fnmatchcase(name, p) for name in names))
    return next(found, None)


def _check_patterns(
    argument: str,
    patterns: Mapping[str, Any],
    layers: Mapping[int, list[str]],
    everything: Mapping[int, list[str]],
    kinds: str,
) -> None:
    every = [name for names in layers.values() for name in names]
    for pattern in patterns:
        if any(fnmatchcase(name, pattern) for name in every):
            continue
        inside = [name for name in every if name.startswith(f"{pattern}.")]
        if inside:
            hint = f"{pattern!r} holds layers: write {pattern + '.*'!r}"
        elif any(fnmatchcase(name, pattern) for names in everything.values() for name in names):
            hint = f"it names modules that are no {kinds}"
        else:
            near = difflib.get_close_matches(pattern, every, n=3, cutoff=0.0)
            hint = f"the nearest names are {', '.join(map(repr, near))}"
        raise ValueError(
            f"{argument}: found the pattern {pattern!r}, which matches no layer; {hint}"
        )


def _inside_fused_layers(model: torch.nn.Module) -> set[int]:
    """Layers that torch's fused transformer inference would read the weights of and never call."""
    return {
        id(child)
        for module in model.modules()
        if isinstance(module, torch.nn.TransformerEncoderLayer)
        for child in module.children()
    }


def _why_not(
    module: torch.nn.Module, settings: QATConfig | None, pattern: str | None, fused: bool
) -> str | None:
    """Why a layer cannot or shall not be swapped; None: it can."""
    if isinstance(module, QuantizedModule):
        return "a bittwin layer already; its settings stay"
    if settings is None:
        return f"overrides[{pattern!r}] is None"
    if parametrize.is_parametrized(module):
        return "parametrized; torch.nn.utils.parametrize.remove_parametrizations first"
    if isinstance(module, torch.nn.modules.lazy.LazyModuleMixin):
        return "lazy: its shape is not known yet; run the model once first"
    if type(module) is NonDynamicallyQuantizableLinear:
        return "attention reads its weight and never calls it"
    if type(module) not in SWAPS:
        return f"a subclass ({type(module).__module__}); only torch's own class is swapped"
    if fused:
        return "torch's fused inference would read its weight and never call it"
    if "forward" in module.__dict__:
        return "its forward was replaced on the object"
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is no parameter (weight_norm, pruning?); make it one first"
    dtypes = {p.dtype for p in module.parameters(recurse=False)}
    if dtypes != {torch.float32}:
        found = ", ".join(sorted(str(d) for d in dtypes - {torch.float32}))
        return f"its parameters are {found}; wanted torch.float32"
    if isinstance(module, torch.nn.ConvTranspose2d):
        if module.groups != 1:
            return f"{module.groups} groups; a transposed convolution takes 1"
        if settings.negative_input == "shift":
            return "negative_input='shift' is not possible in a transposed convolution"
    return None


def _swap(module: torch.nn.Module, config: QATConfig, name: str) -> None:
    """Make a torch layer a bittwin layer, in place."""
    # Both classes have one layout and the subclass adds no constructor state but what
    # init_quantization makes; so nobody who holds the module has to learn of a new one.
    layer: Any = module
    layer.__class__ = SWAPS[type(module)]
    layer.init_quantization(config)
    if layer.weight.device.type != "meta":
        layer.scales.to(layer.weight.device)
    layer.scales.train(layer.training)
    if name:
        layer.layer_name = name


def _stays_float(module: torch.nn.Module, swapped: bool) -> str | None:
    """Why a module that has parameters of its own stays as it is; None: it has none, or is swapped."""
    if swapped or not any(p is not None for p in module._parameters.values()):
        return None
    if type(module) in NORMS:
        return "stays float; fold_batchnorm=True folds it where it follows a swapped layer"
    return "stays float; there is no integer layer of this kind"
