"""The program as a process: start, plugins, pipes, terminals, and the URL of the environment."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, version
from pathlib import Path
from typing import Any

import pytest
import typer
from perdure.cli import ExitCode, _main

Entries = Callable[..., None]


def program(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from perdure.cli import main; main()", *words],
        capture_output=True, text=True, timeout=120, check=False, **more,
    )  # fmt: skip


def test_version_and_help() -> None:
    done = program("--version")
    assert (done.returncode, done.stdout) == (0, f"perdure {version('perdure')}\n")
    assert program().stdout == program("--help").stdout


def test_errors_have_no_traceback(tmp_path: Path) -> None:
    done = program("stats", f"sqlite:///{tmp_path / 'nope.db'}")
    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(r"error\[not_found\]: .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["nope"], ["find"], ["find", "--nope"], ["--nope"], ["branch"], ["branch", "nope"]]
)
def test_a_command_line_that_is_wrong(run: Any, words: list[str]) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[usage]: ")
    assert "--help" in done.err
    if words[-1] != "nope":
        assert run(*words, "--json").error["error"] == "usage"


def leaves() -> list[tuple[str, Any]]:
    """Every command of the program itself, with the words that call it."""
    found = []
    for name, command in typer.main.get_command(_main.build()).commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", None)
        found += [(name, command)] if children is None else [(f"{name} {n}", c) for n, c in children.items()]
    return found


def test_every_command_has_help_and_json(run: Any) -> None:
    assert len(leaves()) > 25
    for words, _ in leaves():
        done = run(*words.split(), "--help")
        assert done.code == 0
        assert "--json" in done.out, words


def test_the_reference_has_every_command_option_and_exit_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = {part.partition("`\n")[0]: part for part in page.split("\n### `perdure ")[1:]}
    assert sorted(sections) == sorted(words for words, _ in leaves())
    for words, command in leaves():
        for option in {name for param in command.params for name in param.opts if name.startswith("--")}:
            assert re.search(rf"`{option}[ `]", sections[words]) or option == "--help", (words, option)
    for code in ExitCode:
        assert f"\n| {code.value} | " in page


def test_the_url_may_come_from_the_environment(
    run: Any, filled: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PERDURE_URL", filled)
    assert run("count", "memories").out == "5\n"
    assert run("count", "memories", "--where", 'text != "a://b"').out == "5\n"
    assert run("get", "memories", "m1", "m2", "--json").code == 0
    assert run("stats").code == run("branch", "list").code == 0
    assert run("diff", "main", "main").code == 0
    assert run("count", f"sqlite:///{tmp_path / 'other.db'}", "memories").code == 3
    assert run("count").code == 2
    assert run("backup", str(tmp_path / "b")).code == 0


def test_a_reader_that_stops_early_is_no_error(url: str, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": f"m{i:05}", "text": "x" * 100}) + "\n" for i in range(3_000))
    assert program("put", url, "memories", input=lines).returncode == 0
    line = "from perdure.cli import main; main()"
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "{line}" find "$1" memories --all --json | head -n 1', sys.executable, url],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == "m00000"


def test_ctrl_c_ends_with_130(url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from perdure.cli import main; main()", "put", url, "memories", "--chunk", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write('{"id": "a"}\n' * 20_000)  # more than a pipe holds: it has begun to read
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors


def on_terminal(*words: str, answer: bytes = b"", **environment: str) -> tuple[int, str]:
    """Run the program on a terminal of 60 columns; its exit code, and all that it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"COLUMNS": "60", "TERM": "xterm", **environment})
        os.execv(sys.executable, [sys.executable, "-c", "from perdure.cli import main; main()", *words])
    if answer:
        os.write(terminal, answer)
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:
            break
        if not piece:
            break
        written += piece
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), written.decode()


