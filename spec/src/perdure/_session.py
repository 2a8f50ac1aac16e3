"""What the views of one open store share: the backend's hooks, the caller's context, the space cache."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from perdure._capabilities import Description
from perdure._checks import check_text
from perdure._errors import NotFound
from perdure._payload import manifest_digests
from perdure._plugins import manager
from perdure._types import Context, Space

__all__ = ["Session"]


class Session:
    """One open backend. Safe from several threads: the only state is a cache of immutable spaces."""

    def __init__(
        self,
        backend: object,
        description: Description,
        *,
        url: str,
        namespace: str,
        ctx: Context,
        observers: Iterable[object] = (),
    ) -> None:
        self.description = description
        self.url = url
        self.namespace = namespace
        self.ctx = ctx
        self.hook: Any = manager(backend, observers).hook
        self._spaces: dict[str, Space] = {}
        self._lock = threading.Lock()

    def space(self, name: str) -> Space:
        """The definition of a space.

        Raises:
            NotFound: There is none of that name.
        """
        space = self._spaces.get(check_text(name, "the name of a space"))
        if space is None:
            space = {s.name: s for s in self.spaces()}.get(name)
        if space is None:
            raise NotFound(f"there is no space {name[:80]!r}; create it with store.spaces.create", space=name)
        return space

    def spaces(self) -> list[Space]:
        """All spaces, read anew."""
        spaces: list[Space] = self.hook.list_spaces(ctx=self.ctx)
        with self._lock:
            self._spaces = {s.name: s for s in spaces}
        return spaces

    def forget_spaces(self) -> None:
        """Drop the cache, after a space was dropped here."""
        with self._lock:
            self._spaces = {}

    def payload(self, manifest: str) -> Iterator[bytes]:
        """The pieces of a payload."""
        pieces: Iterator[bytes] = self.hook.read_chunks(ctx=self.ctx, digests=manifest_digests(manifest))
        return pieces
