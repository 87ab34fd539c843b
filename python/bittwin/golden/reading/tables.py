# SPDX-License-Identifier: Apache-2.0
"""Completes a look-up table that was concluded from some of a dump's codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from bittwin.errors import DumpError
from bittwin.golden.reading.infer import Activation, table_label
from bittwin.golden.reading.pairs import Pair


def complete_table(found: Activation, pairs: Iterable[Pair]) -> Activation:
    """Look for the entries of a table that were never seen in more pairs of codes.

    A table is concluded from a bounded number of frames that the dump holds before and after the
    activation. Others are known only by the simulation of their input: an entry that nothing else
    shows is taken from there, since a guessed one would report correct codes as wrong.

    Args:
        found: any activation; all but an inferred table come back as they are.
        pairs: where to look, the best evidence first.

    Returns:
        The activation with the entries that these pairs show. A code that still was not seen
        keeps the entry of its nearest neighbour.
    """
    if found.seen is None or found.seen.all():
        return found
    from bittwin.network import Lookup

    seen = found.seen.copy()
    (layer,) = found.layers
    # By byte in the layer, by code -128..127 in `seen`.
    entries = np.roll(layer.table.view(np.uint8), 128)
    for pair in pairs:
        counts = np.zeros(65536, np.int64)
        try:
            for before, after in pair.blocks():
                place = before.astype(np.int64) + 128
                new = ~seen[place]
                joint = place[new] * 256 + (after.astype(np.int64)[new] & 255)
                counts += np.bincount(joint, minlength=65536)
        except DumpError:
            raise
        except (ValueError, OverflowError):
            continue  # the layer refuses these inputs: no evidence, and verify says so
        table = counts.reshape(256, 256)
        learnt = table.any(axis=1)
        entries[learnt] = table.argmax(axis=1)[learnt]
        seen |= learnt
        if seen.all():
            break
    label = table_label(int(seen.sum()))
    stored = np.roll(entries, 128).view(layer.table.dtype)
    note = found.note.replace(found.label, label, 1)
    return replace(
        found, layers=(Lookup(layer.name, table=stored),), label=label, note=note, seen=seen
    )
