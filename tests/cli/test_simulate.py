# SPDX-License-Identifier: Apache-2.0
"""``bittwin simulate``: codes, exit codes, refusals in one line, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import bittwin
from bittwin.network import Add, Concat, Linear, Network, Relu, Tdnn
from bittwin.recurrent import TdnnCell


def codes(*shape, seed=2, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, shape)


@pytest.fixture
def x(tmp_path):
    array = codes(40, 12).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    return array


@pytest.fixture
def saved(network, tmp_path):
    network.save(tmp_path / "net.npz")
    return tmp_path / "net.npz"


def two_way():
    """Two inputs, two outputs, memory in between."""
    rng = np.random.default_rng(9)
    weight = rng.integers(-90, 90, (6, 15)).astype(np.int8)
    cell = TdnnCell(weight, None, bittwin.readout(256), (-2, -1, 0))
    linear = rng.integers(-90, 90, (6, 4)).astype(np.int8)
    return Network(
        [
            Tdnn("td", cell),
            Linear("fc", linear, None, bittwin.readout(512)),
            Relu("fc.relu"),
            Add("sum", shift_bit=-1),
            Concat("all"),
        ],
        "two",
        inputs={"td": ["a"], "fc": ["b"], "sum": ["td", "fc.relu"], "all": ["sum", "td"]},
        outputs=["sum", "all"],
        input_shapes={"a": (5,), "b": (4,)},
    )


def test_saved_network(run, network, saved, x, tmp_path):
    found = run("simulate", saved, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert found.code == 0, found.err
    assert found.err == ""
    y = np.load(tmp_path / "y.npy")
    expected = network.run(x)
    assert y.dtype == expected.dtype
    assert np.array_equal(y, expected)
    assert "network small, 3 layers" in found.out
    assert "40 frames in " in found.out
    assert "frames/s" in found.out
    assert found.out.isascii()


def test_dump_and_net(run, network, dump, x, tmp_path):
    for more in ((), ("--net", 0)):
        found = run(
            "simulate", dump, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", *more
        )
        assert found.code == 0, found.err
        assert np.array_equal(np.load(tmp_path / "y.npy"), network.run(x))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "int32", "int64", "uint64", ">i4", "float16", "float32", "float64"]
)
def test_input_types_give_the_same_codes(run, network, saved, x, tmp_path, dtype):
    np.save(tmp_path / "x.npy", x.astype(dtype))
    assert (
        run("simulate", saved, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy").code
        == 0
    )
    assert np.array_equal(np.load(tmp_path / "y.npy"), network.run(x))


def test_fortran_order_npz_and_text(run, network, saved, x, tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(x))
    np.savez(tmp_path / "x.npz", input=x, other=x[:3])
    np.savetxt(tmp_path / "x.txt", x, fmt="%d")
    for name in ("f.npy", "x.npz", "x.txt"):
        found = run("simulate", saved, "--input", tmp_path / name, "--output", tmp_path / "y.npy")
        assert found.code == 0, found.err
        assert np.array_equal(np.load(tmp_path / "y.npy"), network.run(x))


def test_frames_are_a_run_of_their_own(run, tmp_path):
    net = two_way()
    net.save(tmp_path / "n.npz")
    a, b = codes(30, 5).astype(np.uint8), codes(30, 4, seed=3).astype(np.uint8)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b.astype(np.float32))
    found = run(
        "simulate", tmp_path / "n.npz", "--input", f"b={tmp_path}/b.npy", "--input", f"a={tmp_path}/a.npy",
        "--output", f"all={tmp_path}/all.npy", "--frames", "7:21", "--json", "-",
    )  # fmt: skip
    assert found.code == 0, found.err
    facts = json.loads(found.out)
    assert facts["frames"] == 14
    assert facts["outputs"][0]["shape"] == [14, 12]
    assert facts["frames_per_second"] > 0
    expected = net.run({"a": a[7:21], "b": b[7:21]})["all"]
    assert np.array_equal(np.load(tmp_path / "all.npy"), expected)
    assert facts["outputs"][0]["range"] == [int(expected.min()), int(expected.max())]


@pytest.mark.parametrize("block", [1, 2, 7, 29, 30, 64])
def test_memory_goes_on_across_blocks(tmp_path, block):
    from bittwin.simulation import Simulation, open_input
    from bittwin.simulation.run import by_output

    net = two_way()
    x = {"a": codes(30, 5).astype(np.uint8), "b": codes(30, 4, seed=3).astype(np.uint8)}
    for name, array in x.items():
        np.save(tmp_path / f"{name}.npy", array)
    opened = {name: open_input(tmp_path / f"{name}.npy", name) for name in x}
    expected = net.run(x)
    for trace in (False, True):
        parts = [
            by_output(net, y) for _, y in Simulation(net, opened, trace=trace, block=block).run()
        ]
        for name in ("sum", "all"):
            assert np.array_equal(np.concatenate([p[name] for p in parts]), expected[name])


def test_progress_counts_the_chosen_frames(tmp_path):
    from bittwin.simulation import Simulation, open_input

    net = two_way()
    for name, width in (("a", 5), ("b", 4)):
        np.save(tmp_path / f"{name}.npy", codes(30, width).astype(np.uint8))
    opened = {name: open_input(tmp_path / f"{name}.npy", name) for name in "ab"}
    run = Simulation(net, opened, frames=slice(3, 10), block=3)
    assert run.frames == 7
    assert [done for done, _ in run.run()] == [3, 6, 7]
    with pytest.raises(ValueError, match="block: found 0, wanted at least 1"):
        Simulation(net, opened, block=0)
    with pytest.raises(bittwin.NetworkError, match="inputs: found a, wanted a, b"):
        Simulation(net, {"a": opened["a"]})


def test_output_is_written_whole_or_not_at_all(run, tmp_path, monkeypatch):
    net = two_way()
    net.save(tmp_path / "n.npz")
    np.save(tmp_path / "a.npy", codes(30, 5).astype(np.uint8))
    np.save(tmp_path / "b.npy", codes(30, 4).astype(np.uint8))
    (tmp_path / "s.npy").write_bytes(b"old")
    from bittwin.simulation import Simulation

    right = Simulation.run

    def broken(self):
        self.block = 10
        for done, y in right(self):
            yield done, y
            if done == 20:
                raise bittwin.NetworkError("layer 'sum': stopped")

    monkeypatch.setattr(Simulation, "run", broken)
    before = sorted(p.name for p in tmp_path.iterdir())
    found = run(
        "simulate", tmp_path / "n.npz", "--input", f"a={tmp_path}/a.npy", "--input", f"b={tmp_path}/b.npy",
        "--output", f"sum={tmp_path}/s.npy", "--output", f"all={tmp_path}/all.npy", "--trace", tmp_path / "t",
    )  # fmt: skip
    assert found.code == 2
    assert "stopped" in found.err
    assert (tmp_path / "s.npy").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_image_over_time_is_turned_and_said_so(run, tmp_path):
    from bittwin.network import StreamConv2d

    weight = codes(3, 2, 3, 2, low=-50, high=50).astype(np.int8)
    conv = StreamConv2d("conv", weight, None, bittwin.readout(256), padding=(1, 0, 1, 0))
    Network([conv], input_shape=(2, 6, 1)).save(tmp_path / "n.npz")
    image = codes(1, 2, 6, 9).astype(np.uint8)
    np.save(tmp_path / "x.npy", image)
    found = run(
        "simulate",
        tmp_path / "n.npz",
        "--input",
        tmp_path / "x.npy",
        "--output",
        tmp_path / "y.npy",
    )
    assert found.code == 0, found.err
    assert "image [1, C, H, T] taken as 9 frames" in found.out
    assert np.array_equal(np.load(tmp_path / "y.npy"), conv.run(image.transpose(3, 1, 2, 0)))


BAD_ELEMENTS = [
    (lambda x: x.astype(np.float32) + np.where(np.arange(12) == 5, 0.5, 0), "element [0, 5]: found"),
    (lambda x: np.where(np.indices(x.shape).sum(0) == 3, np.nan, x), "element [0, 3]: found nan"),
    (lambda x: np.where(np.indices(x.shape).sum(0) == 30, np.inf, x), "element [19, 11]: found inf"),
    (lambda x: np.where(np.indices(x.shape)[0] == 39, 256, x.astype(np.int64)), "element [39, 0]: found 256"),
    (lambda x: np.where(np.indices(x.shape)[0] == 2, -1, x.astype(np.int16)), "element [2, 0]: found -1"),
    (lambda x: np.full_like(x, 2**63, dtype=np.uint64), "element [0, 0]: found 9223372036854775808"),
    (lambda x: x.astype(np.float64) + 1e-9 * (np.arange(12) == 11) * (x > 3), "wanted an integer 0..255"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "words"), BAD_ELEMENTS)
def test_first_bad_element_is_named(run, saved, x, tmp_path, spoil, words, monkeypatch):
    from bittwin.simulation import inputs

    np.save(tmp_path / "x.npy", spoil(x))
    for block in (1 << 20, 25):  # the place does not depend on the blocks
        monkeypatch.setattr(inputs, "_BLOCK", block)
        found = run(
            "simulate", saved, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"
        )
        assert found.code == 2
        assert words in found.err
        assert "layer 'first' reads unsigned codes of 8 bits" in found.err
        assert not (tmp_path / "y.npy").exists()


def test_bad_element_is_that_of_a_plain_search(tmp_path):
    """Corner values in random places: the first in C order, whatever its fault."""
    from bittwin.simulation import InputError, open_input

    rng = np.random.default_rng(0)
    for _ in range(60):
        x = rng.integers(0, 256, (6, 4)).astype(np.float64)
        for _ in range(rng.integers(1, 4)):
            x[rng.integers(6), rng.integers(4)] = rng.choice(
                [np.nan, -np.inf, 0.5, 255.5, 256, -1, 1e30]
            )
        np.save(tmp_path / "x.npy", x)
        wrong = [i for i in np.ndindex(x.shape) if x[i] not in range(256)]
        if not wrong:
            continue
        with pytest.raises(InputError, match=rf"element \[{wrong[0][0]}, {wrong[0][1]}\]: found"):
            open_input(tmp_path / "x.npy", codes=(0, 255, "x"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{net}", "--input", "{x}"), "found neither --output nor --trace"),
        (("{net}", "--output", "y.npy"), "Missing option '--input'"),
        (
            ("{tmp}/no.npz", "--input", "{x}", "--output", "{y}"),
            "found nothing, wanted a dump folder",
        ),
        (("{x}", "--input", "{x}", "--output", "{y}"), "x.npy: found no readable .npz"),
        (("{net}", "--input", "{tmp}/no.npy", "--output", "{y}"), "No such file"),
        (("{net}", "--input", "{net}", "--output", "{y}"), "wanted one, or one called 'input'"),
        (("{net}", "--input", "{tmp}/x.csv", "--output", "{y}"), "found the ending '.csv'"),
        (
            ("{net}", "--input", "{short}", "--output", "{y}"),
            "found shape [40, 11], wanted [frames, 12]",
        ),
        (("{net}", "--input", "{one}", "--output", "{y}"), "a frame axis is missing"),
        (("{net}", "--input", "{none}", "--output", "{y}"), "found 0 frames"),
        (("{net}", "--input", "{text}", "--output", "{y}"), "found type <U1"),
        (("{net}", "--input", "{object}", "--output", "{y}"), "found no readable .npy array"),
        (("{net}", "--input", "{cut}", "--output", "{y}"), "found no readable .npy array"),
        (("{net}", "--input", "{x}", "--output", "{x}"), "which is an input or another output"),
        (("{net}", "--input", "{x}", "--output", "{tmp}/y.bin"), "ends in .npy"),
        (("{net}", "--input", "{x}", "--output", "{tmp}/no/y.npy"), "there is no folder"),
        (("{net}", "--input", "{x}", "--output", "{tmp}/d.npy"), "found the folder"),
        (("{net}", "--input", "{x}", "--input", "{x}", "--output", "{y}"), "found 'input' twice"),
        (
            ("{net}", "--input", "{x}", "--output", "{y}", "--net", "0"),
            "a net's number belongs to a dump",
        ),
        (
            ("{net}", "--input", "{x}", "--output", "{y}", "--optimize", "{x}"),
            "belongs to an ONNX file",
        ),
        (
            ("{net}", "--input", "{x}", "--output", "{y}", "--frames", "41"),
            "found 0:41, wanted A:B",
        ),
        (("{net}", "--input", "{x}", "--trace", "{tmp}"), "exists; wanted a new name"),
        (("{dump}", "--input", "{x}", "--output", "{y}", "--net", "1"), "no net 1"),
        (("{two}", "--input", "{x}", "--output", "{y}"), "wanted NAME=FILE with a name of a, b"),
        (("{two}", "--input", "a={x}", "--output", "sum={y}"), "found no file for b"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    run, network, saved, dump, x, tmp_path, arguments, words
):
    two_way().save(tmp_path / "two.npz")
    (tmp_path / "d.npy").mkdir()
    (tmp_path / "x.csv").write_text("1")
    names = {"x": x, "short": x[:, :11], "one": x[0], "none": x[:0], "text": np.array([["a"]]),
             "object": np.array([[None]])}  # fmt: skip
    for name, array in names.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    places = {name: tmp_path / f"{name}.npy" for name in (*names, "cut", "y")}
    before = sorted(p.name for p in tmp_path.iterdir())
    places |= {"net": saved, "dump": dump, "tmp": tmp_path, "two": tmp_path / "two.npz"}
    found = run("simulate", *(a.format(**places) for a in arguments))
    assert found.code == 2
    assert found.out == ""
    assert words in found.err
    assert len(found.err.splitlines()) == 1
    assert found.err.startswith("bittwin: error: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_onnx_without_the_extra_names_it(run, x, tmp_path, monkeypatch):
    for name in [m for m in sys.modules if m == "onnx" or m.startswith(("onnx.", "bittwin.onnx"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    found = run(
        "simulate",
        tmp_path / "net.onnx",
        "--input",
        tmp_path / "x.npy",
        "--output",
        tmp_path / "y.npy",
    )
    assert found.code == 2
    assert "net.onnx" in found.err
    assert "bittwin[onnx]" in found.err


def test_shapes_are_refused_before_the_run(run, tmp_path):
    """A network that states no input shape still refuses one that its layers cannot take."""
    fc = Linear("fc", codes(3, 7, low=-9, high=9).astype(np.int8), None, bittwin.readout(256))
    Network([fc]).save(tmp_path / "n.npz")
    np.save(tmp_path / "x.npy", codes(4, 6).astype(np.uint8))
    found = run(
        "simulate",
        tmp_path / "n.npz",
        "--input",
        tmp_path / "x.npy",
        "--output",
        tmp_path / "y.npy",
    )
    assert found.code == 2
    assert "layer 'fc': found input shape (6,), wanted (..., 7)" in found.err


def test_signed_and_wide_inputs_have_their_own_range(run, tmp_path):
    fc = Linear(
        "fc", codes(3, 4, low=-9, high=9).astype(np.int8), None, bittwin.readout(256), 12, True
    )
    Network([fc], input_shape=(4,)).save(tmp_path / "n.npz")
    x = np.array([[-4095, 4095, 0, -1]], np.float32)
    np.save(tmp_path / "x.npy", x)
    arguments = (
        "simulate",
        tmp_path / "n.npz",
        "--input",
        tmp_path / "x.npy",
        "--output",
        tmp_path / "y.npy",
    )
    assert run(*arguments).code == 0
    assert np.array_equal(np.load(tmp_path / "y.npy"), fc.run(x.astype(np.int16)))
    np.save(tmp_path / "x.npy", x - 1)
    assert "element [0, 0]: found -4096.0, wanted an integer -4095..4095" in run(*arguments).err


def test_progress_and_modules_stay_light(saved, x, tmp_path):
    """In a pipe: no bar, and neither rich nor matplotlib nor torch is imported."""
    code = (
        "import sys; from bittwin.cli.main import main\n"
        f"main(['simulate', {str(saved)!r}, '--input', {str(tmp_path / 'x.npy')!r},"
        f" '--output', {str(tmp_path / 'y.npy')!r}])\n"
        "print([m for m in ('rich', 'matplotlib', 'torch', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""
