# SPDX-License-Identifier: Apache-2.0
"""The oracle against other people's tools: it is only worth something if it is right itself."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bittwin.testing import oracle

pytestmark = pytest.mark.dumps

FRAMES = 4  # a few frames of every case: the oracle is slow, and the kernels are held to all


def _cases(path: Path, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    with np.load(path) as data:
        manifest = json.loads(str(data["manifest"]))
        return [
            (case, {key.split("/")[1]: data[key] for key in data.files if key.startswith(f"c{i}/")})
            for i, case in enumerate(manifest)
            if case["kind"] == kind
        ]


def _activate(case: dict[str, Any], y: Any, act: str, arrays: dict[str, Any]) -> Any:
    if act == "relu":
        y = oracle.relu(y, case["gain"])
    elif act == "lut":
        y = oracle.lookup(y, arrays["lut"])
    elif act == "clamp":
        y = oracle.clip(y, case["lmt"])
    else:
        assert act == "none"
    return oracle.as_int8(y)


def _round_acc(x: Any, weight: Any, bias_rows: Any) -> Any:
    bias = [128 * sum(column) for column in zip(*bias_rows.tolist(), strict=True)]
    return oracle.wrap32(oracle.accumulate(x, weight.T, bias or None))


def test_array_rounds_of_the_chip_model_are_reproduced(shared_dir: Path) -> None:
    for case, arrays in _cases(shared_dir / "data/chip/rounds.npz", "array"):
        rows = slice(0, FRAMES)
        x = oracle.dac(
            arrays["X"][rows],
            "unsigned" if case["fmt"] else "signed",
            invert=bool(case["invt"]),
            double=bool(case["dacsft"]),
        )
        acc = _round_acc(x, arrays["W"], arrays["B"])
        if case["s2"]:
            y = oracle.as_int8(oracle.unsigned_store(acc, case["G"], "wrap16"))
        else:
            y = oracle.readout(acc, case["G"], overflow="wrap16")
        got = _activate(case, y, case["act"], arrays)
        np.testing.assert_array_equal(
            oracle.as_int8(got), oracle.as_int8(arrays["y"][rows]), err_msg=str(case)
        )


def test_chains_of_the_chip_model_are_reproduced(shared_dir: Path) -> None:
    for case, arrays in _cases(shared_dir / "data/chip/rounds.npz", "chain"):
        byte = arrays["X"][:FRAMES].astype(np.int64)
        for step, (gain, act) in enumerate(zip(case["G"], case["act"], strict=True)):
            acc = _round_acc(oracle.dac(byte & 255), arrays[f"W{step}"], arrays[f"B{step}"])
            byte = _activate(case, oracle.readout(acc, gain, overflow="wrap16"), act, arrays)
            wanted = oracle.as_int8(arrays[f"y{step}"][:FRAMES])
            np.testing.assert_array_equal(byte, wanted, err_msg=f"{case} step {step}")


def test_digital_adder_of_the_chip_model_is_reproduced(shared_dir: Path) -> None:
    for case, arrays in _cases(shared_dir / "data/chip/events.npz", "adder"):
        rows = slice(0, FRAMES)
        acc = _round_acc(arrays["X"][rows], arrays["W"], arrays["B"])
        high = arrays["high"][rows]
        if case["s2"]:
            y = oracle.unsigned_store(acc, case["G"], "wrap16", high)
        else:
            y = oracle.readout(acc, case["G"], overflow="wrap16", high=high)
        if case["sft"]:
            y = oracle.post_adder_shift(y, case["num"], left=case["lr"] == 0)
        np.testing.assert_array_equal(
            oracle.as_int8(y), oracle.as_int8(arrays["y"][rows]), err_msg=str(case)
        )


def _tool_inputs(cfg: dict[str, Any], x: Any) -> tuple[Any, int]:
    """Input codes and shift of the training tool's linear layer."""
    bits, scale = cfg["x_quant_bits"], cfg["scale_x"]
    limit = 2**bits - 1
    if cfg["handle_neg_in"] == "Shift":
        units = float(np.float32(cfg["shift_num"] * scale))
        shift = min(max(round(units), 0), 2**bits)
        shifted = (x * np.float32(scale)).astype(np.float32) + np.float32(shift)
        return oracle.quantize(shifted, 1, bits=bits, signed=False), shift
    lowest = 0 if cfg["handle_neg_in"] == "FALSE" else -limit
    wide = oracle.quantize(x, scale, bits=bits + 2, signed=True)
    return oracle.saturate(wide, lowest, limit), 0


