# SPDX-License-Identifier: Apache-2.0
"""Watches a model run once and writes down the operations that made its output.

Every torch function is seen, whether a module calls it or the model's own code; how Python got there does
not matter, so control flow may be what it likes. A tensor is followed as an object: each one that comes out
of a known operation remembers the step that made it, and each one that does not remembers why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from bittwin.errors import NetworkError
from bittwin.nn.base import QuantizedModule
from bittwin.nn.digital.base import DigitalModule
from bittwin.nn.digital.cells import RecurrentCell
from bittwin.nn.moves import MOVES, POOLS
from bittwin.nn.nodes import Input, Node
from bittwin.nn.record_steps import (
    MAPS,
    SAME,
    check_module,
    joined,
    mapped,
    module_call,
    moved_call,
    pair_call,
    pool_call,
)
from bittwin.nn.sequences import Sequence

#: Modules that are one step, whatever they call.
OPAQUE: Final = (QuantizedModule, DigitalModule, RecurrentCell, Sequence)
#: What to use instead of functions that compute in real numbers.
_INSTEAD: Final = {
    "linear": "a float layer: see prepare_qat",
    "conv2d": "a float layer: see prepare_qat",
    "conv_transpose2d": "a float layer: see prepare_qat",
    "mean": "a float average: use bittwin.nn.Mean",
    "avg_pool2d": "a float average: use bittwin.nn.Mean",
    "adaptive_avg_pool2d": "a float average: use bittwin.nn.Mean",
    "sub": "use bittwin.nn.Add after a layer with negated weights",
    "div": "use bittwin.nn.Divide",
    "matmul": "use bittwin.nn.MatMul",
    "bmm": "use bittwin.nn.MatMul",
    "hypot": "use bittwin.nn.Hypot",
    "sqrt": "use bittwin.nn.Sqrt",
    "rsqrt": "use bittwin.nn.InvSqrt",
    "batch_norm": "use bittwin.nn.BatchNorm2d, or fold_batchnorm of prepare_qat",
    "lstm": "use bittwin.nn.LSTM",
    "gru": "use bittwin.nn.Gru2Array",
    "prelu": "use bittwin.nn.PReLU",
}


def record(model: torch.nn.Module, example: torch.Tensor) -> tuple[Node, torch.Tensor]:
    """Run a model on `example` as in eval() and return the step that made its output, and that output.

    The model comes back as it was, training flags and calibration state included.

    Raises:
        NetworkError: the output comes from an unknown operation; the message names it.
    """
    recorder = _Recorder(model)
    x = example.detach().clone()  # an in-place first operation must not reach the caller's tensor
    recorder.follow(x, Input("input", tuple(x.shape)))
    with _exact_eval(model), recorder.hooked(), torch.no_grad(), recorder:
        output = model(x)
    if not isinstance(output, torch.Tensor):
        raise NetworkError(
            f"model: found {type(output).__name__} as its output, wanted a single tensor"
        )
    return recorder.node_of(output, "the output"), output


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
        self._known: dict[int, tuple[torch.Tensor, Node | str]] = {}
        self._stack: list[tuple[str, torch.nn.Module]] = []
        self._inside: torch.nn.Module | None = None

    def follow(self, tensor: torch.Tensor, made_by: Node | str) -> None:
        self._known[id(tensor)] = tensor, made_by

    def node_of(self, tensor: torch.Tensor, what: str) -> Node:
        """The step that made a tensor; refuses one that no known step made."""
        _, made_by = self._known.get(
            id(tensor), (None, "a tensor that does not come from the model's input")
        )
        if isinstance(made_by, str):
            raise NetworkError(
                f"model is not made of known steps: found that {what} comes from {made_by}, wanted "
                "bittwin modules, add, mul and cat of their results, max pooling, flatten, permute, slices, "
                f"dropout and element-wise activations ({', '.join(sorted(MAPS))})"
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
                handles.append(
                    module.register_forward_hook(self._leave, prepend=True, with_kwargs=True)
                )
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self._stack.append((name, module))
            if self._inside is None and isinstance(module, OPAQUE):
                self._inside = module
                check_module(module, name or type(module).__name__)

        return hook

    def _leave(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        name, _ = self._stack.pop()
        if self._inside is not module:
            return
        self._inside = None
        given = (*args, *kwargs.values())
        title = self._title(name, module)
        tensors = list(_tensors(given))
        if len(tensors) > 1 and isinstance(module, RecurrentCell | Sequence):
            raise NetworkError(
                f"layer {name!r}: found a given state, wanted none: a network's frames start from zeros"
            )
        nodes = [self.node_of(t, f"the input of {title}") for t in tensors]
        result, others = module_call(name or type(module).__name__, module, nodes, output)
        self.follow(result[0], result[1])
        for tensor in others:
            self.follow(
                tensor, f"the state of {title}, of which only all frames' outputs are known"
            )

    def _title(self, name: str, module: torch.nn.Module) -> str:
        return f"{name!r} ({type(module).__name__})" if name else type(module).__name__

    # -- functions ----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside is not None:
            return func(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        versions = [t._version for t in tensors]
        result = func(*args, **kwargs)
        if any(id(t) in self._known for t in tensors):
            for place, tensor in enumerate(_tensors(result)):
                self.follow(
                    tensor, self._link(func, args, kwargs, tensors, (tensor, place), versions[0])
                )
            for tensor, version in zip(tensors, versions, strict=True):
                if tensor is not result and tensor._version != version:
                    self.follow(tensor, f"a tensor that {self._place(func)} changed in place")
        return result

    def _place(self, func: Any) -> str:
        name, module = self._stack[-1] if self._stack else ("", self._model)
        function = str(getattr(func, "__name__", func))
        instead = _INSTEAD.get(_plain_name(func))
        text = f"{function} in {self._title(name, module)}"
        return text if instead is None else f"{text} ({instead})"

    def _link(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[torch.Tensor],
        output: tuple[torch.Tensor, int],
        version: int,
    ) -> Node | str:
        """The step behind a function's result, or why it is not known."""
        result, place = output
        found: list[Node] = []
        unknown = self._place(func)
        for tensor in tensors:
            _, made_by = self._known.get(id(tensor), (None, unknown))
            if isinstance(made_by, str):
                return made_by
            found.append(made_by)
        if any(t.dtype != result.dtype for t in tensors):
            return unknown
        name = _plain_name(func)
        step, shape = self._step_name(name), tuple(result.shape)
        why: Node | str = unknown
        if len(tensors) == 1 and (args[0] if args else kwargs.get("input")) is tensors[0]:
            x = tensors[0]
            if name in MAPS and result.shape == x.shape:
                why = mapped(step, name, shape, found[0], func, args, kwargs)
            elif name in MOVES:
                title = self._step_name("flatten" if len(shape) == 2 else name)
                why = moved_call(title, place, found[0], func, args, kwargs)
            elif name in POOLS:
                why = pool_call(step, name, shape, found[0], args, kwargs)
            elif name in SAME and result.shape == x.shape:
                if (result is x and x._version == version) or torch.equal(result, x):
                    return found[0]
                return f"{unknown}, which changes numbers in eval()"
        elif name in ("cat", "concat", "concatenate"):
            why = joined(step, shape, found, args, kwargs)
        elif name in ("add", "mul") and len(tensors) == 2:
            why = pair_call(step, name, shape, found, kwargs)
        if isinstance(why, str) and why is not unknown:
            return f"{unknown}, {why}"
        return why

    def _step_name(self, function: str) -> str:
        name, module = self._stack[-1] if self._stack else ("", self._model)
        if name and type(module).__module__.startswith("torch.nn."):
            return name
        return f"{name}.{function}" if name else function


def _plain_name(func: Any) -> str:
    """Torch's name of a function, the in-place form's too."""
    name = str(getattr(func, "__name__", ""))
    return name if name.startswith("__") else name.removesuffix("_")


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
