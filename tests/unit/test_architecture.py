# SPDX-License-Identifier: Apache-2.0
"""The floors: a module imports only from its own floor and from floors below it.

CONTRIBUTING.md has the table. Python imports are read with `ast`, so that an import inside a function
counts too; C++ includes are read line by line. The last tests feed the checkers with broken trees.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bittwin

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "bittwin"
CSRC = ROOT / "csrc"

#: Floor of each module or folder of the package; the facade `bittwin/__init__.py` is apart.
FLOORS = {
    "_core": 3,
    **dict.fromkeys(
        ("_check", "_conv_settings", "_files", "_npz", "_products", "errors", "bounds", "functional",
         "conv", "packed", "values", "activation",
         "split", "cmodel", "chips", "requant", "kernel_info", "threads",
         "digital", "tables", "recurrent", "optimize"), 4),
    "network": 5,
    **dict.fromkeys(("golden", "onnx", "noise", "mapping", "simulation"), 6),
    "nn": 7,
    **dict.fromkeys(("cli", "compat", "testing", "selftest", "_selftest_cases", "_selftest_vectors",
                     "__main__"), 8),
}  # fmt: skip
FACADE_FLOOR = 4
#: Other people's packages, and the modules that may import them.
ONLY_IN = {
    "torch": ("nn", "compat"),
    "hypothesis": ("testing",),
    "onnx": ("onnx",),
    "matplotlib": ("mapping",),
    "click": ("cli",),
    "rich": ("cli", "golden"),  # golden prints its report with it
}
Facade = dict[str, str]


def facade_names(package: Path) -> Facade:
    """Public name -> module it comes from, as `__init__.py` says: its imports and its lazy table."""
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    names: Facade = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bittwin."):
            names |= {alias.asname or alias.name: str(node.module) for alias in node.names}
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if (
                    isinstance(key, ast.Constant)
                    and isinstance(value, ast.Constant)
                    and str(value.value).startswith("bittwin.")
                ):
                    names[str(key.value)] = str(value.value)
    return names


def imported(tree: ast.AST, module: str, is_package: bool, facade: Facade) -> Iterator[str]:
    """Every module that the code of `module` names in an import, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                source = ".".join([*parts, *([source] if source else [])])
            if source == "bittwin":
                yield from (facade.get(a.name, f"bittwin.{a.name}") for a in node.names)
            else:
                yield source
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "bittwin"
        ):
            yield facade.get(node.attr, f"bittwin.{node.attr}")
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant))


def top_of(module: str) -> str:
    """`bittwin.golden.reading.reader` -> `golden`."""
    return module.split(".")[1]


