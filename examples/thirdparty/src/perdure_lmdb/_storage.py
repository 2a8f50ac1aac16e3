"""The ordered map of bytes that the kit asks for, in an LMDB database."""

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

from perdure.kit import Storage, paged

from ._environment import Environment

KEY = 510  # LMDB takes keys of up to 511 bytes, and `paged` asks for one more than the longest has
PAGE = 512  # items that one transaction reads for a range
Item = tuple[bytes, bytes]


class LmdbStorage(Storage):
    """A map in an environment, which it takes over, with keys of at most `KEY` bytes."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._environment.begin() as transaction:
            return [transaction.get(key) for key in keys]

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[Item]:
        return paged(self._page, start, end, reverse)

    def _page(self, start: bytes, end: bytes, reverse: bool) -> list[Item]:
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(end if reverse else start)
            if reverse:
                there = cursor.prev() if there else cursor.last()
            walk = cursor.iterprev() if reverse else cursor.iternext()
            return list(islice(takewhile(lambda at: start <= at[0] < end, walk if there else ()), PAGE))

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        return self.put_many([(key, value)]) == 1

    def put_many(self, items: Sequence[Item]) -> int:
        with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            return cursor.putmulti(items, overwrite=False)[1]

    def delete(self, key: bytes) -> None:
        self.delete_many([key])

    def delete_many(self, keys: Sequence[bytes]) -> None:
        with self._environment.begin(write=True) as transaction:
            for key in keys:
                transaction.delete(key)

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        with self._environment.begin(write=True) as transaction:
            return transaction.get(key) == old and transaction.put(key, new)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._environment.release()
