"""What a disk holds after the power goes: files as they were synced, and of the rest any part."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from perdure_conformance.crash._trace import Call
from perdure_conformance.expect import Skipped

__all__ = ["Disk"]

#: Calls that change files in ways that are not followed.
_NOT_FOLLOWED = frozenset({"copy_file_range", "sendfile", "io_uring_enter"})

MAPPED = "the engine writes through a memory map, which a trace of calls does not show"

#: The unit in which a write reaches a disk.
SECTOR = 512


@dataclass(eq=False)
class _File:
    """A file: what its readers see, what is surely on the disk, and the changes in between."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | int]] = field(default_factory=list)

    def write(self, offset: int, content: bytes) -> None:
        _apply(self.data, (offset, content))
        self.pending.append((offset, content))

    def truncate(self, size: int) -> None:
        _apply(self.data, (-1, size))
        self.pending.append((-1, size))

    def sync(self) -> None:
        self.durable, self.pending = bytes(self.data), []

    def left(self, rng: random.Random | None) -> bytes:
        """What a failure leaves: all that was synced, and, where there is chance, any part of the rest."""
        image = bytearray(self.durable)
        if rng is not None:
            share = rng.choice((0.2, 0.5, 0.9))
            for change in self.pending:
                if rng.random() < share:
                    _apply(image, _torn(change, rng))
        return bytes(image)


def _apply(data: bytearray, change: tuple[int, bytes | int]) -> None:
    offset, content = change
    if isinstance(content, int):  # a new length
        del data[content:]
        data.extend(bytes(content - len(data)))
        return
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(content)] = content


