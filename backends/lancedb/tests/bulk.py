"""What tests of large commits run in processes of their own. A job prints what was acknowledged, a line each."""

import json
import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure
import perdure_lancedb._plugin as plugin
import pyarrow as pa
from perdure import Memory
from perdure_lancedb._local import LocalObjects
from perdure_lancedb._options import parse_url
from perdure_lancedb._s3 import S3Objects
from perdure_lancedb._store import Store

Steps = runpy.run_path(str(Path(__file__).with_name("children.py")))["Steps"]


def tell(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def table(prefix: str, text: str, count: int = 1_000) -> pa.Table:
    return pa.table(
        {"id": [f"{prefix}{i}" for i in range(count)], "text": [f"{text}{i}" for i in range(count)]}
    )


def acts(url: str, what: str) -> None:
    """Something that another process does while a commit is under way."""
    if what == "fold":
        options = parse_url(url, "rw")
        place = options.directory
        objects = LocalObjects(place, create=True) if place is not None else S3Objects(options, create=True)
        Store(objects, 1_000_000, read_only=False).fold()
        return
    with perdure.open(url) as store:
        if what == "compact":
            store.compact()
        else:
            store.memories.put(Memory(id="other"))


def killed(url: str, at: str) -> None:
    """Large commits, the folds after them, and a compaction; killed before a certain step."""
    count = 0

    def before(name: str) -> None:
        nonlocal count
        count += 1
        if count == int(at):
            os.kill(os.getpid(), signal.SIGKILL)

    with perdure.open(url) as store:
        Steps(before)
        for i in range(2):
            store.memories.put(table(f"{at}-{i}/", "text"))
            tell("commit", f"{at}-{i}")
        store.memories.get(f"{at}-1/5")
        next(iter(plugin._STORES._handles.values())).it.fold()
        store.memories.put(table(f"{at}-2/", "text"))
        tell("commit", f"{at}-2")
        store.compact(lease=timedelta(0))


def left(url: str) -> None:
    """Killed when all of a large commit but its entry is there."""
    created = 0

    def before(name: str) -> None:
        nonlocal created
        created += name == "create"
        if created == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with perdure.open(url) as store:
        Steps(before)
        store.memories.put(table("r", "hidden text"))


def puts(url: str, name: str, count: str) -> None:
    """Put the same rows again and again, as others do."""
    with perdure.open(url) as store:
        tell("ready")
        sys.stdin.readline()
        for i in range(int(count)):
            store.memories.put(table("r", f"{name}{i}-"))


def full(url: str) -> None:
    """A large commit where no file may grow beyond a limit."""
    with perdure.open(url) as store:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            store.memories.put(table("r", "text"))
        except perdure.StorageError as error:
            tell(type(error).__name__)
        store.memories.put(Memory(id="small"))


JOBS: dict[str, Callable[..., None]] = {job.__name__: job for job in (acts, killed, left, puts, full)}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
