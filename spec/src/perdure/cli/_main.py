"""The program: commands of this package, and those that plugins add when they are wanted."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import typer
from typer.core import TyperGroup

from perdure.cli import _admin, _history, _read, _upkeep, _write
from perdure.cli._errors import ExitCode, run_guarded, wants_json
from perdure.cli._forms import printable

__all__ = ["COMMANDS", "Program", "build", "main"]

#: The entry point group of commands.
COMMANDS = "perdure.commands"

HELP = "Storage for what an AI agent remembers: put, find, branch, merge and look after a store."


class Program(TyperGroup):
    """The root of all commands: loads plugins when a command is not its own, and tells of errors."""

    plugins_loaded = False

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        standalone = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        code = run_guarded(partial(super().main, words, *rest, **extra), as_json=wants_json(words))
        if standalone:
            sys.exit(code)
        return code

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader, such as `head`, has had enough. What is still buffered must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None

    def list_commands(self, ctx: Any) -> list[str]:
        self._load_plugins()
        return sorted(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._load_plugins()
        return self.commands.get(cmd_name)

    def _load_plugins(self) -> None:
        if not self.plugins_loaded:
            self.plugins_loaded = True
            load_plugins(self.commands)


def load_plugins(commands: MutableMapping[str, Any]) -> None:
    """Add the commands of every plugin; one that fails, or takes a name that is taken, is only warned of."""
    owners = dict.fromkeys(commands, "perdure")
    for point in sorted(entry_points(group=COMMANDS), key=lambda p: (p.name, p.value)):
        owner = point.dist.name if point.dist is not None else "an unknown distribution"
        try:
            added = dict(_commands_of(point))
        except Exception as error:
            _warn(f"the commands {point.name!r} of {owner} cannot be loaded: {type(error).__name__}: {error}")
            continue
        for name, command in added.items():
            if owners.setdefault(name, owner) != owner:
                _warn(f"{owner} adds a command {name!r}, which {owners[name]} has already; it is left out")
            else:
                commands[name] = command


def _commands_of(point: EntryPoint) -> Iterator[tuple[str, Any]]:
    """The commands that a plugin registers, on an app of its own so that half a plugin adds nothing."""
    app = typer.Typer()
    point.load()(app)
    if app.registered_commands or app.registered_groups:
        app.callback()(_no_callback)
        yield from typer.main.get_group(app).commands.items()


def _no_callback() -> None:
    """Makes typer build a group even where there is one command."""


def _warn(text: str) -> None:
    if "_PERDURE_COMPLETE" not in os.environ:  # a shell that completes a word shows stderr too
        typer.echo(f"warning: {printable(text)}", err=True)


def build() -> typer.Typer:
    """A new app with the commands of this package; plugins come when they are wanted."""
    app = typer.Typer(
        name="perdure",
        cls=Program,
        help=HELP,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    for area in (_admin, _read, _write, _history, _upkeep):
        area.register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perdure {version('perdure')}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    show_version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Print the version and exit."
    ),
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> None:
    """Run the program; never returns normally.

    Args:
        args: The words after the program's name; None: those of this process.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        build()(words, prog_name="perdure")
    except Exception:
        traceback.print_exc()
        typer.echo("error[bug]: perdure has a bug; please report it with the lines above", err=True)
        sys.exit(ExitCode.BUG)
