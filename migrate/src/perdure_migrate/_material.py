"""What a source is made of: files, each read once through one handle, never written, never followed away."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from perdure import InvalidInput, InvalidRecord, NotFound, PermissionDenied, StorageError

from perdure_migrate.inert import Limits, Reader, Seen

__all__ = ["FileMaterial", "Material", "gather"]


@dataclass(eq=False)
class FileMaterial:
    """One regular file. `tree` reads it inertly, once; the bytes are not kept.

    Attributes:
        path: Where it is.
        name: Its name as text, with what is no UTF-8 as lone surrogates.
        limits: What reading it may cost.
        reader: The process that reads it, which the files of one source share.
        follow: Whether a symbolic link is followed (the source itself may be one; what is in it may not).
    """

    path: Path
    name: str
    limits: Limits
    reader: Reader
    follow: bool = False
    size: int = 0
    sha256: str = ""
    classes: list[Seen] = field(default_factory=list)

    def read(self) -> bytes:
        """The bytes of the file.

        Raises:
            NotFound, PermissionDenied, StorageError: It cannot be opened or read.
            InvalidInput: It is no regular file, is longer than `limits.max_bytes`, or changed meanwhile.
        """
        with self._opened() as handle:
            data: bytes = handle.read(self.limits.max_bytes + 1)
        self._note(len(data), sha256(data).hexdigest())
        return data

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The file, which must be of the same length and time before and after."""
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        flags |= 0 if self.follow else getattr(os, "O_NOFOLLOW", 0)
        try:
            with os.fdopen(os.open(self.path, flags), "rb") as handle:
                before = self._checked(handle)
                yield handle
                after = os.fstat(handle.fileno())
        except FileNotFoundError as error:
            raise NotFound(f"the source {self.name!r} does not exist; check the path") from error
        except PermissionDenied:
            raise
        except PermissionError as error:
            raise PermissionDenied(
                f"the source {self.name!r} may not be read; give yourself access"
            ) from error
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                f"the source {self.name!r} cannot be read: {error}", cause=str(error)
            ) from error
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise self._changed()

    def _checked(self, handle: Any) -> os.stat_result:
        found = os.fstat(handle.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput(f"the source {self.name!r} is no regular file; copy its content into one")
        if found.st_size > self.limits.max_bytes:
            raise InvalidInput(
                f"the source {self.name!r} has {found.st_size} bytes, more than the limit of "
                f"{self.limits.max_bytes}; if you trust it, raise Limits.max_bytes"
            )
        return found

    def _note(self, size: int, digest: str) -> None:
        if self.sha256 and digest != self.sha256:
            raise self._changed()
        self.size, self.sha256 = size, digest

    def _changed(self) -> InvalidInput:
        return InvalidInput(
            f"the source {self.name!r} changed while it was read; stop what writes it, or copy it"
        )

    @cached_property
    def tree(self) -> Any:
        """The value of the pickle in the file, read in another process without running anything.

        Raises:
            InvalidRecord: It is no pickle, is cut off, or passes a limit; the message names the file.
        """
        with self._opened() as handle:
            try:
                found = self.reader.read(handle.fileno())
            except InvalidRecord as error:
                raise InvalidRecord(
                    f"{self.name!r}: {error.message}", **{**error.detail, "file": self.name}
                ) from error
        self._note(found.size, found.sha256)
        self.classes = found.report.globals
        return found.value


@dataclass(eq=False)
class Material:
    """A source, before anybody says what it means.

    Attributes:
        path: As given.
        directory: Whether it is a directory.
        files: Its regular files in name order; the file itself where it is no directory.
        odd: What is in the directory and is not read, with the reason.
    """

    path: Path
    directory: bool
    files: list[FileMaterial]
    odd: list[tuple[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(os.path.abspath(self.path)).name

    @property
    def digest(self) -> str:
        """A hash over the names and contents of all files, in hexadecimal."""
        whole = sha256()
        for file in self.files:
            if not file.sha256:
                file.read()
            name = file.name.encode("utf-8", "surrogatepass") if self.directory else b""
            whole.update(len(name).to_bytes(4, "little") + name + bytes.fromhex(file.sha256))
        return whole.hexdigest()

    def classes(self) -> list[Seen]:
        """The classes and functions that all pickles read so far name, in name order."""
        seen: Counter[tuple[str, str]] = Counter()
        for file in self.files:
            for one in file.classes:
                seen[one.module, one.qualname] += one.count
        return [Seen(module, qualname, count) for (module, qualname), count in sorted(seen.items())]


def gather(path: str | Path, limits: Limits | None = None) -> Material:
    """Look at a file or a directory; nothing is read yet.

    Raises:
        NotFound: There is nothing.
        PermissionDenied, StorageError: It cannot be looked at.
    """
    limits, path = limits or Limits(), Path(path)
    reader = Reader(limits)
    try:
        if not path.is_dir():
            path.stat()
            return Material(path, False, [FileMaterial(path, path.name, limits, reader, follow=True)])
        files, odd = [], []
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.is_symlink():
                    odd.append((entry.name, "a symbolic link, which is not followed"))
                elif entry.is_dir(follow_symlinks=False):
                    odd.append((entry.name, "a directory inside the directory, which is not entered"))
                elif entry.is_file(follow_symlinks=False):
                    files.append(FileMaterial(Path(entry.path), entry.name, limits, reader))
                else:
                    odd.append((entry.name, "neither a file nor a directory"))
    except (FileNotFoundError, ValueError) as error:  # ValueError: the path holds a NUL
        raise NotFound(f"the source {str(path)!r} does not exist; check the path") from error
    except PermissionError as error:
        raise PermissionDenied(f"the source {str(path)!r} may not be read; give yourself access") from error
    except OSError as error:
        raise StorageError(f"the source {str(path)!r} cannot be read: {error}", cause=str(error)) from error
    return Material(path, True, files, odd)
