# SPDX-License-Identifier: Apache-2.0
"""Errors that bittwin raises for bad files and networks.

Bad *arguments* of a function raise the built-in ``TypeError`` (wrong kind of thing) or ``ValueError``
(right kind, impossible value). Bad *files* and *networks* raise the classes below, which are
``ValueError`` too, so one ``except ValueError`` covers every refusal.
"""

from __future__ import annotations


class BittwinError(Exception):
    """Base of the errors that bittwin defines itself."""


class DumpError(BittwinError, ValueError):
    """A dump folder, or a file in it, cannot be read: says which file, what was found, what was wanted."""


class NetworkError(BittwinError, ValueError):
    """A network, or a file that should hold one, is not usable: says which layer or field and why."""
