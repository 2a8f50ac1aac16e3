"""What is on a disk: files, directories and links, as their readers see them, and what is surely there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Change", "Directory", "File", "Link", "Node", "Owners", "owners_of", "read_tree", "walk"]

#: The unit in which a write reaches a disk.
SECTOR = 512

#: Bytes at an offset; or, with the offset -1, a new length.
Change = tuple[int, bytes | int]

#: Path below the root → user, group and mode.
Owners = dict[str, tuple[int, int, int]]


@dataclass(eq=False)
class File:
    """A file: what its readers see, what is surely on the disk, and the changes in between."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def write(self, offset: int, content: bytes) -> None:
        """Bytes at an offset."""
        self._change((offset, content))

    def truncate(self, size: int) -> None:
        """A new length."""
        self._change((-1, size))

    def _change(self, change: Change) -> None:
        _apply(self.data, change)
        self.pending.append(change)

    def sync(self) -> None:
        """All changes are on the disk."""
        for change in self.pending:
            _apply(self.durable, change)
        self.pending = []

    def left(self, rng: random.Random | None) -> bytes:
        """What a failure leaves: all that was synced, and, where there is chance, any part of the rest."""
        if rng is None or not self.pending:
            return bytes(self.durable)
        image = bytearray(self.durable)
        share = rng.choice((0.2, 0.5, 0.9))
        for change in self.pending:
            if rng.random() < share:
                _apply(image, _torn(change, rng))
        return bytes(image)


@dataclass(eq=False)
class Directory:
    """A directory: the names that its readers see, and those that are surely on the disk."""

    names: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: str


Node = File | Directory | Link


def _apply(data: bytearray, change: Change) -> None:
    offset, content = change
    if isinstance(content, int):  # a new length
        del data[content:]
        data.extend(bytes(content - len(data)))
        return
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(content)] = content


def _torn(change: Change, rng: random.Random) -> Change:
    """A change as it came to the disk: now and then only its first sectors."""
    offset, content = change
    if isinstance(content, int) or len(content) <= SECTOR or rng.random() < 0.8:
        return change
    return offset, content[: SECTOR * rng.randrange(1, -(-len(content) // SECTOR))]


def walk(directory: Directory, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """All below a directory, with paths, as its readers see it."""
    for name, node in directory.names.items():
        yield prefix + name, node
        if isinstance(node, Directory):
            yield from walk(node, f"{prefix}{name}/")


def read_tree(path: Path) -> Directory:
    """What is below a real directory, all of it surely on the disk; what has no content of its own is left out."""
    found = Directory()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                found.names[entry.name] = Link(os.readlink(entry.path))
            elif entry.is_dir():
                found.names[entry.name] = read_tree(Path(entry.path))
            elif entry.is_file():
                content = Path(entry.path).read_bytes()
                found.names[entry.name] = File(bytearray(content), bytearray(content))
    found.durable = dict(found.names)
    return found


def owners_of(path: Path) -> Owners:
    """Whose the real directory (`""`) and all below it are, and who may do what."""
    owners: Owners = {}
    for place, directories, files in os.walk(path):
        for name in ("", *directories, *files):
            whole = os.path.join(place, name)
            status = os.lstat(whole)
            relative = os.path.relpath(whole, path)
            owners["" if relative == "." else relative] = (
                status.st_uid,
                status.st_gid,
                status.st_mode & 0o7777,
            )
    return owners
