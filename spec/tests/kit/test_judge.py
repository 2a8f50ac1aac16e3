"""A judge tells from the heads which row versions count; a storage may only drop what can never count any more."""

from __future__ import annotations

from typing import Any

import pytest
from perdure._types import Context, Put, Space
from perdure.kit import SLOT, Judge, life_of

CTX = Context()
HEAD = b"ns\0h"


def versions(storage: Any) -> set[bytes]:
    """The keys of all versions of rows."""
    return {key for key, _ in storage.range(b"ns\0r", b"ns\0s")}


def interrupted(store: Any, row: Any, name: str, **more: Any) -> bytes:
    """The version of a commit whose head was never swapped, as a crash leaves it."""
    before = versions(store.storage)

    def fail(call: str, key: bytes) -> None:
        if call == "swap" and key == HEAD:
            raise OSError("the power went")

    store.storage.fail = fail
    with pytest.raises(Exception, match="the power went"):
        store.commit(Put("memories", [row("memories", name)]), **more)
    store.storage.fail = lambda call, key: None
    (left,) = versions(store.storage) - before
    return left


def test_what_was_committed_is_told_from_what_was_not(dict_store: Any, row: Any) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    (done,) = versions(dict_store.storage)
    left = interrupted(dict_store, row, "b")
    judge = Judge(dict_store.storage)
    assert judge.committed(done)
    assert not judge.lost(done)
    assert not judge.committed(left)
    assert not judge.lost(left), "its writer may still be at it"
    dict_store.commit(Put("memories", [row("memories", "c")]))
    assert Judge(dict_store.storage).lost(left), "the branch has come as far without it"


def test_what_a_branch_that_is_gone_wrote_is_lost(dict_store: Any, row: Any) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    dict_store.branch("side")
    before = versions(dict_store.storage)
    dict_store.commit(Put("memories", [row("memories", "b")]), branch="side")
    (key,) = versions(dict_store.storage) - before
    assert Judge(dict_store.storage).committed(key)
    dict_store.hook.delete_branch(CTX, "side", cascade=False)
    judge = Judge(dict_store.storage)
    assert judge.lost(key)
    assert not judge.committed(key)


def test_what_nobody_can_tell_is_neither_committed_nor_lost(dict_store: Any, row: Any) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    (key,) = versions(dict_store.storage)
    head = dict_store.storage.data[HEAD]
    dict_store.storage.data[HEAD] = head[:-1] + bytes([head[-1] ^ 1])
    judge = Judge(dict_store.storage)
    assert not judge.committed(key)
    assert not judge.lost(key)
    del dict_store.storage.data[HEAD]
    assert Judge(dict_store.storage).lost(key), "its namespace was dropped"


def test_a_slot_that_was_never_given_out_is_not_lost(dict_store: Any, row: Any) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    (key,) = versions(dict_store.storage)
    ahead = key[:-SLOT] + (99).to_bytes(4, "big") + key[-SLOT + 4 :]
    assert not Judge(dict_store.storage).lost(ahead), "of a branch that another process is about to make"


def test_spaces_are_as_the_head_says(dict_store: Any) -> None:
    space = Space("notes", 3)
    dict_store.hook.create_space(CTX, space)
    judge = Judge(dict_store.storage)
    found = judge.space(b"ns", "notes")
    assert found is not None
    assert (found.name, found.dim) == ("notes", 3)
    assert judge.space(b"ns", "none") is None
    assert judge.space(b"other", "notes") is None


def test_a_namespace_that_was_made_again_has_another_life(dict_store: Any, driver: Any, row: Any) -> None:
    dict_store.commit(Put("memories", [row("memories", "a")]))
    first = life_of(dict_store.storage.data[HEAD])
    dict_store.commit(Put("memories", [row("memories", "b")]))
    assert life_of(dict_store.storage.data[HEAD]) == first
    driver(dict_store.storage, "other").hook.drop_namespace(CTX, "ns")
    again = driver(dict_store.storage)
    again.commit(Put("memories", [row("memories", "a")]))
    assert life_of(dict_store.storage.data[HEAD]) != first
    assert life_of(None) is None
