"""The algebra of history, written once over the hooks: ancestry, diff, merge, revert, feed and export.

Every function takes `hook`, a pluggy hook relay or any object with the hook methods of
`perdure.PersistenceBackend`, and `ctx`. None keeps state between calls.
"""

from perdure.history._archive import ArchiveInfo, read_archive, write_archive
from perdure.history._dag import Dag, merge_bases, version_vector
from perdure.history._diff import RowDiff, diff
from perdure.history._export import export
from perdure.history._feed import Cursor, FeedItem, feed, heads
from perdure.history._files import new_file, os_errors
from perdure.history._merge import MergeResult, merge, sync
from perdure.history._overlay import Overlay, without
from perdure.history._plan import MergeConflictRow
from perdure.history._revert import revert
from perdure.history._threeway import ConflictKind, Outcome, Strategy, three_way

__all__ = [
    "ArchiveInfo",
    "ConflictKind",
    "Cursor",
    "Dag",
    "FeedItem",
    "MergeConflictRow",
    "MergeResult",
    "Outcome",
    "Overlay",
    "RowDiff",
    "Strategy",
    "diff",
    "export",
    "feed",
    "heads",
    "merge",
    "merge_bases",
    "new_file",
    "os_errors",
    "read_archive",
    "revert",
    "sync",
    "three_way",
    "version_vector",
    "without",
    "write_archive",
]