def _tool_linear(cfg: dict[str, Any], x: Any, weight: Any, bias: Any) -> Any:
    """The training tool's WitinLinear, from its specification, on the oracle."""
    f32 = np.float32
    codes, shift = _tool_inputs(cfg, x)
    if cfg["w_clip"]:
        weight = np.clip(weight, f32(-cfg["w_clip"]), f32(cfg["w_clip"]))
    w = oracle.quantize(weight, cfg["scale_weight"], bits=cfg["weight_quant_bits"], signed=True)
    product = cfg["scale_x"] * cfg["scale_weight"]
    moved = [shift * sum(line) for line in w.tolist()]
    units = np.zeros(len(w), f32) if bias is None else bias * f32(product)
    rule = {
        "rule": "half_even_f32",
        "scale_product": product * cfg["G_algo"],
        "codes_per_unit": cfg["scale_y"],
        "bits": cfg["y_quant_bits"],
    }
    rows = cfg["bias_row_N"]
    if cfg["x_quant_bits"] <= 8:
        rounds = oracle.quantize_bias((units - np.array(moved, f32)).astype(f32), rows=rows)
        acc = oracle.accumulate(codes, w, rounds)
        del rule["rule"]
        return oracle.half_even_f32(acc, **rule)
    digital = np.broadcast_to(np.array(cfg["bias_d"], f32) * f32(product), (len(w),))
    d = [round(float(v / f32(128))) for v in digital]
    n = [
        round(round(float(v / f32(128))) - k - s / 128)
        for v, k, s in zip(units, d, moved, strict=True)
    ]
    low = [128 * min(max(k, -128 * rows), 127 * rows) for k in n]
    return oracle.split_linear(codes, w, low, bias_digital=[128 * k for k in d], **rule)


@pytest.mark.parametrize("kind", ["fwd", "corner"])
def test_training_tool_linear_codes_are_reproduced(shared_dir: Path, kind: str) -> None:
    compared = 0
    with np.load(shared_dir / "data/witin_nn/array.npz") as data:
        for case in json.loads(str(data["meta"]))["cases"]:
            if case["type"] != kind or case["kind"] != "lin":
                continue
            name, cfg = case["id"], case["cfg"]
            gain = cfg["scale_x"] * cfg["scale_weight"] * cfg["G_algo"] / cfg["scale_y"]
            if cfg["x_quant_bits"] > 8 and round(gain) == 0:
                continue  # the tool divides by zero here; refused by ours
            bias = data[f"{name}_b"] if f"{name}_b" in data.files else None
            got = _tool_linear(cfg, data[f"{name}_x"], data[f"{name}_w"], bias)
            np.testing.assert_array_equal(got, data[f"{name}_code"], err_msg=str(case))
            compared += got.size
    assert compared > 0


