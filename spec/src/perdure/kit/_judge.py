"""What a head says of the objects around it, for a storage that arranges row versions by what they mean."""

from __future__ import annotations

from functools import lru_cache

from perdure._errors import CorruptStore
from perdure._types import Space
from perdure.kit._commits import Commits
from perdure.kit._head import State
from perdure.kit._keys import SLOT, Keys, Slot
from perdure.kit._objects import Head, unpack
from perdure.kit._storage import Storage

__all__ = ["Judge", "life_of"]


@lru_cache(maxsize=64)
def life_of(head: bytes | None) -> bytes | None:
    """What a namespace has from its creation until it is dropped, and no other one ever; of a head's bytes."""
    return None if head is None else unpack(head, Head, "the head").secret


class Judge:
    """Knows which row versions of a storage were committed, and its spaces, as its heads are at that moment.

    Args:
        storage: Only read, by `get` and `range`; it must not change meanwhile.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._states: dict[bytes, tuple[State, Commits] | None] = {}
        self._verdicts: dict[tuple[bytes, bytes], bool] = {}

    def committed(self, key: bytes) -> bool:
        """Whether the attempt that wrote a row version was committed, on a branch that is there.

        False also where history is damaged, so that nobody can tell.
        """
        namespace, slot = key[: key.index(b"\0")], key[-SLOT:]
        verdict = self._verdicts.get((namespace, slot))
        if verdict is None:
            verdict = self._verdicts[namespace, slot] = self._committed(namespace, slot)
        return verdict

    def lost(self, key: bytes) -> bool:
        """Whether the attempt that wrote a row version can never be committed any more.

        Its namespace was dropped, or its branch deleted, or that has come as far without it. False where
        history is damaged.
        """
        namespace = key[: key.index(b"\0")]
        found = self._state(namespace)
        if found is None:
            return self._storage.get(Keys(namespace.decode()).head) is None
        slot, head = Slot.parse(key[-SLOT:]), found[0].head
        branch = found[0].by_number.get(slot.number)
        if branch is None:
            return slot.number < head.next_number
        if not branch.slot or slot.seq > branch.seq:
            return False
        try:
            return not found[1].committed(found[0], branch, key[-SLOT:])
        except CorruptStore:
            return False

    def space(self, namespace: bytes, name: str) -> Space | None:
        """A space of a namespace; None also while the vectors of one that was dropped are being erased."""
        found = self._state(namespace)
        if found is None or found[0].is_hidden(
            Keys(namespace.decode()).rows("vectors") + name.encode() + b"\0"
        ):
            return None
        return found[0].head.spaces.get(name)

    def _state(self, namespace: bytes) -> tuple[State, Commits] | None:
        if namespace not in self._states:
            keys = Keys(namespace.decode())
            raw = self._storage.get(keys.head)
            try:
                state = None if raw is None else State(raw, unpack(raw, Head, "the head"))
            except CorruptStore:
                state = None
            self._states[namespace] = None if state is None else (state, Commits(self._storage, keys))
        return self._states[namespace]

    def _committed(self, namespace: bytes, slot: bytes) -> bool:
        found = self._state(namespace)
        if found is None:
            return False
        state, commits = found
        branch = state.by_number.get(Slot.parse(slot).number)
        try:
            return branch is not None and commits.committed(state, branch, slot)
        except CorruptStore:
            return False
