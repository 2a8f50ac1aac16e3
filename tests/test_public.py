"""What is public is listed, sorted, there, and documented."""

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["workspace"][
    "members"
]


def public_modules() -> dict[str, Path]:
    """Dotted name → file of every module whose name has no private part."""
    found = {}
    for room in ROOMS:
        source = ROOT / room / "src"
        for path in sorted(source.rglob("*.py")):
            parts = [part for part in path.relative_to(source).with_suffix("").parts if part != "__init__"]
            if all(part.isidentifier() and not part.startswith("_") for part in parts):
                found[".".join(parts)] = path
    return found


MODULES = public_modules()


def listed(path: Path) -> list[str]:
    """The literal `__all__` of a file."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            names = ast.literal_eval(node.value)
            assert isinstance(names, list), f"{path.name}: write __all__ as a list"
            return names
    pytest.fail(
        f"{path.relative_to(ROOT).as_posix()} has no __all__; list its public names there, or make it private"
    )


def bound(path: Path, module: str) -> set[str]:
    """The public names that a file defines at its top level, or takes over from its own package."""
    names: set[str] = set()
    for node in ast.parse(path.read_bytes()).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names.update(target.id for target in node.targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.ImportFrom() if path.name == "__init__.py" and (
                node.level or f"{node.module}.".startswith(f"{module}.")
            ):
                names.update(alias.asname or alias.name for alias in node.names)
    return {name for name in names if not name.startswith("_")}


def order(name: str) -> tuple[int, list[str | int]]:
    """Constants, then classes, then the rest, each in natural order: the order that ruff keeps (RUF022)."""
    group = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    return group, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@pytest.mark.parametrize("module", MODULES)
def test_the_list_is_sorted_and_complete(module: str) -> None:
    names = listed(MODULES[module])
    assert names == sorted(set(names), key=order)
    missing = bound(MODULES[module], module) - set(names)
    assert not missing, f"{module} binds {sorted(missing)} but does not list them in __all__"


@pytest.mark.parametrize("module", MODULES)
def test_each_name_is_there_and_documented(module: str) -> None:
    loaded = importlib.import_module(module)
    assert inspect.getdoc(loaded), f"{module} has no docstring"
    for name in listed(MODULES[module]):
        assert hasattr(loaded, name), f"{module} lists {name} in __all__ but does not have it"
        thing = getattr(loaded, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert thing.__doc__, f"{module}.{name} has no docstring"