def test_litert_kernels_are_reproduced(shared_dir: Path) -> None:
    with np.load(shared_dir / "data/other_npus/golden_litert.npz") as data:
        acc = data["acc"][::8]
        for scale in "012":
            m, e = int(data[f"{scale}/m"]), int(data[f"{scale}/e"])
            int8: dict[str, Any] = {"zero_point": 0, "lo": -128, "hi": 127}
            ref = oracle.two_stage(acc, 0, m, 31 - e, "half_away", 0, "floor", **int8)
            ruy = oracle.two_stage(acc, max(e, 0), m, 31, "half_up", max(-e, 0), "half_up", **int8)
            np.testing.assert_array_equal(ref, data[f"{scale}/ref"][::8])
            np.testing.assert_array_equal(ruy, data[f"{scale}/ruy"][::8])
            xnn = oracle.half_even_f32(acc, 1.0, float(data[f"{scale}/eff"]))
            np.testing.assert_array_equal(xnn, data[f"{scale}/xnnpack"][::8])


def test_tpu_mlir_cases_are_reproduced(shared_dir: Path) -> None:
    int8: dict[str, Any] = {"lo": -128, "hi": 127}
    with np.load(shared_dir / "data/other_npus/golden_tpumlir.npz") as data:
        for key in [name[:-5] for name in data.files if name.endswith("/meta")]:
            if key.endswith("int4"):
                continue
            meta = json.loads(str(data[f"{key}/meta"]))
            x, w, b = data[f"{key}/x"], data[f"{key}/w"], data[f"{key}/b"]
            mult, shift = np.array(meta["mult"]), np.array(meta["shift"])
            rows = slice(0, 2)
            fc_ties = "half_up"
            if meta["op"] == "conv":
                pad = (meta["pad"],) * 4
                acc = oracle.conv2d(x[rows], w.reshape(8, 4, 3, 3), b, padding=pad,
                                    pad_value=meta["zx"])  # fmt: skip
                mult, shift = mult.reshape(-1, 1, 1), shift.reshape(-1, 1, 1)
            else:
                acc = oracle.accumulate(x[rows], w.reshape(x.shape[1], -1).T, b)
                if meta["chip"] != "bm1684":
                    fc_ties = "half_away"
            if meta["mode"] == "QDM":
                y = oracle.two_stage(acc, 0, mult, 31, "half_up", shift, "half_away",
                                     meta["zy"], middle=(-(2**31), 2**31 - 1), **int8)  # fmt: skip
            else:
                y = oracle.two_stage(acc, 0, mult, shift, fc_ties, 0, "floor", meta["zy"], **int8)
            np.testing.assert_array_equal(y, data[f"{key}/y_cmodel"][rows], err_msg=key)


def _frames_to_nchw(rows: Any, channels: int) -> Any:
    """Rows [frame, (h, c)] with the channel fastest, as one picture [1, C, H, frame]."""
    return rows.reshape(rows.shape[0], -1, channels).transpose(2, 1, 0)[None]


def test_recorded_convolutions_are_reproduced(shared_dir: Path) -> None:
    frames = slice(0, 3)
    with np.load(shared_dir / "data/traces/dccrn_250.npz") as data:
        acc = oracle.conv2d(
            _frames_to_nchw(data["conv4_output"][frames], 64),
            data["param_conv5_w"],
            data["param_conv5_b"],
            stride=(2, 1),
            padding=(1, 1, 0, 0),
        )
        got = oracle.relu(oracle.readout(acc, 1024))
        np.testing.assert_array_equal(got, _frames_to_nchw(data["conv5_output"][frames], 112))

        acc = oracle.conv_transpose2d(
            _frames_to_nchw(data["deconv12_input"][frames], 32),
            data["param_deconv12_w"],
            data["param_deconv12_b"],
            stride=(2, 1),
            padding=(1, 0, 1, 0),
            output_padding=(1, 0),
        )
        got = oracle.readout(acc[..., :3], 1024)
        np.testing.assert_array_equal(got, _frames_to_nchw(data["deconv12_output"][frames], 2))


def test_rule_as_a_partial_function_is_called_with_the_digital_part() -> None:
    rule = partial(oracle.readout, gain=256)
    assert oracle.linear([[10]], [[100]], None, rule, high=[[5]]).tolist() == [[9]]
