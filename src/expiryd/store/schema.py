"""The tables, said once for SQLite and PostgreSQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND

_UNSTORABLE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")
_KEY_BYTES = 600


def to_micros(moment: datetime) -> int:
    """An aware time as microseconds since 1970 UTC, exact; beyond the years 1 to 9999 in UTC the nearest one."""
    since = moment - EPOCH
    micros = (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
    return micros if _FIRST <= micros <= _LAST else min(max(micros, _FIRST), _LAST)


def from_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def escape(text: str) -> str:
    """NUL and lone surrogates (from file names that are not UTF-8) fit in no database: U+001A and four hex digits."""
    if text.isprintable():  # as nearly always, and seen at once
        return text
    return _UNSTORABLE.sub(lambda odd: f"\x1a{ord(odd[0]):04x}", text)


def unescape(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text) if "\x1a" in text else text


def shorten(text: str) -> str:
    """The text itself, or its beginning and a digest when it is too long for an index of PostgreSQL (2,704 bytes)."""
    if len(text) <= _KEY_BYTES // 5 or len(escape(text).encode()) <= _KEY_BYTES:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{text[:100]}…{digest}"


def key(text: str) -> str:
    """As it stands in a column that an index is made of."""
    return text if len(text) <= _KEY_BYTES // 5 and text.isprintable() else escape(shorten(text))


class Instant(TypeDecorator[datetime]):
    """An aware time as microseconds since 1970 UTC: the same number in both databases, exact, and it sorts."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else from_micros(value)


class Words(TypeDecorator[str]):
    """Any Python text, given back exactly. Members of a StrEnum are stored as their word."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else escape(str(value))

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else unescape(value)


class Key(Words):
    """Text that is looked up by an index. More than 600 bytes are stored shortened; the codec keeps the whole."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else key(str(value))


_ID = BigInteger().with_variant(Integer(), "sqlite")
metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

installation = Table(
    "installation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("last_event", BigInteger, nullable=False),  # ids of events: never given twice, in the order of commits
)

item = Table(
    "item",
    metadata,
    Column("item", Key, primary_key=True),
    Column("collector", Key, nullable=False),
    Column("kind", Words, nullable=False),
    Column("title", Words, nullable=False),
    Column("category", Words, nullable=False),
    Column("owner", Words, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("expires_at", Instant),
    Column("issued_at", Instant),
    Column("basis", Words),  # null when nothing is known of its lifetime
    Column("generation", Words, nullable=False),
    Column("first_seen", Instant, nullable=False),
    Column("rotated_at", Instant),
    Column("blind_looks", Integer, nullable=False),
    Column("traits", Text, nullable=False),  # JSON: runbook, used_by, labels
    Column("detail", Text, nullable=False),  # JSON: findings, measures and what is rare
)

alert = Table(
    "alert",
    metadata,
    Column("item", Key, ForeignKey("item.item", ondelete="CASCADE"), primary_key=True),
    Column("aspect", Key, primary_key=True),
    Column("place", Integer, nullable=False),  # order among the alerts of the item
    Column("generation", Words, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("told_at", Instant),
    Column("failed_at", Instant),
    Column("detail", Words, nullable=False),
    Column("rung", Words, nullable=False),  # the last one asked
    Column("risen_at", Instant),
    Column("paged_at", Instant),
    Column("escalated", Integer, nullable=False),
    Column("ack", Text),  # JSON
)

event = Table(
    "event",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("kind", Words, nullable=False),
    Column("at", Instant, nullable=False, index=True),
    Column("item", Key, nullable=False),
    Column("aspect", Key, nullable=False),
    Column("generation", Words, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("payload", Text, nullable=False),  # JSON: the facts as they were
    Index(None, "item", "aspect"),
)

parcel = Table(
    "parcel",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("event", _ID, ForeignKey("event.id", ondelete="CASCADE"), nullable=False),
    Column("notifier", Key, nullable=False),
    Column("fate", Words, nullable=False),
    Column("due_at", Instant, nullable=False),  # when it may be sent; while leased, when the lease lapses
    Column("attempts", Integer, nullable=False),
    Column("batch", Words),
    Column("reason", Words, nullable=False),
    Column("proof", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("settled_at", Instant),  # null while it is owed
    UniqueConstraint("event", "notifier"),
    Index(None, "notifier", "fate", "settled_at"),
    sqlite_autoincrement=True,  # an id is never given twice, also after the newest were pruned
)
owed = parcel.c.settled_at.is_(None)
Index("parcel_owed", parcel.c.notifier, parcel.c.due_at, sqlite_where=owed, postgresql_where=owed)

silence = Table(
    "silence",
    metadata,
    Column("id", Text, primary_key=True),
    Column("matcher", Text, nullable=False),  # JSON
    Column("starts_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False, index=True),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", _ID, primary_key=True),  # entries of the audit trail that are not in its files yet
    Column("at", Instant, nullable=False),
    Column("actor", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("item", Words, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    sqlite_autoincrement=True,
)

trail = Table(
    "trail",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),  # the last line of the audit trail, which is how its loss is noticed
    Column("hash", Text, nullable=False),
)

thread = Table(
    "thread",
    metadata,
    Column("notifier", Key, primary_key=True),
    Column("item", Key, primary_key=True),
    Column("generation", Key, primary_key=True),
    Column("reference", Words, nullable=False),
    Column("at", Instant, nullable=False),
)

look = Table(
    "look",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("collector", Words, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False, index=True),
    Column("outcome", Words, nullable=False),
    Column("items", Integer, nullable=False),
    Column("reason", Words, nullable=False),
)

collector = Table(
    "collector",
    metadata,
    Column("collector", Key, primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("outcome", Words, nullable=False),
    Column("items", Integer, nullable=False),
    Column("reason", Words, nullable=False),
    Column("good_at", Instant),  # when the last complete look finished
)
