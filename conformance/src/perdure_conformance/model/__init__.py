"""The oracle: a store that is obviously right, because it is naive.

Each commit keeps a whole snapshot of all rows; commits form a graph by their parents; a merge searches
that graph. Nothing is indexed, shared or remembered, and nothing of perdure's own machinery is used but
the definitions of the tables, the value codec and the meaning of filters.
"""

from perdure_conformance.model._graph import Graph, Line, Node, Picked, Refused, Snapshot, Version
from perdure_conformance.model._model import Model

__all__ = ["Graph", "Line", "Model", "Node", "Picked", "Refused", "Snapshot", "Version"]
