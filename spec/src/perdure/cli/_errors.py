"""Exit codes, and how an error is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NoReturn, cast

try:
    import typer
except ModuleNotFoundError as error:
    need = "the command line needs typer and rich; try: pip install 'perdure[cli]'"
    raise ModuleNotFoundError(need, name=error.name) from None

from perdure import (
    Conflict,
    InvalidInput,
    MergeConflict,
    NotFound,
    PerdureError,
    PermissionDenied,
    PluginError,
    Retryable,
    StorageError,
    Unsupported,
)
from perdure.cli._forms import conflict_document, printable, to_json

__all__ = ["ExitCode", "exit_code", "finish", "report", "run_guarded", "wants_json"]

# Older and newer typer keep this class in different private places; its name and methods are the same.
UsageProblem = cast(
    type[Exception], next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
)


class ExitCode(IntEnum):
    """What the program's exit code says; see docs/reference/cli.md."""

    OK = 0
    FINDINGS = 1  #: it ran, and found something: damage, merge conflicts, a mismatch
    USAGE = 2  #: the command line, a filter, a record or a ref is malformed
    NOT_FOUND = 3
    CONFLICT = 4  #: somebody else was first, or the name is taken
    RETRYABLE = 5  #: busy or unavailable: the same command may succeed later
    STORAGE = 6  #: the disk or the engine failed, or the store is corrupt or incompatible
    REFUSED = 7  #: unsupported, forbidden, or a plugin is broken
    BUG = 70  #: perdure itself failed; please report it
    INTERRUPTED = 130


_CODES: tuple[tuple[type[PerdureError], ExitCode], ...] = (
    (InvalidInput, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (MergeConflict, ExitCode.FINDINGS),
    (Conflict, ExitCode.CONFLICT),
    (Retryable, ExitCode.RETRYABLE),
    (StorageError, ExitCode.STORAGE),
    (Unsupported, ExitCode.REFUSED),
    (PermissionDenied, ExitCode.REFUSED),
    (PluginError, ExitCode.REFUSED),
)


def exit_code(error: PerdureError) -> ExitCode:
    """The exit code that tells of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.STORAGE)


def finish(code: ExitCode | int) -> NoReturn:
    """End the command with an exit code, without a message."""
    raise typer.Exit(int(code))


def wants_json(args: Sequence[str]) -> bool:
    """Whether a command line asks for JSON; needed where it cannot be parsed at all."""
    words = list(args)
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def report(error: PerdureError, *, as_json: bool) -> None:
    """Tell of an error on stderr: ``error[code]: message``, or one JSON document."""
    _tell(error.code, error.message, _detail(error), as_json)


def _detail(error: PerdureError) -> dict[str, Any]:
    detail = dict(error.detail)
    if isinstance(error, MergeConflict):
        detail["conflicts"] = [conflict_document(conflict) for conflict in error.conflicts]
    return detail


def _tell(code: str, message: str, detail: dict[str, Any], as_json: bool) -> None:
    if as_json:
        text = to_json({"error": code, "message": printable(message, lines=True), "detail": detail})
    else:
        text = f"error[{code}]: {printable(message, lines=True)}"
    typer.echo(text, err=True)


def run_guarded(work: Callable[[], object], *, as_json: bool) -> int:
    """Run a command; what it raises on purpose is told on stderr and becomes an exit code.

    Args:
        work: Parses and runs; an int that it returns is the exit code.
        as_json: Tell of errors in JSON.

    Returns:
        The exit code. An exception that is a bug passes through.
    """
    try:
        result = work()
        sys.stdout.flush()
        return result if isinstance(result, int) and not isinstance(result, bool) else ExitCode.OK
    except PerdureError as error:
        report(error, as_json=as_json)
        return exit_code(error)
    except UsageProblem as error:
        _tell("usage", *_usage(error), as_json)
        return ExitCode.USAGE
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _tell("interrupted", "stopped; nothing more was done", {}, as_json)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        _tell("storage_error", f"{error.strerror or error}", {"file": error.filename}, as_json)
        return ExitCode.STORAGE


def _usage(error: Any) -> tuple[str, dict[str, Any]]:
    context = getattr(error, "ctx", None)
    message = str(error.format_message())
    if context is None:
        return message, {}
    return f"{message}\ntry: {context.command_path} --help", {"command": context.command_path}
