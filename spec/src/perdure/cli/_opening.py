"""Opening what a command works on: a store, a file, and the question before something is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import typer

import perdure
from perdure import InvalidInput, NotFound, PerdureError, PermissionDenied, StorageError, Store

__all__ = ["confirm", "open_input", "open_store"]


def open_store(
    url: str, *, namespace: str = "default", branch: str = "main", write: bool = False, create: bool = False
) -> Store:
    """Open a store for a command.

    Args:
        url: The store.
        namespace: Whose memory.
        branch: The branch to read and write.
        write: Open to write; still nothing is created, so that a mistyped path is an error.
        create: Open to write, and create what is missing.

    Raises:
        NotFound: Nothing is there, and `create` is not given.
    """
    if write and not create:
        _look(url, namespace)
    mode = "rw" if write or create else "r"
    return perdure.open(url, namespace=namespace, branch=branch, mode=mode)  # type: ignore[arg-type]


def _look(url: str, namespace: str) -> None:
    """Raise `NotFound` where nothing is there; anything else is for the real opening to say."""
    try:
        perdure.open(url, namespace=namespace, mode="r").close()
    except NotFound:
        raise
    except PerdureError:
        pass


@contextmanager
def open_input(source: str) -> Iterator[BinaryIO]:
    """A file to read bytes from; ``-`` is standard input.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It is a directory, or the name cannot be one.
        PermissionDenied: It may not be read.
        StorageError: It cannot be read.
    """
    if source == "-":
        if sys.stdin.isatty():
            typer.echo("reading from the terminal; end with Ctrl-D, stop with Ctrl-C", err=True)
        yield sys.stdin.buffer
        return
    try:
        stream = open(source, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise NotFound(f"there is no file {source!r}") from None
    except (IsADirectoryError, ValueError):
        raise InvalidInput(f"{source!r} is not a file") from None
    except PermissionError:
        raise PermissionDenied(f"file {source!r} may not be read") from None
    except OSError as error:
        raise StorageError(f"file {source!r} cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that has no way back, where somebody is there to answer.

    Nothing is asked where `yes` was given or standard input is no terminal. A "no" ends the command as
    Ctrl-C does.
    """
    if not yes and sys.stdin.isatty():
        typer.confirm(question, err=True, abort=True)
