"""A real Postgres for one directory: started by its first user, stopped by its last, data kept.

``perdure.users`` holds a shared lock per user, ``perdure.lock`` is held alone while the server is started or
stopped. The kernel takes both back from a process that dies, so a killed user is no user: the next one finds
the server running, and stops it when it is the last.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perdure import Busy, InvalidURL, NotFound, PerdureError, StorageError, Unavailable
from psycopg.conninfo import make_conninfo
from psycopg.pq import Ping

from perdure_postgres import _embedded_server as server
from perdure_postgres._embedded_cluster import LOCK, USERS, Home, translated
from perdure_postgres._embedded_locks import alone, exclusive, give_up, share

__all__ = ["EmbeddedServer", "start"]

#: The socket's path must fit into `sockaddr_un` with its final NUL: 104 bytes on macOS, 108 on Linux.
_ADDRESS_BYTES = 103

#: Characters that mean themselves in a host of libpq, in a URL and in a shell.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")

#: How long giving up a share may take.
_CLOSE_SECONDS = 60.0

#: What the environment may say for other servers, and must not for this one.
_UNSET = {"hostaddr": "", "channel_binding": "disable", "gssencmode": "disable", "requirepeer": ""}


class EmbeddedServer:
    """The server of one directory, as one user of it: an open store's share. Threads may share it.

    Attributes:
        conninfo: How libpq reaches database and user ``postgres``; the same for the whole life of
            the share, but another one in a forked child after its first `ensure`.
        directory: The directory.
    """

    def __init__(self, home: Home) -> None:
        self.directory = home.directory
        self._home = home
        self._mutex = threading.Lock()
        self._mark: server.Mark = (0, 0)
        self._share: int | None = None
        self._closed = False
        self._link: Path | None = None
        self.conninfo = self._conninfo()

    def ensure(self, until: float) -> None:
        """See that the server takes connections, starting it where it does not.

        Raises:
            Busy: It did not come up until `until` (of `time.monotonic`).
            StorageError, PermissionDenied: It does not start; the message says why.
            Unavailable: The share was closed.
        """
        with self._alone_here(until):
            if self._closed:
                raise Unavailable("the store is closed; open it again with perdure.open")
            if self._share is None:  # a forked child inherits the share, but is no user by that
                with self._starting(until):
                    self._join()
                self.conninfo = self._conninfo()
            self._relink()
            since = server.mark(self._home)
            while (state := server.ping(self.conninfo)) is not Ping.OK:
                if time.monotonic() >= until:
                    raise Busy(
                        f"the embedded Postgres of {str(self.directory)!r} has not come up within the whole "
                        f"wait; try again with a longer ?timeout=, or see {str(self.directory / 'log')!r}"
                    )
                if state is Ping.NO_RESPONSE:
                    with self._starting(until):
                        if server.ping(self.conninfo) is Ping.NO_RESPONSE:
                            server.start(self._home, until)
                elif len(deaths := server.panics(self._home, since)) > 1:  # it would die of that for ever
                    raise StorageError(
                        f"the embedded Postgres of {str(self.directory)!r} dies as it starts ({deaths[-1]}); mend "
                        f"that and try again, or see {str(self.directory / 'log')!r}",
                        driver=deaths[-1],
                    )
                else:
                    server.quit_if_stuck(self._home)
                    time.sleep(0.01)
            self._mark = server.mark(self._home)

    def failure(self) -> str | None:
        """What the server died of since `ensure`, in the words of its log; None where it says nothing."""
        return server.complaint(self._home, self._mark, server.ping(self.conninfo) is not Ping.NO_RESPONSE)

    def close(self) -> None:
        """Give up this share; the directory's last user stops the server, and waits for it."""
        until = time.monotonic() + _CLOSE_SECONDS
        with self._alone_here(until):
            if self._closed:
                return
            self._closed = True
            _shares.discard(self)
            try:
                if self._share is not None:
                    self._leave(until)
            finally:
                if self._link is not None:
                    shutil.rmtree(self._link.parent, ignore_errors=True)

    def _leave(self, until: float) -> None:
        try:
            with self._starting(until):
                self._give_up()
                if alone(self.directory / USERS):
                    server.stop(self._home, until)
        except StorageError:
            pass  # the directory is gone, and a server without its directory ends by itself
        finally:
            self._give_up()

    def _give_up(self) -> None:
        if self._share is not None:
            give_up(self._share)
            self._share = None

    def _join(self) -> None:
        with translated(self.directory):
            self._share = share(self.directory / USERS, self._home.owner)
        _shares.add(self)

    @contextmanager
    def _alone_here(self, until: float) -> Iterator[None]:
        if not self._mutex.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Busy(f"another thread has been starting the server of {str(self.directory)!r}; try again")
        try:
            yield
        finally:
            self._mutex.release()

    @contextmanager
    def _starting(self, until: float) -> Iterator[int]:
        with (
            translated(self.directory),
            exclusive(self.directory / LOCK, until, self._home.owner) as descriptor,
        ):
            yield descriptor

    def _conninfo(self) -> str:
        address = self._address()
        return make_conninfo(host=address, port=server.PORT, user="postgres", dbname="postgres", **_UNSET)

    def _address(self) -> str:
        """The directory, or a link to it where its own path is too long or means something to libpq."""
        path = str(self.directory)
        if _PLAIN.fullmatch(path) and _fits(path):
            return path
        for place in (tempfile.gettempdir(), "/tmp"):
            if _PLAIN.fullmatch(place) and _fits(f"{place}/perdure-12345678/server"):
                with translated(Path(place)):
                    self._link = Path(tempfile.mkdtemp(prefix="perdure-", dir=place)) / "server"
                    self._link.symlink_to(self.directory)
                return str(self._link)
        raise StorageError(f"no socket can be reached at {path!r}; choose a shorter path")

    def _relink(self) -> None:
        """Make the link anew where something that tidies the directory of temporary files took it."""
        if self._link is not None and not self._link.is_symlink():
            with translated(self._link.parent), suppress(FileExistsError):
                self._link.parent.mkdir(0o700, exist_ok=True)
                self._link.symlink_to(self.directory)

    def _after_fork(self) -> None:
        self._mutex = threading.Lock()
        self._share = self._link = None


