"""The Nexus mapping, from the file to the store and back."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import perdure
import pytest
from perdure import InvalidInput, InvalidRecord, link_id
from perdure.values import Opaque, equal
from perdure_migrate import Report, migrate

Write = Callable[..., Path]


def notes(report: Report, kind: str) -> list[str]:
    return [f"{note.where}: {note.what}" for note in report.notes if note.kind == kind]


def test_the_sample_arrives_equal(samples: Path, url: str, legacy: Callable[[], Any]) -> None:
    report = migrate(samples / "nexus.pkl", url)
    assert report.ok
    assert report.planned == {"memories": 200, "links": 597, "traces": 60, "vectors": 200}
    assert report.equal == report.planned
    assert not report.notes
    with legacy(), perdure.open(url) as store:  # read once more, by pickle itself, with classes made for it
        source = pickle.loads((samples / "nexus.pkl").read_bytes())
        for key, node in source.graph.items():
            memory = store.memories[key]
            assert (memory.kind, memory.content, memory.text) == (
                node["type"],
                node["content"],
                node["content"],
            )
            assert memory.metadata is None
            for other, edge in node["edges"].items():
                link = store.links[link_id(key, other, edge["edge_type"])]
                assert (link.source, link.target, link.context) == (key, other, None)
                assert {"strength": link.weight, "edge_type": link.relation} == edge
        for key, array in source.vectors.items():
            vector = store.vectors["nexus", key]
            assert vector.values.dtype == np.float32
            assert vector.values.tobytes() == array.tobytes()
        for intent, trace in source.traces.items():
            found = store.traces[trace.id]
            assert found.metrics == {"legacy": {"class": "geometry_os.cognition.Trace"}}
            assert vars(trace) == {
                "id": found.id, "intent": intent, "context": found.context, "reasoning_path": found.steps,
                "result": found.result, "confidence": found.confidence,
                "verification_score": found.verification_score,
            }  # fmt: skip
        assert store.memories.count() == 200
        assert store.links.count() == sum(len(node["edges"]) for node in source.graph.values()) == 597
        assert store.traces.count() == 60


def test_a_migrated_vector_is_found_by_search(samples: Path, url: str) -> None:
    migrate(samples / "nexus.pkl", url)
    with perdure.open(url) as store:
        some = store.vectors.find(limit=1)[0]
        assert store.memories.search(some.values, k=1)[0].record.id == some.id


@pytest.mark.parametrize("protocol", range(6))
def test_any_protocol(write: Write, url: str, protocol: int) -> None:
    report = migrate(write(lambda old: old.many(3), protocol=protocol), url)
    assert report.ok
    assert report.equal == {"memories": 3, "links": 3, "traces": 3, "vectors": 3}


def test_an_empty_store(write: Write, url: str) -> None:
    report = migrate(write(lambda old: old.nexus()), url)
    assert report.ok
    assert (report.planned, report.found, report.written) == ({}, {}, 0)


def test_a_plain_dict_of_the_same_shape(tmp_path: Path, url: str) -> None:
    path = tmp_path / "live.pkl"
    path.write_bytes(
        pickle.dumps({"graph": {"a": {"type": "x", "content": 1, "edges": {}}}, "vectors": {}, "traces": {}})
    )
    report = migrate(path, url)
    assert report.ok
    with perdure.open(url) as store:
        assert store.memories["a"].content == 1


def test_numbers_that_no_field_takes_stay_in_values(write: Write, url: str) -> None:
    nan, huge = float("nan"), 2**80

    def make(old: Any) -> Any:
        edges = {"b": {"strength": nan, "edge_type": "s"}, "c": {"strength": 1, "edge_type": huge}}
        graph = {
            "a": {"type": huge, "content": [nan, -0.0, huge], "edges": edges},
            "b": {"type": "x" * 2000, "content": None, "weight": nan},
            "c": {},
        }
        return old.nexus(
            graph, {}, {"i": old.Trace(intent="i", confidence=nan, verification_score=np.float64(0.5))}
        )

    report = migrate(write(make), url)
    assert report.ok
    assert len(notes(report, "kept")) == 5
    with perdure.open(url) as store:
        a = store.memories["a"]
        assert a.kind is None
        assert equal(a.metadata, {"type": huge})
        assert equal(a.content, [nan, -0.0, huge])
        assert equal(store.memories["b"].metadata, {"type": "x" * 2000, "content": None, "weight": nan})
        assert store.memories["c"].metadata is None
        to_b, to_c = store.links[link_id("a", "b", "s")], store.links[link_id("a", "c", None)]
        assert (to_b.weight, to_c.weight) == (None, 1.0)
        assert equal(to_b.context, {"strength": nan})
        assert equal(to_c.context, {"strength": 1, "edge_type": huge})
        (trace,) = store.traces.find()
        assert trace.verification_score == 0.5
        assert equal(trace.metrics["verification_score"], np.float64(0.5))
        assert equal(trace.metrics["confidence"], nan)


def test_keys_that_no_row_can_have_are_derived_and_kept(write: Write, url: str) -> None:
    keys: list[Any] = ["", 7, None, (1, "x"), "a\0b", "\ud800", "k" * 600, 2**80, b"raw", float("nan")]
    path = write(lambda old: old.nexus({key: {"type": "t", "content": i} for i, key in enumerate(keys)}))
    report = migrate(path, url)
    assert report.ok
    assert len(notes(report, "key")) == len(keys)
    with perdure.open(url) as store:
        for content, key in enumerate(keys):
            (memory,) = [m for m in store.memories.find() if m.content == content]
            assert memory.id.startswith("legacy-")
            assert equal(memory.metadata["legacy"]["key"], key)
    assert migrate(path, url).written == 0  # the derived keys are the same again


def test_edges_follow_derived_keys(write: Write, url: str) -> None:
    graph = {1: {"content": "one", "edges": {2: {"strength": 0.5}}}, 2: {"content": "two"}}
    assert migrate(write(lambda old: old.nexus(graph)), url).ok
    with perdure.open(url) as store:
        (link,) = store.links.find()
        assert store.memories[link.source].content == "one"
        assert store.memories[link.target].content == "two"
        assert link.context == {"legacy": {"target": 2}}


def test_dangling_and_odd_edges(write: Write, url: str) -> None:
    graph = {
        "a": {"edges": {"gone": {"strength": 0.1, "edge_type": "s", "why": ["x"]}, "a": 0.25, "b": ["odd"]}},
        "b": {"edges": ["a", "c"]},
    }
    report = migrate(write(lambda old: old.nexus(graph)), url)
    assert report.ok
    assert len(notes(report, "dangling")) == 1
    with perdure.open(url) as store:
        dangling = store.links[link_id("a", "gone", "s")]
        assert (dangling.weight, dangling.context) == (0.1, {"why": ["x"]})
        assert store.links[link_id("a", "a", None)].weight == 0.25
        assert store.links[link_id("a", "b", None)].context == {"legacy": {"edge": ["odd"], "shape": "whole"}}
        assert store.memories["b"].metadata == {"edges": ["a", "c"]}


def test_cycles_and_sharing_inside_a_value_survive(write: Write, url: str) -> None:
    def make(old: Any) -> Any:
        loop: list[Any] = [1]
        loop.append(loop)
        shared = {"x": 1}
        store = old.nexus({"a": {"content": loop}, "b": {"content": [shared, shared]}})
        store.graph["c"] = {"content": store}  # the whole store again
        return store

    assert migrate(write(make), url).ok
    with perdure.open(url) as store:
        loop = store.memories["a"].content
        assert loop[1] is loop
        one, two = store.memories["b"].content
        assert one is two
        whole = store.memories["c"].content
        assert type(whole) is Opaque
        assert whole.state["graph"]["c"]["content"] is whole


def test_vectors_that_are_none_are_kept_as_values(write: Write, url: str) -> None:
    good = np.arange(1, 5, dtype=np.float32)
    vectors = {
        "good": good, "zero": np.zeros(4, np.float32), "nan": np.array([np.nan, 1, 1, 1], np.float32),
        "orphan": good, "text": "no vector", "matrix": np.ones((2, 2)), "none": None, "ints": np.arange(4),
    }  # fmt: skip
    report = migrate(
        write(lambda old: old.nexus({key: {} for key in vectors if key != "orphan"}, vectors)), url
    )
    assert report.ok
    assert report.planned == {"memories": 7, "vectors": 1, "states": 7}
    assert len(notes(report, "unmapped")) == 7
    with perdure.open(url) as store:
        kept = {state.data["key"]: state.data["vector"] for state in store.states.find()}
        assert all(equal(kept[key], vectors[key]) for key in vectors if key != "good")


def test_vectors_of_several_kinds_have_spaces_of_their_own(write: Write, url: str) -> None:
    vectors = {
        "a": np.ones(4, np.float32), "b": np.ones(4, ">f4"), "c": np.ones(3, np.float64), "d": [0.1, 0.2],
        "e": np.ones(4, np.float16),
    }  # fmt: skip
    assert migrate(write(lambda old: old.nexus({key: {} for key in vectors}, vectors)), url).ok
    with perdure.open(url) as store:
        spaces = {space.name: (space.dim, space.dtype, space.table) for space in store.spaces.list()}
        assert spaces == {
            "nexus": (4, "float32", "memories"), "nexus-float64-3": (3, "float64", "memories"),
            "nexus-float64-2": (2, "float64", "memories"), "nexus-float16-4": (4, "float16", "memories"),
        }  # fmt: skip
        assert equal(store.vectors["nexus", "b"].metadata["legacy"]["vector"], vectors["b"])
        assert store.vectors["nexus-float64-2", "d"].metadata == {"legacy": {"vector": [0.1, 0.2]}}


def test_traces_of_every_shape(write: Write, url: str) -> None:
    def make(old: Any) -> Any:
        traces = {
            "same": old.Trace(id="t", intent="same", confidence=0.5, extra={1: 2}),
            "twin": old.Trace(id="t", intent="twin"),
            "other": old.Trace(id="u", intent="not the key"),
            "dict": {"reasoning_path": ["a"], "legacy": "mine"},
            "bare": 17,
            ("no", "text"): old.Trace(id="", intent=None),
        }
        return old.nexus({}, {}, traces)

    report = migrate(write(make), url)
    assert report.ok
    assert len(notes(report, "duplicate")) == 1
    with perdure.open(url) as store:
        found = {trace.intent: trace for trace in store.traces.find()}
        assert found["same"].id == "t"
        assert found["same"].metrics == {"extra": {1: 2}, "legacy": {"class": "geometry_os.cognition.Trace"}}
        assert found["twin"].metrics["id"] == "t"
        assert found["not the key"].metrics["legacy"]["key"] == "other"
        assert found["dict"].steps == ["a"]
        assert found["dict"].metrics["legacy"]["fields"] == {"legacy": "mine"}
        assert found["bare"].metrics["legacy"]["object"] == 17
        assert found[None].metrics["legacy"]["key"] == ("no", "text")
        assert found[None].metrics["id"] == ""
        assert "intent" in found[None].metrics


def test_what_no_rule_maps_is_a_state(write: Write, url: str) -> None:
    report = migrate(write(lambda old: old.nexus({"a": 5}, config={"k": (1, 2)}, lock=None)), url)
    assert report.ok
    with perdure.open(url) as store:
        assert store.memories["a"].content == 5
        assert store.states["legacy.unmapped", "config"].data == {"k": (1, 2)}
        assert store.states["legacy.unmapped", "lock"].data is None


def test_text_that_no_text_field_takes_is_whole_in_the_content(write: Write, url: str) -> None:
    report = migrate(
        write(lambda old: old.nexus({"a": {"content": "x\0y"}, "b": {"content": "\udc00"}})), url
    )
    assert report.ok
    assert len(notes(report, "kept")) == 2
    with perdure.open(url) as store:
        assert (store.memories["a"].text, store.memories["a"].content) == (None, "x\0y")
        assert store.memories["b"].content == "\udc00"


def test_a_value_too_deep_to_store_keeps_the_whole_file(write: Write, url: str) -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    path = write(lambda old: old.nexus({"a": {"content": deep, "type": "t"}}))
    report = migrate(path, url)
    assert report.ok
    assert len(notes(report, "refused")) == 1
    with perdure.open(url) as store:
        assert store.memories["a"].kind == "t"
        (kept,) = store.states.find({"kind": "legacy.source"})
        assert kept.payload == path.read_bytes()


@pytest.mark.parametrize("cut", [1, 10, 1000, 100_000])
def test_a_truncated_file_is_refused_and_nothing_is_written(samples: Path, tmp_path: Path, cut: int) -> None:
    path = samples / "nexus.pkl"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InvalidRecord, match=r"nexus\.pkl"):
        migrate(path, f"sqlite:///{tmp_path / 'new.db'}")
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1, 2]), pickle.dumps({"graph": 1})])
def test_what_is_no_nexus_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(InvalidInput):
        migrate(tmp_path / "x.pkl", "memory://")


class _Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_nothing_in_a_pickle_is_run(tmp_path: Path, write: Write, url: str) -> None:
    marker = tmp_path / "marker"
    path = write(
        lambda old: old.nexus({"a": {"content": _Exploit(marker), "edges": {"b": _Exploit(marker)}}})
    )
    assert migrate(path, url).ok
    assert not marker.exists()
    with perdure.open(url) as store:
        assert type(store.memories["a"].content) is Opaque
    pickle.loads(pickle.dumps(_Exploit(marker)))
    assert marker.exists()  # the exploit is a real one
