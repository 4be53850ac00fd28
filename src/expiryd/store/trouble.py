"""Every failure of a database as one StoreError: which database, what is wrong, what to do, and no secret."""

from __future__ import annotations

import os

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from expiryd.store.port import StoreError

_DAMAGED = "is damaged, or no database at all: stop the daemon and restore a backup (docs/state.md)"
_LOCKED = "is locked by another process: end that one (`fuser -v FILE` names it); the daemon tries again by itself"
_FULL = "has no room left on its disk: make room, then the daemon goes on by itself"
_READ_ONLY = (
    "cannot be written to: check the owner and mode of file and directory, and that neither is mounted read-only"
)
_CLOSED = "cannot be opened: its directory must exist, and belong to the user the daemon runs as"
_OTHER_VERSION = (
    "is not what this version of expiryd works with: start the daemon once (`expiryd run`), which brings a database of "
    "an older version up to date or says what is wrong with it, and try again"
)
_SERVER_GONE = "does not answer: check that the server runs and may be reached from here"
_REFUSED = "refuses this user or password: check the user in daemon.database and pg_hba.conf of the server"

_ADVICE = (
    # SQLite's names for its result codes, https://sqlite.org/rescode.html
    ("SQLITE_BUSY", _LOCKED),
    ("SQLITE_LOCKED", _LOCKED),
    ("SQLITE_FULL", _FULL),
    ("SQLITE_READONLY", _READ_ONLY),
    ("SQLITE_PERM", _READ_ONLY),
    ("SQLITE_CANTOPEN", _CLOSED),
    ("SQLITE_AUTH", _CLOSED),
    ("SQLITE_NOTADB", _DAMAGED),
    ("SQLITE_CORRUPT", _DAMAGED),
    ("SQLITE_IOERR", "cannot be read or written: look at the disk (`dmesg`), its room and its quotas"),
    # PostgreSQL's SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
    ("53100", _FULL),
    ("53300", "takes no more connections: raise max_connections of the server"),
    ("25006", "is read-only (a standby?): daemon.database must name the primary"),
    ("28", _REFUSED),
    ("42P01", _OTHER_VERSION),
    ("42703", _OTHER_VERSION),
    ("3D000", "does not exist: create it first (docs/state.md)"),
    ("42501", "does not let this user do that: the user must own the database, or its schema"),
    ("55P03", "is locked by another session: look at pg_stat_activity"),
    ("57014", "took too long and was stopped: look at pg_stat_activity and the load of the server"),
    ("57P", _SERVER_GONE),
    ("08", _SERVER_GONE),
    ("XX", _DAMAGED),
)


def explain(error: Exception, database: str, secrets: tuple[str, ...] = ()) -> StoreError:
    """`database` is its name for people. The database's own words follow the advice, without any of `secrets`."""
    if isinstance(error, OSError):
        return StoreError(f"{database} {_CLOSED} ({os.strerror(error.errno or 0)})")
    if isinstance(error, PoolTimeout):
        return StoreError(f"{database} is busy: an earlier write has not ended for 30 s")
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
    advice = next((advice for start, advice in _ADVICE if code.startswith(start)), _fallback(cause, code))
    return StoreError(f"{database} {advice} ({_own_words(cause, secrets)})")


def _fallback(cause: BaseException, code: str) -> str:
    """What has no code of its own, only words: a table that is not there, a connection that never came to be."""
    words = str(cause)
    if code == "SQLITE_ERROR" and words.startswith(("no such table", "no such column")):
        return _OTHER_VERSION
    if type(cause).__name__ != "OperationalError" or code:
        return "failed in a way that is not expected: please report it"
    if "authentication failed" in words or "no password supplied" in words or "pg_hba.conf" in words:
        return _REFUSED
    if "does not exist" in words:
        return "does not exist, or its user does not: create it first (docs/state.md)"
    return _SERVER_GONE


def _own_words(cause: BaseException, secrets: tuple[str, ...]) -> str:
    # the primary message alone: PostgreSQL's DETAIL quotes rows
    words = getattr(getattr(cause, "diag", None), "message_primary", None) or str(cause) or type(cause).__name__
    for secret in filter(None, secrets):
        words = words.replace(secret, "…")
    return " ".join(words.split())[:300]
