"""What goes wrong with a file is said in one clear line, and harms neither what is stored nor what comes after."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.store_samples import alert, event, state

from expiryd.store.connect import database_url
from expiryd.store.port import Change, StoreError
from expiryd.store.sql import SqlStore

IMPATIENT = timedelta(milliseconds=50)
BALLAST = [state(f"ballast-{n}-{'x' * 2000}") for n in range(1000)]  # 4 MB


async def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught:
        await SqlStore(url, busy_timeout=IMPATIENT).open()
    return str(caught.value)


async def opened(file: Path) -> SqlStore:
    store = SqlStore(database_url(file), busy_timeout=IMPATIENT)
    await store.open()
    return store


async def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────


async def test_the_file_and_its_log_are_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "odd % name?#.db"
    store = await opened(file)
    await store.commit(Change(items=[state()]))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    await store.aclose()
    assert modes == {file.name + suffix: 0o600 for suffix in ("", "-wal", "-shm")}
    assert list(tmp_path.iterdir()) == [file], "closing leaves one file"


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    message = await refusal(database_url(tmp_path / "nowhere" / "expiryd.db"))
    assert f"its directory {tmp_path}/nowhere does not exist" in message


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "expiryd.db"
    file.write_bytes(b"these are my holiday pictures" * 1000)
    before = file.read_bytes()
    assert "is damaged, or no database at all" in await refusal(database_url(file))
    assert file.read_bytes() == before


async def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    file = tmp_path / "expiryd.db"
    store = await opened(file)
    await store.commit(Change(items=BALLAST))
    await store.aclose()
    with file.open("r+b") as damaged:
        damaged.seek(8192)
        damaged.write(os.urandom(file.stat().st_size - 16384))
    store = SqlStore(database_url(file), busy_timeout=IMPATIENT)
    with pytest.raises(StoreError, match="is damaged"):
        await store.open()
        await store.load()
    await store.aclose()


async def test_a_directory_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    assert f"the database {tmp_path} " in await refusal(database_url(tmp_path))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("not a url", "is not a database URL"),
        ("postgresql://u:canary@host:port/x", "is not a database URL"),
        ("mysql://u:canary@host/x", "sqlite or postgresql"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        SqlStore(url)
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}"


_AS_NOBODY = """
import asyncio, os, sys
from expiryd.store.port import Change, Look, Outcome, StoreError
from expiryd.store.sql import SqlStore
async def main():
    store = SqlStore(sys.argv[1])
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        await store.open()
        await store.ping()
    except StoreError as error:
        print(error)
    finally:
        await store.aclose()
asyncio.run(main())
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that another user can come to: what the test run makes for itself is closed to others."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_a_directory_that_may_not_be_written_to_is_said_to_be_so(public: Path) -> None:
    file = public / "state" / "expiryd.db"
    file.parent.mkdir()
    file.parent.chmod(0o555)
    done = await run(_AS_NOBODY, database_url(file))
    assert done.stdout == (
        f"the database {file} cannot be opened: its directory must exist, and belong to the user the daemon runs as "
        "(Permission denied)\n"
    ), done.stderr


async def test_a_file_that_may_not_be_written_to_is_said_to_be_so(public: Path) -> None:
    file = public / "expiryd.db"
    await (await opened(file)).aclose()
    file.chmod(0o444)
    public.chmod(0o777)
    done = await run(_AS_NOBODY, database_url(file))
    assert f"the database {file} cannot be written to: check the owner and mode" in done.stdout, done.stderr


# ── locked ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lock_held_by_another_is_said_and_waited_out(tmp_path: Path) -> None:
    file = tmp_path / "expiryd.db"
    store = await opened(file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for attempt in (store.commit(Change(items=[state()])), store.ping()):
        with pytest.raises(StoreError, match="is locked by another process"):
            await attempt
    assert await store.events() == [], "reading goes on meanwhile"
    other.close()
    await store.commit(Change(items=[state()]))
    assert (await store.load()).items == [state()]
    await store.aclose()


# ── full ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("making a small disk needs root; the limit on file sizes below tests the same")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_full_disk_is_said_and_harms_nothing(small_disk: Path) -> None:
    store = await opened(small_disk / "expiryd.db")
    kept = state(alerts=(alert(),))
    await store.commit(Change(items=[kept], events=[(event(), ("slack",))]))
    for _ in range(2):
        with pytest.raises(StoreError, match="has no room left on its disk"):
            await store.commit(Change(items=[state(generation="g2"), *BALLAST], events=[(event(), ("slack",))]))
    assert (await store.load()).items == [kept]
    assert len(await store.events()) == 1
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    await store.commit(Change(items=[state(generation="g2"), *BALLAST]))
    assert len((await store.load()).items) == 1 + len(BALLAST)
    await store.aclose()


_LIMITED = """
import asyncio, resource, sys
from expiryd.store.port import Change, StoreError
from expiryd.store.sql import SqlStore
from tests.store_samples import state
async def main():
    store = SqlStore(sys.argv[1])
    await store.open()
    await store.commit(Change(items=[state()]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    try:
        await store.commit(Change(items=[state(f"ballast-{n}-{'x' * 2000}") for n in range(1000)]))
    except StoreError as error:
        print(error)
    assert (await store.load()).items == [state()]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.commit(Change(items=[state("b")]))
    await store.aclose()
asyncio.run(main())
"""


async def test_a_file_that_may_not_grow_is_said_and_harms_nothing(tmp_path: Path) -> None:
    file = tmp_path / "expiryd.db"
    tests = str(Path(__file__).parents[3])
    done = await run(f"import sys; sys.path.insert(0, {tests!r})\n{_LIMITED}", database_url(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"the database {file} ")
    assert "look at the disk" in done.stdout or "no room left" in done.stdout
    store = await opened(file)
    assert (await store.load()).items == [state(), state("b")]
    await store.aclose()


async def test_a_store_that_was_closed_can_be_opened_again(tmp_path: Path) -> None:
    store = await opened(tmp_path / "expiryd.db")
    await store.commit(Change(items=[state()]))
    await store.aclose()
    await store.open()
    assert (await store.load()).items == [state()]
    await store.aclose()
