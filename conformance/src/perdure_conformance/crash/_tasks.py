"""What system calls refer to: the working directory and the open files of each task that is followed.

A task is a thread or a process. A child has what its parent has, copied or shared, and what `dup` copies is one
open file, with one position.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from perdure_conformance.crash._trace import Call
from perdure_conformance.crash._tree import Node

__all__ = ["BIRTHS", "Birth", "Opened", "Task", "Tasks", "births_of"]

#: Calls that make tasks.
BIRTHS = frozenset({"clone", "clone3", "fork", "vfork"})


@dataclass(eq=False)
class Opened:
    """An open file.

    Attributes:
        node: What it is.
        synced: Whether each write is synced (O_SYNC, O_DSYNC).
        at: The position; None where writes go to the end.
    """

    node: Node
    synced: bool
    at: int | None


@dataclass(eq=False)
class _Here:
    path: str = "/"


@dataclass(eq=False)
class Task:
    """A thread or a process: its working directory, and what its descriptors mean."""

    here: _Here = field(default_factory=_Here)
    files: dict[int, Opened] = field(default_factory=dict)

    def path(self, text: bytes, base: str | None = None) -> str:
        """A path as a call names it, absolute: below a base, or else below the working directory."""
        found = os.path.join(base or self.here.path, os.fsdecode(text))
        for name in ("self", "thread-self"):  # the system's names for the working directory
            here = f"/proc/{name}/cwd"
            if found == here or found.startswith(f"{here}/"):
                found = self.here.path + found[len(here) :]
        return os.path.normpath(found)


class Birth(NamedTuple):
    """How a task was made: by which, and what the two share."""

    parent: int
    shares_files: bool
    shares_directory: bool


def births_of(calls: Iterable[Call]) -> dict[int, Birth]:
    """The births of tasks: a child may be seen before the call that made it has ended."""
    return {
        call.result: Birth(call.thread, "CLONE_FILES" in call.text, "CLONE_FS" in call.text)
        for call in calls
        if call.name in BIRTHS and call.result > 0
    }


class Tasks:
    """All tasks that are followed; those that nobody's birth is known of are the threads of one process."""

    def __init__(self, births: Mapping[int, Birth]) -> None:
        self._births = births
        self._first = Task()
        self._tasks: dict[int, Task] = {}

    def of(self, thread: int) -> Task:
        """A task; one that is new has what its parent has now."""
        task = self._tasks.get(thread)
        if task is None:
            birth = self._births.get(thread)
            if birth is None:
                task = self._first
            else:
                parent = self.of(birth.parent)
                task = Task(
                    parent.here if birth.shares_directory else _Here(parent.here.path),
                    parent.files if birth.shares_files else dict(parent.files),
                )
            self._tasks[thread] = task
        return task

    def see(self, call: Call) -> Task:
        """Follow what a call changes of tasks; the task that made it."""
        task = self.of(call.thread)
        if call.name in BIRTHS:
            self.of(call.result)
        elif call.name == "chdir":
            task.here.path = task.path(call.strings[0])
        elif call.name == "fchdir":
            task.here.path = call.paths[0]
        elif call.name.startswith("dup") or (call.name == "fcntl" and "F_DUPFD" in call.text):
            self._duplicate(task, int(call.words[0]), call.result)
        elif call.text.startswith("AT_FDCWD<"):
            task.here.path = call.paths[0]
        return task

    def _duplicate(self, task: Task, old: int, new: int) -> None:
        opened = task.files.get(old)
        if opened is None:
            task.files.pop(new, None)
        else:
            task.files[new] = opened
