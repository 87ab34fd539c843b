# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells against a model in plain Python integers; streaming equals batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import recurrent_model as model
from hypothesis import given, settings
from hypothesis import strategies as st

import bittwin
from bittwin.recurrent import (
    Gru2ArrayCell,
    GruCell,
    GruNewCell,
    LstmCell,
    TdnnCell,
    conv2d_frames,
    conv_transpose2d_frames,
    first_history,
)
from bittwin.testing import strategies

MODELS = {
    LstmCell: model.lstm,
    GruCell: model.gru,
    GruNewCell: model.gru_new,
    Gru2ArrayCell: model.gru2array,
}
KINDS = st.sampled_from(list(MODELS))
GAINS = st.sampled_from((256, 512, 2048))
SHIFTS = st.sampled_from((-7, -7, -7, -8, -10, -3, -1, 0, 1, 2))
ROUNDING = st.sampled_from(("half_up", "half_up", "half_down", "floor"))


@st.composite
def tables(draw: Any) -> np.ndarray:
    size = draw(st.sampled_from((256, 1024)))
    dtype = draw(st.sampled_from((np.int8, np.int8, np.uint8)))
    return draw(strategies.codes(dtype, (size,)))  # type: ignore[no-any-return]


def sizes(kind: type, hidden: int, inputs: int) -> dict[str, tuple[int, int]]:
    """Shape of every weight of a cell."""
    both = hidden + inputs
    if kind is LstmCell:
        return {"gates": (3 * hidden, both), "candidate": (hidden, both)}
    if kind is GruCell:
        return {"gates": (2 * hidden, both), "candidate": (hidden, both)}
    if kind is GruNewCell:
        return {"gates": (2 * hidden, both), "hidden": (hidden, hidden), "input": (hidden, inputs)}
    return {"input": (3 * hidden, inputs), "hidden": (3 * hidden, hidden)}


@st.composite
def cells(draw: Any, kind: type | None = None) -> tuple[Any, dict[str, Any]]:
    """A cell with any options, and the same as the model's parameters."""
    kind = draw(KINDS) if kind is None else kind
    hidden, inputs = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    p: dict[str, Any] = {}
    given_arrays: dict[str, Any] = {}
    for name, shape in sizes(kind, hidden, inputs).items():
        dtype, top = draw(st.sampled_from(((np.int8, 127), (np.int16, 275))))
        given_arrays[f"weight_{name}"] = draw(strategies.codes(dtype, shape, -top, top))
        rows = strategies.codes(np.int32, (shape[0],), -16, 15)
        bias = draw(st.one_of(st.none(), rows))
        given_arrays[f"bias_{name}"] = None if bias is None else (128 * bias).astype(np.int32)
        p[f"gain_{name}"] = draw(GAINS)
        given_arrays[f"requant_{name}"] = bittwin.readout(p[f"gain_{name}"])
    options: dict[str, Any] = {"clean_after": draw(st.sampled_from((0, 0, 1, 3)))}
    options["rounding"] = draw(ROUNDING)
    names = ["sigmoid_table", "tanh_table"]
    if kind is LstmCell:
        names.append("state_table")
        count = draw(st.sampled_from((2, 4)))
        options["shift_bits"] = tuple(draw(SHIFTS) for _ in range(count))
        options["cmodel"] = draw(st.booleans())
        options["product_overflow"] = draw(st.sampled_from(("wrap16", "saturate16")))
    else:
        count = 4 if kind is Gru2ArrayCell else 2
        options["shift_bits"] = tuple(draw(SHIFTS) for _ in range(count))
        options["ones"] = draw(st.sampled_from((127, 128, 0, 255)))
        options["blend"] = draw(st.sampled_from(("torch", "manual")))
        options["blend_rounding"] = draw(ROUNDING)
        options["lowest"] = draw(st.sampled_from((-128, -127)))
        if kind is not Gru2ArrayCell:
            options["row_order"] = draw(st.sampled_from(("hx", "xh")))
        if kind is not GruCell:
            options["sum_bits"] = draw(st.sampled_from((8, 9)))
        if kind is Gru2ArrayCell:
            options["hidden_shift"] = draw(st.sampled_from((0, 0, 1, 2, -1)))
            options["hidden_overflow"] = draw(st.sampled_from(("saturate", "exact")))
    given_arrays |= {name: draw(tables()) for name in names}
    cell = kind(**given_arrays, **options)
    p |= options
    p |= {
        k: None if v is None else v.tolist()
        for k, v in given_arrays.items()
        if not k.startswith("requant")
    }
    return cell, p


