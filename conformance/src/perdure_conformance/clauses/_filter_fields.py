"""Filters on typed fields: texts, numbers, times, tags, vectors, payloads and read counters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from perdure import Memory, State, Unsupported, Vector
from perdure.filters import F, Filter

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._chosen import chosen, finds
from perdure_conformance.expect import equal

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
US = timedelta(microseconds=1)

#: Each test of a text field with a literal, and what it means.
TEXT_TESTS: tuple[tuple[Callable[[str], Filter], Callable[[str, str], bool]], ...] = (
    (lambda literal: F.title == literal, lambda text, literal: text == literal),
    (F.title.contains, lambda text, literal: literal in text),
    (F.title.starts_with, lambda text, literal: text.startswith(literal)),
    (lambda literal: F.title < literal, lambda text, literal: text < literal),
    (lambda literal: F.title <= literal, lambda text, literal: text <= literal),
    (lambda literal: F.title > literal, lambda text, literal: text > literal),
    (lambda literal: F.title >= literal, lambda text, literal: text >= literal),
    (lambda literal: F.title.is_in([literal, "axb"]), lambda text, literal: text in (literal, "axb")),
)


@check("FI-001", "FI-060", "FI-082", "FI-090")
def texts_are_compared_by_code_point(case: Case) -> None:
    """No case folding, no normalisation, no wildcards, no trimming, and order by code point."""
    texts = [
        "",
        "a%b",
        "a_b",
        "axb",
        "A%B",
        "a*b",
        "é",
        "e\u0301",
        "😀x",
        "\uffff",
        "a\\b",
        "it's",
        " a",
        "a ",
        "ß",
        "İ",
    ]
    store = case.store()
    store.memories.put([Memory(id=f"t{place:02}", title=text) for place, text in enumerate(texts)])
    store.memories.put(Memory(id="t99"))
    literals = [
        *texts,
        "%",
        "_",
        "*",
        "?",
        "a%",
        "%b",
        "a_",
        "A",
        "e",
        "\u0301",
        "x",
        "\\",
        "'",
        " ",
        "ss",
        "i",
        "\U0001f5ff",
    ]
    for literal in literals:
        for build, test in TEXT_TESTS:
            wanted = [f"t{place:02}" for place, text in enumerate(texts) if test(text, literal)]
            chosen(store.memories, build(literal), wanted)


@check("FI-001", "FI-061", "FI-083", "FI-023")
def typed_numbers_are_compared_exactly(case: Case) -> None:
    """An int field and a float literal, and a float field and an int literal, meet as exact numbers."""
    big = 2**53
    store = case.store()
    ints = {"a": big, "b": big + 1, "c": -1, "d": 2**63 - 1, "e": -(2**63), "f": 0, "g": None}
    floats = {"a": 2.0**53, "b": 1e308, "c": -1.0, "d": 2.0**63, "e": -(2.0**63), "f": -0.0, "g": None}
    store.memories.put([Memory(id=key, tier=ints[key], importance=floats[key]) for key in ints])
    finds(
        store.memories,
        [
            (F.tier > 2.0**53, "bd"),
            (F.tier == 2.0**53, "a"),
            (F.tier >= 2.0**53, "abd"),
            (F.tier == big + 1, "b"),
            (F.tier == 2.0**63, ""),
            (F.tier < 2.0**63, "abcdef"),
            (F.tier >= 2.0**63, ""),
            (F.tier == 2**63, ""),
            (F.tier < 2**63, "abcdef"),
            (F.tier == -(2.0**63), "e"),
            (F.tier < -(2.0**63), ""),
            (F.tier > -(2**80), "abcdef"),
            (F.tier < -(10**400), ""),
            (F.tier != 2**80, "abcdefg"),
            (F.tier < float("inf"), "abcdef"),
            (F.tier == float("inf"), ""),
            (F.tier > float("-inf"), "abcdef"),
            (F.tier < 0.5, "cef"),
            (F.tier == 0.5, ""),
            (F.tier == -0.0, "f"),
            (F.tier.is_in([2.0**53, 2**70, 0.5, -1.0]), "ac"),
            (~F.tier.is_in([2.0**53, float("inf")]), "bcdefg"),
            (F.importance == big + 1, ""),
            (F.importance < big + 1, "acef"),
            (F.importance >= big, "abd"),
            (F.importance == 2**63, "d"),
            (F.importance > 2**63 - 1, "bd"),
            (F.importance <= 2**63 - 1, "acef"),
            (F.importance == 2**63 - 1, ""),
            (F.importance < 10**400, "abcdef"),
            (F.importance > 10**308, "b"),
            (F.importance == 10**308, ""),
            (F.importance == float("inf"), ""),
            (F.importance == 0, "f"),
            (F.importance < 0, "ce"),
            (F.importance == -0.0, "f"),
            (F.importance < 5e-324, "cef"),
            (F.importance.is_in([big + 1, 2**63, 0]), "df"),
        ],
    )


@check("FI-001", "FI-025", "FI-066", "FI-084")
def typed_times_are_compared_by_instant(case: Case) -> None:
    """Microseconds count, zones do not, and the ends of time are there."""
    east = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    store = case.store()
    times = {"a": NOON, "b": NOON + US, "c": east - US, "d": first, "e": last, "f": epoch - US, "g": None}
    store.memories.put([Memory(id=key, expires_at=moment) for key, moment in times.items()])
    finds(
        store.memories,
        [
            (F.expires_at == east, "a"),
            (F.expires_at < NOON, "cdf"),
            (F.expires_at <= east, "acdf"),
            (F.expires_at > NOON, "be"),
            (F.expires_at >= NOON + US, "be"),
            (F.expires_at != NOON, "bcdefg"),
            (F.expires_at < epoch, "df"),
            (F.expires_at == first, "d"),
            (F.expires_at >= last, "e"),
            (F.expires_at.is_in([NOON + US, NOON - US, last]), "bce"),
            (F.expires_at.is_null(), "g"),
        ],
    )


@check("FI-001", "FI-085", "FI-091")
def a_tag_is_matched_whole(case: Case) -> None:
    """A tag matches exactly, whatever characters it has; tags are never null."""
    store = case.store()
    tags: dict[str, list[str]] = {
        "a": ["db", "x"],
        "b": ["db2"],
        "c": [],
        "d": ["DB", "a,b"],
        "e": ["x", "d%"],
        "f": ['"db"', "é"],
        "g": ["\\", "'"],
    }
    store.memories.put([Memory(id=key, tags=some) for key, some in tags.items()])
    for tag in (
        "db",
        "d",
        "",
        "DB",
        "a,b",
        "a",
        "d%",
        "%",
        "_",
        '"db"',
        '"',
        "é",
        "e\u0301",
        "\\",
        "'",
        "x",
        "db,x",
        "[]",
    ):
        chosen(store.memories, F.tags.contains(tag), [key for key, some in tags.items() if tag in some])
        chosen(store.memories, ~F.tags.contains(tag), [key for key, some in tags.items() if tag not in some])
    finds(
        store.memories,
        [
            (F.tags.is_null(), ""),
            (~F.tags.is_null(), "abcdefg"),
            (F.tags.contains("db") & F.tags.contains("x"), "a"),
        ],
    )


@check("FI-087", "FI-001")
def vectors_and_payloads_are_null_or_not(case: Case) -> None:
    """A payload, even an empty one, is not null; a vector never is."""
    store = case.store()
    store.states.put(
        [State(kind="k", id="a", payload=b"x"), State(kind="k", id="b"), State(kind="k", id="c", payload=b"")]
    )
    store.spaces.create("free", 2)
    store.vectors.put(Vector(space="free", id="v", values=[1.0, 0.0]))
    chosen(store.states, F.payload.is_null(), [("k", "b")])
    chosen(store.states, ~F.payload.is_null(), [("k", "a"), ("k", "c")])
    chosen(store.vectors, F["values"].is_null(), [])
    chosen(store.vectors, ~F["values"].is_null(), [("free", "v")])


@check("FI-001", "FI-003", "FI-092")
def read_counters_are_fields(case: Case) -> None:
    """`access_count` and `accessed_at` are 0 and null before the first read, and count with other tests."""
    store = case.store()
    store.memories.put([Memory(id=key, tier=1) for key in "abc"])
    store.states.put([State(kind="k", id=key) for key in "ab"])
    store.memories.touch("a", at=NOON)
    store.memories.touch(["a", "b"], at=NOON + US)
    store.states.touch([("k", "b")], at=NOON)
    finds(
        store.memories,
        [
            (F.access_count == 0, "c"),
            (F.access_count >= 1, "ab"),
            (F.access_count == 2.0, "a"),
            (F.access_count.is_in([1, 0]), "bc"),
            (F.access_count.is_null(), ""),
            (F.access_count != 0, "ab"),
            (F.accessed_at.is_null(), "c"),
            (F.accessed_at == NOON + US, "ab"),
            (F.accessed_at < NOON + US, ""),
            (F.accessed_at > NOON, "ab"),
            (F.accessed_at != NOON + US, "c"),
            ((F.access_count > 1) | (F.content == 1), "a"),
            (~((F.access_count > 1) & (F.tier == 1)), "bc"),
        ],
    )
    chosen(store.states, F.access_count == 1, [("k", "b")])
    chosen(store.states, F.accessed_at.is_null(), [("k", "a")])


@check("FI-003", "FI-092", level="branches")
def read_counters_away_from_a_head_are_told_or_refused(case: Case) -> None:
    """At a branch head counters are those of all branches; elsewhere a test of them is answered or unsupported."""
    store = case.store()
    store.memories.put([Memory(id=key) for key in "ab"])
    point = store.head()
    lab = store.branch("lab")
    lab.memories.put(Memory(id="c"))
    lab.memories.touch("a")
    finds(store.memories, [(F.access_count > 0, "a"), (F.accessed_at.is_null(), "b")])
    finds(lab.memories, [(F.access_count > 0, "a"), (F.accessed_at.is_null(), "bc")])
    store.memories.put(Memory(id="d"))
    try:
        found = [memory.id for memory in store.at(point).memories.find(F.access_count > 0)]
    except Unsupported:
        found = ["a"]
    equal(found, ["a"], "rows at a point of the past that were read, if that is answered")
