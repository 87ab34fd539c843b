# SPDX-License-Identifier: Apache-2.0
"""Make the bundled example: a small digits network as a mapper-style dump, and a faulty measurement of it.

    pip install 'bittwin[examples]'
    python examples/make_digits.py            # writes examples/digits/

The network (64-48-32-10, ReLU between) is trained on scikit-learn's 8x8 digits, turned into integers, and
run by the big-integer oracle of `bittwin.testing`, not by the kernels that `bittwin verify` uses: the
example's golden codes are an independent witness.

`measured.bin` plays a programmed chip: read noise, a small offset per column, and three faults to find:
an output column with an offset, one whose current is weak (gain), and one that is stuck.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import bittwin
from bittwin.network import Linear, Network, Relu
from bittwin.testing import oracle

SEED = 2101
FRAMES = 120
CALIBRATION_START = 10
EXPECTED = 60
BIAS_ROWS = 16


def quantise_layer(
    name: str, weight: np.ndarray, bias: np.ndarray, x: np.ndarray, codes_per_unit: float
) -> tuple[Linear, np.ndarray, float]:
    """One float layer to integers; returns it, its output codes for `x`, and their codes per unit.

    weight: [out, in] float; bias: [out] float; x: [frames, in] input codes.
    """
    weight_scale = 127 / np.abs(weight).max()
    w = bittwin.quantize(weight, weight_scale, bits=8, signed=True)
    b = bittwin.quantize_bias(bias, codes_per_unit * weight_scale, rows=BIAS_ROWS)
    acc = bittwin.accumulate(x, w, b)
    # The smallest gain that keeps all but the largest 0.1 % of the outputs from saturating.
    reach = np.quantile(np.abs(acc), 0.999)
    gain = next((g for g in bittwin.chips.WTM2101.mapper_gains if reach < 127 * g), 8192)
    layer = Linear(name, w, b, bittwin.readout(gain))
    return layer, layer.run(x), codes_per_unit * weight_scale / gain


def train() -> tuple[Network, np.ndarray, np.ndarray]:
    """Train, quantise, and return the integer network with test inputs and labels."""
    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.data / 16, digits.target, test_size=0.3, random_state=SEED, stratify=digits.target
    )
    model = MLPClassifier((48, 32), alpha=1e-3, max_iter=400, random_state=SEED)
    model.fit(x_train, y_train)
    print(f"float accuracy      {100 * model.score(x_test, y_test):.2f} %")

    layers: list[bittwin.network.Layer] = []
    codes = bittwin.quantize(x_train, 255.0, bits=8, signed=False)
    scale = 255.0
    for i, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), start=1):
        layer, codes, scale = quantise_layer(f"fc{i}", weight.T, bias, codes, scale)
        layers.append(layer)
        if i < len(model.coefs_):
            layers.append(Relu(f"fc{i}.relu"))
            codes = bittwin.relu(codes).view(np.uint8)
    network = Network(layers, name="digits", input_shape=(64,))
    inputs = bittwin.quantize(x_test, 255.0, bits=8, signed=False)
    return network, inputs, y_test


def oracle_codes(network: Network, x: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    """Golden codes of every layer from Python's big integers: input, output before and after the ReLU."""
    golden = {}
    for layer in network.layers:
        if not isinstance(layer, Linear):
            continue
        acc = oracle.accumulate(x, layer.weight, layer.bias)
        y = np.asarray(oracle.readout(acc, layer.requant.gain), dtype=np.int16)
        last = layer is network.layers[-1]
        after = y if last else np.maximum(y, 0)
        golden[layer.name] = (x, y, after)
        x = after
    return golden


def measure(dump: bittwin.Dump, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a programmed chip might return for the expected frames: noise and three faults."""
    measured = {}
    for layer in dump.layers:
        golden_set = layer.set("expected")
        assert golden_set is not None
        assert golden_set.output is not None
        golden = golden_set.output.block(0, golden_set.frames).astype(np.float64)
        frames, columns = golden.shape
        signal = golden + rng.normal(0, 0.5, columns) + rng.normal(0, 0.7, (frames, columns))
        if layer.name == "fc1":
            signal[:, 17] += 9.0
        if layer.name == "fc2":
            signal[:, 5] = -31.0
            signal[:, 20] = 0.7 * golden[:, 20] + rng.normal(0, 0.7, frames)
        measured[layer.name] = np.clip(np.rint(signal), -128, 127).astype(np.int16)
    return measured


def main() -> None:
    """Write examples/digits/."""
    folder = Path(__file__).parent / "digits"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    network, inputs, labels = train()
    predicted = network.run(inputs).argmax(axis=1)
    print(f"integer accuracy    {100 * (predicted == labels).mean():.2f} %")
    print(network)
    x = inputs[:FRAMES]
    bittwin.write_dump(
        folder / "dump",
        network,
        x,
        calibration_start=CALIBRATION_START,
        expected_frames=EXPECTED,
        seed=SEED,
        codes=oracle_codes(network, x),
    )
    measured = measure(bittwin.read_dump(folder / "dump"), np.random.default_rng(SEED))
    # The layout of expected_out.bin: int16, layer after layer, frame after frame.
    (folder / "measured.bin").write_bytes(
        b"".join(m.astype("<i2").tobytes() for m in measured.values())
    )
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"wrote {folder.name}/: {size // 1024} KiB")


if __name__ == "__main__":
    main()
