"""Files of history: a new one is there when it is complete, and what the system says of it is one of our errors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from perdure._errors import AlreadyExists, PerdureError, StorageError

__all__ = ["new_file", "os_errors"]


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file to write to, which gets its name only when it is complete and on disk.

    It is written under another name beside it, synced, then given its own.

    Args:
        overwrite: Replace a file of that name.

    Raises:
        AlreadyExists: There is one, and `overwrite` is False.
        StorageError: It could not be written; nothing is left at the path.
    """
    with os_errors(str(path)):
        if path.exists() and not overwrite:
            raise _taken(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _publish(name, path, overwrite)
        finally:
            Path(name).unlink(missing_ok=True)


@contextmanager
def os_errors(name: str) -> Iterator[None]:
    """Operating system errors as ours.

    Raises:
        StorageError: One occurred; `name` says with what.
    """
    try:
        yield
    except PerdureError:  # several of them are OSErrors
        raise
    except OSError as error:
        raise StorageError(
            f"{name}: {error.strerror or error}; see that there is room and permission", os_error=str(error)
        ) from error


def _publish(name: str, path: Path, overwrite: bool) -> None:
    """Give the finished file its name, and make that durable."""
    if overwrite:
        os.replace(name, path)
    else:
        try:
            os.link(name, path)  # fails where somebody else was first; a rename would not
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # a file system without links
            if path.exists():
                raise _taken(path) from None
            os.rename(name, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _taken(path: Path) -> AlreadyExists:
    return AlreadyExists(
        f"there is a file {str(path)!r} already; choose another name, or ask to overwrite it", path=str(path)
    )
