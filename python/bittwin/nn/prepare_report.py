# SPDX-License-Identifier: Apache-2.0
"""`PrepareReport`: what `prepare_qat` swapped, folded and left, and why."""

from __future__ import annotations

from dataclasses import dataclass

from bittwin.nn.config import QATConfig
from bittwin.nn.digital.config import DigitalConfig


@dataclass(frozen=True)
class SwappedLayer:
    """A torch module that became a bittwin module."""

    name: str
    """Dotted name; the first one, where a module has several."""
    kind: str
    """Its class, as torch calls it."""
    config: QATConfig | DigitalConfig

    @property
    def settings(self) -> str:
        """The settings that matter most, in short."""
        config = self.config
        if isinstance(config, DigitalConfig):
            return f"{config.mode}, {config.rounding}, x{config.x_bits} y{config.y_bits}"
        widths = f"x{config.x_bits} w{config.weight_bits} y{config.y_bits}"
        return f"{config.mode}, {config.rounding}, {widths}, {config.negative_input}"


@dataclass(frozen=True)
class FoldedNorm:
    """A BatchNorm that went into the layer before it."""

    name: str
    kind: str
    layer: str
    """Dotted name of that layer."""
    added_bias: bool
    """Whether the layer had no bias and got a new parameter for it, which no existing optimizer knows."""


@dataclass(frozen=True)
class LeftModule:
    """A module with parameters that stays as it was."""

    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare_qat` did; `str()` makes a table of it.

    >>> from bittwin.nn import QATConfig
    >>> from bittwin.nn.prepare_report import LeftModule, PrepareReport, SwappedLayer
    >>> swapped = SwappedLayer("fc", "Linear", QATConfig())
    >>> print(PrepareReport((swapped,), (), (LeftModule("norm", "LayerNorm", "no integer layer"),)))
    swapped 1, folded 0, left 1
      swapped  fc    Linear     quantized, readout, x8 w8 y8, clamp
      left     norm  LayerNorm  no integer layer
    """

    swapped: tuple[SwappedLayer, ...]
    folded: tuple[FoldedNorm, ...]
    left: tuple[LeftModule, ...]

    def __str__(self) -> str:
        rows = [("swapped", s.name, s.kind, s.settings) for s in self.swapped]
        for norm in self.folded:
            added = ", which got a bias parameter" if norm.added_bias else ""
            rows.append(("folded", norm.name, norm.kind, f"into {norm.layer}{added}"))
        rows += [("left", m.name, m.kind, m.reason) for m in self.left]
        head = f"swapped {len(self.swapped)}, folded {len(self.folded)}, left {len(self.left)}"
        if not rows:
            return head
        rows = [(what, name or "(the model)", kind, text) for what, name, kind, text in rows]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3]])
            for row in rows
        ]
        return "\n  ".join([head, *lines])
