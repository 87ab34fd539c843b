# SPDX-License-Identifier: Apache-2.0
"""Running a whole network over files: what `bittwin simulate` does."""

from __future__ import annotations

from bittwin.simulation.inputs import InputCodes, InputError, code_range, open_input, takes_values
from bittwin.simulation.run import Simulation
from bittwin.simulation.sources import Source, load_source

__all__ = [
    "InputCodes",
    "InputError",
    "Simulation",
    "Source",
    "code_range",
    "load_source",
    "open_input",
    "takes_values",
]
