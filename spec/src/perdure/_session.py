"""What the views of one open store share: the backend's hooks and the caller's context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from perdure._capabilities import Description
from perdure._checks import check_text
from perdure._errors import NotFound
from perdure._payload import manifest_digests
from perdure._plugins import manager
from perdure._types import Context, Space

__all__ = ["Session"]


class Session:
    """One open backend. Safe from several threads: it has no state of its own."""

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

    def space(self, name: str) -> Space:
        """The definition of a space as it is now.

        Raises:
            NotFound: There is none of that name.
        """
        return self.lookup()(name)

    def lookup(self) -> Callable[[str], Space]:
        """The definitions of spaces for one operation: read once, when the first is asked for.

        They are not kept for longer, since another process may drop a space and create another of its name.
        """
        known: dict[str, Space] = {}

        def space(name: str) -> Space:
            found = known.get(check_text(name, "the name of a space"))
            if found is None and not known:
                known.update({s.name: s for s in self.spaces()})
                found = known.get(name)
            if found is None:
                raise NotFound(
                    f"there is no space {name[:80]!r}; create it with store.spaces.create", space=name
                )
            return found

        return space

    def spaces(self) -> list[Space]:
        """All spaces."""
        spaces: list[Space] = self.hook.list_spaces(ctx=self.ctx)
        return spaces

    def payload(self, manifest: str) -> Iterator[bytes]:
        """The pieces of a payload."""
        pieces: Iterator[bytes] = self.hook.read_chunks(ctx=self.ctx, digests=manifest_digests(manifest))
        return pieces
