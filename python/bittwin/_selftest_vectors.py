# SPDX-License-Identifier: Apache-2.0
"""Known vectors: numbers written down from the specification, not computed by any code of this project."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bittwin
from bittwin import requant
from bittwin.selftest import Case

Array = NDArray[Any]

# The readout's steps: accumulator as a multiple of the gain, output code (datapath, section 2).
_READOUT_STEPS = (
    (0.0, 0), (0.25, 0), (0.5, 1), (0.75, 1), (1.0, 1), (1.25, 1), (1.5, 2), (126.5, 127),
    (127.0, 127), (127.5, 127), (200.0, 127), (-0.25, 0), (-0.5, 0), (-0.75, -1), (-1.0, -1),
    (-1.5, -1), (-1.75, -2), (-21.5, -21), (-21.75, -22), (-127.0, -127), (-127.5, -127), (-127.75, -128),
    (-128.75, -128), (-200.0, -128),
)  # fmt: skip
# One accumulator unit beside a step.
_READOUT_EDGES = (
    (0.5, -1, 0), (0.5, 1, 1), (-0.75, 1, 0), (-0.75, -1, -1), (-1.75, 1, -1), (1.5, -1, 1),
    (-21.75, 1, -21), (126.5, -1, 126),
)  # fmt: skip
# Halves under the roundings that are one step.
_HALVES = (-3, -2.5, -1.75, -1.5, -1.25, -1, -0.5, 0, 0.5, 1, 1.25, 1.5, 1.75, 2.5, 3)
_ROUNDED = {
    "half_even": (-3, -2, -2, -2, -1, -1, 0, 0, 0, 1, 1, 2, 2, 2, 3),
    "half_up": (-3, -2, -2, -1, -1, -1, 0, 0, 1, 1, 1, 2, 2, 3, 3),
    "half_away": (-3, -3, -2, -2, -1, -1, -1, 0, 1, 1, 1, 2, 2, 3, 3),
    "floor": (-3, -3, -2, -2, -2, -1, -1, 0, 0, 1, 1, 1, 1, 2, 3),
    "toward_zero": (-3, -2, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 1, 2, 3),
}
_GAINS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


def known_vectors() -> Iterator[Case]:
    """All known vectors."""
    yield from _requantisers()
    yield from _products()
    yield from _convolutions()
    yield from _after()


def _acc(values: Any) -> Array:
    return np.array(values, np.int32)


def _requantisers() -> Iterator[Case]:
    for gain in _GAINS:
        rule = bittwin.readout(gain)
        acc = [int(step * gain) for step, _ in _READOUT_STEPS]
        run = partial(bittwin.requantize, _acc(acc), rule)
        yield Case(f"readout steps, gain {gain}", run, _acc([y for _, y in _READOUT_STEPS]))
        acc = [int(step * gain) + beside for step, beside, _ in _READOUT_EDGES]
        run = partial(bittwin.requantize, _acc(acc), rule)
        yield Case(f"readout edges, gain {gain}", run, _acc([y for _, _, y in _READOUT_EDGES]))
        for name, wanted in _ROUNDED.items():
            acc = [int(half * gain) for half in _HALVES]
            run = partial(bittwin.requantize, _acc(acc), requant.by_name(name, gain))
            yield Case(f"{name} halves, gain {gain}", run, _acc(wanted))
    # The C-model keeps 16 bits of the converter code: a saturated output flips its sign.
    ends = [8192 * 256 - 1, 8192 * 256, -(8192 * 256) - 63, -(8192 * 256) - 64]
    wrapping = bittwin.readout(256, overflow="wrap16")
    run = partial(bittwin.requantize, _acc(ends), wrapping)
    yield Case("readout_wrap16 ends", run, _acc([127, -128, -128, 127]))
    saturating = partial(bittwin.requantize, _acc(ends), bittwin.readout(256))
    yield Case("readout ends", saturating, _acc([127, 127, -128, -128]))
    # The digital part joins before the one clamp: 200 - 100 is 100, not 127 - 100.
    high = np.array([-100, 100, 1], np.int16)
    run = partial(
        bittwin.requantize,
        _acc([200 * 256, -200 * 256, 127 * 256]),
        bittwin.readout(256),
        high=high,
    )
    yield Case("readout with a digital part", run, _acc([100, -100, 127]))


def _products() -> Iterator[Case]:
    def product(
        x: list[int], w: list[int], text: str, wanted: int, bias: int | None = None
    ) -> Case:
        extra = None if bias is None else _acc([bias])
        run = partial(bittwin.accumulate, np.array([x], np.uint8), np.array([w], np.int8), extra)
        return Case(text, run, _acc([[wanted]]))

    # Sums that kernels with 16-bit intermediate sums get wrong.
    yield product([211, 171], [71, 107], "211*71 + 171*107", 33278)
    yield product([255, 255], [127, 127], "255*127*2", 64770)
    yield product([255, 255], [-128, -128], "255*-128*2", -65280)
    # A float32 matrix product loses this one: 255*128*515 is beyond 2^24.
    yield product([255] * 515, [-128] * 514 + [127], "515 rows", -16744575)
    yield product([255] * 896, [-128] * 896, "896 rows", -29245440)
    yield product([1], [1], "bias", 16257, bias=127 * 128)
    x = np.array([[-128, 127]], np.int8)
    w = np.array([[-128, 127]], np.int8)
    yield Case("signed inputs", partial(bittwin.accumulate, x, w), _acc([[32513]]))
    wide = np.array([[275, -275]], np.int16)
    run = partial(bittwin.accumulate, np.array([[255, 0]], np.uint8), wide)
    yield Case("cells beyond int8", run, _acc([[70125]]))
    run = partial(
        bittwin.linear, np.array([[255, 1]], np.uint8), np.array([[127, -128]], np.int8), None
    )
    yield Case("linear", partial(run, bittwin.readout(1024)), _acc([[32]]))
    # 300 = 44 + 256: low (44*64 -> 11), high (64*256/256 -> 64).
    wide_x = np.array([[300]], np.uint16)
    split = partial(
        bittwin.split_linear, wide_x, np.array([[64]], np.int8), None, bittwin.readout(256)
    )
    yield Case("split_linear", partial(split, x_bits=9), _acc([[75]]))


def _convolutions() -> Iterator[Case]:
    x = np.ones((1, 1, 3, 3), np.uint8)
    w = np.ones((1, 1, 3, 3), np.int8)
    counts = [[[[4, 6, 4], [6, 9, 6], [4, 6, 4]]]]
    yield Case("conv2d taps", partial(bittwin.conv2d_accumulate, x, w, padding=1), _acc(counts))
    run = partial(bittwin.conv2d_accumulate, x, w, padding=(1, 0, 0, 0))
    yield Case("conv2d padding at the top", run, _acc([[[[6], [9]]]]))
    digits = np.arange(1, 5, dtype=np.uint8).reshape(1, 1, 2, 2)
    kernel = np.array([[[[1, 10]]]], np.int8)
    run = partial(bittwin.conv2d_accumulate, digits, kernel, padding=(0, 1, 0, 0))
    yield Case("conv2d direction", run, _acc([[[[10, 21], [30, 43]]]]))
    run = partial(bittwin.conv_transpose2d_accumulate, digits, kernel, stride=(1, 2))
    yield Case("conv_transpose2d", run, _acc([[[[1, 10, 2, 20], [3, 30, 4, 40]]]]))


def _after() -> Iterator[Case]:
    y = np.array([-128, -1, 0, 1, 127], np.int8)
    yield Case("relu", partial(bittwin.relu, y), _acc([0, 0, 0, 1, 127]))
    yield Case("relu x2", partial(bittwin.relu, y, 2), _acc([0, 0, 0, 2, 254]))
    yield Case("clip 90", partial(bittwin.clip, y, 90), _acc([0, 0, 0, 1, 90]))
    small = np.arange(256, dtype=np.uint8)
    yield Case("table of 256", partial(bittwin.lookup, y, small), _acc([128, 255, 0, 1, 127]))
    large = (np.arange(1024) // 4).astype(np.uint8)  # entry i holds i / 4
    yield Case("table of 1024", partial(bittwin.lookup, y, large), _acc([192, 255, 0, 0, 63]))
    bias = np.array([64, 65, 192, -64, -192, 10**6, -(10**6)], np.int32)
    wanted = _acc([0, 128, 256, 0, -256, 2 * 127 * 128, -2 * 128 * 128])
    yield Case("bias rows", partial(bittwin.quantize_bias, bias, rows=2), wanted)
