"""The ordered map of bytes that the kit asks for, in an LMDB database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile

import lmdb
from perdure.kit import Lease, Storage, paged

from ._environment import Environment, translated

KEY = 510  # LMDB takes keys of up to 511 bytes, and `paged` asks for one more than the longest has
PAGE = 512  # items that one transaction reads for a range
Item = tuple[bytes, bytes]


class LmdbStorage(Storage):
    """A map in an environment, which it takes over, with keys of at most `KEY` bytes."""

    def __init__(self, environment: Lease[Environment]) -> None:
        self._environment = environment

    @contextmanager
    def _begin(self, write: bool = False) -> Iterator["lmdb.Transaction[bytes]"]:
        """A transaction; it commits, and is durable, when the block ends."""
        with self._environment.use() as (env, db), translated(), env.begin(db, write=write) as transaction:
            yield transaction

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._begin() as transaction:
            return [transaction.get(key) for key in keys]

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[Item]:
        return paged(self._page, start, end, reverse)

    def _page(self, start: bytes, end: bytes, reverse: bool) -> list[Item]:
        with self._begin() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(end if reverse else start)
            if reverse:
                there = cursor.prev() if there else cursor.last()
            walk = cursor.iterprev() if reverse else cursor.iternext()
            return list(islice(takewhile(lambda at: start <= at[0] < end, walk if there else ()), PAGE))

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        return self.put_many([(key, value)]) == 1

    def put_many(self, items: Sequence[Item]) -> int:
        with self._begin(write=True) as transaction, transaction.cursor() as cursor:
            return cursor.putmulti(items, overwrite=False)[1]

    def delete(self, key: bytes) -> None:
        self.delete_many([key])

    def delete_many(self, keys: Sequence[bytes]) -> None:
        with self._begin(write=True) as transaction:
            for key in keys:
                transaction.delete(key)

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        with self._begin(write=True) as transaction:
            return transaction.get(key) == old and transaction.put(key, new)

    def close(self) -> None:
        self._environment.close()
