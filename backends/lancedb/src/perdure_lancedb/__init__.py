"""perdure over LanceDB's tables, in a directory or on object storage."""

from perdure_lancedb._plugin import LancePlugin

__all__ = ["LancePlugin", "local", "s3"]

#: `lancedb:///directory`.
local = LancePlugin(remote=False)

#: `lancedb+s3://bucket/prefix`.
s3 = LancePlugin(remote=True)
