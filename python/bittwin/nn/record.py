# SPDX-License-Identifier: Apache-2.0
"""Watches a model run once and writes down the chain of operations that made its output.

Every torch function is seen, whether a module calls it or the model's own code; how Python got there does
not matter, so control flow may be what it likes. A tensor is followed as an object: each one that comes out
of a known operation remembers the steps that made it, and each one that does not remembers why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from bittwin.errors import NetworkError
from bittwin.nn.base import QuantizedModule

#: Functions that map every number by itself, by torch's name for them.
MAPS: Final = frozenset((
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "sigmoid", "tanh",
    "hardsigmoid", "hardswish", "silu", "gelu", "leaky_relu", "elu", "celu", "selu", "softplus",
    "softsign", "mish", "hardshrink", "softshrink", "threshold",
))  # fmt: skip
_SHAPES: Final = frozenset(("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten"))
_SAME: Final = frozenset((
    "contiguous", "clone", "detach", "to", "float", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "alpha_dropout", "feature_alpha_dropout",
))  # fmt: skip


@dataclass(frozen=True)
class LayerCall:
    """A bittwin layer ran."""

    name: str
    module: QuantizedModule
    x_shape: tuple[int, ...]
    y: torch.Tensor
    """A copy of its output."""


@dataclass(frozen=True)
class MapCall:
    """A function mapped every number by itself."""

    name: str
    function: str
    apply: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class FlattenCall:
    """[N, ...] became [N, k]."""

    name: str


Step = LayerCall | MapCall | FlattenCall
Chain = tuple[Step, ...]


def record(model: torch.nn.Module, example: torch.Tensor) -> tuple[Chain, torch.Tensor]:
    """Run a model on `example` as in eval() and return the steps that made its output, and that output.

    The model comes back as it was, training flags and calibration state included.

    Raises:
        NetworkError: the output is no chain of known operations; the message names the one that is not.
    """
    recorder = _Recorder(model)
    x = example.detach().clone()  # an in-place first operation must not reach the caller's tensor
    recorder.follow(x, ())
    with _exact_eval(model), recorder.hooked(), torch.no_grad(), recorder:
        output = model(x)
    if not isinstance(output, torch.Tensor):
        raise NetworkError(
            f"model: found {type(output).__name__} as its output, wanted a single tensor"
        )
    return recorder.chain_of(output, "the output"), output


@contextmanager
def _exact_eval(model: torch.nn.Module) -> Iterator[None]:
    # Flags are set one by one: train() would start a calibration where recalibrate is 'epoch'.
    flags = [(m, m.training) for m in model.modules()]
    noisy = [m for m, _ in flags if isinstance(m, QuantizedModule) and m.config.noise_in_eval]
    configs = [m.config for m in noisy]
    try:
        for module, _ in flags:
            module.training = False
        for layer in noisy:
            layer.config = layer.config.with_(noise_in_eval=False)
        yield
    finally:
        for module, flag in flags:
            module.training = flag
        for layer, config in zip(noisy, configs, strict=True):
            layer.config = config


class _Recorder(TorchFunctionMode):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model
        # By id; the tensor is kept so that no later one gets its id.
        self._known: dict[int, tuple[torch.Tensor, Chain | str]] = {}
        self._stack: list[tuple[str, torch.nn.Module]] = []
        self._layer_x: torch.Tensor | None = None

    def follow(self, tensor: torch.Tensor, made_by: Chain | str) -> None:
        self._known[id(tensor)] = tensor, made_by

    def chain_of(self, tensor: torch.Tensor, what: str) -> Chain:
        """The steps that made a tensor; refuses one that no chain of known steps made."""
        _, made_by = self._known.get(
            id(tensor), (None, "a tensor that does not come from the model's input")
        )
        if isinstance(made_by, str):
            raise NetworkError(
                f"model is not a chain of layers: found that {what} comes from {made_by}, wanted bittwin "
                f"layers, flatten, dropout and element-wise activations ({', '.join(sorted(MAPS))})"
            )
        return made_by

    # -- modules ------------------------------------------------------------------------------

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch where in the model a call happens."""
        handles = []
        try:
            for name, module in self._model.named_modules():
                handles.append(
                    module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
                )
                # First of the hooks, so that what the user's hooks do to an output is seen.
                handles.append(module.register_forward_hook(self._leave, prepend=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self._stack.append((name, module))
            if isinstance(module, QuantizedModule):
                x = next(_tensors((args, kwargs)), None)
                self._layer_x = x
                self._check_layer(module)

        return hook

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        name, _ = self._stack.pop()
        x, self._layer_x = self._layer_x, None
        if isinstance(module, QuantizedModule) and x is not None:
            before = self.chain_of(x, f"the input of {self._title(name, module)}")
            call = LayerCall(
                name or type(module).__name__, module, tuple(x.shape), output.detach().clone()
            )
            self.follow(output, (*before, call))

    def _check_layer(self, module: QuantizedModule) -> None:
        name = module.layer_name
        if module.config.mode != "quantized":
            raise NetworkError(
                f"layer {name!r}: found mode={module.config.mode!r}, wanted 'quantized'"
            )
        if not module.calibrated:
            raise NetworkError(
                f"layer {name!r}: found no scales, wanted a calibrated layer; run training forwards, or "
                "load a checkpoint"
            )
        if getattr(module, "padding_mode", "zeros") != "zeros":
            raise NetworkError(
                f"layer {name!r}: found padding_mode={module.padding_mode!r}, wanted 'zeros'"
            )

    def _title(self, name: str, module: torch.nn.Module) -> str:
        return f"{name!r} ({type(module).__name__})" if name else type(module).__name__

    # -- functions ----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._layer_x is not None:  # inside a bittwin layer
            return func(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        versions = [t._version for t in tensors]
        result = func(*args, **kwargs)
        if any(id(t) in self._known for t in tensors):
            for tensor in _tensors(result):
                self.follow(tensor, self._link(func, args, kwargs, tensors, tensor, versions[0]))
            for tensor, version in zip(tensors, versions, strict=True):
                if tensor is not result and tensor._version != version:
                    self.follow(tensor, f"a tensor that {self._place(func)} changed in place")
        return result

    def _place(self, func: Any) -> str:
        name, module = self._stack[-1] if self._stack else ("", self._model)
        return f"{getattr(func, '__name__', func)!s} in {self._title(name, module)}"

    def _link(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[torch.Tensor],
        result: torch.Tensor,
        version: int,
    ) -> Chain | str:
        """The steps behind a function's result, or why it is not known."""
        for tensor in tensors:
            _, made_by = self._known.get(id(tensor), (None, ()))
            if isinstance(made_by, str):
                return made_by
        x = args[0] if args else kwargs.get("input")
        unknown = self._place(func)
        if len(tensors) != 1 or x is not tensors[0] or result.dtype != x.dtype:
            where = self._stack[-1][1] if self._stack else self._model
            is_layer = isinstance(where, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))
            return unknown + (" (a float layer: see prepare_qat)" if is_layer else "")
        _, chain = self._known[id(x)]
        assert not isinstance(chain, str)
        name = str(getattr(func, "__name__", "")).removesuffix("_")
        if name in MAPS and result.shape == x.shape:
            return (*chain, MapCall(self._step_name(name), name, _replay(func, args, kwargs)))
        if name in _SHAPES:
            if result.shape == x.shape:
                return chain
            if result.dim() == 2 and result.shape[0] == x.shape[0]:
                return (*chain, FlattenCall(self._step_name("flatten")))
            return f"{unknown}, which makes {tuple(result.shape)} of {tuple(x.shape)}"
        if name in _SAME and result.shape == x.shape:
            if (result is x and x._version == version) or torch.equal(result, x):
                return chain
            return f"{unknown}, which changes numbers in eval()"
        return unknown

    def _step_name(self, function: str) -> str:
        name, module = self._stack[-1] if self._stack else ("", self._model)
        if name and type(module).__module__.startswith("torch.nn."):
            return name
        return f"{name}.{function}" if name else function


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    """All tensors among arguments or results."""
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, dict):
        for value in found.values():
            yield from _tensors(value)
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _tensors(value)


def _replay(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same call on another tensor; in-place forms work on a copy."""

    def apply(x: torch.Tensor) -> torch.Tensor:
        rest = kwargs if args else {**kwargs, "input": x.clone()}
        first = (x.clone(), *args[1:]) if args else ()
        y: torch.Tensor = func(*first, **rest)
        return y

    return apply
