"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("last_event", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "item",
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("collector", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("issued_at", sa.BigInteger),
        sa.Column("basis", sa.Text),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("rotated_at", sa.BigInteger),
        sa.Column("blind_looks", sa.Integer, nullable=False),
        sa.Column("traits", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_table(
        "alert",
        sa.Column("item", sa.Text, sa.ForeignKey("item.item", ondelete="CASCADE"), primary_key=True),
        sa.Column("aspect", sa.Text, primary_key=True),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("told_at", sa.BigInteger),
        sa.Column("failed_at", sa.BigInteger),
        sa.Column("detail", sa.Text, nullable=False),
    )
    _outbox()
    op.create_table(
        "thread",
        sa.Column("notifier", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("generation", sa.Text, primary_key=True),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    _looks()


def _outbox() -> None:
    op.create_table(
        "event",
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("aspect", sa.Text, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Index(None, "item", "aspect"),
    )
    op.create_table(
        "parcel",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("event", _ID, sa.ForeignKey("event.id", ondelete="CASCADE"), nullable=False),
        sa.Column("notifier", sa.Text, nullable=False),
        sa.Column("fate", sa.Text, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("batch", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("settled_at", sa.BigInteger),
        sa.UniqueConstraint("event", "notifier"),
        sa.Index(None, "notifier", "fate", "settled_at"),
        sqlite_autoincrement=True,
    )
    owed = sa.text("settled_at IS NULL")
    op.create_index("parcel_owed", "parcel", ["notifier", "due_at"], sqlite_where=owed, postgresql_where=owed)


def _looks() -> None:
    op.create_table(
        "look",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("collector", sa.Text, nullable=False),
        *_said(),
        sa.Index(None, "finished_at"),
    )
    op.create_table(
        "collector",
        sa.Column("collector", sa.Text, primary_key=True),
        *_said(),
        sa.Column("good_at", sa.BigInteger),
    )


def _said() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
