"""The first tables: resources, revisions, journal, outbox, leases.

Run by `store.schema` under a lock, in one transaction. Never edited: a change of shape is a new step.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    sequence = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "resources",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("owner", "spec", "status", "labels", "annotations")
        ),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("generation", "version", "created_ns", "updated_ns")
        ),
    )
    op.create_index("resources_owner", "resources", ["owner"])
    op.create_table(
        "revisions",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("parent", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("author", "message", "digest", "document")),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("sequence", sequence, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("name", "subject", "actor", "data")),
        sa.Column("once", sa.Text, nullable=True),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("journal_once", "journal", ["once"], unique=True)
    op.create_index("journal_subject", "journal", ["subject", "sequence"])
    op.create_index("journal_name", "journal", ["name", "sequence"])
    op.create_table(
        "outbox",
        sa.Column("sequence", sequence, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("topic", "payload")),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_topic", "outbox", ["topic", "sequence"])
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
    )
