"""One handle per thing and process, closed by its last user."""

from __future__ import annotations

import pytest
from perdure import Unavailable
from perdure.kit import Shared


class Handle:
    def __init__(self) -> None:
        self.open = True

    def close(self) -> None:
        assert self.open
        self.open = False


def test_all_who_open_a_thing_have_one_handle_and_the_last_closes_it() -> None:
    shared = Shared(Handle.close)
    first, second, other = shared.lease("a", Handle), shared.lease("a", Handle), shared.lease("b", Handle)
    with first.use() as one, second.use() as two, other.use() as three:
        assert one is two is not three
    first.close()
    first.close()
    assert one.open
    with pytest.raises(Unavailable), first.use():
        pass
    second.close()
    assert not one.open
    assert three.open
    with shared.lease("a", Handle).use() as again:
        assert again is not one


def test_a_handle_stays_open_while_it_is_used() -> None:
    lease = Shared(Handle.close).lease("a", Handle)
    with lease.use() as handle:
        lease.close()
        assert handle.open
    assert not handle.open


def test_what_could_not_be_opened_is_not_remembered() -> None:
    shared = Shared(Handle.close)
    with pytest.raises(ZeroDivisionError):
        shared.lease("a", lambda: 1 // 0)
    with shared.lease("a", Handle).use() as handle:
        assert handle.open
