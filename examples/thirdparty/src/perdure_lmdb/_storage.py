"""The ordered map of bytes that the kit asks for, in an LMDB database."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from perdure.kit import Storage

from ._environment import Environment
from ._keys import HEAD, after, from_item, to_item, to_stored

BATCH = 512  # items that one transaction reads for a range, or writes
Item = tuple[bytes, bytes]


class LmdbStorage(Storage):
    """A map in an environment, which it takes over."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._environment.begin() as transaction:
            found = ((stored, transaction.get(stored)) for stored in map(to_stored, keys))
            return [None if value is None else from_item(stored, value)[1] for stored, value in found]

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[Item]:
        # Stored keys are compared by their heads alone; the whole key decides what is yielded.
        bound: bytes | None = start[:HEAD]
        if reverse:
            bound = end if len(end) <= HEAD else after(end[:HEAD])
        while bound is not None:
            items, bound = self._page(bound, start, end, reverse)
            yield from items

    def _page(self, bound: bytes, start: bytes, end: bytes, reverse: bool) -> tuple[list[Item], bytes | None]:
        """Items from the bound on, and the bound of the next page; forward it is included, in reverse it is not."""
        items: list[Item] = []
        with self._environment.begin() as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(bound)
            if reverse:
                there = cursor.prev() if there else cursor.last()
            walk = cursor.iterprev() if reverse else cursor.iternext()
            for head, group in groupby(walk if there else (), key=lambda item: item[0][:HEAD]):
                if head < start[:HEAD] if reverse else head > end[:HEAD]:
                    break
                # Keys with one head are ordered by their digests there; they are one page, however many they are.
                pairs = (from_item(*item) for item in group)
                items += sorted((pair for pair in pairs if start <= pair[0] < end), reverse=reverse)
                if len(items) >= BATCH:
                    return items, head if reverse else after(head)
        return items, None

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        return self.put_many([(key, value)]) == 1

    def put_many(self, items: Iterable[Item]) -> int:
        rest, added = iter(items), 0
        while batch := [to_item(*item) for item in islice(rest, BATCH)]:
            with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                added += cursor.putmulti(batch, overwrite=False)[1]
        return added

    def delete(self, key: bytes) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.delete(to_stored(key))

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        stored, value = to_item(key, new)
        expected = None if old is None else to_item(key, old)[1]
        with self._environment.begin(write=True) as transaction:
            return transaction.get(stored) == expected and transaction.put(stored, value)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._environment.release()