def without_type_checking(tree: ast.Module) -> ast.Module:
    """The module without its `if TYPE_CHECKING:` blocks and without function bodies: what runs at import."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        and not isinstance(node, ast.FunctionDef)
    ]
    return ast.Module(kept, [])


def python_violations(package: Path) -> list[str]:
    """Sentences `file: imports X, which ...` for every import that the floors forbid."""
    facade = facade_names(package)
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(("bittwin", *(parts[:-1] if is_package else parts)))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(package).as_posix()
        if module == "bittwin":
            floor, top = FACADE_FLOOR, "the facade"
            tree = without_type_checking(tree)
        elif (top := top_of(module)) in FLOORS:
            floor = FLOORS[top]
        else:
            found.append(f"{where}: has no floor, add {top} to FLOORS")
            continue
        for name in imported(tree, module, is_package, facade):
            outer, _, _ = name.partition(".")
            if outer in ONLY_IN and top not in ONLY_IN[outer]:
                found.append(f"{where}: imports {outer}, which only {ONLY_IN[outer]} may")
            if not name.startswith("bittwin.") or top_of(name) == "__version__":
                continue
            target = top_of(name)
            if target not in FLOORS:
                found.append(f"{where}: imports {name}, which has no floor")
            elif FLOORS[target] > floor:
                found.append(f"{where}: floor {floor} imports {target} of floor {FLOORS[target]}")
    return found


_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
#: First folder of an include that a folder of csrc must not use; "" stands for all of csrc.
_FORBIDDEN = {
    "": ("torch", "ATen", "c10", "numpy"),
    "include": ("kernels", "bindings", "pybind11", "Python.h"),
    "kernels": ("bindings", "pybind11", "Python.h"),
}


def include_violations(csrc: Path) -> list[str]:
    """Sentences `file: includes X` for every include that the floors forbid."""
    found = []
    for path in sorted(
        p for p in csrc.rglob("*") if p.suffix in (".h", ".hpp", ".cpp", ".cc", ".inl")
    ):
        top = path.relative_to(csrc).parts[0]
        for include in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            first = include.removeprefix("../").partition("/")[0]
            if first in (*_FORBIDDEN[""], *_FORBIDDEN.get(top, ())):
                found.append(f"{path.relative_to(csrc).as_posix()}: includes {include}")
    return found


def test_python_imports_go_down_only() -> None:
    assert python_violations(PACKAGE) == []


def test_cpp_includes_go_down_only() -> None:
    assert len(list(CSRC.rglob("*.h"))) > 10
    assert include_violations(CSRC) == []


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, bittwin\n"
        f"loaded = sorted(set({sorted(ONLY_IN)}) & set(sys.modules))\n"
        "loaded += [m for m in sys.modules if m.startswith(('bittwin.golden', 'bittwin.cli'))]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [n for n in bittwin.__all__ if n != "__version__"])
def test_public_name_has_docstring(name: str) -> None:
    text = inspect.getdoc(getattr(bittwin, name))
    assert text, f"bittwin.{name}: found no docstring"
    # A dataclass without one gets its own signature for a docstring.
    assert not text.startswith(f"{name}("), f"bittwin.{name}: found only a generated docstring"


def test_all_public_names_are_listed_once_and_exist() -> None:
    assert len(set(bittwin.__all__)) == len(bittwin.__all__)
    assert set(bittwin.__all__) <= set(dir(bittwin))


@pytest.mark.parametrize(
    ("file", "code", "sentence"),
    [
        ("functional.py", "import bittwin.network", "floor 4 imports network of floor 5"),
        ("functional.py", "from bittwin.golden.reading.reader import x", "floor 4 imports golden of floor 6"),
        ("functional.py", "def f():\n    from bittwin import Network", "floor 4 imports network of floor 5"),
        ("functional.py", "import bittwin\nbittwin.verify()", "floor 4 imports golden of floor 6"),
        ("network/a.py", "from ..golden import Dump", "floor 5 imports golden of floor 6"),
        ("network/__init__.py", "from .. import cli", "floor 5 imports cli of floor 8"),
        ("golden/a.py", "import_module('bittwin.nn.linear')", "floor 6 imports nn of floor 7"),
        ("golden/a.py", "import torch.nn", "imports torch"),
        ("selftest.py", "from hypothesis import given", "imports hypothesis"),
        ("__init__.py", "from bittwin import golden", "floor 4 imports golden of floor 6"),
        ("odd.py", "import os", "has no floor"),
    ],
)  # fmt: skip
def test_checker_notices_an_import_upwards(
    tmp_path: Path, file: str, code: str, sentence: str
) -> None:
    lazy = {"Network": "bittwin.network", "verify": "bittwin.golden"}
    facade = f"from bittwin.requant import readout\n_LAZY = {lazy}\n"
    (tmp_path / "__init__.py").write_text(facade, encoding="utf-8")
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    assert python_violations(tmp_path) == []
    with path.open("a", encoding="utf-8") as stream:
        stream.write(code + "\n")
    found = python_violations(tmp_path)
    assert len(found) == 1, found
    assert found[0].startswith(f"{file}: ")
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("include/bittwin/a.h", '"kernels/kernels.h"'),
        ("include/bittwin/a.h", "<pybind11/numpy.h>"),
        ("kernels/a.cpp", '"bindings/arrays.h"'),
        ("kernels/a.h", "<pybind11/pybind11.h>"),
        ("bindings/a.cpp", "<torch/extension.h>"),
    ],
)
def test_checker_notices_an_include_upwards(tmp_path: Path, file: str, include: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text('#include <cstdint>\n#include "bittwin/rounding.h"\n', encoding="utf-8")
    assert include_violations(tmp_path) == []
    path.write_text(f"#  include {include}\n", encoding="utf-8")
    assert include_violations(tmp_path) == [f"{file}: includes {include[1:-1]}"]
