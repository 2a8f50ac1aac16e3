"""A store on disk, and the program run in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from perdure.cli._main import build
from typer.testing import CliRunner


@dataclass(frozen=True)
class Ran:
    """What one run of the program said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        (document,) = self.lines
        return document

    @property
    def error(self) -> Any:
        """Standard error as one JSON document."""
        return json.loads(self.err)


Run = Callable[..., Ran]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'agent.db'}"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program; `input` is text, bytes, or a list of objects that become JSON lines."""
    monkeypatch.delenv("PERDURE_URL", raising=False)
    app, runner = build(), CliRunner()

    def run(*words: str, input: Any = None) -> Ran:
        if isinstance(input, list):
            input = "".join(json.dumps(item) + "\n" for item in input)
        done = runner.invoke(app, list(words), input=input, prog_name="perdure", catch_exceptions=False)
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def filled(run: Run, url: str) -> str:
    """The URL of a store with five memories (bug, fix, bug, …), a bound space of 3 numbers, and two vectors."""
    memories = [
        {"id": f"m{i}", "kind": "fix" if i % 2 else "bug", "text": f"text {i}", "importance": i / 10}
        for i in range(5)
    ]
    assert run("put", url, "memories", "-m", "first", input=memories).code == 0
    assert run("space", "create", url, "emb", "--dim", "3", "--table", "memories").code == 0
    vectors = [
        {"space": "emb", "id": "m1", "values": [1, 0, 0.1]},
        {"space": "emb", "id": "m2", "values": [0, 1, 0]},
    ]
    assert run("put", url, "vectors", input=vectors).code == 0
    return url
