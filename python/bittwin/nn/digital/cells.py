# SPDX-License-Identifier: Apache-2.0
"""What trainable recurrent cells share: products with fixed scales, tables, shifts, states."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bittwin import recurrent
from bittwin._check import integer
from bittwin.nn.config import QATConfig
from bittwin.nn.digital.base import is_power_of_two
from bittwin.nn.digital.quantizers import Limits, signed
from bittwin.nn.digital.tables import Q_OUT, ActivationTable, shift
from bittwin.nn.layers import Linear
from bittwin.requant.limits import positive_float32

STATE_UNITS: Final = 2.0**Q_OUT
"""Codes per real unit of h and c."""
INT8: Final = signed(8)
BLEND_LIMITS: Final = (-127.0, 127.0)
"""Codes of an h that was blended half down."""
State = tuple[Tensor, ...]


class RecurrentCell(torch.nn.Module):
    """What the cells share: products with fixed scales, the two modes, the input's codes."""

    states = 1

    def __init__(
        self, inputs: int, hidden: int, config: QATConfig | None, codes_per_unit_x: float
    ) -> None:
        super().__init__()
        self.inputs = integer("inputs", inputs, 1, 1 << 20)
        self.hidden = integer("hidden", hidden, 1, 1 << 20)
        self.codes_per_unit_x = positive_float32("codes_per_unit_x", codes_per_unit_x)
        if config is not None and not isinstance(config, QATConfig):
            raise TypeError(f"config: found {type(config).__name__}, wanted a bittwin.nn.QATConfig")
        self._config = QATConfig() if config is None else config
        for name in ("x_bits", "y_bits"):
            if getattr(self._config, name) != 8:
                raise ValueError(f"{name}: found {getattr(self._config, name)}, a cell wants 8")
        if any(scale is not None for scale in self._config.fixed_scales):
            raise ValueError(
                "config: found fixed scales, a cell's follow from its gains and tables"
            )

    def product(
        self, rows: int, columns: int, bias: bool, units: tuple[float, float], gain: int
    ) -> Linear:
        """An array product of signed inputs with the scales that its gain asks for."""
        x, y = units
        config = self._config.with_(
            negative_input="split_sign",
            shift=None,
            codes_per_unit_x=x,
            codes_per_unit_y=y,
            codes_per_unit_w=gain * y / x,
        )
        return Linear(rows, columns, bias, config=config)

    @property
    def quantized(self) -> bool:
        """Whether codes are computed, not plain real numbers."""
        return self._config.mode == "quantized"

    def read(self, table: ActivationTable, codes: Tensor) -> Tensor:
        """A table's codes, or the function itself in float mode."""
        return table(codes) if self.quantized else table.smooth(codes)

    def shift(
        self, codes: Tensor, bits: int, limits: Limits | None = None, rounding: str = "half_up"
    ) -> Tensor:
        """A shift of codes; in float mode neither rounded nor limited."""
        if self.quantized:
            return shift(codes, bits, limits, rounding=rounding)
        return codes * 2.0**bits

    def initial_state(self, x: Tensor) -> State:
        """Zeros for inputs like x [..., inputs]."""
        zeros = x.new_zeros(*x.shape[:-1], self.hidden)
        return (zeros,) * self.states

    def advance(self, x: Tensor, state: State) -> State:
        """One frame: the states after it, h first."""
        raise NotImplementedError

    def checked(self, x: Tensor, state: Any) -> State:
        """The given state, or zeros; shapes are checked."""
        if x.ndim < 1 or x.shape[-1] != self.inputs:
            raise ValueError(f"x: found shape {tuple(x.shape)}, wanted [..., {self.inputs}]")
        if state is None:
            return self.initial_state(x)
        given: State = (state,) if isinstance(state, Tensor) else tuple(state)
        wanted = (*x.shape[:-1], self.hidden)
        if len(given) != self.states or any(tuple(s.shape) != wanted for s in given):
            found = [tuple(s.shape) for s in given]
            raise ValueError(f"state: found shapes {found}, wanted {self.states} of {wanted}")
        return given

    def quantize_input(self, x: Tensor) -> NDArray[np.int16]:
        """The codes that the array sees for x: what `integer_cell().run` takes."""
        codes = torch.round(x.detach() * self.codes_per_unit_x).clamp(-255, 255)
        array: NDArray[np.int16] = codes.cpu().numpy().astype(np.int16)
        return array

    def integer_cell(self) -> recurrent.Cell:
        """The cell as integers: the same codes without torch."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.inputs}, {self.hidden}"

    def joined_scale(self) -> float:
        """What makes an input of the state's scale out of x, for a product of both."""
        factor = self.codes_per_unit_x / STATE_UNITS
        if not is_power_of_two(factor):
            raise ValueError(
                f"codes_per_unit_x: found {self.codes_per_unit_x:g}, a product that x shares with the "
                "state wants a power of two"
            )
        return factor


def _integers(product: Linear) -> dict[str, Any]:
    prepared = product.prepared()
    return {
        "weight": prepared.weight,
        "bias": prepared.bias,
        "requant": prepared.spec.requant,
    }


def integer_fields(**products: Linear) -> dict[str, Any]:
    """Weights, biases and rules of named products under the names of an integer cell."""
    found = {name: _integers(product) for name, product in products.items()}
    return {f"{kind}_{name}": part[kind] for name, part in found.items() for kind in part}
