# SPDX-License-Identifier: Apache-2.0
"""Settings: impossible ones are refused at once, with field, found and wanted."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from bittwin.nn import Conv2d, ConvTranspose2d, Linear, QATConfig

INF, NAN = float("inf"), float("nan")
SCALES = ("codes_per_unit_x", "codes_per_unit_w", "codes_per_unit_y")
IMPOSSIBLE: dict[str, tuple[Any, ...]] = {
    "mode": ("Quantized", "int8", "", None, 1, b"float"),
    "rounding": ("round", "half_up", "READOUT", None, 0),
    "x_bits": (7, 13, 0, -8, 8.0, "8", None, True, 8.5),
    "y_bits": (7, 13, 16, 8.0, None, "8", False),
    "weight_bits": (1, 13, 0, -1, 8.0, None),
    "bias_rows": (0, 33, -1, 8.0, None, True),
    "negative_input": ("pn", "Clamp", None, "relu"),
    "shift": (0, -1.0, INF, NAN, "1", True),
    "bias_digital": (INF, -INF, NAN, "1", None, True, 1j),
    "calibration_steps": (0, -1, 1_000_001, 2.0, None, True),
    "recalibrate": ("always", None, True, ""),
    "max_gain": (255, 128, 65536, 300, 1024.0, None, True),
    "backward_dtype": ("float16", "float64", None, 16),
    "noise": (1, "gauss", 0.5),
    "noise_in_eval": (1, "yes", None),
} | dict.fromkeys(SCALES, (0, 0.0, -1.0, INF, -INF, NAN, "1", True, 1e39, 1e-50))
CASES = [(name, value) for name, values in IMPOSSIBLE.items() for value in values]


def context_of(name: str) -> dict[str, Any]:
    """Other settings with which the field itself could be valid."""
    if name == "shift":
        return {"negative_input": "shift"}
    return {"x_bits": 10} if name == "bias_digital" else {}


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{n}={v!r}" for n, v in CASES])
def test_impossible_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: found .*, wanted") as error:
        QATConfig(**{**context_of(name), name: value})
    assert len(str(error.value)) < 200


def test_all_fields_are_covered() -> None:
    assert {f.name for f in dataclasses.fields(QATConfig)} == set(IMPOSSIBLE)


POSSIBLE: dict[str, tuple[Any, ...]] = {
    "mode": ("float", "quantized"),
    "rounding": ("readout", "half_even"),
    "x_bits": (8, 9, 10, 11, 12, np.int64(9)),
    "y_bits": (8, 12),
    "weight_bits": (2, 12),
    "bias_rows": (1, 32),
    "negative_input": ("clamp", "split_sign", "shift"),
    "shift": (None, 0.5, 1e6, 1),
    "bias_digital": (0.0, -3.5, 2),
    "calibration_steps": (1, 1_000_000),
    "recalibrate": ("never", "epoch"),
    "max_gain": (256, 512, 32768),
    "backward_dtype": ("float32", "bfloat16"),
    "noise": (None, print),
    "noise_in_eval": (True, False),
} | dict.fromkeys(SCALES, (None, 1e-06, 0.3, 1, 1000000.0))


@pytest.mark.parametrize("name", POSSIBLE)
def test_the_whole_range_is_taken(name: str) -> None:
    for value in POSSIBLE[name]:
        config = QATConfig(**{**context_of(name), name: value})
        assert getattr(config, name) == value
        assert Linear(4, 3, config=config).config == config


@pytest.mark.parametrize(("fields", "words"), [
    ({"shift": 1.0}, ("shift", "negative_input")),
    ({"shift": 1.0, "negative_input": "split_sign"}, ("shift", "split_sign")),
    ({"bias_digital": 1.0}, ("bias_digital", "x_bits")),
    (dict.fromkeys(SCALES, 1.0), ("codes_per_unit", "gain", "256..32768")),
    (dict(zip(SCALES, (256.0, 100.0, 16.0), strict=True)), ("codes_per_unit", "gain")),
    (dict(zip(SCALES, (2.0**20, 1.0, 16.0), strict=True)), ("codes_per_unit", "gain")),
    (dict(zip(SCALES, (2.0**30, 1024.0, 1.0), strict=True), rounding="half_even"), ("gain",)),
    (dict(zip(SCALES, (1.0, 1.0, 2.0**20), strict=True), rounding="half_even"), ("gain",)),
    (dict(zip(SCALES, (1.0, 1.0, 4.0), strict=True), rounding="half_even", x_bits=10), ("gain",)),
])  # fmt: skip
def test_impossible_combinations_are_refused(fields: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"found .*want|found .* with") as error:
        QATConfig(**fields)
    for word in words:
        assert word in str(error.value)


def test_every_field_is_documented() -> None:
    import inspect

    source = inspect.getsource(QATConfig)
    for field in dataclasses.fields(QATConfig):
        after = source.split(f"\n    {field.name}:", 1)[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), field.name


def test_a_config_cannot_be_changed() -> None:
    config = QATConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.x_bits = 9  # type: ignore[misc]
    changed = config.with_(x_bits=9)
    assert (config.x_bits, changed.x_bits) == (8, 9)
    with pytest.raises(ValueError, match="x_bits"):
        config.with_(x_bits=99)
    with pytest.raises(TypeError, match="colour"):
        config.with_(colour=1)
    with pytest.raises(TypeError, match="colour"):
        QATConfig(colour=1)  # type: ignore[call-arg]


def test_equal_configs_are_equal() -> None:
    assert QATConfig(x_bits=9) == QATConfig(x_bits=9) != QATConfig()
    assert hash(QATConfig(x_bits=9)) == hash(QATConfig(x_bits=9))
    assert pickle.loads(pickle.dumps(QATConfig(y_bits=9))) == QATConfig(y_bits=9)
    assert copy.deepcopy(QATConfig(y_bits=9)) == QATConfig(y_bits=9)


@pytest.mark.parametrize("config", [{"x_bits": 8}, "readout", 8])
def test_layers_want_a_config(config: Any) -> None:
    for kind in (Linear, Conv2d, ConvTranspose2d):
        sizes = (4, 3) if kind is Linear else (4, 3, 2)
        with pytest.raises(TypeError, match=r"config: found .*, wanted a bittwin.nn.QATConfig"):
            kind(*sizes, config=config)


def test_what_a_transposed_convolution_cannot_do() -> None:
    with pytest.raises(ValueError, match="groups: found 2"):
        ConvTranspose2d(4, 4, 3, groups=2)
    with pytest.raises(ValueError, match="negative_input: found 'shift'"):
        ConvTranspose2d(4, 4, 3, config=QATConfig(negative_input="shift"))
    with pytest.raises(ValueError, match=r"padding_mode|Only"):
        ConvTranspose2d(4, 4, 3, padding_mode="reflect")
    layer = ConvTranspose2d(4, 4, 3)
    with pytest.raises(ValueError, match="negative_input: found 'shift'"):
        layer.config = layer.config.with_(negative_input="shift")
