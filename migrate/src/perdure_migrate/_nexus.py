"""Nexus: a pickled `GeometricNexus`, or a dict, with `graph`, `vectors` and `traces`.

=========================================== ==========================================================
in the source                               in the store
=========================================== ==========================================================
``graph[id]`` {type, content, edges, …}     memory: id, kind, content whole (text too where it is text),
                                            other fields in `metadata`
``graph[id]["edges"][other]``               link id → other: `strength` is the weight, `edge_type` the
                                            relation, other fields in `context`
``vectors[id]`` an array                    vector of the space ``nexus``, bound to memories, bit for bit
``traces[intent]`` a Trace                  trace: `reasoning_path` is `steps`, other fields in `metrics`
anything else                               state of kind ``legacy.unmapped``
=========================================== ==========================================================
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from perdure import INDEXED_TEXT_LIMIT, KEY_LIMIT, Link, Memory, Trace, Vector

from perdure_migrate._fit import Fields, Keys, as_float, as_text, class_name, fields_of, show
from perdure_migrate._material import Material
from perdure_migrate._plan import Plan, SpaceWanted, place
from perdure_migrate._settings import Settings

__all__ = ["NexusSource"]

_PARTS = ("graph", "vectors", "traces")

#: Bounds of what every engine takes as a vector.
_TOP, _LEAST_SQUARE, _MAX_DIM = 1e100, 1e-200, 65_536


class NexusSource:
    """The source plugin."""

    name = "nexus"

    def detect(self, material: Material) -> tuple[float, str] | None:
        """Sure of an object of class `GeometricNexus`, fairly sure of anything with its three dicts."""
        if material.directory:
            return None
        tree = material.files[0].tree
        fields = fields_of(tree)
        if fields is None:
            return None
        named = (class_name(tree) or "").endswith(".GeometricNexus")
        parts = [part for part in _PARTS if type(fields.get(part)) is dict]
        if named:
            return 1.0, f"an object of {class_name(tree)}"
        if "graph" in parts and len(parts) > 1:
            return 0.3 * len(parts), f"dicts {', '.join(parts)}"
        return None

    def plan(self, material: Material, settings: Settings) -> Plan:
        """See the module docstring."""
        tree = material.files[0].tree
        plan = Plan(self.name, f"nexus/1/{settings.metric}", material.name, material.digest)
        return _Mapping(plan, settings).run(tree, material)


class _Mapping:
    """One run over one tree."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan = plan
        self.settings = settings
        self.ids: dict[Any, str] = {}
        self.memory_keys = Keys("memories")
        self.trace_keys = Keys("traces")

    def run(self, tree: Any, material: Material) -> Plan:
        fields = fields_of(tree)
        if fields is None:
            self.whole("object", tree, "object", "it has no fields")
            fields = {}
        graph, vectors, traces = (self.part(fields, part) for part in _PARTS)
        for key, node in graph.items():
            self.node(key, node)
        for key, node in graph.items():
            self.edges(key, node)
        for intent, trace in traces.items():
            self.trace(intent, trace)
        self.vectors(vectors)
        for name, value in fields.items():
            if not (name in _PARTS and type(value) is dict):
                self.whole(name, value, place((name,)), "no rule maps this attribute")
        self.plan.settle(material)
        return self.plan

    def part(self, fields: dict[Any, Any], name: str) -> dict[Any, Any]:
        value = fields.get(name)
        return value if type(value) is dict else {}

    def whole(self, name: Any, value: Any, origin: str, why: str) -> None:
        self.plan.found["other values"] += 1
        self.plan.unmapped(name, value, origin, why)

    # ------------------------------------------------------------------------------------- graph

    def node(self, key: Any, node: Any) -> None:
        origin = place("graph", (key,))
        self.plan.found["nodes"] += 1
        self.ids[key] = memory_id = self.memory_keys.assign(key)
        legacy: dict[str, Any] = {}
        if memory_id != key:
            legacy["key"] = key
            self.plan.note("key", origin, f"the id {show(key)} cannot be one; it is now {memory_id}")
        given = fields_of(node)
        if given is None:
            self.plan.note("kept", origin, f"a node that is {show(node)}; it is whole in content")
            metadata = {"legacy": {**legacy, "shape": "whole"}}
            self.plan.add(Memory(id=memory_id, content=node, metadata=metadata), origin)
            return
        if (of := class_name(node)) is not None:
            legacy["class"] = of
        fields = Fields(given)
        if type(fields.rest.get("edges")) is dict:
            del fields.rest["edges"]
        elif "edges" in fields.rest:
            fields.misfits.append(f"edges is {show(fields.rest['edges'])}")
        kind = fields.text("type", INDEXED_TEXT_LIMIT)
        content = fields.value("content")
        inner = content if type(content) is dict else {"text": content}
        text = as_text(inner.get("text"))
        if type(inner.get("text")) is str and text is None:
            fields.misfits.append("its text has a NUL character or a lone surrogate")
        record = Memory(
            id=memory_id,
            kind=kind,
            title=as_text(inner.get("title")),
            text=text,
            content=content,
            metadata=fields.leftover(legacy),
        )
        self.misfits(origin, fields)
        self.plan.add(record, origin)

    def edges(self, key: Any, node: Any) -> None:
        edges = (fields_of(node) or {}).get("edges")
        if type(edges) is not dict:
            return
        targets = Keys("memories")
        for other, edge in edges.items():
            origin = place("graph", (key,), "edges", (other,))
            self.plan.found["edges"] += 1
            legacy: dict[str, Any] = {}
            target = self.ids.get(other)
            if target is None:
                target = targets.assign(other)
                self.plan.note("dangling", origin, f"the node {show(other)} is not there")
            if type(other) is not str or target != other:
                legacy["target"] = other
            self.link(self.ids[key], target, edge, legacy, origin)

    def link(self, source: str, target: str, edge: Any, legacy: dict[str, Any], origin: str) -> None:
        weight, exact = as_float(edge)
        given = fields_of(edge)
        if given is None:
            if not exact:
                legacy["edge"] = edge
            if weight is None:
                self.plan.note("kept", origin, f"an edge that is {show(edge)}; it is whole in context")
            legacy["shape"] = "whole"
            record = Link(source=source, target=target, weight=weight, context={"legacy": legacy})
        else:
            if (of := class_name(edge)) is not None:
                legacy["class"] = of
            fields = Fields(given)
            record = Link(
                source=source,
                target=target,
                relation=fields.text("edge_type", INDEXED_TEXT_LIMIT),
                weight=fields.number("strength"),
                context=fields.leftover(legacy),
            )
            self.misfits(origin, fields)
        self.plan.add(record, origin)

    # ------------------------------------------------------------------------------------- traces

    def trace(self, intent: Any, trace: Any) -> None:
        origin = place("traces", (intent,))
        self.plan.found["traces"] += 1
        given = fields_of(trace)
        legacy: dict[str, Any] = {}
        if (of := class_name(trace)) is not None and given is not None:
            legacy["class"] = of
        if given is None:
            legacy["object"] = trace
            self.plan.note("kept", origin, f"a trace that is {show(trace)}; it is whole in metrics")
        fields = Fields(given or {})
        own = fields.text("id", KEY_LIMIT)
        trace_id = self.trace_keys.assign(own or ("intent", intent))
        if own is not None and trace_id != own:
            fields.rest["id"] = own
            why = f"another trace has the id {show(own)}" if own else "its id is empty"
            self.plan.note("duplicate" if own else "key", origin, f"{why}; this is {trace_id}")
        stated = fields.text("intent")
        shown = as_text(intent) if stated is None else stated
        if type(intent) is not str or shown != intent:
            legacy["key"] = intent
            self.plan.note(
                "kept", origin, f"the key {show(intent)} is not the intent; it is whole in metrics"
            )
        elif stated is None:
            legacy["intent"] = "key"
        record = Trace(
            id=trace_id,
            intent=shown,
            context=fields.value("context"),
            steps=fields.value("reasoning_path"),
            result=fields.value("result"),
            confidence=fields.number("confidence"),
            verification_score=fields.number("verification_score"),
            metrics=fields.leftover(legacy),
        )
        self.misfits(origin, fields)
        self.plan.add(record, origin)

    # ------------------------------------------------------------------------------------ vectors

    def vectors(self, vectors: dict[Any, Any]) -> None:
        """The commonest kind of vector has the space ``nexus``; each other kind a space of its own."""
        fit: list[tuple[Any, Any, np.ndarray[Any, Any]]] = []
        for key, value in vectors.items():
            self.plan.found["vectors"] += 1
            array, why = _as_vector(value, self.settings.metric)
            if key not in self.ids:
                why = f"there is no node {show(key)}"
            if array is None or why:
                origin = place("vectors", (key,))
                self.plan.unmapped(("vectors", key), {"key": key, "vector": value}, origin, why)
            else:
                fit.append((key, value, array))
        kinds = Counter((array.dtype.name, len(array)) for _, _, array in fit)
        ranked = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
        names = {kind: "nexus" if i == 0 else f"nexus-{kind[0]}-{kind[1]}" for i, kind in enumerate(ranked)}
        for (dtype, dim), name in names.items():
            self.plan.spaces.append(SpaceWanted(name, dim, dtype, self.settings.metric, "memories"))
        for key, value, array in fit:
            plain = type(value) is np.ndarray and value.dtype.isnative
            metadata = None if plain else {"legacy": {"vector": value}}
            space = names[array.dtype.name, len(array)]
            self.plan.add(
                Vector(space=space, id=self.ids[key], values=array, metadata=metadata),
                place("vectors", (key,)),
            )

    def misfits(self, origin: str, fields: Fields) -> None:
        if fields.misfits:
            self.plan.note("kept", origin, "; ".join(fields.misfits) + "; whole in a value")


def _as_vector(value: Any, metric: str) -> tuple[np.ndarray[Any, Any] | None, str]:
    """The array that every engine takes for a vector, or why there is none."""
    if type(value) is list and value and all(type(number) is float for number in value):
        array = np.array(value)
    elif type(value) is np.ndarray and value.dtype.kind == "f" and value.dtype.itemsize <= 8:
        array = value.astype(value.dtype.newbyteorder("="), copy=False)
    else:
        return None, f"a vector that is {show(value)}"
    if array.ndim != 1 or not 1 <= len(array) <= _MAX_DIM:
        return None, f"a vector that is {show(value)}"
    wide = array.astype(np.float64)
    if not float(np.max(np.abs(wide))) <= _TOP:
        return None, "a vector with a number that is not finite or is too large"
    if metric == "cosine" and float(wide @ wide) < _LEAST_SQUARE:
        return None, "a vector of length zero, which has no cosine"
    return array, ""
