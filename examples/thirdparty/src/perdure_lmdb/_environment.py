"""LMDB environments: one per file and process, shared by all who open it there, closed by the last of them."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb
from lmdb.verify import verify
from perdure import Busy, CorruptStore, IncompatibleStore, NotFound, PerdureError, StorageError, Unavailable

MAP_SIZE = 1 << 38  # 256 GiB of addresses; the file has only what is used
NAME = b"perdure-1"  # of the database in the file: tells a store of ours, in this format, from anything else
MAGIC = 0xBEEFC0DE.to_bytes(4, sys.byteorder)  # of an LMDB file, from its byte 16 on
FOREIGN = (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.NotFoundError)
NO_FILE = (FileExistsError, IsADirectoryError, NotADirectoryError)
ERRORS: list[tuple[type[Exception] | tuple[type[Exception], ...], type[PerdureError], str]] = [
    (FOREIGN, IncompatibleStore, "another program, or a newer version, wrote that; choose another path"),
    (NO_FILE, IncompatibleStore, "something else has that name; choose another path"),
    ((lmdb.CorruptedError, lmdb.PageNotFoundError), CorruptStore, "the file is damaged; restore a backup"),
    (lmdb.ReadersFullError, Busy, "too many read at once; try again"),
    (lmdb.MapFullError, StorageError, "the store is as large as it can be; copy what you need to another"),
    (Exception, StorageError, "the disk or LMDB failed; free space, look at the disk, open the store again"),
]

_lock = threading.Lock()
_opened: dict[tuple[int, ...], "Environment"] = {}


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


class Environment:
    """An open environment. It counts its users: the stores that hold it, and the transactions that run."""

    def __init__(self, data: Path, identity: tuple[int, ...]) -> None:
        # LMDB writes to the lock file before it looks at this one, and takes an empty one for a new one.
        with data.open("rb") as file:
            if file.read(20)[16:] != MAGIC:
                raise IncompatibleStore(f"{data} is no LMDB file; choose another path, or restore a backup")
        self.users = 0
        self._identity = identity
        path, readonly = str(data.parent), not os.access(data, os.W_OK)
        self._env = lmdb.open(path, map_size=MAP_SIZE, max_dbs=1, max_readers=1024, readonly=readonly)
        try:
            # To touch a page past the end of the file is a bus error; but it may be one that nothing refers to.
            used = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
            if data.stat().st_size < used and (problems := verify(str(data))):  # type: ignore[no-untyped-call]
                raise CorruptStore(f"{data} was cut short; restore a backup", driver=str(problems[0]))
            self._env.reader_check()  # or pages that a dead process was reading would never be used again
            self._db = self._env.open_db(NAME, create=False)
        except BaseException:
            self._env.close()
            raise

    @contextmanager
    def begin(self, write: bool = False) -> Iterator["lmdb.Transaction[bytes]"]:
        """A transaction; it commits, and is durable, when the block ends."""
        with _lock:
            if not self.users:
                raise Unavailable("the store was closed; open it again")
            self.users += 1
        try:
            with translated(), self._env.begin(self._db, write=write) as transaction:
                yield transaction
        finally:
            self.release()

    def release(self) -> None:
        """Have one user less."""
        with _lock:
            self.users -= 1
            if not self.users:
                del _opened[self._identity]
                self._env.close()


def acquire(directory: Path, create: bool) -> Environment:
    """The environment of a directory, with one user more; `release` it."""
    data = directory / "data.mdb"
    with translated(), _lock:
        if create and not data.exists():
            _create(directory)
        if not data.exists():
            raise NotFound(f"there is no store at {directory}; open it with mode 'rw'")
        identity = os.getpid(), data.stat().st_dev, data.stat().st_ino
        environment = _opened.get(identity) or Environment(data, identity)
        _opened[identity] = environment
        environment.users += 1
        return environment


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
