# SPDX-License-Identifier: Apache-2.0
"""The mapping check: rows, columns, bias rows, gains, cells, tables, register file, places, the picture."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import bittwin
from bittwin.chips import WTM2101
from bittwin.mapping import check_dump, check_mapping, draw_mapping
from bittwin.mapping.registers import register_bytes
from bittwin.network import (
    Add,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    Lookup,
    Lstm,
    Network,
    Relu,
    SplitLinear,
    StreamConv2d,
    Tdnn,
)
from bittwin.optimize import Optimization
from bittwin.recurrent import LstmCell, TdnnCell

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


def ones(*shape, value=1):
    return np.full(shape, value, np.int16 if abs(value) > 127 else np.int8)


def linear(rows=10, columns=4, name="fc", *, value=1, bias=None, gain=256, rule=None, **how):
    weight = ones(columns, rows, value=value)
    b = None if bias is None else np.array([bias] + [0] * (columns - 1), np.int32)
    return Linear(name, weight, b, rule or bittwin.readout(gain), **how)


def found(*layers, **how):
    plans = {k: how.pop(k) for k in ("plans", "split_inputs", "chip") if k in how}
    return check_mapping(Network(list(layers), **how), **plans)


def said(mapping, level=None):
    return [(f.resource, f.level) for f in mapping.findings if level in (None, f.level)]


def only(mapping):
    (block,) = mapping.blocks
    return block


@pytest.mark.parametrize(("rows", "fits"), [(1, True), (895, True), (896, True), (897, False)])
def test_rows_of_one_half(rows, fits):
    m = found(linear(rows))
    assert m.fits is fits
    assert only(m).rows == rows
    assert only(m).inside is fits
    assert said(m) == ([] if fits else [("rows", "error")])


@pytest.mark.parametrize(
    ("columns", "widths"), [(1024, [1024]), (1025, [1024, 1]), (2500, [1024, 1024, 452])]
)
def test_wide_layers_are_cut(columns, widths):
    m = found(linear(300, columns))
    assert [b.columns for b in m.blocks] == widths
    assert m.fits
    assert all(b.inside for b in m.blocks)
    assert said(m) == ([("columns", "warning")] if len(widths) > 1 else [])


def test_more_cells_than_the_array_has():
    layers = [linear(896, 1024, "a"), linear(1024 - 128, 1024, "b")]
    nets = [Network([layer]) for layer in layers]
    assert check_mapping(nets).fits
    assert (
        check_mapping(nets).cells == WTM2101.columns * WTM2101.rows == check_mapping(nets).capacity
    )
    more = check_mapping([*nets, Network([linear(1, 1, "c")])])
    assert said(more) == [("placement", "error"), ("placement", "warning")]
    assert [b.inside for b in more.blocks] == [True, True, False]


@pytest.mark.parametrize(
    ("bias", "rows", "said_of"),
    [
        (None, 1, []), (0, 1, []), (128, 1, []), (127 * 128, 1, []), (128 * 128, 2, []), (-128 * 128, 1, []),
        (-129 * 128, 2, []), (16 * 127 * 128, 16, []), (16 * 127 * 128 + 128, 16, ["warning"]),
        (-16 * 128 * 128, 16, []), (-16 * 128 * 128 - 128, 16, ["warning"]),
        (16 * 275 * 128, 16, ["warning"]), (16 * 275 * 128 + 128, 16, ["error"]),
        (-16 * 275 * 128 - 128, 16, ["error"]),
        (1, 1, ["warning"]), (64, 1, ["warning"]),
    ],
)  # fmt: skip
def test_bias_rows(bias, rows, said_of):
    m = found(linear(bias=bias))
    assert only(m).bias_rows == rows
    assert said(m) == [("bias rows", level) for level in said_of]


@pytest.mark.parametrize(
    ("gain", "level"), [(256, None), (8192, None), (16384, "warning"), (32768, "warning")]
)
def test_gains_of_the_register_and_the_mapper(gain, level):
    m = found(linear(gain=gain))
    assert only(m).gain == gain
    assert said(m) == ([] if level is None else [("gain", level)])


def test_rules_without_a_gain_register():
    assert said(found(linear(rule=bittwin.half_even(1024)))) == [("rule", "warning")]
    assert said(found(linear(rule=bittwin.half_even(128))), "error") == [("gain", "error")]
    assert said(found(linear(rule=bittwin.half_even_f32(1000.0, 3.0)))) == [("gain", "error")]
    per_channel = bittwin.requant.two_stage(
        rule="other", multiplier=[1 << 30] * 4, shift1=31, rounding1="half_up", shift2=[5, 6, 7, 8],
        rounding2="half_away",
    )  # fmt: skip
    assert said(found(linear(rule=per_channel))) == [("gain", "error")]


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (127, None),
        (-256, None),
        (257, "warning"),
        (-275, "warning"),
        (276, "error"),
        (-300, "error"),
    ],
)
def test_cells(value, level):
    m = found(linear(value=value))
    assert only(m).weights == (value, value)
    assert said(m) == ([] if level is None else [("weights", level)])


def test_input_widths():
    assert said(found(linear(x_bits=8))) == []
    assert said(found(linear(x_bits=10))) == [("inputs", "warning")]
    split = SplitLinear("s", ones(3, 4), None, bittwin.readout(256), x_bits=12)
    assert said(found(split)) == []


def test_signed_inputs_take_two_halves():
    m = found(linear(448, x_signed=True, value=5, bias=128))
    assert only(m).rows == 896
    assert only(m).weights == (-5, 5)
    assert said(m) == []
    # One row more fits only when the inputs are shifted by 128 instead, which costs bias.
    m = found(linear(449, x_signed=True))
    assert only(m).rows == 449
    assert m.fits
    assert ("signed inputs", "warning") in said(m)
    assert only(m).bias_rows == -(-449 // 128)  # 128 * sum of the weights, in rows of -128
    assert said(found(linear(897, x_signed=True))) == [("rows", "error")]


@pytest.mark.parametrize("n", [0, 1, 9, 10])
def test_split_inputs_of_a_config(n):
    m = found(linear(10, x_signed=True, value=3), split_inputs={"fc": n})
    assert only(m).rows == 10 + n
    conv = Conv2d("c", ones(4, 10, 2, 3, value=3), None, bittwin.readout(256), x_signed=True)
    assert only(found(conv, split_inputs={"c": n})).rows == 6 * (10 + n)
    deconv = ConvTranspose2d(
        "c", ones(10, 4, 2, 3, value=3), None, bittwin.readout(256), x_signed=True
    )
    assert only(found(deconv, split_inputs={"c": n})).rows == 6 * (10 + n)


def test_plans_change_rows_cells_and_gain():
    m = found(
        linear(100, value=60, gain=512, bias=1280),
        plans={"fc": Optimization(weight_shift=2, duplicate=1)},
    )
    block = only(m)
    assert (block.rows, block.gain, block.weights) == (200, 4096, (240, 240))
    assert m.fits
    tall = found(linear(448), plans={"fc": Optimization(duplicate=1)})
    assert tall.fits
    assert only(tall).rows == 896
    assert said(found(linear(449), plans={"fc": Optimization(duplicate=1)})) == [("rows", "error")]
    wide = found(linear(value=80), plans={"fc": Optimization(weight_shift=2)})
    assert said(wide) == [("weights", "error")]
    high = found(linear(gain=8192), plans={"fc": Optimization(weight_shift=1)})
    assert said(high) == [("gain", "warning")]
    with pytest.raises(ValueError, match="plans: found the layer 'x', which no network has"):
        found(linear(), plans={"x": Optimization()})
    with pytest.raises(ValueError, match="split_inputs: found the layer 'x'"):
        found(linear(), split_inputs={"x": 1})


def test_convolutions_are_matrices():
    conv = Conv2d("c", ones(7, 5, 3, 2), None, bittwin.readout(256))
    assert (only(found(conv)).rows, only(found(conv)).columns) == (30, 7)
    grouped = Conv2d("c", ones(6, 1, 3, 2), None, bittwin.readout(256), groups=3)
    assert (only(found(grouped)).rows, only(found(grouped)).columns) == (18, 6)
    deconv = ConvTranspose2d("c", ones(5, 7, 3, 2), None, bittwin.readout(256), stride=(2, 1))
    assert (only(found(deconv)).rows, only(found(deconv)).columns) == (30, 7)


def test_transposed_convolutions_by_phases_only_where_they_must():
    """112 channels of a 3 x 2 kernel, split by sign, stride (2, 1): 1344 rows, or 896 by phases."""
    weight = np.random.default_rng(0).integers(-9, 9, (112, 64, 3, 2)).astype(np.int8)
    bias = np.arange(64, dtype=np.int32) * 128
    deconv = ConvTranspose2d("d", weight, bias, bittwin.readout(1024), stride=(2, 1), x_signed=True)
    m = found(deconv, split_inputs={"d": 112})
    assert (only(m).rows, only(m).columns) == (896, 128)
    assert said(m) == [("rows", "warning")]
    plain = dataclasses.replace(deconv, stride=(1, 1))
    assert said(found(plain, split_inputs={"d": 112})) == [("rows", "error")]


def test_phases_compute_the_same():
    """The phase layout is the operator: its matrix on the right inputs gives the transposed convolution."""
    from bittwin.mapping.needs import _phase_columns

    rng = np.random.default_rng(1)
    for kernel, stride, dilation in (
        ((3, 2), (2, 1), (1, 1)),
        ((4, 5), (3, 2), (1, 1)),
        ((2, 3), (2, 2), (3, 1)),
    ):
        weight = rng.integers(-9, 9, (2, 3, *kernel)).astype(np.int8)
        bias = rng.integers(-9, 9, 3).astype(np.int32) * 128
        layer = ConvTranspose2d(
            "d", weight, bias, bittwin.readout(256), stride=stride, dilation=dilation
        )
        x = rng.integers(0, 9, (1, 2, 4, 5)).astype(np.uint8)
        want = layer.accumulate(x)[0]
        table, wide = _phase_columns(layer)
        taps = [
            -(-((k - 1) * d + 1) // s) for k, d, s in zip(kernel, dilation, stride, strict=True)
        ]
        assert table.shape == (3 * stride[0] * stride[1], 2 * taps[0] * taps[1])
        padded = np.zeros((2, 40, 40), np.int64)
        padded[:, 10:14, 10:15] = x[0]
        for o, h, w in np.ndindex(want.shape):
            (i, p), (j, q) = divmod(h, stride[0]), divmod(w, stride[1])
            seen = padded[:, 10 + i - taps[0] + 1 : 11 + i, 10 + j - taps[1] + 1 : 11 + j][
                :, ::-1, ::-1
            ]
            column = (o * stride[0] + p) * stride[1] + q
            assert int(table[column] @ seen.reshape(-1)) + int(wide[column]) == int(want[o, h, w])


def lstm(inputs=20, hidden=8, x_signed=False):
    table = np.arange(256, dtype=np.uint8).view(np.int8)
    cell = LstmCell(
        ones(3 * hidden, inputs + hidden), ones(hidden, inputs + hidden), None, None, bittwin.readout(2048),
        bittwin.readout(1024), table, table[::-1].copy(), table,
    )  # fmt: skip
    return Lstm("lstm", cell, x_signed)


def test_recurrent_layers_have_several_blocks():
    m = found(lstm(), input_shape=(20,))
    blocks = {b.part: (b.rows, b.columns, b.gain) for b in m.blocks}
    # The state is signed: its rows come twice; x is not.
    assert blocks == {"gates": (20 + 2 * 8, 24, 2048), "candidate": (20 + 2 * 8, 8, 1024)}
    assert {b.rows for b in found(lstm(x_signed=True)).blocks} == {2 * 28}
    assert m.layers[0].tables == 2
    assert m.layers[0].register_bytes == 20 + 8 + 2 * 8  # input, output, h and c
    tdnn = Tdnn("t", TdnnCell(ones(4, 30), None, bittwin.readout(256), (-3, -1, 0)))
    assert only(found(tdnn)).rows == 30


def test_tables():
    tables = [np.roll(np.arange(256, dtype=np.uint8), i).view(np.int8) for i in range(4)]
    a, b, c = (Lookup(f"t{i}", tables[i]) for i in range(3))
    again = Lookup("again", tables[0])
    assert said(found(linear(), a, b, again)) == []
    assert found(linear(), a, b, again).tables == 2
    assert said(found(linear(), a, b, c)) == [("tables", "error")]
    beside = found(lstm(), Lookup("u", tables[3]), Lookup("v", tables[2]))
    assert said(beside) == [("tables", "warning")]
    assert beside.fits


def test_register_bytes_of_a_chain_and_a_branch():
    chain = Network([linear(10, 30, "a"), Relu("r"), linear(30, 5, "b")], input_shape=(10,))
    assert register_bytes(chain) == {"a": 40, "b": 35}
    skip = Network(
        [linear(10, 10, "a"), linear(10, 10, "b", x_bits=8), Add("s")],
        inputs={"s": ["input", "b"]}, input_shape=(10,),
    )  # fmt: skip
    # While b runs, the input waits beside a's output.
    assert register_bytes(skip) == {"a": 20, "b": 30, "s": 30}
    assert register_bytes(Network([linear(10, 30, "a")])) == {}


def test_register_bytes_of_images_count_columns():
    conv = Conv2d("c", ones(4, 2, 3, 3), None, bittwin.readout(256))
    net = Network([conv, Flatten("f"), linear(4 * 6 * 8, 3, "l")], input_shape=(2, 8, 10))
    assert register_bytes(net) == {"c": 2 * 8 * 3 + 4 * 6, "l": 4 * 6 * 8 + 3}
    over_time = StreamConv2d("c", ones(4, 2, 3, 3), None, bittwin.readout(256))
    assert register_bytes(Network([over_time], input_shape=(2, 8, 1))) == {"c": 2 * 8 * 3 + 4 * 6}


def test_the_register_file_is_a_limit():
    def net(outputs):
        chip = dataclasses.replace(WTM2101, columns=8000)
        return check_mapping(Network([linear(892, outputs, "a")], input_shape=(892,)), chip=chip)

    assert said(net(7300)) == []
    assert said(net(7301)) == [("register file", "error")]


def test_a_smaller_chip():
    small = dataclasses.replace(WTM2101, columns=8, rows=40, rows_per_half=20, table_slots=1)
    m = found(linear(20, 9, "a"), chip=small)
    assert [b.columns for b in m.blocks] == [8, 1]
    assert m.fits
    assert said(found(linear(21, 4), chip=small)) == [("rows", "error")]


@hypothesis.given(
    sizes=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 1100)), min_size=1, max_size=12)
)
@hypothesis.settings(max_examples=25)
def test_places_do_not_overlap_and_stay_inside(sizes):
    nets = [Network([linear(r, c, f"l{i}")]) for i, (r, c) in enumerate(sizes)]
    m = check_mapping(nets)
    cells = np.zeros((WTM2101.rows, WTM2101.columns), np.uint8)
    bias = np.zeros((WTM2101.bias_rows, WTM2101.columns), np.uint8)
    for b in m.blocks:
        if not b.inside:
            continue
        r = b.region
        assert r.row_first // 896 == r.row_last // 896
        assert (r.rows, r.columns) == (b.rows, b.columns)
        cells[r.row_first : r.row_last + 1, r.column_first : r.column_last + 1] += 1
        bias[r.bias_first : r.bias_last + 1, r.column_first : r.column_last + 1] += 1
    assert cells.max(initial=0) <= 1
    assert bias.max(initial=0) <= 1
    assert m.columns == int(cells.any(axis=0).sum())
    assert m.cells == sum(r * c for r, c in sizes)
    if all(r <= 896 for r, _ in sizes) and sum(r * c for r, c in sizes) <= m.capacity:
        assert m.fits


def test_dump_with_the_mappers_places(tmp_path):
    net = Network([linear(12, 5, "a"), linear(5, 3, "b")], input_shape=(12,))
    x = np.ones((4, 12), np.uint8)
    bittwin.write_dump(tmp_path / "d", net, x, expected_frames=2)
    m = check_dump(bittwin.read_dump(tmp_path / "d"))
    assert m.placement == "map/layers.txt"
    assert m.fits
    assert [(b.name, b.rows, b.columns) for b in m.blocks] == [("a", 12, 5), ("b", 5, 3)]
    path = tmp_path / "d" / "map" / "layers.txt"
    lines = path.read_text().splitlines()
    for line, resource in (
        ("0, 4, 890, 901, 0, 0, 256", "placement"),
        ("1020, 1024, 0, 11, 0, 0, 256", "placement"),
        ("0, 4, 1785, 1796, 0, 0, 256", "placement"),
        ("0, 4, 0, 11, 16, 16, 256", "bias rows"),
    ):
        path.write_text("\n".join([line, lines[1]]) + "\n")
        assert said(check_dump(bittwin.read_dump(tmp_path / "d")), "error") == [(resource, "error")]


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    nets = [
        Network([linear(300, 200, "first")]),
        Network([lstm()]),
        Network([linear(1000, 3, "tall")]),
    ]
    m = check_mapping(nets)
    for name in ("a.svg", "b.svg", "c.png"):
        draw_mapping(m, tmp_path / name, title="three nets")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    for part in (
        "three nets",
        "first: 300 x 200, gain 256",
        "lstm.gates",
        "tall: 1000 x 3, gain 256 - no place",
    ):
        assert part in text
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"found the ending '.gif', wanted .svg or .png"):
        draw_mapping(m, tmp_path / "a.gif")
    draw_mapping(check_mapping(Network([Relu("r")])), tmp_path / "empty.svg")


def test_picture_without_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(bittwin.BittwinError, match=r"pip install 'bittwin\[report\]'"):
        draw_mapping(found(linear()), tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_the_check_itself_needs_no_matplotlib():
    code = "import sys, bittwin.mapping, bittwin.simulation; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
