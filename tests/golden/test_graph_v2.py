# SPDX-License-Identifier: Apache-2.0
"""A graph written as version 2 of the network format: it stays in the tree and must read for ever."""

from __future__ import annotations

from pathlib import Path

import graph_v2
import numpy as np
import pytest

import bittwin

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "network_v2_codes.npz") as archive:
        return {name: archive[name] for name in archive.files}


def test_the_file_reads_and_its_codes_are_the_oracles(golden: dict[str, np.ndarray]) -> None:
    network = bittwin.load_network(DATA / "network_v2.npz")
    x = {name: golden[f"input/{name}"] for name in network.input_shapes}
    trace = network.run(x, trace=True)
    for key, wanted in golden.items():
        kind, _, name = key.partition("/")
        if kind == "codes":
            np.testing.assert_array_equal(trace[name], wanted, err_msg=name)
    outputs = network.run(x)
    assert list(outputs) == ["memory", "sum"]
    np.testing.assert_array_equal(outputs["memory"], golden["codes/memory"])
    stream = network.stream()
    for i in range(graph_v2.FRAMES):
        step = stream.step({name: codes[i] for name, codes in x.items()})
        np.testing.assert_array_equal(step["memory"], golden["codes/memory"][i])


def test_the_file_is_the_graph_that_the_code_builds() -> None:
    assert bittwin.load_network(DATA / "network_v2.npz") == graph_v2.network()


def test_the_recorded_codes_are_the_oracles(golden: dict[str, np.ndarray]) -> None:
    x = graph_v2.inputs()
    for name, codes in x.items():
        np.testing.assert_array_equal(golden[f"input/{name}"], codes)
    for name, codes in graph_v2.oracle_codes(x).items():
        np.testing.assert_array_equal(golden[f"codes/{name}"], codes, err_msg=name)
        assert len(np.unique(codes)) > 5, name
