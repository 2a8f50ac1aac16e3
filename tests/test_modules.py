"""The size and the packaging of source modules."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["workspace"][
    "members"
]
LONGEST = 500  # lines


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_stays_short(room: str) -> None:
    long = []
    for path in sorted((ROOT / room / "src").rglob("*.py")):
        lines = path.read_bytes().count(b"\n")
        if lines > LONGEST:
            long.append(
                f"{path.relative_to(ROOT).as_posix()}: {lines} lines, more than {LONGEST}; split it by job"
            )
    assert not long, "\n".join(long)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_complete(room: str) -> None:
    (package,) = [path for path in (ROOT / room / "src").iterdir() if not path.name.startswith((".", "__"))]
    needed = [ROOT / room / "README.md", package / "__init__.py", package / "py.typed"]
    assert [path.relative_to(ROOT).as_posix() for path in needed if not path.is_file()] == []
