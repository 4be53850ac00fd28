"""A token store is known by its metadata; a `.token` file is never opened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expiryd.api import Basis, Blind, CollectError, Lifetime, Observation, Reading, Severity, Tools
from expiryd.collectors.token_dir import TokenDirConfig, _judge, _parse
from expiryd.testing import readings, tools

CREATED = datetime(2025, 10, 12, 2, 44, 12, tzinfo=UTC)
EXPIRES = datetime(2026, 1, 10, 2, 44, 12, tzinfo=UTC)
META = """\
created: 2025-10-12T02:44:12Z
description: merges: external pull requests
encrypted: true
last_used: never
expires: 2026-01-10T02:44:12Z
"""
CANARY = "canary-3f9a1c"


@pytest.fixture
async def lent() -> AsyncIterator[Tools]:
    async with aiohttp.ClientSession() as session:
        yield tools(session)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "maintainer_tokens"
    directory.mkdir(mode=0o700)
    (directory / ".gitkeep").touch(mode=0o600)
    return directory


def put(store: Path, name: str, meta: str | bytes = META) -> None:
    for suffix, content in ((".meta", meta.encode() if isinstance(meta, str) else meta), (".token", CANARY.encode())):
        (store / f"{name}{suffix}").write_bytes(content)
        (store / f"{name}{suffix}").chmod(0o600)


async def look(lent: Tools, store: Path) -> dict[str, Reading]:
    config = TokenDirConfig.model_validate({"type": "token-dir", "path": str(store)})
    return {reading.id: reading for reading in await readings(config.build(lent))}


async def look_at(lent: Tools, store: Path, meta: str | bytes) -> Observation:
    put(store, "A_TOKEN", meta)
    seen = (await look(lent, store))["A_TOKEN"]
    assert isinstance(seen, Observation)
    return seen


def codes(reading: Reading) -> dict[str, Severity]:
    assert isinstance(reading, Observation)
    return {finding.code: finding.severity for finding in reading.findings}


async def test_a_sound_store_is_read_in_order(lent: Tools, store: Path) -> None:
    for name in ("SECURITY_AUDIT_TOKEN", "EMERGENCY_OVERRIDE_TOKEN"):
        put(store, name)
    seen = await look(lent, store)
    assert list(seen) == [str(store), "EMERGENCY_OVERRIDE_TOKEN", "SECURITY_AUDIT_TOKEN"]
    token = seen["SECURITY_AUDIT_TOKEN"]
    assert isinstance(token, Observation)
    assert token.lifetime == Lifetime(EXPIRES, CREATED, basis=Basis.METADATA)
    assert (token.title, token.traits.category, token.kind) == ("merges: external pull requests", "maintainer", "token")
    assert all(codes(reading) == {} for reading in seen.values())


async def test_an_empty_store_is_still_seen(lent: Tools, store: Path) -> None:
    assert list(await look(lent, store)) == [str(store)]


@pytest.mark.parametrize(
    "written",
    ["2026-01-10T02:44:12+00:00", "2026-01-10T03:44:12+01:00", "2026-01-10 02:44:12", "20260110T024412Z"],
)
async def test_other_spellings_of_iso_8601_are_read(lent: Tools, store: Path, written: str) -> None:
    seen = await look_at(lent, store, META.replace("2026-01-10T02:44:12Z", written))
    assert seen.lifetime == Lifetime(EXPIRES, CREATED, basis=Basis.METADATA)


async def test_keys_are_anchored_and_a_description_may_hold_anything(lent: Tools, store: Path) -> None:
    meta = META.replace("merges:", "expires: 2001-01-01T00:00:00Z").replace("\n", "\r\n")
    seen = await look_at(lent, store, "\ufeff" + meta + "  expires: 2002-02-02T00:00:00Z\r\n")
    assert seen.lifetime == Lifetime(EXPIRES, CREATED, basis=Basis.METADATA)
    assert seen.title == "expires: 2001-01-01T00:00:00Z external pull requests"


@pytest.mark.parametrize("line", ["", "expires:\n", "expires:   \n"])
async def test_a_missing_expiry_is_a_finding(lent: Tools, store: Path, line: str) -> None:
    seen = await look_at(lent, store, META.replace("expires: 2026-01-10T02:44:12Z\n", line))
    assert codes(seen) == {"no-expiry-info": Severity.WARNING}
    assert seen.lifetime == Lifetime(None, CREATED, basis=Basis.METADATA)


@pytest.mark.parametrize(
    "written",
    [
        "never",
        "soon",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "2026-06-30T23:59:60Z",
        "2026-02-30T00:00:00Z",
        "1767999852",
        "12026-01-01T00:00:00Z",
        "\x00",
        "é" * 1000,
    ],
)
async def test_a_date_that_is_none_is_a_finding_and_never_a_date(lent: Tools, store: Path, written: str) -> None:
    seen = await look_at(lent, store, META.replace("2026-01-10T02:44:12Z", written))
    assert codes(seen) == {"invalid-date": Severity.WARNING}
    assert seen.lifetime == Lifetime(None, CREATED, basis=Basis.METADATA)


async def test_an_expiry_before_the_creation_is_told_and_counts(lent: Tools, store: Path) -> None:
    seen = await look_at(lent, store, META.replace("2026-01-10", "2025-01-10"))
    assert codes(seen) == {"invalid-lifetime": Severity.WARNING}
    assert seen.lifetime == Lifetime(EXPIRES.replace(year=2025), basis=Basis.METADATA)


async def test_a_token_stored_in_plain_is_told(lent: Tools, store: Path) -> None:
    seen = await look_at(lent, store, META.replace("encrypted: true", "encrypted: false"))
    assert codes(seen) == {"unencrypted": Severity.WARNING}


async def test_a_rotation_is_a_new_generation_and_using_a_token_is_not(lent: Tools, store: Path) -> None:
    first = await look_at(lent, store, META)
    used = await look_at(lent, store, META.replace("never", "2025-11-01T00:00:00Z").replace("merges", "does"))
    rotated = await look_at(lent, store, META.replace("2025-10-12", "2025-10-13"))
    assert first.generation == used.generation != rotated.generation
    assert first.identity == rotated.identity == "token A_TOKEN"


async def test_a_token_without_metadata_is_told(lent: Tools, store: Path) -> None:
    put(store, "A_TOKEN")
    (store / "A_TOKEN.meta").unlink()
    seen = (await look(lent, store))["A_TOKEN"]
    assert codes(seen) == {"no-metadata": Severity.WARNING}


async def test_modes_of_directory_metadata_and_token_are_judged(lent: Tools, store: Path) -> None:
    put(store, "A_TOKEN")
    (store / "A_TOKEN.meta").chmod(0o644)
    (store / "A_TOKEN.token").chmod(0o666)
    store.chmod(0o755)
    seen = await look(lent, store)
    assert codes(seen[str(store)]) == {"unsafe-permissions": Severity.WARNING}
    token = seen["A_TOKEN"]
    assert codes(token) == {"unsafe-permissions": Severity.CRITICAL}
    assert isinstance(token, Observation)
    (finding,) = token.findings
    assert "A_TOKEN.meta has mode 0644" in finding.detail
    assert "A_TOKEN.token has mode 0666" in finding.detail


async def test_bytes_that_are_no_text_are_no_crash(lent: Tools, store: Path) -> None:
    seen = await look_at(lent, store, META.encode() + b"description: caf\xe9\0\x1b[31m\n" + bytes(range(256)))
    assert seen.lifetime == Lifetime(EXPIRES, CREATED, basis=Basis.METADATA)
    assert seen.title.isprintable()


async def test_any_file_name_is_an_id_that_can_be_written(lent: Tools, store: Path) -> None:
    (store / os.fsdecode(b"caf\xe9\n.meta")).write_text(META)
    assert "caf\\xe9\\n" in await look(lent, store)


@pytest.mark.parametrize("kind", ["fifo", "loop", "huge", "directory"])
async def test_metadata_that_cannot_be_read_blinds_its_own_item_only(lent: Tools, store: Path, kind: str) -> None:
    put(store, "GOOD")
    bad = store / "BAD.meta"
    match kind:
        case "fifo":
            os.mkfifo(bad)
        case "loop":
            bad.symlink_to(bad)
        case "directory":
            bad.mkdir()
        case "huge":
            with bad.open("wb") as file:
                file.truncate(2**30)
    seen = await look(lent, store)
    assert isinstance(seen["BAD"], Blind)
    assert isinstance(seen["GOOD"], Observation)


async def test_metadata_that_vanishes_during_the_look_is_no_item(lent: Tools, store: Path) -> None:
    put(store, "A")
    put(store, "B")
    seen = []
    config = TokenDirConfig.model_validate({"type": "token-dir", "path": str(store)})
    async for reading in config.build(lent).look():
        for file in store.glob("B.*"):
            file.unlink()
        seen.append(reading.id)
    assert seen == [str(store), "A"]


async def test_a_directory_that_cannot_be_listed_is_an_error(lent: Tools, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("none", "file", "loop"):
        with pytest.raises(CollectError, match="cannot list"):
            await look(lent, tmp_path / name)
    with pytest.raises(CollectError, match="no usable path"):
        await look(lent, Path("a\0b"))
    with pytest.raises(CollectError, match="no usable path"):
        await look(lent, Path("~no-such-user-here/store"))


def test_no_token_file_is_ever_opened(store: Path) -> None:
    """An audit hook in a child of its own sees every file that Python opens."""
    put(store, "A_TOKEN")
    put(store, "ORPHAN")
    (store / "ORPHAN.meta").unlink()
    os.mkfifo(store / "FIFO.token")
    program = f"""