def inputs_of(draw: Any, cell: Any, frames: int) -> np.ndarray:
    dtype, low, high = draw(
        st.sampled_from(((np.uint8, 0, 255), (np.int8, -128, 127), (np.int16, -255, 255)))
    )
    return draw(strategies.codes(dtype, (frames, cell.inputs), low, high))  # type: ignore[no-any-return]


@given(st.data())
@settings(max_examples=250)
def test_cells_equal_the_integer_model_with_all_internals(data: st.DataObject) -> None:
    cell, p = data.draw(cells())
    x = inputs_of(data.draw, cell, data.draw(st.integers(1, 7)))
    wanted = model.frames(MODELS[type(cell)], p, x.tolist(), cell.hidden, len(cell.state_names))
    y, state, internals = cell.run(x, internals=True)
    assert y.dtype == np.int8
    assert y.tolist() == wanted["h"]
    assert [v.tolist() for v in state[:-1]] == list(wanted["state"])
    assert set(internals) == set(cell.internal_names)
    for name, values in internals.items():
        assert values.tolist() == wanted[name], name


@given(st.data())
def test_streaming_equals_batched_however_it_is_cut(data: st.DataObject) -> None:
    cell, _ = data.draw(cells())
    x = inputs_of(data.draw, cell, data.draw(st.integers(0, 9)))
    whole, after = cell.run(x)
    state, parts = None, []
    while len(x):
        cut = data.draw(st.integers(1, 4))
        if cut == 1:
            y, state = cell.step(x[0], state)
            parts.append(y[None])
        else:
            y, state = cell.run(x[:cut], state)
            parts.append(y)
        x = x[cut:]
    if parts:
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert state is not None
        for mine, theirs in zip(state, after, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@given(cells())
def test_settings_and_arrays_rebuild_the_cell(built: tuple[Any, dict[str, Any]]) -> None:
    cell, _ = built
    again = type(cell).from_settings(cell.settings(), cell.arrays())
    assert again.settings() == cell.settings()
    x = np.arange(4 * cell.inputs, dtype=np.uint8).reshape(4, cell.inputs)
    np.testing.assert_array_equal(again.run(x)[0], cell.run(x)[0])


@given(st.data(), st.sampled_from(strategies.LAYOUTS))
@settings(max_examples=30)
def test_memory_layout_changes_nothing(data: st.DataObject, layout: str) -> None:
    cell, _ = data.draw(cells())
    x = inputs_of(data.draw, cell, 4)
    again = type(cell).from_settings(
        cell.settings(), {k: strategies.relaid(v, layout) for k, v in cell.arrays().items()}
    )
    np.testing.assert_array_equal(again.run(strategies.relaid(x, layout))[0], cell.run(x)[0])


@given(st.data())
def test_tdnn_equals_the_model_and_streams(data: st.DataObject) -> None:
    draw = data.draw
    offsets = tuple(sorted(draw(st.sets(st.integers(-4, 4), min_size=1, max_size=4))))
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    weight = draw(strategies.codes(np.int16, (outputs, inputs * len(offsets)), -275, 275))
    bias = draw(st.one_of(st.none(), strategies.codes(np.int32, (outputs,), -50_000, 50_000)))
    gain = draw(GAINS)
    cell = TdnnCell(weight, bias, bittwin.readout(gain), offsets)
    x = inputs_of(draw, cell, draw(st.integers(1, 12)))
    whole, after = cell.run(x)
    listed = None if bias is None else bias.tolist()
    assert whole.tolist() == model.tdnn(weight.tolist(), listed, gain, offsets, x.tolist())
    state = cell.initial_state()
    parts = []
    for part in np.split(x, sorted(draw(st.lists(st.integers(0, len(x)), max_size=3)))):
        y, state = cell.run(part, state)
        parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(state[0], after[0])
    steps, state = [], cell.initial_state()
    for row in x:
        y, state = cell.step(row, state)
        steps.append(y)
    np.testing.assert_array_equal(np.stack(steps), whole)


def image_of(x: np.ndarray, left: int, value: int) -> np.ndarray:
    """Frames [T, C, H, 1] as one image, padded on the left: what the batched convolution sees."""
    image = x[..., 0].transpose(1, 2, 0)[None].astype(np.int16)
    return np.pad(image, ((0, 0), (0, 0), (0, 0), (left, 0)), constant_values=value)


@given(st.data())
def test_convolution_over_time_equals_the_padded_image(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from((1, 1, 2)))
    c, o, h = (
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(st.integers(3, 5)),
    )
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    spaces = (1, draw(st.integers(1, 3)))
    pad_value = draw(st.sampled_from((0, 0, 128)))
    frames = draw(st.integers(1, 8))
    weight = draw(strategies.codes(np.int8, (o, c // groups, kh, kw)))
    bias = draw(st.one_of(st.none(), strategies.codes(np.int32, (o,), -9999, 9999)))
    dtype = draw(st.sampled_from((np.uint8, np.int16)))
    x = draw(strategies.codes(dtype, (frames, c, h, 1), 0 if dtype == np.uint8 else -255, 255))
    options: dict[str, Any] = {
        "stride": draw(st.integers(1, 2)),
        "padding": draw(st.sampled_from(((0, 0), (1, 0), (2, 1)))),
        "dilation": spaces,
        "groups": groups,
        "pad_value": pad_value,
    }
    span = (kw - 1) * spaces[1]
    top, bottom = options["padding"]
    wanted = bittwin.conv2d_accumulate(
        np.pad(
            image_of(x, span, pad_value),
            ((0, 0), (0, 0), (top, bottom), (0, 0)),
            constant_values=pad_value,
        ),
        weight,
        bias,
        stride=(options["stride"], 1),
        dilation=spaces,
        groups=groups,
    )
    kept = first_history(c, h, kw, dilation=spaces[1], pad_value=pad_value)
    got = []
    for part in np.split(x, sorted(draw(st.lists(st.integers(0, frames), max_size=3)))):
        acc, kept = conv2d_frames(part, kept, weight, bias, **options)
        got.append(acc)
    acc = np.concatenate(got)
    assert acc.dtype == np.int32
    assert acc.shape == (frames, o, wanted.shape[2], 1)
    np.testing.assert_array_equal(acc[..., 0].transpose(1, 2, 0), wanted[0])
    assert kept.shape == (c, h, span)


@given(st.data())
def test_transposed_convolution_over_time_equals_the_images_first_columns(
    data: st.DataObject,
) -> None:
    draw = data.draw
    c, o, h = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    kh, kw = draw(st.integers(2, 3)), draw(st.integers(1, 3))
    spaces = (1, draw(st.integers(1, 3)))
    frames = draw(st.integers(1, 8))
    weight = draw(strategies.codes(np.int8, (c, o, kh, kw)))
    bias = draw(st.one_of(st.none(), strategies.codes(np.int32, (o,), -9999, 9999)))
    x = draw(strategies.codes(np.int16, (frames, c, h, 1), -255, 255))
    stride, padding = draw(st.integers(1, 2)), draw(st.sampled_from(((0, 0), (1, 0), (0, 1))))
    extra = draw(st.integers(0, 1))
    wanted = bittwin.conv_transpose2d_accumulate(
        image_of(x, 0, 0),
        weight,
        bias,
        stride=(stride, 1),
        padding=(padding[0], 0, padding[1], 0),
        output_padding=(extra, 0),
        dilation=spaces,
    )
    kept = first_history(c, h, kw, dilation=spaces[1])
    got = []
    for part in np.split(x, sorted(draw(st.lists(st.integers(0, frames), max_size=3)))):
        acc, kept = conv_transpose2d_frames(
            part,
            kept,
            weight,
            bias,
            stride=stride,
            padding=padding,
            output_padding=extra,
            dilation=spaces,
        )
        got.append(acc)
    acc = np.concatenate(got)
    np.testing.assert_array_equal(acc[..., 0].transpose(1, 2, 0), wanted[0, :, :, :frames])


@pytest.mark.parametrize("kind", MODELS)
def test_wrapping_accumulators_add_up(kind: type) -> None:
    """The halves of a product wrap by themselves and their sum wraps to what the whole would."""
    hidden, inputs = 1, 300
    arrays: dict[str, Any] = {}
    for name, (rows, columns) in sizes(kind, hidden, inputs).items():
        arrays[f"weight_{name}"] = np.full((rows, columns), 32767, np.int16)
        arrays[f"bias_{name}"] = np.full(rows, 2**31 - 1, np.int32)
        arrays[f"requant_{name}"] = bittwin.readout(2048)
    table = np.arange(256, dtype=np.uint8).view(np.int8)
    names = ["sigmoid_table", "tanh_table", *(["state_table"] if kind is LstmCell else [])]
    arrays |= dict.fromkeys(names, table)
    with pytest.raises(ValueError, match=r"weight_\w+: .* can leave INT32"):
        kind(**arrays)
    cell = kind(**arrays, overflow="wrap32")
    assert not cell.bound().fits
    x = np.full((3, inputs), 255, np.uint8)
    y, _, internals = cell.run(x, internals=True)
    # The first product by hand: one wrapped sum of input and bias.
    total = (inputs * 255 * 32767 + 2**31 - 1 + 2**31) % 2**32 - 2**31
    first = "gates" if kind in (LstmCell, GruCell, GruNewCell) else "input"
    assert internals[first][0].tolist() == [model.readout(total, 2048)] * len(internals[first][0])
    assert y.shape == (3, 1)
