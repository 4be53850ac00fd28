"""What alerting needs to be trusted: rungs, acknowledgement and escalation of alerts; silences; the audit trail."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OLD = "item, aspect, place, generation, severity, opened_at, asked_at, told_at, failed_at, detail"


def upgrade() -> None:
    _alerts()
    op.create_table(
        "silence",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("matcher", sa.Text, nullable=False),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("silence_ends_at", "silence", ["ends_at"])
    op.create_table(
        "journal",
        sa.Column("seq", _ID, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "trail",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )


def _alerts() -> None:
    """Nothing refers to this table, so it is made anew and filled: the result is word for word that of a new one."""
    op.execute("CREATE TEMPORARY TABLE old_alert AS SELECT * FROM alert")
    op.drop_table("alert")
    columns: list[Any] = [
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
        sa.Column("rung", sa.Text, nullable=False),
        sa.Column("risen_at", sa.BigInteger),
        sa.Column("paged_at", sa.BigInteger),
        sa.Column("escalated", sa.Integer, nullable=False),
        sa.Column("ack", sa.Text),
    ]
    op.create_table("alert", *columns)
    op.execute(
        f"INSERT INTO alert ({_OLD}, rung, paged_at, escalated) "  # noqa: S608 - a constant
        f"SELECT {_OLD}, '', told_at, 0 FROM old_alert"
    )
    op.execute("DROP TABLE old_alert")
