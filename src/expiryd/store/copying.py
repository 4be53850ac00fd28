"""A copy of the whole state in an SQLite file of its own, also beside a running daemon: to try things out on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from expiryd.store.connect import database_url, reach
from expiryd.store.migrate import VERSION_TABLE
from expiryd.store.schema import installation, metadata
from expiryd.store.sql import SqlStore
from expiryd.store.trouble import explain

_PAGE = 2000
_PATIENCE = timedelta(seconds=10)


async def copy_state(url: str, file: Path) -> None:
    """Copy the database of `url` to `file`, which must not be there. Raises StoreError.

    A database of PostgreSQL in which no daemon has begun yet is an empty state.
    """
    if url.startswith("sqlite"):
        await SqlStore(url, exclusive=False).backup(file)
        return
    store = SqlStore(database_url(file))
    await store.open()
    await store.aclose()
    await asyncio.to_thread(_copy, url, file)


def _copy(url: str, file: Path) -> None:
    source, target = reach(url, _PATIENCE, exclusive=False), reach(database_url(file), _PATIENCE, exclusive=True)
    try:
        with source.reader.connect() as there, target.migrator.begin() as here:
            # one moment for all tables: rows that refer to each other stay together
            there.execution_options(isolation_level="REPEATABLE READ")
            if not inspect(there).has_table(VERSION_TABLE):
                return
            here.execute(delete(installation))
            for table in metadata.sorted_tables:
                for page in there.execute(select(table).execution_options(yield_per=_PAGE)).partitions():
                    here.execute(insert(table), [dict(row._mapping) for row in page])
    except (SQLAlchemyError, OSError, source.driver_error) as error:
        raise explain(error, source.name, source.secrets) from None
    finally:
        source.dispose()
        target.dispose()
