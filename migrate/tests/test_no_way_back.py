"""The package has no way back to anything that runs what it reads: its syntax trees hold none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import perdure_migrate
import pytest

PACKAGE = Path(perdure_migrate.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

MODULES = {
    "_pickle", "cPickle", "cloudpickle", "code", "codeop", "copyreg", "dill", "imp", "importlib", "jsonpickle",
    "joblib", "marshal", "pandas", "pickle", "pkgutil", "runpy", "shelve", "torch", "yaml",
}  # fmt: skip
#: The one module of these that is imported, and what it is for.
ALLOWED = {("_sources.py", "importlib.metadata")}  # the entry points of installed sources, never of a file

CALLS = {"__import__", "compile", "eval", "exec", "open"}
#: Methods of any object; what is under numpy is named in full.
METHODS = {
    "import_module",
    "literal_eval",
    "load_module",
    "run_module",
    "run_path",
    "safe_eval",
    "unsafe_load",
}
NUMPY = {
    "fromfile",
    "frompyfunc",
    "load",
    "loadtxt",
    "genfromtxt",
    "memmap",
    "fromregex",
    "read_array",
    "open_memmap",
}
#: Of the reader alone: who reads files has no use for other programs; its parent starts it, and nothing else.
PROCESSES = {
    "subprocess": {"_reader.py"},
    "socket": {"_child.py", "_reader.py"},
    "ctypes": set(),
    "multiprocessing": set(),
}


def ways_back(path: Path, text: str) -> Iterator[str]:
    """What a file imports or calls that could run what it reads."""
    inert = "inert" in path.parts
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases):
                names = [f"{module}.{alias.name}" for alias in aliases] if module else []
            case ast.Call(func=ast.Name(id=name)) if name in CALLS and (inert or name != "open"):
                yield f"calls {name}"
                continue
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in NUMPY:
                yield f"uses numpy.{name}"
                continue
            case ast.Attribute(attr="load" | "loads" as name, value=ast.Name(id=of)) if of in MODULES:
                yield f"uses {of}.{name}"
                continue
            case ast.Attribute(attr=name) if name in METHODS:
                yield f"uses {name}"
                continue
            case ast.keyword(arg="allow_pickle"):
                yield "allows pickles"
                continue
            case _:
                continue
        for name in names:
            top = name.partition(".")[0]
            if top in MODULES and not any(
                path.name == file and name.startswith(module) for file, module in ALLOWED
            ):
                yield f"imports {name}"
            if inert and path.name not in PROCESSES.get(top, {path.name}):
                yield f"imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_has_a_way_back(path: Path) -> None:
    assert list(ways_back(path, path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from _pickle import Unpickler", "import joblib as j", "from torch import load",
        "import yaml.loader", "def f():\n    import marshal", "from importlib import import_module",
        "eval('1')", "exec('1')", "x = [compile(a, b, c)]", "__import__('os')", "open('x')",
        "np.load(file)", "numpy.load(file, allow_pickle=False)", "f = np.load", "np.lib.format.read_array(f, allow_pickle=True)",
        "ast.literal_eval(text)", "import subprocess", "import ctypes", "yaml.load(x)", "torch.load(x)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(text: str) -> None:
    assert list(ways_back(PACKAGE / "inert" / "_sample.py", text))


def test_every_file_is_searched() -> None:
    names = {path.name for path in FILES}
    assert {"_machine.py", "_child.py", "_reader.py", "_material.py", "cli.py"} <= names
