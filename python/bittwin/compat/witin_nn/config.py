# SPDX-License-Identifier: Apache-2.0
"""`WitinGlobalConfig`, the process-wide defaults, and `WitinLayerConfig`, one layer's values."""

from __future__ import annotations

from typing import Any, ClassVar

from bittwin.compat.witin_nn.enums import ParamType
from bittwin.compat.witin_nn.fields import FIELDS, refuse


def _validated(name: str) -> Any:
    field = FIELDS[name]

    def get(config: _Config) -> Any:
        return config._values[name]

    def assign(config: _Config, value: Any) -> None:
        field.check(name, value)
        config._values[name] = value

    return property(get, assign, doc=field.doc)


class _Config:
    """What both configurations share: one validated property per field."""

    _values: dict[str, Any]

    w_clip = _validated("w_clip")
    bias_row_N = _validated("bias_row_N")  # noqa: N815 - the tool's name
    target_platform = _validated("target_platform")
    use_quantization = _validated("use_quantization")
    noise_model = _validated("noise_model")
    noise_level = _validated("noise_level")
    hardware = _validated("hardware")
    to_linear = _validated("to_linear")
    scale_x = _validated("scale_x")
    scale_y = _validated("scale_y")
    scale_weight = _validated("scale_weight")
    handle_neg_in = _validated("handle_neg_in")
    x_quant_bits = _validated("x_quant_bits")
    y_quant_bits = _validated("y_quant_bits")
    bias_d = _validated("bias_d")
    conv2d_split_N = _validated("conv2d_split_N")  # noqa: N815 - the tool's name
    shift_num = _validated("shift_num")
    output_fp_clip = _validated("output_fp_clip")
    debug_mode = _validated("debug_mode")
    use_auto_scale = _validated("use_auto_scale")
    auto_scale_updata_step = _validated("auto_scale_updata_step")
    cln_simple = _validated("cln_simple")
    mean_sum_quant_bits = _validated("mean_sum_quant_bits")
    weight_quant_bits = _validated("weight_quant_bits")
    scale_x_left = _validated("scale_x_left")
    scale_x_right = _validated("scale_x_right")
    x_left_quant_bits = _validated("x_left_quant_bits")
    x_right_quant_bits = _validated("x_right_quant_bits")
    x_clip = _validated("x_clip")
    sqrt_left_shift_bits = _validated("sqrt_left_shift_bits")
    gelu_shift_num = _validated("gelu_shift_num")

    def _rows(self) -> dict[str, Any]:
        return dict(self._values)

    def __str__(self) -> str:
        rows = {name: str(value) for name, value in self._rows().items()}
        left = max(map(len, rows))
        right = max(map(len, rows.values()))
        line = f"+{'-' * (left + 2)}+{'-' * (right + 2)}+"
        body = [f"| {name:<{left}} | {value:<{right}} |" for name, value in rows.items()]
        return "\n".join([type(self).__name__, line, *body, line])


class WitinGlobalConfig(_Config):
    """The defaults of every `WitinLayerConfig` made later; one object per process.

    Its attributes are the fields of docs/guide/from_witin_nn.md.

    >>> from bittwin.compat.witin_nn import WitinGlobalConfig
    >>> WitinGlobalConfig() is WitinGlobalConfig()
    True
    """

    _instance: ClassVar[WitinGlobalConfig | None] = None

    def __new__(cls) -> WitinGlobalConfig:
        """Return the one object, made at the first call."""
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance._values = {}
            cls._instance._reset()
        return cls._instance

    def _reset(self) -> None:
        """Every field back to its default."""
        self._values.update({name: field.default() for name, field in FIELDS.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return WitinGlobalConfig, ()  # a copy of the one object is the one object


class WitinLayerConfig(_Config):
    """The configuration of one layer; a layer takes the values over when it is built.

    Args:
        G_algo: the layer's output is divided by it; not checked.
        fields: any field; those not given take `WitinGlobalConfig`'s value of this moment.

    Raises:
        AssertionError: a value of the wrong type, bias_row_N or noise_level outside its range.

    >>> from bittwin.compat.witin_nn import WitinLayerConfig
    >>> WitinLayerConfig(1, scale_x=16).scale_x
    16
    """

    _made: ClassVar[int] = 0

    def __init__(self, G_algo: Any = 1, **fields: Any) -> None:
        self.G_algo = G_algo
        # conv2d_split_N has a value although none can be assigned, so defaults go past the checks.
        self._values = dict(WitinGlobalConfig()._values)
        for name, value in fields.items():
            if name not in FIELDS:
                raise TypeError(f"WitinLayerConfig: found the unknown field {name!r}")
            if value is not ParamType.WITIN_GLOBAL:
                setattr(self, name, value)
        self.index = WitinLayerConfig._made
        WitinLayerConfig._made += 1

    def _rows(self) -> dict[str, Any]:
        return {"G_algo": self.G_algo, **self._values}

    def validation_checker(self) -> None:
        """Fail, as the tool's own method does on every configuration.

        The tool's sentences are kept; the properties have already checked each value.
        """
        if any(isinstance(s, float) for s in (self.scale_x, self.scale_y, self.scale_weight)):
            refuse("scale_y type error")
        self.conv2d_split_N = self.conv2d_split_N
