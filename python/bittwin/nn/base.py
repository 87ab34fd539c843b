# SPDX-License-Identifier: Apache-2.0
"""What the quantised layers share: scales, the cache of prepared weights, the choice of path."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from bittwin import _core
from bittwin._check import one_of
from bittwin.nn.cache import PreparedCache
from bittwin.nn.config import QATConfig
from bittwin.nn.device import device_forward
from bittwin.nn.eager import never_compiled
from bittwin.nn.forward import code_dtype, forward, refuse_nan
from bittwin.nn.function import QuantizedLayer, quantized_layer
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepared import Prepared
from bittwin.nn.scales import Scales
from bittwin.nn.spec import LayerSpec, scaled_spec

#: Devices on which the integers are exact: kernels on the CPU, float64 products on CUDA.
DEVICES = ("cpu", "cuda")
#: Settings that calibrated scales depend on.
CALIBRATED_FOR = (
    "x_bits",
    "y_bits",
    "weight_bits",
    "negative_input",
    "rounding",
    "max_gain",
    "codes_per_unit_x",
    "codes_per_unit_w",
    "codes_per_unit_y",
)


class QuantizedModule(torch.nn.Module):
    """Mix-in for a torch layer; subclasses say how their geometry and their float form look."""

    scales: Scales
    weight: torch.Tensor
    bias: Any

    def init_quantization(self, config: QATConfig | None) -> None:
        """Add config and scales; called once by the constructor."""
        if self.weight.dtype != torch.float32:
            raise TypeError(f"dtype: found {self.weight.dtype}, wanted torch.float32")
        self._config = self.accepted(QATConfig() if config is None else config)
        self._layer_name = type(self).__name__
        self.scales = Scales(self._config)
        self._cache = PreparedCache()
        self._settle()
        self.register_load_state_dict_post_hook(_settle_after_loading)  # type: ignore[no-untyped-call]

    @classmethod
    def accepted(cls, config: QATConfig) -> QATConfig:
        """Return a config that this kind of layer can have, or refuse it."""
        if not isinstance(config, QATConfig):
            raise TypeError(f"config: found {type(config).__name__}, wanted a bittwin.nn.QATConfig")
        return config

    # -- what subclasses define ---------------------------------------------------------------

    def layer_spec(self) -> LayerSpec:
        """The numbers of this layer's forward pass but its scales."""
        raise NotImplementedError

    def float_forward(self, x: torch.Tensor) -> torch.Tensor:
        """Torch's own layer."""
        raise NotImplementedError

    def to_images(self, x: torch.Tensor) -> torch.Tensor:
        """X as [m, k] or [N, C, H, W]."""
        raise NotImplementedError

    def from_images(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The result in the shape that x asks for."""
        raise NotImplementedError

    # -- settings and scales ------------------------------------------------------------------

    @property
    def config(self) -> QATConfig:
        """How the layer is quantised; may be replaced at any time.

        Fixed scales of a new config act at once; where widths, rounding or the treatment of negative inputs
        change, or a fixed scale becomes free, a new calibration begins with the next training forward.
        """
        return self._config

    @config.setter
    def config(self, config: QATConfig) -> None:
        old, self._config = self._config, self.accepted(config)
        self.scales.adopt(config)
        if any(getattr(old, name) != getattr(config, name) for name in CALIBRATED_FOR):
            self.scales.restart()
        self._settle()

    @property
    def layer_name(self) -> str:
        """The name that messages use; `prepare_qat` sets the dotted module name."""
        return self._layer_name

    @layer_name.setter
    def layer_name(self, name: str) -> None:
        self._layer_name = name
        self._settle()

    def _settle(self) -> None:
        # Plain attributes that a compiled graph can guard on: it must not look into config or buffers.
        config = self._config
        self._spec_text = self.layer_spec().to_json()
        fixed = None not in config.fixed_scales
        steps = self.scales.steps
        self._settled = steps, _version(steps)
        done = 0 if steps.is_meta else int(steps)
        self._calibrating = not fixed and done < config.calibration_steps

    @property
    def calibrating(self) -> bool:
        """Whether the next training forward takes part in the calibration."""
        steps = self._scale_buffer("steps")
        # Others write this buffer too: a checkpoint, DistributedDataParallel's broadcasts.
        settled, version = self._settled
        if settled is not steps or version is None or version != steps._version:
            self._settle()
        return self._calibrating

    def _scale_buffer(self, name: str) -> torch.Tensor:
        # As `self.scales`, without Module.__getattr__: that costs a third of a microsecond each time.
        buffer: torch.Tensor = self._modules["scales"]._buffers[name]  # type: ignore[assignment,union-attr]
        return buffer

    @property
    def calibrated(self) -> bool:
        """Whether all three scales are known."""
        return bool((self.scales.codes_per_unit > 0).all())

    @property
    def spec(self) -> LayerSpec:
        """The numbers of the forward pass with the scales in force.

        Raises:
            ValueError: not calibrated yet.
        """
        return scaled_spec(self._spec_text, tuple(self._scale_buffer("codes_per_unit").tolist()))

    @property
    def codes_per_unit(self) -> tuple[float, float, float]:
        """Codes per real unit of x, weight and y.

        Raises:
            ValueError: not calibrated yet.
        """
        spec = self.spec
        return spec.codes_per_unit_x, spec.codes_per_unit_w, spec.codes_per_unit_y

    def prepared(self) -> Prepared:
        """Weight and bias as integers; made anew only when a parameter, a scale or the config changed."""
        return self._cache.get(self.spec, self.weight, self.bias)

    def invalidate(self) -> None:
        """Forget the prepared integers: for writes through ``.data`` to a few numbers (see cache.py)."""
        self._cache.clear()

    def train(self, mode: bool = True) -> Any:
        """As torch's; with ``recalibrate='epoch'`` a change from eval to train starts a calibration."""
        if mode and not self.training and self._config.recalibrate == "epoch":
            self.scales.restart()
            self._settle()
        return super().train(mode)

    @never_compiled
    def _calibrate(self, x: torch.Tensor) -> None:
        with torch.no_grad():
            y = self.float_forward(x)
        self.scales.observe(self._config, self._layer_name, x, self.weight, y)
        self._settle()

    # -- forward ------------------------------------------------------------------------------

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 in, float32 out: quantise, multiply, requantise, dequantise.

        Raises:
            TypeError: a dtype other than float32 (bfloat16 and float16 are taken under autocast), or a
                device whose integers are not known to be exact.
            ValueError: NaN in the input, shapes that do not match, an accumulator that may overflow.
        """
        config = self._config
        if config.mode == "float":
            return self.float_forward(x)
        if torch.compiler.is_compiling():
            return self._checked_forward(x, self.weight, self.bias)
        # Once: a parametrization computes them at every look. It leaves nothing in this table, where a plain
        # parameter is found sooner than by Module.__getattr__; `get` would look at the latter in any case.
        own = self._parameters
        weight = own["weight"] if "weight" in own else self.weight  # noqa: SIM401
        bias = own["bias"] if "bias" in own else self.bias  # noqa: SIM401
        if (
            weight is None
            or not (x.is_cpu and weight.is_cpu)
            or not (x.dtype is weight.dtype is torch.float32)
            or torch.is_autocast_enabled("cpu")
        ):
            return self._checked_forward(x, weight, bias)
        training = self.training
        if training and self.calibrating:
            self._calibrate(x)
        noise = config.noise if training or config.noise_in_eval else None
        y = self._eager(self.to_images(x), weight, bias, noise)
        return y if x.dim() == y.dim() else self.from_images(y, x)

    def _checked_forward(
        self, x: torch.Tensor, weight: Any, bias: torch.Tensor | None
    ) -> torch.Tensor:
        kind = x.device.type
        if kind not in DEVICES or weight.device != x.device:
            raise TypeError(
                f"layer {self._layer_name!r}: found input on {x.device} and weight on "
                f"{weight.device}, wanted both on one {one_of(DEVICES)} device"
            )
        if x.dtype != torch.float32:
            x = self._to_float32(x)
        if not torch.is_autocast_enabled(kind):
            return self._quantized_forward(x, weight, bias)
        with torch.autocast(kind, enabled=False):
            return self._quantized_forward(x, weight, bias)

    def _quantized_forward(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        compiling = torch.compiler.is_compiling()
        if self.training and (self._calibrating if compiling else self.calibrating):
            self._calibrate(x)
        if weight.dtype != torch.float32:
            raise TypeError(
                f"layer {self._layer_name!r}: found weight {weight.dtype}, wanted torch.float32"
            )
        images = self.to_images(x)
        noise = self._config.noise if self.training or self._config.noise_in_eval else None
        if x.device.type != "cpu":
            y = device_forward(self.spec, images.resolve_neg(), weight, bias, noise)
        elif compiling and noise is None:
            scales = self.scales.codes_per_unit
            y = quantized_layer(images.resolve_neg(), weight, bias, scales, self._spec_text)[0]
        elif compiling:
            y = self._outside_the_graph(images, weight, bias, noise)
        else:
            y = self._eager(images, weight, bias, noise)
        return self.from_images(y, x)

    @never_compiled
    def _outside_the_graph(
        self,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        noise: NoiseHook | None,
    ) -> torch.Tensor:
        # Not on `_eager` itself: the decorator costs microseconds a call.
        return self._eager(images, weight, bias, noise)

    def _eager(
        self,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        noise: NoiseHook | None,
    ) -> torch.Tensor:
        prepared = self._cache.get(self.spec, weight, bias)
        images = images.resolve_neg()
        wanted = (
            images.requires_grad
            or weight.requires_grad
            or (bias is not None and bias.requires_grad)
        )
        if not (wanted and torch.is_grad_enabled()):
            return forward(prepared, images.detach(), masks=False, noise=noise)[0]
        y: torch.Tensor = QuantizedLayer.apply(images, weight, bias, prepared, noise)  # type: ignore[no-untyped-call]
        return y

    def _to_float32(self, x: torch.Tensor) -> torch.Tensor:
        low = (torch.bfloat16, torch.float16)
        if x.dtype in low and torch.is_autocast_enabled(x.device.type):
            return x.float()
        only = f" ({one_of([str(d) for d in low])} only under autocast)" if x.dtype in low else ""
        raise TypeError(
            f"layer {self._layer_name!r}: found input {x.dtype}, wanted torch.float32{only}"
        )

    def quantize_input(self, x: torch.Tensor) -> torch.Tensor:
        """The integer codes that the array would see for x: what `Network.run` takes.

        Args:
            x: float32 input of this layer.

        Returns:
            x's shape; uint8, or int16 for codes that are signed or wider than 8 bits.
        """
        spec = self.spec
        rows = x.detach().resolve_neg().reshape(-1, 1).contiguous()
        codes = torch.empty(rows.shape, dtype=code_dtype(spec))
        nan, _ = _core.qat_quantize(
            rows.numpy(),
            (spec.codes_per_unit_x, spec.shift_codes),
            spec.x_limits,
            codes.numpy(),
            None,
        )
        refuse_nan(spec, nan)
        return codes.reshape(x.shape)

    # -- housekeeping -------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # The cache holds memory views and compiled objects; a copy makes its own.
        return {**self.__dict__, "_cache": PreparedCache()}

    def extra_repr(self) -> str:
        """Torch's line and ours."""
        config = self._config
        widths = f"x{config.x_bits} w{config.weight_bits} y{config.y_bits}"
        text = f"{super().extra_repr()}, {config.rounding}, {widths}"
        if self.calibrated:
            x, w, y = self.codes_per_unit
            text += f", gain {x * w / y:g}"
        return text


def _version(tensor: torch.Tensor) -> int | None:
    """How often a tensor was written; a tensor made under inference_mode does not count."""
    return None if tensor.is_inference() else tensor._version


def _settle_after_loading(module: Any, incompatible: Any) -> None:
    if module.scales.adopt(module.config):
        warnings.warn(
            f"layer {module.layer_name!r}: the checkpoint holds other scales than the config fixes; the "
            "config's are in force",
            stacklevel=2,
        )
    module._settle()
