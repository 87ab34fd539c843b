# SPDX-License-Identifier: Apache-2.0
"""The contract of the datapath as check functions, and the implementations they are run on.

The same checks are run on the public API, on the contract headers, and on headers with one mistake
in them (tests/mutants), where they must fail.
"""
