# SPDX-License-Identifier: Apache-2.0
"""250 frames of a DCCRN denoiser: five convolutions, a linear layer, five transposed convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bittwin

pytestmark = pytest.mark.dumps

FRAMES = 250
GAIN = 1024


@pytest.fixture(scope="module")
def trace(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "data" / "traces" / "dccrn_250.npz") as archive:
        return {name: archive[name] for name in archive.files}


def maps(rows: np.ndarray, channels: int) -> np.ndarray:
    """Rows [frames, h * c] with the channel fastest, to one image [1, C, H, frames]: time is the width."""
    return np.ascontiguousarray(rows.reshape(FRAMES, -1, channels).transpose(2, 1, 0))[None]


def rows(image: np.ndarray) -> np.ndarray:
    """Back to [frames, h * c]; a transposed convolution's extra last column is dropped."""
    return image[0, :, :, :FRAMES].transpose(2, 1, 0).reshape(FRAMES, -1)


@pytest.mark.parametrize("layer", range(1, 6))
def test_convolution_layers(trace: dict[str, np.ndarray], layer: int) -> None:
    weight = trace[f"param_conv{layer}_w"].astype(np.int16)
    name = "conv1_input" if layer == 1 else f"conv{layer - 1}_output"
    y = bittwin.conv2d(
        maps(trace[name], weight.shape[1]).astype(np.int8),
        weight,
        trace[f"param_conv{layer}_b"],
        bittwin.readout(GAIN),
        stride=(2, 1),
        padding=(1, 1, 0, 0),
    )
    np.testing.assert_array_equal(rows(bittwin.relu(y)), trace[f"conv{layer}_output"])


def test_first_input_is_the_recorded_image(trace: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(maps(trace["conv1_input"], 2), trace["conv1_input_nchw"])


def test_linear_layer(trace: dict[str, np.ndarray]) -> None:
    y = bittwin.linear(
        trace["lstm6_output"],
        trace["param_linear7_w"].astype(np.int16),
        trace["param_linear7_b"],
        bittwin.readout(GAIN),
    )
    np.testing.assert_array_equal(y, trace["linear7_output"])


@pytest.mark.parametrize("layer", range(8, 13))
def test_transposed_convolution_layers(trace: dict[str, np.ndarray], layer: int) -> None:
    weight = trace[f"param_deconv{layer}_w"].astype(np.int16)
    # deconv8's own input file holds -127 where the layer was fed -128: linear7_output is what it saw.
    source = "linear7_output" if layer == 8 else f"deconv{layer - 1}_output"
    y = bittwin.conv_transpose2d(
        maps(trace[source], weight.shape[0]).astype(np.int16),
        weight,
        trace[f"param_deconv{layer}_b"],
        bittwin.readout(GAIN),
        stride=(2, 1),
        padding=(1, 0, 1, 0),
        output_padding=(1, 0),
    )
    out = y if layer == 12 else bittwin.relu(y)
    assert out.shape[3] == FRAMES + 1
    np.testing.assert_array_equal(rows(out), trace[f"deconv{layer}_output"])


def test_half_even_would_not_do(trace: dict[str, np.ndarray]) -> None:
    """The linear outputs are signed: the training tool's rounding misses about 12 % of them."""
    y = bittwin.linear(
        trace["lstm6_output"],
        trace["param_linear7_w"].astype(np.int16),
        trace["param_linear7_b"],
        bittwin.half_even(GAIN),
    )
    assert 0.05 < (y != trace["linear7_output"]).mean() < 0.2
