"""The checks, by area. Each is a function of a `Case` that names the clauses it tries.

A new module is listed in `AREAS`; a check is in the suite as soon as it stands in a listed module.
"""

from __future__ import annotations

from types import ModuleType

from perdure_conformance._checks import Check
from perdure_conformance.clauses import (
    _ancestry,
    _branches,
    _capabilities,
    _checkpoints,
    _commit_effects,
    _commits,
    _compaction,
    _conditions,
    _counters,
    _diff,
    _errors,
    _feed,
    _field_numbers,
    _field_texts,
    _filter_fields,
    _filter_order,
    _filter_values,
    _filters,
    _hooks,
    _hostile_hooks,
    _ids,
    _ingest,
    _ingest_malformed,
    _merge_rows,
    _merge_strategies,
    _merges,
    _namespaces,
    _payloads,
    _picks,
    _processes_reading,
    _processes_seeing,
    _processes_waiting,
    _processes_writing,
    _purge,
    _ref_forms,
    _refs,
    _revert,
    _threads_reading,
    _threads_seeing,
    _threads_writing,
    _value_arrays,
    _value_refusals,
    _value_texts,
    _values,
    _verify,
    _what_if,
    _writes,
)

__all__ = ["AREAS", "CHECKS"]

#: The modules with checks, in the order in which they run.
AREAS: tuple[ModuleType, ...] = (
    _hostile_hooks,
    _errors,
    _payloads,
    _counters,
    _conditions,
    _writes,
    _ids,
    _field_numbers,
    _field_texts,
    _namespaces,
    _branches,
    _hooks,
    _commits,
    _commit_effects,
    _capabilities,
    _threads_writing,
    _threads_reading,
    _threads_seeing,
    _processes_writing,
    _processes_reading,
    _processes_seeing,
    _processes_waiting,
    _compaction,
    _ancestry,
    _merge_rows,
    _merge_strategies,
    _merges,
    _picks,
    _revert,
    _what_if,
    _value_texts,
    _value_arrays,
    _purge,
    _refs,
    _ref_forms,
    _checkpoints,
    _value_refusals,
    _diff,
    _feed,
    _ingest,
    _values,
    _filters,
    _ingest_malformed,
    _filter_fields,
    _verify,
    _filter_values,
    _filter_order,
)

#: All checks, in the order in which they run.
CHECKS: tuple[Check, ...] = tuple(
    member for area in AREAS for member in vars(area).values() if isinstance(member, Check)
)
