# SPDX-License-Identifier: Apache-2.0
"""The vendor's own ONNX files load and run; their codes are those of the mapper's dumps and traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX files needs the package onnx")

import bittwin
from bittwin.network import ArrayLayer, Relu, Rescale
from bittwin.onnx import (
    LayerOptions,
    OnnxWarning,
    from_frames,
    load_onnx,
    save_onnx,
    to_frames,
)

pytestmark = pytest.mark.dumps
SINGLE = ("kws_dnn", "denoise", "attention_qkv", "attention_head")


@pytest.fixture(scope="module")
def models(shared_dir: Path) -> Path:
    folder = shared_dir / "data" / "models"
    if not folder.is_dir():
        pytest.skip(f"no models: {folder} is not a folder")
    return folder


def codes(path: Path) -> np.ndarray:
    values = np.load(path)
    assert (values == np.rint(values)).all()
    return values.astype(np.int16)


@pytest.mark.parametrize("name", SINGLE)
def test_runs_on_its_input(models: Path, name: str) -> None:
    net = load_onnx(models / f"{name}.onnx")
    x = codes(models / f"{name}_input.npy")
    y = net.run(x)
    assert y.shape == (len(x), *net.shapes(net.input_shape)[net.outputs[0]])
    assert y.dtype == np.int8
    assert np.unique(y).size > 5


DUMPS = [
    ("kws_dnn", 0, "kws_dnn"),
    ("attention", 0, "attention_qkv"),
    ("attention", 1, "attention_head"),
]


@pytest.mark.parametrize(("dump", "number", "name"), DUMPS)
def test_codes_of_the_dumps(
    shared_dir: Path, models: Path, dump: str, number: int, name: str
) -> None:
    """The whole net from its own input file: every layer's recorded output, every recorded frame."""
    config = models / f"{name}.optimize.protobuf"
    net = load_onnx(models / f"{name}.onnx", optimize=config if config.exists() else None)
    x = codes(models / f"{name}_input.npy")
    trace = net.run(x, trace=True)
    places = shared_dir / "data" / "dumps" / dump / "layer_debug" / f"net{number}"
    recorded = sorted(places.glob("*_*/round*"), key=lambda p: int(p.parent.name.split("_")[0]))
    names = list(net.inputs)
    arrays = [i for i, layer in enumerate(net.layers) if isinstance(layer, ArrayLayer)]
    assert len(recorded) == len(arrays)
    for i, place in zip(arrays, recorded, strict=True):
        # Recorded after the activation, which is the layer behind where there is one.
        active = i + 1 < len(names) and isinstance(net.layers[i + 1], Relu)
        wanted = np.loadtxt(place / "output0.txt", dtype=np.int64, ndmin=2)
        np.testing.assert_array_equal(trace[names[i + active]], wanted, err_msg=place.parent.name)
        assert place.parent.name.partition("_")[2] == names[i]
    first = np.loadtxt(recorded[0] / "input0.txt", dtype=np.int64, ndmin=2)
    if net.layers[0].x_signed and config.exists():  # the mapper records the two halves
        x = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1)
    np.testing.assert_array_equal(x, first)


def test_configs_sign(models: Path) -> None:
    head = models / "attention_head.onnx"
    signed = load_onnx(head, optimize=models / "attention_head.optimize.protobuf")
    assert signed.layers[0].x_signed
    unsigned = load_onnx(head, optimize={"head": LayerOptions("head")})
    assert not unsigned.layers[0].x_signed
    with pytest.raises(bittwin.NetworkError, match=r"'head'.*wanted 0\.\.255"):
        unsigned.run(codes(models / "attention_head_input.npy"))


@pytest.fixture(scope="module")
def trace(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "data" / "traces" / "dccrn_250.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.mark.parametrize("with_config", [False, True])
def test_denoiser(models: Path, trace: dict[str, np.ndarray], with_config: bool) -> None:
    """The file's 1024-entry tables are read at even entries, which are the trace's: all codes are equal."""
    path = models / "dccrn.onnx"
    if with_config:
        with pytest.warns(OnnxWarning, match="'deconv8_copy', which the network does not have"):
            net = load_onnx(path, optimize=models / "dccrn.optimize.protobuf")
        assert sum(isinstance(layer, Rescale) for layer in net.layers) == 10
    else:
        net = load_onnx(path)
    x = to_frames(trace["conv1_input_nchw"])
    seen = net.run(x, trace=True)
    compared = 0
    for name in seen:
        wanted = trace.get(name.removesuffix("_relu") + "_output")
        if wanted is None or f"{name}_relu" in seen:
            continue
        found = seen[name]
        if found.ndim == 4:
            found = found[..., 0].transpose(0, 2, 1).reshape(len(found), -1)
        np.testing.assert_array_equal(found, wanted, err_msg=name)
        compared += 1
    assert compared == 12
    assert from_frames(seen.output).shape == (1, 2, 128, 250)
    stream = net.stream()
    steps = np.stack([stream.step(frame) for frame in x[:20]])
    np.testing.assert_array_equal(steps, seen.output[:20])


def test_gru2array(models: Path, shared_dir: Path) -> None:
    net = load_onnx(models / "gru2array.onnx")
    with np.load(shared_dir / "data" / "traces" / "gru2array_250.npz") as archive:
        x, h = archive["x"], archive["h"]
    seen = net.run(x, trace=True)
    np.testing.assert_array_equal(seen["gru1"], h)
    assert seen.output.shape == (250, 192)


@pytest.mark.parametrize("name", [*SINGLE, "gru2array", "dccrn"])
@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.filterwarnings("ignore:optimise config:bittwin.onnx.OnnxWarning")
def test_written_and_read_back(models: Path, tmp_path: Path, name: str, with_config: bool) -> None:
    config = models / f"{name}.optimize.protobuf"
    net = load_onnx(
        models / f"{name}.onnx", optimize=config if with_config and config.exists() else None
    )
    again, opt = tmp_path / "net.onnx", tmp_path / "opt.protobuf"
    save_onnx(again, net, optimize=opt if with_config else None)
    assert load_onnx(again, optimize=opt if with_config else None) == net
