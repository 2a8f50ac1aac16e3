"""LMDB environments: one per file and process, shared by all who open it there, closed by the last of them."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import lmdb
from lmdb.verify import verify
from perdure import Busy, CorruptStore, IncompatibleStore, NotFound, PerdureError, StorageError
from perdure.kit import Lease, Shared

MAP_SIZE = 1 << 38  # 256 GiB of addresses; the file has only what is used
NAME = b"perdure-1"  # of the database in the file: tells a store of ours, in this format, from anything else
MAGIC = 0xBEEFC0DE.to_bytes(4, sys.byteorder)  # of an LMDB file, from its byte 16 on
FOREIGN = (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.NotFoundError)
NO_FILE = (FileExistsError, IsADirectoryError, NotADirectoryError)
ERRORS: list[tuple[type[Exception] | tuple[type[Exception], ...], type[PerdureError], str]] = [
    (FOREIGN + NO_FILE, IncompatibleStore, "something else, or newer, is there; choose another path"),
    ((lmdb.CorruptedError, lmdb.PageNotFoundError), CorruptStore, "the file is damaged; restore a backup"),
    (lmdb.ReadersFullError, Busy, "too many read at once; try again"),
    (lmdb.MapFullError, StorageError, "the store is as large as it can be; copy what you need to another"),
    (Exception, StorageError, "the disk or LMDB failed; free space, look at the disk, open the store again"),
]


@contextmanager
def translated() -> Iterator[None]:
    """Errors of LMDB and of files as those of perdure."""
    try:
        yield
    except PerdureError:  # many are kinds of OSError
        raise
    except (lmdb.Error, OSError) as error:
        kind, message = next((kind, message) for of, kind, message in ERRORS if isinstance(error, of))
        raise kind(message, driver=str(error)) from error


Environment: TypeAlias = tuple[lmdb.Environment, "lmdb._Database"]  # with its database


def _open(data: Path) -> Environment:
    # LMDB writes to the lock file before it looks at this one, and takes an empty one for a new one.
    with data.open("rb") as file:
        if file.read(20)[16:] != MAGIC:
            raise IncompatibleStore(f"{data} is no LMDB file; choose another path, or restore a backup")
    path, readonly = str(data.parent), not os.access(data, os.W_OK)
    env = lmdb.open(path, map_size=MAP_SIZE, max_dbs=1, max_readers=1024, readonly=readonly)
    try:
        # To touch a page past the end of the file is a bus error; but it may be one that nothing refers to.
        used = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if data.stat().st_size < used and (problems := verify(str(data))):  # type: ignore[no-untyped-call]
            raise CorruptStore(f"{data} was cut short; restore a backup", driver=str(problems[0]))
        env.reader_check()  # or pages that a dead process was reading would never be used again
        return env, env.open_db(NAME, create=False)
    except BaseException:
        env.close()
        raise


_opened: Shared[Environment] = Shared(lambda environment: environment[0].close())


def acquire(directory: Path, create: bool) -> Lease[Environment]:
    """A share in the environment of a directory, of which a process may have only one."""
    data = directory / "data.mdb"
    with translated():
        if not data.exists():
            if not create:
                raise NotFound(f"there is no store at {directory}; open it with mode 'rw'")
            _create(directory)
        found = data.stat()
        return _opened.lease((found.st_dev, found.st_ino), lambda: _open(data))


def _create(directory: Path) -> None:
    """Make the file elsewhere and give it its name when it is complete: a crash leaves no half of one."""
    changed = [directory, *(path.parent for path in (directory, *directory.parents) if not path.exists())]
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=directory) as draft:
        with lmdb.open(draft, max_dbs=1) as env:
            env.open_db(NAME)
        with suppress(FileExistsError):  # another process was first
            os.link(Path(draft, "data.mdb"), directory / "data.mdb")
    for path in changed:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
