"""Databases for the store's contract: an SQLite file, and a database on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from tests.postgres import Cluster, cluster

from expiryd.store.connect import database_url
from expiryd.store.sql import SqlStore

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Cluster]:
    with cluster() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Cluster) -> str:
    """A new, empty database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return postgres_server.url(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return database_url(tmp_path / "expiryd.db")
    address: str = request.getfixturevalue("postgres_url")
    return address


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(url)
    await store.open()
    yield store
    await store.aclose()