import asyncio, sys
from expiryd.collectors.token_dir import TokenDirConfig
from expiryd.testing import readings
opened = []
sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
config = TokenDirConfig.model_validate({{"type": "token-dir", "path": {str(store)!r}}})
print([reading.id for reading in asyncio.run(readings(config.build(None)))][1:])
print([name for name in opened if name.startswith({str(store)!r})])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.splitlines() == ["['A_TOKEN', 'FIFO', 'ORPHAN']", str([f"{store}/A_TOKEN.meta"])]


async def test_a_look_changes_nothing_and_says_nothing_of_a_token(lent: Tools, store: Path) -> None:
    put(store, "A_TOKEN")
    before = sorted((file.name, file.stat().st_mtime_ns, file.stat().st_atime_ns) for file in store.glob("*.token"))
    assert CANARY not in repr(await look(lent, store))
    assert before == sorted((f.name, f.stat().st_mtime_ns, f.stat().st_atime_ns) for f in store.glob("*.token"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.text(max_size=40))
def test_no_content_raises_and_no_noise_loses_a_date(noise: bytes, text: str) -> None:
    content = b"expires: 2026-01-10T02:44:12Z\n"
    keys = _parse(noise.replace(b"expires:", b"") + b"\n" + content)
    lifetime, _, _ = _judge(keys, "here")
    assert lifetime is not None
    assert lifetime.expires_at == EXPIRES
    _judge({"created": text, "expires": text, "encrypted": text}, "here")
