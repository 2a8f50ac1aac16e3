"""Payloads: how they are cut, named and read; and what is refused in their place."""

from __future__ import annotations

import io
from hashlib import blake2b
from typing import Any

from perdure import Chunk, CorruptStore, InvalidRecord, State, Store

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged
from perdure_conformance.strategies import payloads

PIECE = 65_536
SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 17)


def data(size: int) -> bytes:
    """Bytes of that size, none of whose pieces are alike."""
    return b"".join(i.to_bytes(4, "big") for i in range(size // 4 + 1))[:size]


def name(piece: bytes) -> str:
    """The name of a piece."""
    return blake2b(piece, digest_size=32).hexdigest()


def manifest(payload: bytes) -> str:
    """What the payload column holds."""
    names = [name(payload[start : start + PIECE]) for start in range(0, len(payload), PIECE)]
    return f"{len(payload)}:{','.join(names)}"


def column(store: Store) -> dict[str, Any]:
    """The payload column of all states, by id."""
    table = store.states.to_arrow(columns=["id", "payload"])
    return dict(zip(*(cells.to_pylist() for cells in table.columns), strict=True))


@check("DM-080", "DM-081")
def a_payload_is_cut_and_named(case: Case) -> None:
    """The payload column holds the size and the names of pieces of 65,536 bytes, the last one shorter."""
    store = case.store()
    store.states.put([State(kind="k", id=str(size), payload=data(size)) for size in SIZES])
    store.states.put(State(kind="k", id="none"))
    expected: dict[str, Any] = {str(size): manifest(data(size)) for size in SIZES}
    equal(column(store), {**expected, "none": None}, "the payload columns")


@check("DM-080", "DM-081")
def pieces_are_read_by_name(case: Case) -> None:
    """Each piece of a payload is read under its name, in the order asked, however often."""
    store, hooks = case.store(), case.hooks()
    payload = data(2 * PIECE + 5)
    store.states.put(State(kind="k", id="a", payload=payload))
    pieces = [payload[start : start + PIECE] for start in range(0, len(payload), PIECE)]
    order = [2, 0, 1, 0]
    got = list(hooks.read_chunks(ctx=case.ctx, digests=[name(pieces[i]) for i in order]))
    equal([bytes(piece) for piece in got], [pieces[i] for i in order], "the pieces")
    equal(list(hooks.read_chunks(ctx=case.ctx, digests=[])), [], "no pieces")


@check("DM-080")
def a_payload_comes_back(case: Case) -> None:
    """A payload of bytes, a file or a stream is read back whole, and as a stream, with its size."""
    store = case.store()
    for size in SIZES:
        payload = data(size)
        forms: dict[str, Any] = {
            "bytes": payload,
            "a bytearray": bytearray(payload),
            "a view": memoryview(payload),
            "a file": io.BytesIO(payload),
            "blocks": (payload[start : start + 1000] for start in range(0, size, 1000)),
        }
        for form, given in forms.items():
            store.states.put(State(kind="k", id="a", payload=given))
            what = f"a payload of {size} bytes from {form}"
            holds(store.states["k", "a"].payload == payload, what)
            stream = store.states.open_payload(("k", "a"))
            holds(stream is not None and b"".join(stream) == payload, f"{what} as a stream")
            equal(store.states.payload_size(("k", "a")), size, f"the size of {what}")


@check("DM-080")
def no_payload_is_not_an_empty_one(case: Case) -> None:
    """A state without a payload, and no state, differ from a state with an empty payload."""
    store = case.store()
    store.states.put([State(kind="k", id="none"), State(kind="k", id="empty", payload=b"")])
    found = [store.states["k", key].payload for key in ("none", "empty")]
    equal(found, [None, b""], "the payloads")
    sizes = [store.states.payload_size(("k", key)) for key in ("none", "empty", "never")]
    equal(sizes, [None, 0, None], "the sizes")
    store.states.update(("k", "empty"), payload=None)
    store.states.update(("k", "none"), payload=b"x")
    found = [store.states["k", key].payload for key in ("none", "empty")]
    equal(found, [b"x", None], "the payloads after an update")


@check("DM-080", "DM-082", kind="property", weight=0.2)
def random_payloads_come_back(case: Case) -> None:
    """Payloads of all sizes and patterns, many of their pieces alike, are read back as they were."""
    case.given(_payload_comes_back, payloads(), payloads())


def _payload_comes_back(case: Case, one: bytes, two: bytes) -> None:
    with case.new_store() as store:
        store.states.put(
            [State(kind="k", id="one", payload=one), State(kind="k", id="two", payload=one + two)]
        )
        store.states.put(State(kind="k", id="one", payload=two))
        equal(column(store), {"one": manifest(two), "two": manifest(one + two)}, "the payload columns")
        holds(store.states["k", "one"].payload == two, "the payload that replaced another")
        holds(store.states["k", "two"].payload == one + two, "the payload that shares its pieces")


@check("DM-081")
def a_piece_that_is_not_there_is_corruption(case: Case) -> None:
    """Reading a piece whose name nothing has is refused with `CorruptStore`."""
    store, hooks = case.store(), case.hooks()
    store.states.put(State(kind="k", id="a", payload=b"x"))
    for digest in (name(b"y"), name(b"x").upper(), name(b"x")[:63], name(b"x") + "0", "", "z" * 64, "é" * 64):
        with refused(CorruptStore, what=f"reading the piece {digest!r}"):
            list(hooks.read_chunks(ctx=case.ctx, digests=[name(b"x"), digest]))


@check("DM-080", "DM-033")
def what_is_no_payload_is_refused(case: Case) -> None:
    """Texts, numbers and streams of them are refused as a payload; nothing is written."""
    store = case.store()
    store.states.put(State(kind="k", id="a", payload=b"x"))
    bad: list[Any] = ["text", 1, 1.5, True, ["a"], [1], [b"a", "b"], {"a": 1}, object()]
    with unchanged(store):
        with refused(InvalidRecord, what="a state with a file of text as payload"):
            store.states.put(State(kind="k", id="b", payload=io.StringIO("text")))  # type: ignore[arg-type]
        for payload in bad:
            with refused(InvalidRecord, what=f"a state with the payload {payload!r:.40}"):
                store.states.put(State(kind="k", id="b", payload=payload))
            with refused(InvalidRecord, what=f"an update to the payload {payload!r:.40}"):
                store.states.update(("k", "a"), payload=payload)


@check("DM-081")
def a_payload_is_exported_in_its_pieces(case: Case) -> None:
    """An export has each piece of a payload once, under its name."""
    store = case.store()
    payload = data(PIECE) * 2 + b"end"
    store.states.put([State(kind="k", id=key, payload=payload) for key in ("a", "b")])
    chunks = [event for event in store.export() if isinstance(event, Chunk)]
    expected = sorted([(name(data(PIECE)), data(PIECE)), (name(b"end"), b"end")])
    equal(sorted((chunk.digest, bytes(chunk.data)) for chunk in chunks), expected, "the pieces of the export")
