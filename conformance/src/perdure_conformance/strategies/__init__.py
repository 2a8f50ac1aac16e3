"""Hypothesis strategies: values, filters, orders, records of every table, and histories of operations."""

from perdure_conformance.strategies._filters import filters, orders
from perdure_conformance.strategies._histories import histories, steps
from perdure_conformance.strategies._records import (
    keys,
    links,
    memories,
    payloads,
    records,
    skills,
    states,
    traces,
    vectors,
)
from perdure_conformance.strategies._values import (
    arrays,
    hashables,
    leaves,
    numpy_scalars,
    opaques,
    plain_values,
    values,
)

__all__ = [
    "arrays",
    "filters",
    "hashables",
    "histories",
    "keys",
    "leaves",
    "links",
    "memories",
    "numpy_scalars",
    "opaques",
    "orders",
    "payloads",
    "plain_values",
    "records",
    "skills",
    "states",
    "steps",
    "traces",
    "values",
    "vectors",
]
