"""The embedded default engine of perdure: one SQLite file, all of the contract."""

from perdure_sqlite._plugin import SQLitePlugin

__all__ = ["SQLitePlugin", "plugin"]

#: The entry point of `perdure.backends`.
plugin = SQLitePlugin()
