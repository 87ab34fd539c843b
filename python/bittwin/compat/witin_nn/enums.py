# SPDX-License-Identifier: Apache-2.0
"""The vendor tool's enumerations, with its names and numbers."""

from __future__ import annotations

from enum import Enum


class HandleNegInType(Enum):
    """What a layer does with negative inputs (the chip's input converter is unsigned)."""

    FALSE = 1  #: codes below 0 become 0 (Conv2d: a signed input code instead)
    PN = 2  #: the positive and the negative part run separately and are subtracted
    Shift = 3  #: `shift_num` is added to the input and taken out again through the bias


class HardwareType(Enum):
    """Where a layer runs: on the array or on the vector unit."""

    ARRAY = 1
    VPU = 2


class NoiseModel(Enum):
    """Noise models of the tool; not part of this release, see `noise_level`."""

    NORMAL = 1
    ARRMDL = 2
    MBS = 3
    SIMPLE = 4


class ParamType(Enum):
    """Stand-in for a value: WITIN_GLOBAL takes the global configuration's."""

    WITIN_AUTO = 1
    WITIN_GLOBAL = 2


class TargetPlatform(Enum):
    """Chips of the family; without effect on the array operators at noise level 0."""

    WTM2101 = 1
    WTM2100 = 2
    ANKE = 3
    HE01 = 11
    HE03 = 12