def _torn(change: tuple[int, bytes | int], rng: random.Random) -> tuple[int, bytes | int]:
    """A change as it came to the disk: now and then only its first sectors."""
    offset, content = change
    if isinstance(content, int) or len(content) <= SECTOR or rng.random() < 0.8:
        return change
    return offset, content[: SECTOR * rng.randrange(1, -(-len(content) // SECTOR))]


@dataclass(frozen=True)
class _Entry:
    """A change of a directory: a path names that file (None: a directory) from now on, or nothing."""

    path: str
    file: _File | None
    gone: bool

    @property
    def directory(self) -> str:
        return str(PurePosixPath(self.path).parent)

    def apply(self, names: dict[str, _File | None]) -> None:
        if self.gone:
            names.pop(self.path, None)
        else:
            names[self.path] = self.file


class Disk:
    """The files below a directory, as system calls change them.

    A file is durable up to its last fsync or fdatasync,
    and its name up to the last fsync of its directory, as POSIX has it.

    Args:
        directory: Which; it is empty in the beginning.
    """

    def __init__(self, directory: Path) -> None:
        self.root = str(directory)
        self._names: dict[str, _File | None] = {self.root: None}  # None is a directory
        self._durable = dict(self._names)
        self._entries: list[_Entry] = []  # that were made, changed or removed, and not synced
        self._mapped: set[str] = set()
        self._synced: dict[tuple[int, str], bool] = {}  # descriptor and path → opened with O_SYNC or O_DSYNC
        self._at: dict[tuple[int, str], int | None] = {}  # descriptor and path → position; None: the end
        self.written = 0

    def run(self, calls: Iterable[Call]) -> None:
        """Apply calls."""
        for call in calls:
            if call.result >= 0:
                self._run(call)

    def unsynced(self) -> list[str]:
        """The files, relative to the directory, that hold bytes, or bear names, which a failure may take."""
        lost = [path for path, file in self._names.items() if file is not None and file.pending]
        lost += [path for path, file in self._names.items() if self._durable.get(path, self) is not file]
        return sorted({str(PurePosixPath(path).relative_to(self.root)) for path in lost})

    def restore(self, target: Path, rng: random.Random | None = None) -> None:
        """Make a directory as a failure leaves this one.

        Args:
            target: Where; it is empty.
            rng: Chance: any part of what was not synced is there too. None: nothing of it is.
        """
        names = dict(self._durable)
        if rng is not None:
            # Entries of a directory come to the disk in the order in which they were made.
            for entry in self._entries[: rng.randint(0, len(self._entries))]:
                entry.apply(names)
        target.mkdir(parents=True, exist_ok=True)
        for path, file in sorted(names.items()):
            place = target / PurePosixPath(path).relative_to(self.root)
            if file is None:
                place.mkdir(parents=True, exist_ok=True)
            elif place.parent.is_dir():
                place.write_bytes(file.left(rng))

    # ----------------------------------------------------------------------------------------- calls

    def _run(self, call: Call) -> None:
        paths, name = call.paths, call.name
        if name in ("open", "openat", "creat"):
            self._open(call)
        elif name in _NOT_FOLLOWED:
            if name.startswith("io_uring") or any(self._ours(path) for path in paths):
                raise Skipped(f"the engine writes with {name}, which this check does not follow")
        elif name == "mmap":
            if paths and self._ours(paths[0]) and "PROT_WRITE" in call.text and "MAP_SHARED" in call.text:
                self._mapped.add(paths[0])
        elif name.startswith(("rename", "unlink", "mkdir", "rmdir", "link")):
            self._directory(call)
        elif name in ("sync", "syncfs"):
            self._everything()
        elif paths and self._ours(paths[0]):
            self._file(call, paths[0])

    def _ours(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    def _open(self, call: Call) -> None:
        path = call.opened
        if not self._ours(path):
            return
        flags = next((word for word in call.words if word.startswith("O_")), "")
        if path not in self._names:
            if "O_DIRECTORY" in flags or "O_CREAT" not in flags:
                return
            self._name(path, _File())
        key = (call.result, path)
        self._synced[key] = "SYNC" in flags
        self._at[key] = None if "O_APPEND" in flags else 0
        file = self._names[path]
        if file is not None and "O_TRUNC" in flags and file.data:
            file.truncate(0)

    def _directory(self, call: Call) -> None:
        places = self._arguments(call)
        if call.name.startswith("mkdir"):
            if self._ours(places[0]):
                self._name(places[0], None)
        elif call.name.startswith("link"):
            old, new = places
            if self._ours(new) and old in self._names:
                self._name(new, self._names[old])
        elif call.name.startswith("rename"):
            old, new = places
            moved = [path for path in self._names if path == old or path.startswith(old + "/")]
            for path in moved:
                file = self._names[path]
                if self._ours(new):
                    self._name(new + path[len(old) :], file)
                self._remove(path)
        elif places[0] in self._names:
            self._remove(places[0])

    def _arguments(self, call: Call) -> list[str]:
        """The paths that a call on names is about, absolute."""
        strings = [PurePosixPath(found.decode(errors="surrogateescape")) for found in call.strings]
        bases = call.paths
        return [
            str(path if path.is_absolute() or i >= len(bases) else PurePosixPath(bases[i]) / path)
            for i, path in enumerate(strings)
        ]

    def _file(self, call: Call, path: str) -> None:
        name, words, file = call.name, call.words, self._names.get(path)
        if name in ("fsync", "fdatasync"):
            if path in self._mapped:
                raise Skipped(MAPPED)
            if path in self._names and file is None:
                self._sync_directory(path)
            elif file is not None:
                file.sync()
            return
        if name == "msync":
            raise Skipped(MAPPED)
        if file is None:  # removed, or not one that was seen
            return
        key = (int(words[0]), path)
        if name == "ftruncate":
            file.truncate(int(words[1]))
        elif name == "fallocate" and words[1] == "0":
            file.truncate(max(len(file.data), int(words[2]) + int(words[3])))
        elif name == "lseek":
            self._at[key] = call.result
        elif name.startswith(("write", "pwrite")):
            self._write(call, file, key)
        if self._synced.get(key):
            file.sync()

    def _write(self, call: Call, file: _File, key: tuple[int, str]) -> None:
        content = b"".join(call.strings)[: call.result]
        if call.name.startswith("pwrite"):
            # pwritev2 has flags after the offset
            offset = int(call.words[-2 if call.name == "pwritev2" else -1], 0)
        else:
            position = self._at.get(key)
            offset = len(file.data) if position is None else position
            if position is not None:
                self._at[key] = offset + len(content)
        file.write(offset, content)
        self.written += len(content)

    # ----------------------------------------------------------------------------------------- names

    def _name(self, path: str, file: _File | None) -> None:
        self._names[path] = file
        self._entries.append(_Entry(path, file, gone=False))

    def _remove(self, path: str) -> None:
        file = self._names.pop(path)
        self._entries.append(_Entry(path, file, gone=True))

    def _sync_directory(self, directory: str) -> None:
        for entry in self._entries:
            if entry.directory == directory:
                entry.apply(self._durable)
        self._entries = [entry for entry in self._entries if entry.directory != directory]

    def _everything(self) -> None:
        for file in self._names.values():
            if file is not None:
                file.sync()
        self._durable, self._entries = dict(self._names), []
