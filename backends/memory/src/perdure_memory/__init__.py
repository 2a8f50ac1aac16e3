"""The in-memory engine of perdure, for tests and short-lived agents."""

from perdure_memory._plugin import MemoryPlugin
from perdure_memory._storage import MemoryStorage

__all__ = ["MemoryPlugin", "MemoryStorage", "drop", "plugin"]

#: The entry point.
plugin = MemoryPlugin()

#: Forget the store behind ``memory://name``; whether there was one.
drop = plugin.drop