def start(directory: Path, until: float, *, create: bool) -> EmbeddedServer:
    """Become a user of the directory's server, and see that it runs.

    Args:
        directory: Where the cluster is, or is to be.
        until: The moment of `time.monotonic` to wait until.
        create: Whether to create the cluster where there is none.

    Raises:
        InvalidURL: The path holds what Postgres cannot use.
        NotFound: There is no cluster, or no place for a new one.
        IncompatibleStore: There is something else, or a cluster of another version.
        Unsupported: The wheel with the server is not installed.
        Busy, StorageError, PermissionDenied: It cannot be created or started; nothing half is left.
    """
    if any(mark in str(directory) for mark in "\0\r\n"):
        raise InvalidURL(
            f"the directory {str(directory)!r} has a line break or NUL in its path, which Postgres cannot use; "
            "choose another"
        )
    home = Home(Path(os.path.realpath(directory)))
    if not home.exists() and not create:
        raise NotFound(
            f"there is no store {str(directory)!r}; check the path, or write to it (mode='rw') to create it"
        )
    home.prepare()
    user = EmbeddedServer(home)
    try:
        with user._starting(until) as lock:
            if not home.exists():
                home.create(lock, until)
            user._join()
        user.ensure(until)
    except BaseException:
        with suppress(PerdureError):
            user.close()
        raise
    return user


def _fits(path: str) -> bool:
    return len(os.fsencode(f"{path}/{server.SOCKET}")) <= _ADDRESS_BYTES


#: The shares of this process that are not closed yet.
_shares: set[EmbeddedServer] = set()


def _close_all() -> None:
    for user in tuple(_shares):
        with suppress(PerdureError):
            user.close()


def _after_fork() -> None:
    for user in tuple(_shares):
        user._after_fork()
    _shares.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
