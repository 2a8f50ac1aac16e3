"""perdure over LMDB: a memory-mapped file, several processes, every commit synced."""

from ._plugin import LmdbPlugin, plugin

__all__ = ["LmdbPlugin", "plugin"]
