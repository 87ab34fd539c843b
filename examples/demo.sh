#!/bin/sh
# `make demo`: the main job on the bundled example, first where all is well, then where it is not.
here=$(dirname "$0")
echo "== 1. Does the simulation reproduce the mapper's golden codes, every layer, every frame?"
echo "\$ bittwin verify examples/digits/dump"
"$BITTWIN" verify "$here/digits/dump" || exit 1
echo
echo "== 2. A programmed chip was measured. Which layer is off, where, and why?"
echo "\$ bittwin verify examples/digits/dump --measured examples/digits/measured.bin"
"$BITTWIN" verify "$here/digits/dump" --measured "$here/digits/measured.bin"
code=$?
# 1 means "differs", and this measurement is made to differ; anything else is a failure of the demo.
[ "$code" -eq 1 ] || { echo "demo: expected exit code 1, got $code" >&2; exit 1; }
echo
echo "Exit code 1: the measurement differs, and the report says where. (The faults were put there: see"
echo "examples/make_digits.py.)"
