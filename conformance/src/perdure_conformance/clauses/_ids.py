"""Ids that records get by themselves."""

from __future__ import annotations

import re
from hashlib import blake2b
from uuid import UUID

from perdure import Link, Memory, Skill, State, Trace

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def derived(source: str, target: str, relation: str | None) -> str:
    """The id of a link as the specification derives it."""
    digest = blake2b(digest_size=16, person=b"perdure.link")
    for part in (source, target, relation):
        data = b"" if part is None else part.encode()
        digest.update((0 if part is None else len(data) + 1).to_bytes(8, "little"))
        digest.update(data)
    raw = bytearray(digest.digest())
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(raw)))


@check("DM-040")
def records_without_an_id_get_a_uuid7(case: Case) -> None:
    """A memory, skill, trace or state without an id is stored under a UUIDv7 of its own."""
    store = case.store()
    store.memories.put([Memory(text=str(i)) for i in range(20)])
    store.memories.put([{"text": "a mapping"}])
    store.skills.put([Skill(), Skill()])
    store.traces.put([Trace(), Trace()])
    store.states.put([State(kind="k"), State(kind="k")])
    for name, count in (("memories", 21), ("skills", 2), ("traces", 2), ("states", 2)):
        ids = [record.id for record in store.table(name).scan()]
        equal(len(set(ids)), count, f"how many {name} there are")
        for id_ in ids:
            holds(UUID7.fullmatch(id_), f"the id of a row of {name} is a UUIDv7", id_)
    texts = [memory.text for memory in store.memories.scan()][:20]
    equal(
        texts,
        [str(i) for i in range(20)],
        "memories in the order of their ids, which is that of their making",
    )


@check("DM-041")
def the_id_of_a_link_is_derived(case: Case) -> None:
    """A link without an id gets that of its source, target and relation, and is one however often it is put."""
    store = case.store()
    edges = [("a", "b", None), ("a", "b", ""), ("ab", "", "x"), ("a", "b", "x"), ("é", "😀", "x" * 1024)]
    edges = [edge for edge in edges if edge[1]]
    for source, target, relation in edges:
        for _ in range(2):
            store.links.put(Link(source=source, target=target, relation=relation))
        store.links.put({"source": source, "target": target, "relation": relation})
    found = {link.id: (link.source, link.target, link.relation) for link in store.links.scan()}
    equal(found, {derived(*edge): edge for edge in edges}, "the links by their ids")


@check("DM-042")
def a_link_with_an_id_may_be_parallel(case: Case) -> None:
    """Links of one source, target and relation with ids of their own are all kept."""
    store = case.store()
    store.links.put([Link(id=key, source="a", target="b", relation="r") for key in ("one", "two")])
    store.links.put(Link(source="a", target="b", relation="r"))
    expected = sorted(["one", "two", derived("a", "b", "r")])
    equal([link.id for link in store.links.scan()], expected, "the parallel links")
