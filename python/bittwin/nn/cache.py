# SPDX-License-Identifier: Apache-2.0
"""When are a layer's prepared integers still those of its parameters?

They are made once per optimiser step. A parameter counts as unchanged while it is the same tensor, at the
same version and address, no optimiser has stepped (fused optimisers change parameters without raising the
version) and a sample of its numbers is as it was (writes through ``.data`` raise no version either, and are
noticed when they touch much of a tensor). A write through ``.data`` to a few numbers of a large tensor is the
one change that is not seen: call ``layer.invalidate()`` after it.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch.optim.optimizer import register_optimizer_step_post_hook

from bittwin import _core
from bittwin.nn.prepared import Prepared, prepare
from bittwin.nn.spec import LayerSpec

SAMPLES = 64
_steps = 0


def _count_step(*unused: Any) -> None:
    global _steps
    _steps += 1


register_optimizer_step_post_hook(_count_step)


class _Watched:
    """One tensor as it was."""

    __slots__ = ("address", "sample", "tensor", "version")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor  # kept alive, so that its address cannot be given to another
        self.version = tensor._version
        self.address = tensor.data_ptr()
        self.sample = _sample(tensor)

    def unchanged(self, tensor: torch.Tensor) -> bool:
        return (
            tensor is self.tensor
            and tensor._version == self.version
            and tensor.data_ptr() == self.address
            and _sample(tensor) == self.sample
        )


def _sample(tensor: torch.Tensor) -> bytes:
    """The bytes of some numbers of a tensor."""
    count = tensor.numel()
    step = count // SAMPLES or 1
    if tensor.is_cpu and tensor.dtype is torch.float32 and tensor.is_contiguous():
        return _core.sample(tensor.data_ptr(), count, step)
    flat: NDArray[Any] = tensor.detach().numpy().reshape(-1)
    return flat[::step].tobytes()


class PreparedCache:
    """Holds the last `Prepared` of a layer and what it was made of."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget; the next `get` prepares anew."""
        self._prepared: Prepared | None = None
        self._weight: _Watched | None = None
        self._bias: _Watched | None = None
        self._step = -1

    def get(self, spec: LayerSpec, weight: torch.Tensor, bias: torch.Tensor | None) -> Prepared:
        """The integers of weight and bias, from the last call where nothing changed."""
        # On the path of every call: plain looks only.
        kept, watched, watched_bias = self._prepared, self._weight, self._bias
        if (
            kept is not None
            and watched is not None
            and self._step == _steps
            and (kept.spec is spec or kept.spec == spec)
            and watched.unchanged(weight)
            and (
                watched_bias is None
                if bias is None
                else watched_bias is not None and watched_bias.unchanged(bias)
            )
        ):
            return kept
        with torch.inference_mode(False):  # a later training forward must be able to save these
            made = prepare(spec, weight, bias)
        # A tensor made under inference_mode has no version, so its changes cannot be seen: not kept.
        if not weight.is_inference() and (bias is None or not bias.is_inference()):
            self._prepared = made
            self._weight = _Watched(weight)
            self._bias = None if bias is None else _Watched(bias)
            self._step = _steps
        return made