def test_a_terminal_gets_a_table_that_fits(run: Any, url: str) -> None:
    run("put", url, "memories", input=[{"id": "k" * 70, "text": "[bold]x[/bold] \x1b[2J" + "y" * 200}])
    code, text = on_terminal("find", url, "memories", "--columns", "id,text")
    assert code == 0
    assert "\x1b[1m" in text  # the header
    assert text.count("k") >= 70  # the key is folded, not cut
    assert "[bold]x" in text
    assert "\x1b[2J" not in text
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 60
    code, plain = on_terminal("find", url, "memories", "--columns", "id,text", NO_COLOR="1")
    assert "\x1b[3" not in plain


def test_what_has_no_way_back_is_asked_on_a_terminal(run: Any, filled: str) -> None:
    code, text = on_terminal("purge", filled, "memories", "m1", answer=b"n\n")
    assert code == 130
    assert "Erase 1 of memories" in text
    assert run("count", filled, "memories").out == "5\n"
    code, _ = on_terminal("purge", filled, "memories", "m1", answer=b"y\n")
    assert code == 0
    code, text = on_terminal("purge", filled, "memories", "m2", "--yes")
    assert code == 0
    assert "Erase" not in text
    assert run("count", filled, "memories").out == "3\n"


# --------------------------------------------------------------------------------------------- plugins


class _Owner(Distribution):
    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: {self._name}\nVersion: 1\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        return Path(path)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs entry points: distribution name=function that registers (or the error of loading it)."""

    class Point(EntryPoint):
        def load(self) -> Any:
            register = found[self.name]
            if isinstance(register, Exception):
                raise register
            return register

    found: dict[str, Any] = {}

    def install(**registers: Any) -> None:
        found.update(registers)
        points = [Point(name, f"{name}:register", _main.COMMANDS)._for(_Owner(name)) for name in registers]  # type: ignore[attr-defined]
        monkeypatch.setattr(_main, "entry_points", lambda group: points if group == _main.COMMANDS else [])

    return install


def hello(app: typer.Typer) -> None:
    @app.command("hello")
    def say(name: str) -> None:
        typer.echo(f"hello {name}")


def test_a_plugin_adds_commands(run: Any, plugins: Entries) -> None:
    def several(app: typer.Typer) -> None:
        group = typer.Typer()
        group.command("one")(lambda: typer.echo("1"))
        group.command("two")(lambda: typer.echo("2"))
        app.add_typer(group, name="numbers")
        app.command("three")(lambda: typer.echo("3"))

    plugins(greeter=hello, counter=several)
    assert run("hello", "you").out == "hello you\n"
    assert (run("numbers", "two").out, run("three").out) == ("2\n", "3\n")
    assert "hello" in run("--help").out


def test_a_plugin_that_fails_is_named_and_does_no_harm(run: Any, plugins: Entries, filled: str) -> None:
    def half(app: typer.Typer) -> None:
        hello(app)
        raise RuntimeError("no\x1b[2J")

    plugins(broken=ImportError("gone"), half=half, greeter=hello)
    assert run("count", filled, "memories").err == ""  # plugins are not loaded for a command of its own
    done = run("hello", "you")
    assert done.out == "hello you\n"
    assert done.err.splitlines() == [
        "warning: the commands 'broken' of broken cannot be loaded: ImportError: gone",
        "warning: the commands 'half' of half cannot be loaded: RuntimeError: no\\x1b[2J",
    ]


def test_a_plugin_takes_no_name_that_is_taken(run: Any, plugins: Entries, filled: str) -> None:
    def thief(app: typer.Typer) -> None:
        app.command("count")(lambda: typer.echo("stolen"))
        app.command("hello")(lambda: typer.echo("stolen"))

    plugins(a=hello, thief=thief)
    assert run("hello", "you").out == "hello you\n"
    assert run("count", filled, "memories").out == "5\n"
    assert "thief adds a command 'count', which perdure has already" in run("--help").err


def test_a_shell_can_complete(url: str) -> None:
    environment = {
        **os.environ,
        "_PERDURE_COMPLETE": "complete_bash",
        "COMP_WORDS": "perdure find x m",
        "COMP_CWORD": "3",
    }
    assert "memories" in program(env=environment).stdout
