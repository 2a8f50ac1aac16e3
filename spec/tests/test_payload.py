"""Payloads: any bytes, streamed, stored once."""

import io
from collections.abc import Iterator

import pytest
from perdure import InvalidRecord, State, Store
from perdure._payload import PayloadWriter, manifest_digests, manifest_size

SIZES = [0, 1, 65_535, 65_536, 65_537, 200_000]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_files_and_iterables_are_kept_alike(store: Store, size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(size))

    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 1000):
            yield data[start : start + 1000]

    for form in (data, bytearray(data), memoryview(data), io.BytesIO(data), pieces()):
        store.states.put(State(kind="k", id="s", payload=form))  # type: ignore[arg-type]
        state = store.states[("k", "s")]
        assert state.payload == data
    assert len(list(store.log())) == 1, "equal payloads make no version"
    stream = store.states.open_payload(("k", "s"))
    assert stream is not None
    assert b"".join(stream) == data
    assert store.states.payload_size(("k", "s")) == size


def test_no_payload_is_not_an_empty_one(store: Store) -> None:
    store.states.put([State(kind="k", id="none"), State(kind="k", id="empty", payload=b"")])
    assert [s.payload for s in store.states.find()] == [b"", None]
    assert store.states.open_payload(("k", "none")) is None


def test_what_changes_little_costs_little(store: Store) -> None:
    weights = bytearray(range(256)) * 4096
    for i in range(0, len(weights), 65_536):
        weights[i] = i // 65_536
    store.states.put(State(kind="w", id="a", payload=bytes(weights)))
    before = store.stats().payload_bytes
    weights[100_000] ^= 1
    store.branch("b").states.put(State(kind="w", id="a", payload=bytes(weights)))
    assert store.stats().payload_bytes - before == 65_536


def test_a_text_file_is_refused(store: Store) -> None:
    with pytest.raises(InvalidRecord, match="binary"):
        store.states.put(State(kind="k", id="s", payload=io.StringIO("text")))  # type: ignore[arg-type]


def test_the_manifest_tells_size_and_pieces() -> None:
    writer = PayloadWriter()
    manifest = writer.write(b"a" * 65_536 + b"b")
    assert manifest_size(manifest) == 65_537
    assert [chunk.digest for chunk in writer] == manifest_digests(manifest)
    assert manifest_digests(writer.write(b"")) == []
