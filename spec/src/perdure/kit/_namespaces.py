"""The namespaces of a storage."""

from __future__ import annotations

from itertools import islice

from perdure._errors import Conflict, NotFound
from perdure._names import check_name
from perdure.kit._keys import Keys
from perdure.kit._storage import Storage

__all__ = ["drop_namespace", "list_namespaces"]


def list_namespaces(storage: Storage) -> list[str]:
    """All namespaces by name; one range step and one read for each."""
    names = []
    at = b""
    while (item := next(storage.range(at, b"\xff"), None)) is not None:
        name = item[0].partition(b"\0")[0]
        if storage.get(name + b"\0h") is not None:
            names.append(name.decode())
        at = name + b"\1"
    return sorted(names)


def drop_namespace(storage: Storage, name: str, own: str) -> bool:
    """Drop a namespace: the head goes first, so that a crash on the way leaves only garbage of it.

    Raises:
        Conflict: It is the one that is open.
        NotFound: There is none of that name.
    """
    check_name(name, "namespace")
    if name == own:
        raise Conflict(
            f"namespace {name!r} is open here; drop it from a store that is open on another one", name=name
        )
    keys = Keys(name)
    if storage.get(keys.head) is None:
        raise NotFound(f"there is no namespace {name!r}; list them with store.namespaces.list()", name=name)
    storage.delete(keys.head)
    doomed = (key for key, _ in storage.range(keys.root, keys.end))
    while batch := list(islice(doomed, 256)):
        storage.delete_many(batch)
    return True
