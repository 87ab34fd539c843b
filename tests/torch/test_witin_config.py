# SPDX-License-Identifier: Apache-2.0
"""Names, defaults, validation messages and factories of the vendor tool's configurations."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from bittwin.compat import witin_nn
from bittwin.compat.witin_nn import (
    GlobalConfigFactory,
    HandleNegInType,
    HardwareType,
    LayerConfigFactory,
    NoiseModel,
    ParamType,
    TargetPlatform,
    WitinGlobalConfig,
    WitinLayerConfig,
)

DEFAULTS = {
    "w_clip": None, "bias_row_N": 8, "target_platform": TargetPlatform.ANKE, "use_quantization": False,
    "noise_model": NoiseModel.NORMAL, "noise_level": 0, "hardware": HardwareType.ARRAY,
    "to_linear": False, "scale_x": 1, "scale_y": 1, "scale_weight": 1,
    "handle_neg_in": HandleNegInType.FALSE, "x_quant_bits": 8, "y_quant_bits": 8,
    "conv2d_split_N": 1000000, "shift_num": 1.0, "output_fp_clip": None, "debug_mode": False,
    "use_auto_scale": True, "auto_scale_updata_step": 2, "cln_simple": False,
    "mean_sum_quant_bits": 55, "weight_quant_bits": 8, "scale_x_left": 1, "scale_x_right": 1,
    "x_left_quant_bits": 8, "x_right_quant_bits": 8, "x_clip": None, "sqrt_left_shift_bits": 8,
    "gelu_shift_num": None,
}  # fmt: skip
INTEGERS = ("x_quant_bits", "y_quant_bits", "weight_quant_bits", "auto_scale_updata_step",
            "mean_sum_quant_bits", "x_left_quant_bits")  # fmt: skip
NUMBERS = ("scale_x", "scale_y", "scale_weight", "shift_num", "scale_x_left")
FLAGS = ("use_quantization", "to_linear", "use_auto_scale", "debug_mode", "cln_simple")
CLIPS = ("w_clip", "x_clip", "output_fp_clip", "gelu_shift_num")


@pytest.fixture(autouse=True)
def default_global() -> Iterator[None]:
    GlobalConfigFactory.show_defaut_config()
    yield
    GlobalConfigFactory.show_defaut_config()


@pytest.mark.parametrize(
    ("enumeration", "members"),
    [
        (HandleNegInType, {"FALSE": 1, "PN": 2, "Shift": 3}),
        (HardwareType, {"ARRAY": 1, "VPU": 2}),
        (NoiseModel, {"NORMAL": 1, "ARRMDL": 2, "MBS": 3, "SIMPLE": 4}),
        (ParamType, {"WITIN_AUTO": 1, "WITIN_GLOBAL": 2}),
        (TargetPlatform, {"WTM2101": 1, "WTM2100": 2, "ANKE": 3, "HE01": 11, "HE03": 12}),
    ],
)
def test_enumerations(enumeration: Any, members: dict[str, int]) -> None:
    assert {m.name: m.value for m in enumeration} == members


def test_global_config_is_one_object_with_the_defaults() -> None:
    config = WitinGlobalConfig()
    assert config is WitinGlobalConfig()
    assert copy.deepcopy(config) is config
    assert pickle.loads(pickle.dumps(config)) is config
    for made in (config, WitinLayerConfig(1)):
        assert {name: getattr(made, name) for name in DEFAULTS} == DEFAULTS
        assert torch.equal(made.bias_d, torch.tensor(0))


def test_layer_config_takes_the_global_values_of_its_moment() -> None:
    WitinGlobalConfig().scale_x = 32
    early = WitinLayerConfig(2, scale_y=ParamType.WITIN_GLOBAL, y_quant_bits=9)
    WitinGlobalConfig().scale_x = 64
    late = WitinLayerConfig(G_algo=None)
    assert (early.scale_x, early.scale_y, early.y_quant_bits, early.G_algo) == (32, 1, 9, 2)
    assert (late.scale_x, late.G_algo) == (64, None)
    assert late.index == early.index + 1
    early.scale_x = 7
    assert (WitinGlobalConfig().scale_x, late.scale_x) == (64, 64)


def test_str_is_a_table_of_every_field() -> None:
    for config in (WitinGlobalConfig(), WitinLayerConfig(4)):
        text = str(config)
        for name in (*DEFAULTS, "bias_d"):
            assert f"| {name} " in text
    assert "| G_algo" in text


def both(name: str, value: Any) -> Iterator[Any]:
    """The three ways a value gets in."""
    yield lambda: setattr(WitinGlobalConfig(), name, value)
    yield lambda: setattr(WitinLayerConfig(1), name, value)
    yield lambda: WitinLayerConfig(1, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, v) for name in INTEGERS for v in (-1, 0, 13, 32, True)),
        *((name, v) for name in NUMBERS for v in (0, -3, 2.5, float("nan"), np.float64(2))),
        *((name, v) for name in CLIPS for v in (None, 0, -1.0, 3)),
        *((name, v) for name in FLAGS for v in (True, False)),
        *(("bias_row_N", v) for v in (1, 32)),
        *(("noise_level", v) for v in (0, 9)),
        ("handle_neg_in", HandleNegInType.PN),
        ("noise_model", NoiseModel.MBS),
        ("hardware", HardwareType.VPU),
        ("target_platform", TargetPlatform.HE03),
    ],
)
def test_value_is_accepted(name: str, value: Any) -> None:
    for assign in both(name, value):
        assign()
    assert getattr(WitinGlobalConfig(), name) is value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((n, v, f"{n} type error") for n in INTEGERS for v in (8.0, "8", None, np.int64(8))),
        *((n, v, f"{n} type error") for n in NUMBERS for v in ("1", None, torch.tensor(1.0))),
        *((n, v, f"{n} type error") for n in CLIPS for v in ("1", torch.tensor(1.0))),
        *((n, v, f"{n} type error") for n in FLAGS for v in (1, None, "True")),
        *(("bias_row_N", v, "bias_row_N value error") for v in (0, 33, -1)),
        ("bias_row_N", 8.0, "bias_row_N type error"),
        *(("noise_level", v, "noise_level value error") for v in (-1, 10)),
        ("bias_d", 0.0, "bias_d type error"),
        ("handle_neg_in", 2, "handle_neg_in type error"),
        ("noise_model", "NORMAL", "noise_model type error"),
        ("hardware", 1, "hardware type error"),
        ("target_platform", 3, "target platform type error"),
        *(("conv2d_split_N", v, "'conv2d_split_N' is unavailable currently") for v in (1000000, 1)),
    ],
)
def test_value_is_refused_in_the_tools_words(name: str, value: Any, message: str) -> None:
    for assign in both(name, value):
        with pytest.raises(AssertionError) as refused:
            assign()
        assert str(refused.value) == message
    assert getattr(WitinGlobalConfig(), name) == DEFAULTS.get(name, torch.tensor(0))


def test_bias_rows_none_is_a_type_error_of_the_comparison() -> None:
    for assign in both("bias_row_N", None):
        with pytest.raises(TypeError):
            assign()


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="unknown field 'scale_z'"):
        WitinLayerConfig(1, scale_z=1)


def test_validation_checker_fails_like_the_tools() -> None:
    with pytest.raises(AssertionError, match=r"^'conv2d_split_N' is unavailable currently$"):
        WitinLayerConfig(1).validation_checker()
    with pytest.raises(AssertionError, match=r"^scale_y type error$"):
        WitinLayerConfig(1, scale_y=2.0).validation_checker()


def test_factories() -> None:
    from bittwin.compat.witin_nn.interface import GlobalConfigFactory as Factory

    assert Factory is GlobalConfigFactory
    everything = WitinGlobalConfig()
    everything.x_quant_bits, everything.use_quantization = 12, True
    assert Factory.get_dafault_config() is everything
    assert Factory.get_float_train_torch_config().use_quantization is False
    assert Factory.show_defaut_config() is everything
    assert everything.x_quant_bits == 8
    config = Factory.get_qat_train_wtm2100_config()
    wanted = dict.fromkeys(("scale_x", "scale_y", "scale_weight"), 16)
    wanted |= {
        "use_quantization": True,
        "handle_neg_in": HandleNegInType.PN,
        "x_quant_bits": 8,
        "y_quant_bits": 8,
        "auto_scale_updata_step": 20,
        "use_auto_scale": True,
    }
    assert {name: getattr(config, name) for name in wanted} == wanted
    Factory.show_defaut_config()
    noisy = Factory.get_qat_nat_train_wtm2100_config()
    assert (noisy.noise_level, noisy.noise_model, noisy.scale_y) == (4, NoiseModel.NORMAL, 16)
    mine = LayerConfigFactory.get_my_config()
    assert (mine.G_algo, mine.x_quant_bits, mine.scale_x, mine.scale_y) == (1, 9, 32, 16)
    assert LayerConfigFactory.get_default_config().G_algo == 1


@pytest.mark.parametrize("layer", ["WitinLinear", "WitinConv2d", "WitinConvTranspose2d"])
@pytest.mark.parametrize("given", [None, {}, "config"])
def test_layer_without_a_config_is_refused(layer: str, given: Any) -> None:
    sizes = (2, 2) if layer == "WitinLinear" else (2, 2, 1)
    with pytest.raises(AssertionError, match=f"^{layer} layer_config is None$"):
        getattr(witin_nn, layer)(*sizes, layer_config=given)


def test_import_without_torch_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import bittwin.compat\n"
        "try:\n    import bittwin.compat.witin_nn\n"
        "except ImportError as error:\n    assert 'bittwin[torch]' in str(error), error\n"
        "else:\n    raise SystemExit('imported')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
