"""Other processes, for what one process cannot show: kills, and writers that share nothing.

They are forked from a server that has loaded what they need, where the system has that, so that one
costs milliseconds. See `multiprocessing` on start methods.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from typing import Any

from perdure import PerdureError

__all__ = ["Child", "spawn"]

#: How long a child may take to answer or to end before it counts as hung, in seconds.
PATIENCE = 120.0


class Child:
    """A process that runs a function, with a pipe to it."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    @property
    def pid(self) -> int:
        """The number of the process."""
        pid: int = self._process.pid
        return pid

    def send(self, message: Any) -> None:
        """Hand the child something; it reads its pipe with ``recv``."""
        self._pipe.send(message)

    def recv(self, timeout: float = PATIENCE) -> Any:
        """What the child sent next.

        Raises:
            EOFError: It ended without sending anything more.
            TimeoutError: It sent nothing in time.
        """
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"process {self.pid} said nothing in {timeout} s")
        return self._pipe.recv()

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether there is something to receive, or the child has closed its end."""
        return self._pipe.poll(timeout)

    def result(self, timeout: float = PATIENCE) -> Any:
        """What the function returned.

        Raises:
            RuntimeError: It raised; the message holds the child's traceback. A `PerdureError` is raised as itself.
            EOFError: The process died.
        """
        kind, content = self.recv(timeout)
        self.wait(timeout)
        if kind == "error":
            if isinstance(content, PerdureError):
                raise content
            raise RuntimeError(f"a child process failed:\n{content}")
        return content

    def kill(self) -> None:
        """End it at once, as the death of a machine's process would (SIGKILL); no cleanup runs in it."""
        self._process.kill()
        self._process.join(PATIENCE)

    def wait(self, timeout: float = PATIENCE) -> int | None:
        """Its exit code, negative for a signal; None where it still runs after the time given."""
        self._process.join(timeout)
        code: int | None = self._process.exitcode
        return code

    def close(self) -> None:
        """Kill it if it still runs, and release the pipe."""
        if self._process.is_alive():
            self.kill()
        self._pipe.close()


def spawn(function: Callable[..., Any], *args: Any, parent: bool = False) -> Child:
    """Run ``function(pipe, *args)`` in a new process; its result is had with `Child.result`.

    Args:
        function: Of a module, so that the other process can import it.
        *args: What can be pickled, such as a `Place`.
        parent: It may have processes of its own; whoever starts it must then close it in any case.
    """
    context = _context()
    mine, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs, function, args), daemon=not parent)
    process.start()
    theirs.close()
    return Child(process, mine)


@cache
def _context() -> Any:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        # A backend that this process has loaded is loaded once for all children.
        backends = [e.module for e in entry_points(group="perdure.backends") if e.module in sys.modules]
        context.set_forkserver_preload(["perdure_conformance.clauses", "perdure", *backends])
    return context


def _main(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    try:
        result = function(pipe, *args)
    except PerdureError as error:
        pipe.send(("error", error))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))
        sys.exit(1)
    else:
        pipe.send(("result", result))
