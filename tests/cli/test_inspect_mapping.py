# SPDX-License-Identifier: Apache-2.0
"""``bittwin inspect``: what a network takes of the chip, what does not fit, the picture."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bittwin
from bittwin.network import Linear, Network, Relu


@pytest.fixture
def tall(tmp_path):
    """A layer with more rows than a half of the array has."""
    weight = np.ones((4, 900), np.int8)
    layers = [Linear("tall", weight, None, bittwin.readout(16384)), Relu("tall.relu")]
    Network(layers, input_shape=(900,)).save(tmp_path / "tall.npz")
    return tmp_path / "tall.npz"


def test_a_dump_has_the_mappers_places(run, dump):
    found = run("inspect", dump)
    assert found.code == 0
    assert "on the array of WTM2101 (the mapper's own places)" in found.out
    assert (
        "in use: 256 of 1,835,008 cells (0.0 %); 20 of 1024 columns; 0 tables (2 slots)"
        in found.out
    )
    assert found.out.rstrip().endswith("fits")
    assert found.out.isascii()


def test_what_does_not_fit_is_named(run, tall):
    found = run("inspect", tall)
    assert found.code == 0
    assert (
        "does not fit: tall: rows: found 900, wanted at most 896 (one half of the array)"
        in found.out
    )
    assert (
        "note: tall: gain: found 16384: the register takes it, the mapper ends at 8192" in found.out
    )
    assert found.out.rstrip().endswith("does not fit WTM2101")
    assert "places are an estimate" in found.out
    assert run("inspect", tall, "--check").code == 1


def test_check_passes_what_fits(run, dump, network, tmp_path):
    network.save(tmp_path / "n.npz")
    assert run("inspect", dump, "--check").code == 0
    assert run("inspect", tmp_path / "n.npz", "--check").code == 0


def test_json(run, tall, dump):
    mapping = json.loads(run("inspect", tall, "--json", "-").out)["mapping"]
    assert mapping["fits"] is False
    assert mapping["placement"] == "estimate"
    assert mapping["blocks"][0]["rows"] == 900
    assert mapping["blocks"][0]["inside"] is False
    assert [(f["resource"], f["level"]) for f in mapping["findings"]] == [
        ("rows", "error"),
        ("gain", "warning"),
    ]
    assert mapping["layers"][0]["register_bytes"] == 904
    mapping = json.loads(run("inspect", dump, "--json", "-").out)["mapping"]
    assert mapping["fits"] is True
    assert mapping["placement"] == "map/layers.txt"
    assert mapping["blocks"][0]["region"]["rows"] == [0, 11]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_picture(run, dump, tmp_path, ending):
    pytest.importorskip("matplotlib")
    found = run("inspect", dump, "--picture", tmp_path / f"a.{ending}")
    assert found.code == 0, found.err
    assert (tmp_path / f"a.{ending}").stat().st_size > 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{ending}", "dump"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{dump}", "--picture", "{tmp}/a.pdf"), "found the ending '.pdf', wanted .svg or .png"),
        (("{dump}", "--picture", "{tmp}/no/a.svg"), "no such folder"),
        (("{dump}", "--optimize", "{dump}/addr.csv"), "an optimise config belongs to an ONNX file"),
        (("{tmp}/no",), "wanted a dump folder, an ONNX file or a network (.npz)"),
    ],
)
def test_refusals(run, dump, tmp_path, arguments, words):
    found = run("inspect", *(a.format(dump=dump, tmp=tmp_path) for a in arguments))
    assert found.code == 2
    assert found.out == ""
    assert words in found.err
    assert len(found.err.splitlines()) == 1


@pytest.mark.dumps
def test_real_networks_fit(run, shared_dir, tmp_path):
    """What is known to run on the chip fits; the mapper's own 512 rows of the head are found."""
    pytest.importorskip("onnx")
    models = shared_dir / "data" / "models"
    if not models.is_dir():
        pytest.skip(f"no models: {models} is not a folder")
    for name in ("kws_dnn", "gru2array", "attention_head", "dccrn"):
        config = models / f"{name}.optimize.protobuf"
        more = ("--optimize", config) if config.is_file() else ()
        found = run("inspect", models / f"{name}.onnx", *more, "--json", "-")
        assert found.code == 0, found.err
        mapping = json.loads(found.out)["mapping"]
        assert mapping["fits"], mapping["findings"]
        if name == "attention_head":
            assert mapping["blocks"][0]["rows"] == 512
