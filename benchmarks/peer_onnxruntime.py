# SPDX-License-Identifier: Apache-2.0
"""onnxruntime as a contender: QLinearMatMul, MatMulInteger and QLinearConv on the CPU, one thread.

Scales are powers of two. The output is uint8 with zero point 128, the form that onnxruntime's kernels take:
its codes are ours plus 128. On CPUs without VNNI these kernels saturate int16 pairs unless the session
option ``session.x64quantprecision`` is set: where the plain session is inexact, one with the option takes
part too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import Contender
from one_operator import model
from shapes import Case, Ints


def _session(case: Case, op: str, weight: Ints, precise: bool, **attributes: Any) -> Any:
    import onnxruntime

    quantised = op != "MatMulInteger"
    constants: dict[str, Ints] = {"w": np.ascontiguousarray(weight)}
    inputs = ["x", "w"]
    if quantised:
        constants |= {name: np.array(1, np.float32) for name in ("xs", "ws")}
        constants |= {"ys": np.array(case.gain, np.float32), "yz": np.array(128, np.uint8)}
        constants |= {"xz": np.array(0, np.uint8), "wz": np.array(0, np.int8)}
        inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    x = case.x.shape, "uint8"
    y = case.acc.shape, "uint8" if quantised else "int32"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    if precise:
        settings.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(
        model(op, constants, inputs, x, y, attributes),
        settings,
        providers=["CPUExecutionProvider"],
    )


def _both(case: Case, op: str, name: str, weight: Ints, **attributes: Any) -> list[Contender]:
    """`session.run`, and the same with input and output bound once."""
    found = _calls(case, _session(case, op, weight, False, **attributes), name)
    assert found[0].result is not None
    if not np.array_equal(found[0].result(), case.half_even):
        session = _session(case, op, weight, True, **attributes)
        found += _calls(case, session, f"{name}, x64quantprecision")
    return found


def _calls(case: Case, session: Any, name: str) -> list[Contender]:
    import onnxruntime

    feed = {"x": case.x}

    def run() -> Any:
        return session.run(None, feed)

    bound_out = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(case.acc.shape, np.uint8))
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(case.x))
    binding.bind_ortvalue_output("y", bound_out)

    def run_bound() -> None:
        session.run_with_iobinding(binding)

    def result_bound() -> Ints:
        run_bound()
        return _codes(bound_out.numpy())

    bound = f"{name}, io_binding"
    return [
        Contender(name, run, "peer", lambda: _codes(run()[0]), case.half_even),
        Contender(bound, run_bound, "bound", result_bound, case.half_even),
    ]


def _codes(y: Ints) -> Ints:
    return (y.astype(np.int16) - 128).astype(np.int8)


def onnxruntime_linear(case: Case) -> list[Contender]:
    """QLinearMatMul: codes to codes."""
    return _both(case, "QLinearMatMul", "onnxruntime QLinearMatMul", case.weight.T)


def onnxruntime_integer(case: Case) -> list[Contender]:
    """MatMulInteger: raw accumulators."""
    session = _session(case, "MatMulInteger", case.weight.T, False)
    feed = {"x": case.x}
    run = lambda: session.run(None, feed)  # noqa: E731
    name = "onnxruntime MatMulInteger (int32)"
    return [Contender(name, run, "context", lambda: run()[0], case.acc)]


def onnxruntime_conv(case: Case) -> list[Contender]:
    """QLinearConv, NCHW."""
    assert case.conv is not None
    c = case.conv
    attributes = {"strides": [c.stride] * 2, "pads": [c.padding] * 4, "group": c.groups}
    return _both(case, "QLinearConv", "onnxruntime QLinearConv", case.weight, **attributes)
