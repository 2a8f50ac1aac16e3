"""What a disk holds after the power goes: files as they were synced, and of the rest any part."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perdure_conformance.crash._tasks import Birth, Opened, Task, Tasks
from perdure_conformance.crash._trace import Call
from perdure_conformance.crash._tree import Directory, File, Link, Node, Owners, read_tree, walk
from perdure_conformance.expect import Skipped

__all__ = ["Disk"]

#: Calls that change files in ways that are not followed.
_NOT_FOLLOWED = frozenset({"copy_file_range", "sendfile", "io_uring_enter"})

MAPPED = "the engine writes through a memory map, which a trace of calls does not show"

#: Links that are followed one after the other in a path.
_LINKS = 8


@dataclass(frozen=True)
class _Entry:
    """A change of a directory, made at once: each name stands for that from now on, or (None) for nothing."""

    directory: Directory
    names: dict[str, Node | None]

    def apply(self, names: dict[str, Node]) -> None:
        for name, node in self.names.items():
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node


class Disk:
    """The files below a directory, as system calls change them.

    A file is durable up to its last fsync or fdatasync, and its name up to the last fsync of its directory, as
    POSIX has it.

    Args:
        directory: Which.
        tree: What it holds in the beginning, all of it durable; this disk changes it.
        births: Of the tasks that make the calls.
    """

    def __init__(
        self, directory: Path, tree: Directory | None = None, births: Mapping[int, Birth] | None = None
    ) -> None:
        self.root = os.path.realpath(directory)
        self._tree = Directory() if tree is None else tree
        self._tasks = Tasks(births or {})
        self._entries: list[_Entry] = []  # that were made, and not synced
        self._mapped: set[Node] = set()
        self._links: dict[str, str] = {}  # anywhere: a path may lead here through one
        self.written = 0

    def run(self, calls: Iterable[Call]) -> None:
        """Apply calls."""
        for call in calls:
            if call.result >= 0:
                self._run(call, self._tasks.see(call))

    def unsynced(self) -> list[str]:
        """The files, relative to the directory, that hold bytes, or bear names, which a failure may take."""
        unnamed = {node for entry in self._entries for node in entry.names.values()}
        return sorted(
            path
            for path, node in walk(self._tree)
            if isinstance(node, File) and (node.pending or node in unnamed)
        )

    def differs(self) -> list[str]:
        """The files that the real directory holds otherwise, relative to it: a trace did not show all then.

        What is written through a memory map, and never synced, is nothing that a loss of power may leave.
        """
        real = dict(walk(read_tree(Path(self.root))))
        mine = dict(walk(self._tree))
        return sorted(
            path
            for path in real.keys() | mine.keys()
            if mine.get(path) not in self._mapped and _content(real.get(path)) != _content(mine.get(path))
        )

    def restore(self, target: Path, rng: random.Random | None = None, owners: Owners | None = None) -> None:
        """Make a directory as a failure leaves this one.

        Args:
            target: Where; it is empty.
            rng: Chance: any part of what was not synced is there too. None: nothing of it is.
            owners: Whose all is; what is not in there is that of the owner of the directory above.
        """
        names: dict[Directory, dict[str, Node]] = {}
        if rng is not None:
            # Entries come to the disk in the order in which they were made.
            for entry in self._entries[: rng.randint(0, len(self._entries))]:
                entry.apply(names.setdefault(entry.directory, dict(entry.directory.durable)))
        target.mkdir(parents=True, exist_ok=True)
        self._restore(target, self._tree, names, rng)
        if owners is not None:
            _give(target, owners)

    def _restore(
        self,
        target: Path,
        directory: Directory,
        names: Mapping[Directory, Mapping[str, Node]],
        rng: random.Random | None,
    ) -> None:
        for name, node in sorted(names.get(directory, directory.durable).items()):
            place = target / name
            if isinstance(node, File):
                place.write_bytes(node.left(rng))
            elif isinstance(node, Link):
                place.symlink_to(node.target)
            else:
                place.mkdir()
                self._restore(place, node, names, rng)

    # ----------------------------------------------------------------------------------------- calls

    def _run(self, call: Call, task: Task) -> None:
        paths, name = call.paths, call.name
        if name in ("open", "openat", "openat2", "creat"):
            self._open(call, task)
        elif name in _NOT_FOLLOWED:
            if name.startswith("io_uring") or any(self._ours(path) for path in paths):
                raise Skipped(f"the engine writes with {name}, which this check does not follow")
        elif name == "mmap":
            if paths and self._ours(paths[0]) and "PROT_WRITE" in call.text and "MAP_SHARED" in call.text:
                node = self._find(paths[0])
                if node is not None:
                    self._mapped.add(node)
        elif name.startswith(("rename", "unlink", "mkdir", "rmdir", "link", "symlink")):
            self._names(call, task)
        elif name in ("sync", "syncfs"):
            self._everything()
        elif name == "truncate":
            node = self._find(self._arguments(call, task)[0])
            if isinstance(node, File):
                node.truncate(int(call.words[1]))
        elif paths and self._ours(paths[0]):
            self._file(call, task, paths[0])

    def _open(self, call: Call, task: Task) -> None:
        path = call.opened
        if not self._ours(path):
            return
        flags = next((word for word in call.words if "O_" in word), "O_CREAT|O_TRUNC")  # creat has none
        node = self._find(path)
        if node is None:
            if "O_DIRECTORY" in flags or "O_CREAT" not in flags or "O_TMPFILE" in flags:
                return
            node = File()
            self._enter(path, node)
        task.files[call.result] = Opened(node, "SYNC" in flags, None if "O_APPEND" in flags else 0)
        if isinstance(node, File) and "O_TRUNC" in flags and node.data:
            node.truncate(0)

    def _names(self, call: Call, task: Task) -> None:
        """A call that changes what names stand for."""
        places, name = self._arguments(call, task), call.name
        if name.startswith("mkdir"):
            self._enter(places[0], Directory())
        elif name.startswith("symlink"):
            target = os.fsdecode(call.strings[0])
            self._links[places[1]] = os.path.normpath(os.path.join(os.path.dirname(places[1]), target))
            self._enter(places[1], Link(target))
        elif name.startswith("link"):
            node = self._find(places[0])
            if node is not None:
                self._enter(places[1], node)
        elif name.startswith("rename"):
            self._rename(*places, exchange="RENAME_EXCHANGE" in call.text)
        else:
            self._links.pop(places[0], None)
            self._enter(places[0], None)

    def _rename(self, old: str, new: str, *, exchange: bool) -> None:
        node = self._find(old)
        if node is None or old == new:
            return
        before = self._find(new) if exchange else None
        if os.path.dirname(old) == os.path.dirname(new):
            parent = self._parent(old)
            assert parent is not None
            self._change(parent, {os.path.basename(old): before, os.path.basename(new): node})
        else:
            self._enter(new, node)
            self._enter(old, before)

    def _file(self, call: Call, task: Task, path: str) -> None:
        """A call on a descriptor."""
        name, words = call.name, call.words
        opened = task.files.get(int(words[0])) or Opened(self._find(path) or File(), False, None)
        node = opened.node
        if name in ("fsync", "fdatasync"):
            if node in self._mapped:
                raise Skipped(MAPPED)
            if isinstance(node, Directory):
                self._sync_directory(node)
            elif isinstance(node, File):
                node.sync()
        elif name == "msync":
            raise Skipped(MAPPED)
        elif name == "lseek":
            opened.at = None if opened.at is None else call.result
        elif isinstance(node, File):
            if name == "ftruncate":
                node.truncate(int(words[1]))
            elif name == "fallocate":
                self._allocate(node, words)
            elif name.startswith(("write", "pwrite")):
                self._write(call, node, opened)

    def _allocate(self, file: File, words: list[str]) -> None:
        mode, offset, length = words[1], int(words[2]), int(words[3])
        if mode == "0":
            if offset + length > len(file.data):
                file.truncate(offset + length)
        elif "PUNCH_HOLE" in mode or "ZERO_RANGE" in mode:
            end = offset + length
            if "KEEP_SIZE" in mode:
                end = min(end, len(file.data))
            if end > offset:
                file.write(offset, bytes(end - offset))
        elif mode != "FALLOC_FL_KEEP_SIZE":
            raise Skipped(f"the engine writes with fallocate and {mode}, which this check does not follow")

    def _write(self, call: Call, file: File, opened: Opened) -> None:
        content = b"".join(call.strings)[: call.result]
        if opened.at is None and not call.name.startswith("pwrite"):
            offset = len(file.data)
        elif call.name.startswith("pwrite"):
            # pwritev2 has flags after the offset
            offset = int(call.words[-2 if call.name == "pwritev2" else -1], 0)
        else:
            assert opened.at is not None
            offset = opened.at
            opened.at += len(content)
        file.write(offset, content)
        self.written += len(content)
        if opened.synced or "RWF_DSYNC" in call.text or "RWF_SYNC" in call.text:
            file.sync()

    # ----------------------------------------------------------------------------------------- names

    def _arguments(self, call: Call, task: Task) -> list[str]:
        """The paths that a call on names is about, absolute; the first of a symbolic link is what it says."""
        bases: list[str | None] = [*call.paths]
        if call.name == "symlinkat":
            bases.insert(0, None)
        bases += [None] * len(call.strings)
        return [self._real(task.path(text, base)) for text, base in zip(call.strings, bases, strict=False)]

    def _real(self, path: str) -> str:
        """The path without links on the way; the last name may be one."""
        for _ in range(_LINKS):
            for link, target in self._links.items():
                if path.startswith(f"{link}/"):
                    path = os.path.normpath(target + path[len(link) :])
                    break
            else:
                break
        return path

    def _ours(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root + "/")

    def _find(self, path: str) -> Node | None:
        if not self._ours(path):
            return None
        node: Node | None = self._tree
        for name in filter(None, path[len(self.root) :].split("/")):
            if not isinstance(node, Directory):
                return None
            node = node.names.get(name)
        return node

    def _parent(self, path: str) -> Directory | None:
        found = self._find(os.path.dirname(path))
        return found if isinstance(found, Directory) else None

    def _enter(self, path: str, node: Node | None) -> None:
        """From now on the path stands for that, or (None) for nothing."""
        parent = self._parent(path)
        if parent is not None:
            self._change(parent, {os.path.basename(path): node})

    def _change(self, directory: Directory, names: dict[str, Node | None]) -> None:
        entry = _Entry(directory, names)
        entry.apply(directory.names)
        self._entries.append(entry)

    def _sync_directory(self, directory: Directory) -> None:
        for entry in self._entries:
            if entry.directory is directory:
                entry.apply(directory.durable)
        self._entries = [entry for entry in self._entries if entry.directory is not directory]

    def _everything(self) -> None:
        for _, node in walk(self._tree):
            if isinstance(node, File):
                node.sync()
        for entry in self._entries:
            entry.apply(entry.directory.durable)
        self._entries = []


def _content(node: Node | None) -> object:
    if isinstance(node, File):
        return node.data
    return node.target if isinstance(node, Link) else type(node)


def _give(target: Path, owners: Owners) -> None:
    """Give what is in a directory to those whose it was, with the rights that they gave."""
    above: dict[str, tuple[int, int]] = {}
    mine = (os.geteuid(), os.getegid())
    for place, _, files in os.walk(target):
        relative = os.path.relpath(place, target)
        relative = "" if relative == "." else relative
        for name in ("", *files):
            path = os.path.join(place, name)
            key = os.path.join(relative, name).rstrip("/")
            user, group, mode = owners.get(
                key, (*above.get(os.path.dirname(key), mine), 0o600 if name else 0o700)
            )
            above[key] = (user, group)
            if (user, group) != mine:
                with suppress(PermissionError):
                    os.chown(path, user, group, follow_symlinks=False)
            if not os.path.islink(path):
                os.chmod(path, mode)
