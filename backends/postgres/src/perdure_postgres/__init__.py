"""The engine of perdure that a team shares: PostgreSQL, on a server or embedded."""

from perdure_postgres._partitions import partition, partitioned
from perdure_postgres._plugin import PostgresPlugin

__all__ = ["PostgresPlugin", "embedded", "partition", "partitioned", "plugin"]

#: Entry points of `perdure.backends`: a server, and one that perdure starts itself.
plugin, embedded = PostgresPlugin(embedded=False), PostgresPlugin(embedded=True)
