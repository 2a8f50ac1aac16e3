"""The first schema: namespaces, branches, commits, and a version table for each of the six tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Text compares by code point.
#: Columns that no plan depends on.
_UNPLANNED = {
    "branches": ("head_commit", "hash"),
    "checkpoints": ("commit_id", "metrics", "message", "hash"),
    "chunks": ("data",),
    "commits": ("author", "message", "parents", "vector", "picks", "reverts", "hash"),
    "counters": ("hash",),
    "links": ("hash", "context"),
    "memories": ("hash", "title", "text", "content", "tags", "metadata"),
    "namespaces": ("key", "hash"),
    "pins": ("hash",),
    "purged": ("hash",),
    "skills": ("hash", "description", "trigger", "body", "enforcement", "tags", "trace_id", "metadata"),
    "spaces": ("dtype", "metric", "model", "owner", "hash"),
    "states": ("hash", "data", "payload", "parents", "metrics"),
    "traces": (
        "hash",
        "context",
        "steps",
        "result",
        "causes",
        "effects",
        "counterfactuals",
        "skill_id",
        "metrics",
    ),
    "vectors": ("hash", "values", "text", "metadata"),
}

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create everything."""
    postgres = op.get_context().dialect.name == "postgresql"
    intent = sa.text("hashtextextended(intent, 0)") if postgres else "intent"

    def given_out() -> sa.Column[int]:
        if postgres:
            return sa.Column("no", sa.BigInteger(), sa.Identity(), nullable=False)
        return sa.Column("no", sa.Integer(), autoincrement=True, nullable=False)

    op.create_table(
        "branches",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.BigInteger(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("parent", sa.BigInteger(), nullable=True),
        sa.Column("fork_seq", sa.BigInteger(), nullable=False),
        sa.Column("head_seq", sa.BigInteger(), nullable=False),
        sa.Column("head_commit", _TEXT, nullable=True),
        sa.Column("head_time", sa.BigInteger(), nullable=False),
        sa.Column("flat", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "no"),
        sa.UniqueConstraint("ns", "name"),
        sa.UniqueConstraint("ns", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("commit_id", _TEXT, nullable=True),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("metrics", _TEXT, nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chunks",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("ns", "digest"),
    )
    op.create_table(
        "commits",
        given_out(),
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("wall", sa.BigInteger(), nullable=False),
        sa.Column("author", _TEXT, nullable=False),
        sa.Column("message", _TEXT, nullable=False),
        sa.Column("parents", _TEXT, nullable=False),
        sa.Column("vector", _TEXT, nullable=False),
        sa.Column("picks", _TEXT, nullable=False),
        sa.Column("reverts", _TEXT, nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(*(("ns", "no") if postgres else ("no",))),
        sa.UniqueConstraint("ns", "id"),
        sa.UniqueConstraint("ns", "branch", "seq"),
    )
    op.create_table(
        "counters",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("tbl", _TEXT, nullable=False),
        sa.Column("row_key", _TEXT, nullable=False),
        sa.Column("accessed_at", sa.BigInteger(), nullable=True),
        sa.Column("access_count", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "tbl", "row_key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lineage",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.Column("ancestor", sa.BigInteger(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "branch", "depth"),
        sqlite_with_rowid=False,
    )
    op.create_index("lineage_ancestor", "lineage", ["ns", "ancestor"], unique=False)
    op.create_table(
        "links",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("source", _TEXT, nullable=True),
        sa.Column("target", _TEXT, nullable=True),
        sa.Column("relation", _TEXT, nullable=True),
        sa.Column("weight", sa.Double(), nullable=True),
        sa.Column("context", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("ns", "branch", "id", "from_seq"),
    )
    op.create_index("links_by_relation", "links", ["ns", "branch", "relation"], unique=False)
    op.create_index("links_by_source_relation", "links", ["ns", "branch", "source", "relation"], unique=False)
    op.create_index("links_by_target_relation", "links", ["ns", "branch", "target", "relation"], unique=False)
    op.create_index("links_seq", "links", ["ns", "branch", "from_seq", "to_seq", "dead"], unique=False)
    op.create_table(
        "links_overrides",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "id", "branch"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "memories",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=True),
        sa.Column("agent", _TEXT, nullable=True),
        sa.Column("scope", _TEXT, nullable=True),
        sa.Column("tier", sa.BigInteger(), nullable=True),
        sa.Column("title", _TEXT, nullable=True),
        sa.Column("text", _TEXT, nullable=True),
        sa.Column("content", _TEXT, nullable=True),
        sa.Column("tags", _TEXT, nullable=True),
        sa.Column("importance", sa.Double(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("metadata", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("ns", "branch", "id", "from_seq"),
    )
    op.create_index("memories_by_agent", "memories", ["ns", "branch", "agent"], unique=False)
    op.create_index("memories_by_created_at", "memories", ["ns", "branch", "created_at"], unique=False)
    op.create_index("memories_by_expires_at", "memories", ["ns", "branch", "expires_at"], unique=False)
    op.create_index(
        "memories_by_kind_importance", "memories", ["ns", "branch", "kind", "importance"], unique=False
    )
    op.create_index("memories_by_scope", "memories", ["ns", "branch", "scope"], unique=False)
    op.create_index(
        "memories_by_tier_importance", "memories", ["ns", "branch", "tier", "importance"], unique=False
    )
    op.create_index("memories_seq", "memories", ["ns", "branch", "from_seq", "to_seq", "dead"], unique=False)
    op.create_table(
        "memories_overrides",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "id", "branch"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "namespaces",
        given_out(),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("branch_count", sa.BigInteger(), nullable=False),
        sa.Column("space_epoch", sa.BigInteger(), nullable=False),
        sa.Column("purge_epoch", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "pins",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "branch", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "purged",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("marker", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "marker"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "skills",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=True),
        sa.Column("description", _TEXT, nullable=True),
        sa.Column("trigger", _TEXT, nullable=True),
        sa.Column("body", _TEXT, nullable=True),
        sa.Column("enforcement", _TEXT, nullable=True),
        sa.Column("tags", _TEXT, nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("success_count", sa.BigInteger(), nullable=True),
        sa.Column("failure_count", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("trace_id", _TEXT, nullable=True),
        sa.Column("metadata", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("ns", "branch", "id", "from_seq"),
    )
    op.create_index("skills_by_confidence", "skills", ["ns", "branch", "confidence"], unique=False)
    op.create_index("skills_by_name", "skills", ["ns", "branch", "name"], unique=False)
    op.create_index("skills_seq", "skills", ["ns", "branch", "from_seq", "to_seq", "dead"], unique=False)
    op.create_table(
        "skills_overrides",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "id", "branch"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "spaces",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("dim", sa.BigInteger(), nullable=False),
        sa.Column("dtype", _TEXT, nullable=False),
        sa.Column("metric", _TEXT, nullable=False),
        sa.Column("model", _TEXT, nullable=False),
        sa.Column("owner", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "states",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("data", _TEXT, nullable=True),
        sa.Column("payload", _TEXT, nullable=True),
        sa.Column("parents", _TEXT, nullable=True),
        sa.Column("metrics", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("ns", "branch", "kind", "id", "from_seq"),
    )
    op.create_index(
        "states_by_kind_created_at", "states", ["ns", "branch", "kind", "created_at"], unique=False
    )
    op.create_index("states_seq", "states", ["ns", "branch", "from_seq", "to_seq", "dead"], unique=False)
    op.create_table(
        "states_overrides",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "kind", "id", "branch"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "traces",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("agent", _TEXT, nullable=True),
        sa.Column("intent", _TEXT, nullable=True),
        sa.Column("session", _TEXT, nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("context", _TEXT, nullable=True),
        sa.Column("steps", _TEXT, nullable=True),
        sa.Column("result", _TEXT, nullable=True),
        sa.Column("outcome", _TEXT, nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("verification_score", sa.Double(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("causes", _TEXT, nullable=True),
        sa.Column("effects", _TEXT, nullable=True),
        sa.Column("counterfactuals", _TEXT, nullable=True),
        sa.Column("skill_id", _TEXT, nullable=True),
        sa.Column("metrics", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("ns", "branch", "id", "from_seq"),
    )
    op.create_index("traces_by_agent", "traces", ["ns", "branch", "agent"], unique=False)
    op.create_index("traces_by_created_at", "traces", ["ns", "branch", "created_at"], unique=False)
    op.create_index("traces_by_intent", "traces", ["ns", "branch", intent], unique=False)
    op.create_index(
        "traces_by_outcome_created_at", "traces", ["ns", "branch", "outcome", "created_at"], unique=False
    )
    op.create_index("traces_by_session_step", "traces", ["ns", "branch", "session", "step"], unique=False)
    op.create_index("traces_seq", "traces", ["ns", "branch", "from_seq", "to_seq", "dead"], unique=False)
    op.create_table(
        "traces_overrides",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "id", "branch"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vectors",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("space", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("values", sa.LargeBinary(), nullable=True),
        sa.Column("text", _TEXT, nullable=True),
        sa.Column("metadata", _TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("ns", "branch", "space", "id", "from_seq"),
    )
    op.create_index("vectors_seq", "vectors", ["ns", "branch", "from_seq", "to_seq", "dead"], unique=False)
    op.create_table(
        "vectors_overrides",
        sa.Column("ns", sa.BigInteger(), nullable=False),
        sa.Column("space", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("branch", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ns", "space", "id", "branch"),
        sqlite_with_rowid=False,
    )
    if postgres:
        op.create_table(
            "erased",
            sa.Column("ns", sa.BigInteger(), nullable=False),
            sa.Column("mark", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("ns", "mark"),
        )
        for table, names in _UNPLANNED.items():
            changes = ", ".join(f'ALTER COLUMN "{name}" SET STATISTICS 0' for name in names)
            op.execute(f"ALTER TABLE {table} {changes}")
