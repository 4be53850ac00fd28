"""Typed lists are read in four formats alike; a bad row is told at its place and costs no other row."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from expiryd.api import Basis, Blind, CollectError, Lifetime, Observation, Reading, Severity, Tools, Traits
from expiryd.collectors.inventory import InventoryConfig
from expiryd.testing import readings, tools

SAMPLES = {
    "csv": """\
name,expires,issued,lifetime,kind,owner,category,runbook,used_by,labels
code-signing,2027-03-01,2026-03-01,,certificate,release team,runtime,https://wiki/x,ci; web,tier=1;site=b
licence,never,,,,,,,,
sudo,,2026-09-01,90d,,,,,,
""",
    "json": """\
[{"name": "code-signing", "expires": "2027-03-01", "issued": "2026-03-01", "kind": "certificate",
  "owner": "release team", "category": "runtime", "runbook": "https://wiki/x", "used_by": ["ci", "web"],
  "labels": {"tier": 1, "site": "b"}},
 {"name": "licence", "expires": "never", "owner": null},
 {"name": "sudo", "issued": "2026-09-01", "lifetime": "90d"}]
""",
    "yaml": """\
items:
  - name: code-signing
    expires: 2027-03-01
    issued: 2026-03-01
    kind: certificate
    owner: release team
    category: runtime
    runbook: https://wiki/x
    used_by: [ci, web]
    labels: {tier: 1, site: b}
  - {name: licence, expires: never, owner: ~}
  - {name: sudo, issued: 2026-09-01, lifetime: 90d}
""",
    "toml": """\
[[items]]
name = "code-signing"
expires = 2027-03-01
issued = 2026-03-01
kind = "certificate"
owner = "release team"
category = "runtime"
runbook = "https://wiki/x"
used_by = ["ci", "web"]
labels = { tier = 1, site = "b" }
[[items]]
name = "licence"
expires = "never"
[[items]]
name = "sudo"
issued = 2026-09-01
lifetime = "90d"
""",
}


@pytest.fixture
async def lent() -> AsyncIterator[Tools]:
    async with aiohttp.ClientSession() as session:
        yield tools(session, timezone="Europe/Berlin")


def config(*paths: Path, **keys: Any) -> InventoryConfig:
    return InventoryConfig.model_validate({"type": "inventory", "path": [str(path) for path in paths], **keys})


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


async def look(lent: Tools, path: Path, text: str | bytes, **keys: Any) -> dict[str, Observation]:
    found = await readings(config(write(path, text), **keys).build(lent))
    assert all(isinstance(reading, Observation) for reading in found)
    return {reading.id: reading for reading in found if isinstance(reading, Observation)}


async def look_at_row(lent: Tools, tmp_path: Path, row: dict[str, object], **keys: Any) -> Observation:
    return (await look(lent, tmp_path / "a.json", json.dumps([{"name": "x", **row}]), **keys))["x"]


async def partial(lent: Tools, *paths: Path) -> tuple[list[Reading], str]:
    seen: list[Reading] = []
    with pytest.raises(CollectError) as caught:
        async for reading in config(*paths).build(lent).look():
            seen += [reading]
    return seen, str(caught.value)


def codes(observation: Observation) -> list[str]:
    return [finding.code for finding in observation.findings]


# ── what a list says ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", SAMPLES)
async def test_the_four_formats_say_the_same(lent: Tools, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    found = await look(lent, path, SAMPLES[ending])
    assert list(found) == ["code-signing", "licence", "sudo", str(path)]
    signing, licence, sudo, file = found.values()
    assert signing.kind == "certificate"
    assert signing.title == "code-signing"
    assert signing.generation == ""
    assert signing.lifetime == Lifetime(
        expires_at=datetime(2027, 3, 1, 23, 0, tzinfo=UTC),
        issued_at=datetime(2026, 2, 28, 23, 0, tzinfo=UTC),
        basis=Basis.TYPED,
    )
    assert signing.traits == Traits(
        "runtime", "release team", "https://wiki/x", ("ci", "web"), {"tier": "1", "site": "b"}
    )
    assert licence.lifetime == Lifetime(basis=Basis.NONE)
    issued = datetime(2026, 8, 31, 22, 0, tzinfo=UTC)
    assert sudo.lifetime == Lifetime(
        expires_at=issued + timedelta(days=90), issued_at=issued, basis=Basis.POLICY, span=timedelta(days=90)
    )
    assert file.kind == "inventory"
    assert [(measure.name, measure.value) for measure in file.measures] == [("rows", 3)]
    assert not any(observation.findings for observation in found.values())


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("toml", '[items.AAR_TOKEN]\nexpires = "2027-03-01"\n'),
        ("json", '{"items": {"AAR_TOKEN": {"expires": "2027-03-01"}}}'),
        ("yml", "items:\n  AAR_TOKEN:\n    expires: 2027-03-01\n"),
        ("json", '{"items": [{"name": "AAR_TOKEN", "expires": "2027-03-01"}]}'),
        ("yaml", "# a list at the top\n- &one {name: AAR_TOKEN, expires: 2027-03-01}\n"),
        ("yaml", "base: &b {expires: 2027-03-01, owner: a}\nitems:\n- {<<: *b, name: AAR_TOKEN}\n"),
        ("CSV", "\ufeffExpires; NAME\r\n2027-03-01;AAR_TOKEN\r\n\r\n"),
        ("csv", 'name\texpires\n"AAR_TOKEN"\t2027-03-01\n'),
        ("csv", "name,expires,\nAAR_TOKEN,2027-03-01,\n"),
    ],
)
async def test_lists_may_be_laid_out_as_people_do(lent: Tools, tmp_path: Path, ending: str, text: str) -> None:
    found = await look(lent, tmp_path / f"list.{ending}", text, timezone="UTC")
    token, file = found.values()
    assert token.id == "AAR_TOKEN"
    assert token.lifetime is not None
    assert token.lifetime.expires_at == datetime(2027, 3, 2, tzinfo=UTC)
    assert codes(token) == codes(file) == []


@pytest.mark.parametrize(
    ("typed", "zone", "expires_at"),
    [
        ("2026-09-01", "UTC", "2026-09-02T00:00:00+00:00"),
        ("2026-09-01", "America/New_York", "2026-09-02T04:00:00+00:00"),
        ("2026-10-24", "Europe/Berlin", "2026-10-24T22:00:00+00:00"),
        ("2026-10-25", "Europe/Berlin", "2026-10-25T23:00:00+00:00"),
        (" 2026-09-01 ", "UTC", "2026-09-02T00:00:00+00:00"),
        ("2026-09-01T12:00", "Europe/Berlin", "2026-09-01T10:00:00+00:00"),
        ("2026-09-01 12:00:00", "UTC", "2026-09-01T12:00:00+00:00"),
        ("2026-09-01T12:00:00Z", "Asia/Tokyo", "2026-09-01T12:00:00+00:00"),
        ("2026-09-01T12:00:00.5+02:00", "Asia/Tokyo", "2026-09-01T10:00:00.500000+00:00"),
        ("9998-12-31", "UTC", "9999-01-01T00:00:00+00:00"),
    ],
)
async def test_a_day_lasts_to_its_end_in_the_owners_zone(
    lent: Tools, tmp_path: Path, typed: str, zone: str, expires_at: str
) -> None:
    seen = await look_at_row(lent, tmp_path, {"expires": typed}, timezone=zone)
    assert seen.lifetime == Lifetime(expires_at=datetime.fromisoformat(expires_at), basis=Basis.TYPED)
    assert seen.lifetime.expires_at is not None
    assert seen.lifetime.expires_at.tzinfo is UTC


async def test_toml_keeps_its_own_dates_and_times(lent: Tools, tmp_path: Path) -> None:
    text = "[items]\na.expires = 2026-09-01\nb.expires = 2026-09-01T12:00:00\nc.expires = 2026-09-01T12:00:00-01:00\n"
    found = await look(lent, tmp_path / "a.toml", text)
    ends = [seen.lifetime.expires_at for seen in found.values() if seen.lifetime]
    assert ends == [datetime(2026, 9, 1, hour, tzinfo=UTC) for hour in (22, 10, 13)]


# ── what is wrong with a row ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("2026-13-45", "`expires` 2026-13-45 is not in the calendar"),
        ("2026-02-29", "not in the calendar"),
        ("2026-06-30T23:59:60Z", "2026-06-30T23:59:60Z is not in the calendar or on the clock"),
        ("0000-00-00", "not in the calendar"),
        ("0001-01-01", "in the year 1; it looks like an unset value"),
        ("1970-01-01", "in the year 1970; it looks like an unset value"),
        ("1970-01-01T00:00:00Z", "in the year 1970; it looks like an unset value"),
        ("9999-12-31", 'in the year 9999; write "never"'),
        ("31/12/2026", "`expires` 31/12/2026 is no date; write 2026-09-01"),
        ("soon", "`expires` is no date"),
        ("NEVER", "`expires` is no date"),
        (1790000000, "1790000000 is a number, perhaps seconds since 1970"),
        ("1790000000000", "is a number"),
        (1.5, "is a number"),
        (True, "is no date"),
        (["2026-09-01"], "is no date"),
        ({"a": 1}, "is no date"),
    ],
)
async def test_a_date_that_cannot_be_read_is_a_finding_and_no_guess(
    lent: Tools, tmp_path: Path, typed: object, words: str
) -> None:
    row = {"expires": typed, "issued": "2026-01-01", "lifetime": "90d", "owner": "me"}
    seen = await look_at_row(lent, tmp_path, row)
    assert seen.lifetime is not None
    assert seen.lifetime.expires_at is None
    assert seen.lifetime.basis is Basis.TYPED
    assert seen.traits.owner == "me"
    (finding,) = seen.findings
    assert (finding.code, finding.severity) == ("invalid-date", Severity.WARNING)
    assert words in finding.detail
    assert f"({tmp_path}/a.json, entry 1)" in finding.detail


async def test_a_typed_secret_in_place_of_a_date_is_not_repeated(lent: Tools, tmp_path: Path) -> None:
    canary = "ghp_c4n4ry"
    row = dict.fromkeys(("expires", "issued", "lifetime", "labels"), canary) | {"used_by": {"a": canary}}
    assert canary not in repr((await look_at_row(lent, tmp_path, row)).findings)


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ({}, "missing-date", 'give `expires` (or "never")'),
        ({"expires": " ", "issued": None}, "missing-date", "it has no date"),
        ({"lifetime": "90d"}, "missing-date", "`issued` and `lifetime`"),
        ({"expires": "2026-01-01", "issued": "2026-02-01"}, "invalid-date", "expires before it was issued"),
        ({"expires": "2026-01-01", "lifetime": "90 dogs"}, "invalid-value", "write 90s, 15m"),
        ({"expires": "2026-01-01", "lifetime": 90}, "invalid-value", "`lifetime` is no duration"),
        ({"issued": "2026-01-01", "lifetime": "-1d"}, "invalid-value", "`lifetime` is no duration"),
        ({"issued": "2026-01-01", "lifetime": "9999999d"}, "invalid-value", "after the year 9999"),
        ({"expires": "never", "owner": ["a"]}, "invalid-value", "`owner` is not text"),
        ({"expires": "never", "kind": 5}, "invalid-value", "`kind` is not text"),
        ({"expires": "never", "used_by": [1]}, "invalid-value", "`used_by` is no list"),
        ({"expires": "never", "used_by": [[]]}, "invalid-value", "`used_by` is no list"),
        ({"expires": "never", "labels": {"a": []}}, "invalid-value", "`labels` is no table"),
        ({"expires": "never", "labels": "a=1;b"}, "invalid-value", "`labels` is no table"),
    ],
)
async def test_what_cannot_be_read_is_told_at_its_item(
    lent: Tools, tmp_path: Path, row: dict[str, object], code: str, words: str
) -> None:
    seen = await look_at_row(lent, tmp_path, row)
    assert codes(seen) == [code]
    assert words in seen.findings[0].detail


async def test_a_date_given_in_the_config_is_not_missing_in_the_list(lent: Tools, tmp_path: Path) -> None:
    assert codes(await look_at_row(lent, tmp_path, {}, items={"x": {"expires": "never"}})) == []


async def test_names_that_occur_twice_are_all_watched_and_told(lent: Tools, tmp_path: Path) -> None:
    text = "name,expires\na,2026-01-01\na,2027-01-01\na#2,2028-01-01\na,2029-01-01\n"
    found = await look(lent, tmp_path / "a.csv", text)
    assert {name: codes(seen) for name, seen in found.items() if seen.kind != "inventory"} == {
        "a": [],
        "a#2": ["duplicate"],
        "a#2#2": ["duplicate"],
        "a#3": ["duplicate"],
    }
    assert "line 3" in found["a#2"].findings[0].detail


async def test_a_row_wider_than_its_header_gets_no_date(lent: Tools, tmp_path: Path) -> None:
    found = await look(lent, tmp_path / "a.csv", "name,owner,expires\nx,Miller, Inc,2026-01-01\n")
    assert codes(found["x"]) == ["malformed-row"]
    assert found["x"].lifetime == Lifetime(basis=Basis.TYPED)


# ── what is wrong with a file ─────────────────────────────────────────────────────────────────────────


async def test_a_column_that_nobody_reads_is_named_and_not_lost_silently(lent: Tools, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    found = await look(lent, path, "name,expires,expirse,Team\nx,2026-01-01,2026-02-01,b\n")
    assert codes(found[str(path)]) == ["unknown-key"]
    assert "nobody reads expirse, team" in found[str(path)].findings[0].detail
    path = tmp_path / "a.json"
    found = await look(lent, path, '[{"name": "x", "expires": "never", "expirse": 1, "": 2}]')
    assert codes(found[str(path)]) == ["unknown-key"]


async def test_rows_without_a_usable_name_are_told_by_their_place(lent: Tools, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows: list[object] = [{"expires": "never"}, {"name": " "}, {"name": "a\nb"}, {"name": "x" * 513}, {"name": [1]}]
    found = await look(lent, path, json.dumps([*rows, {"name": 42, "expires": "never"}, "text", None]))
    assert list(found) == ["42", str(path)]
    missing, malformed = found[str(path)].findings
    assert (missing.code, malformed.code) == ("missing-name", "malformed-row")
    assert "at entry 1, entry 2, entry 3, entry 4, entry 5:" in missing.detail
    assert "at entry 7, entry 8:" in malformed.detail


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"items": {"x": {"expires": "never"}, "x": {"expires": "2026-01-01"}}}'),
        ("a.yaml", "items:\n  x: {expires: never}\n  x: {expires: 2026-01-01}\n"),
        ("a.csv", "name,expires,expires\nx,never,2026-01-01\n"),
    ],
)
async def test_a_key_given_twice_is_told(lent: Tools, tmp_path: Path, name: str, text: str) -> None:
    found = await look(lent, tmp_path / name, text)
    assert "x" in found
    assert codes(found[str(tmp_path / name)]) == ["repeated-key"]


async def test_an_empty_list_and_one_that_others_may_write_are_told(lent: Tools, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "name,expires\n")
    path.chmod(0o666)
    (file,) = await readings(config(path).build(lent))
    assert isinstance(file, Observation)
    assert sorted(codes(file)) == ["empty", "unsafe-permissions"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.toml", "a = [\n", "at its end: Invalid value"),
        ("a.toml", "[[items]]\nname = x\n", "line 2: Invalid value"),
        ("a.toml", "x = " + "[" * 100_000, "nested too deeply"),
        ("a.toml", "\n" + ".".join("a" * 100_000) + " = 1", "line 2: a key of more than 40 parts"),
        ("a.toml", "'a' . " * 100_000, "a key of more than 40 parts"),
        ("a.toml", "name = 1\n", "put them into a list called `items`"),
        ("a.json", '[\n{"name": }]', "line 2: Expecting value"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "[" + "9" * 5000 + "]", "integer string conversion"),
        ("a.json", "", "line 1: Expecting value"),
        ("a.json", "3", "called `items`"),
        ("a.yaml", "a: [b\nc: d\n", "line 2: "),
        ("a.yaml", "- *nobody\n", "line 1: nothing is called *nobody"),
        ("a.yaml", "[" * 200_000, "nested too deeply"),
        ("a.yaml", "{a: " * 200_000, "nested too deeply"),
        ("a.yaml", "- " * 200_000, "nested too deeply"),
        ("a.yaml", "a: \0\n", "a.yaml, "),
        ("a.yaml", "- {name: a}\n---\n- {name: b}\n", "line 2: a second document begins"),
        ("a.yaml", "", "called `items`"),
        ("a.csv", "", "has no column `name`"),
        ("a.csv", "token,expires\n", "has no column `name`"),
        ("a.csv", 'name,expires\nx,"never\ny,never\n', "unexpected end of data"),
        ("a.csv", "name\n" + "x" * 200_000 + "\n", "line 2: field larger than"),
        ("a.csv", b"name\n\xff\n", "is not UTF-8 text (byte 0xff): save it as UTF-8"),
        ("a.csv", "name\nx\n".encode("utf-16"), "is not UTF-8 text"),
        ("a.json", b'["\xe4"]', "is not UTF-8 text (byte 0xe4)"),
    ],
)
async def test_a_file_that_is_no_list_is_a_failed_look_that_says_where(
    lent: Tools, tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    _, message = await partial(lent, write(tmp_path / name, content))
    assert str(tmp_path / name) in message
    assert words in message


async def test_yaml_aliases_share_instead_of_multiplying(lent: Tools, tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    found = await look(
        lent, tmp_path / "a.yaml", f"{bomb}items: [{{name: x, expires: never, used_by: *j, labels: *j}}]\n"
    )
    assert codes(found["x"]) == ["invalid-value", "invalid-value"]
    found = await look(lent, tmp_path / "b.yaml", "items: &i [{name: x, expires: never}, *i]\n")
    assert codes(found[str(tmp_path / "b.yaml")]) == ["malformed-row"]


async def test_one_file_that_fails_costs_no_other_and_makes_the_look_partial(lent: Tools, tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", "name,expires\na,never\n")
    late = write(tmp_path / "late.csv", 'name,expires\nb,never\nc,"never\n')
    seen, message = await partial(lent, tmp_path / "gone.csv", late, good, tmp_path / "no*.csv")
    assert [reading.id for reading in seen if isinstance(reading, Observation)] == ["a", str(good)]
    assert [reading.id for reading in seen if isinstance(reading, Blind)] == [
        str(tmp_path / "no*.csv"),
        str(tmp_path / "gone.csv"),
        str(late),
    ]
    assert "gone.csv: there is no such file" in message
    assert "no*.csv matches no file" in message
    assert "late.csv, line 3" in message


async def test_when_nothing_can_be_read_nothing_is_observed(lent: Tools, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "dir.csv").mkdir()
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(1 << 30)
    seen, message = await partial(lent, *(tmp_path / name for name in ("pipe.csv", "dir.csv", "huge.csv")))
    assert seen == []
    assert "a FIFO" in message
    assert "a directory" in message
    assert "larger than the 67,108,864 bytes" in message


def test_the_ending_says_how_a_list_is_written() -> None:
    with pytest.raises(ValidationError, match=r"ends in \.csv, \.toml, \.json, \.yaml, \.yml"):
        config(Path("/srv/list.xlsx"))
    assert config(Path("/srv/*.CSV")).timezone is None
    assert config(Path("/a.csv"), timezone="Asia/Tokyo").timezone == ZoneInfo("Asia/Tokyo")


# ── any input, many rows ──────────────────────────────────────────────────────────────────────────────

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
ROWS = st.dictionaries(
    st.sampled_from(["name", "expires", "issued", "lifetime", "kind", "owner", "used_by", "labels", "x"]), VALUES
)


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(ROWS | VALUES, max_size=5))
async def test_any_json_gives_every_named_row_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    async with aiohttp.ClientSession() as session:
        found = await look(tools(session), tmp_path_factory.mktemp("any") / "a.json", json.dumps(rows))
    named = [row for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]
    usable = [row["name"].strip() for row in named if row["name"].isprintable() and row["name"].strip()]
    assert set(usable) <= set(found)
    assert len(found) <= len(rows) + 1


@settings(deadline=None, max_examples=150)
@given(
    ending=st.sampled_from(["csv", "toml", "yaml", "json"]),
    text=st.text(max_size=80) | st.text(alphabet='{}[]<*&-:,"#=\n name', max_size=80),
)
async def test_any_text_is_a_list_or_a_clear_failure(
    tmp_path_factory: pytest.TempPathFactory, ending: str, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"a.{ending}"
    async with aiohttp.ClientSession() as session:
        try:
            await look(tools(session), path, text.encode("utf-8", "surrogatepass"))
        except CollectError as error:
            assert str(path) in str(error)


async def test_many_rows_share_what_they_have_in_common(lent: Tools, tmp_path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["name", "expires", "owner", "used_by"])
    writer.writerows([f"t{n}", f"2027-01-{n % 28 + 1:02d}", f"team-{n % 5}", "ci;web"] for n in range(5000))
    found = [seen for seen in (await look(lent, tmp_path / "a.csv", text.getvalue())).values() if seen.lifetime]
    assert len(found) == 5000
    assert len({id(seen.traits) for seen in found}) == 5
    assert len({id(seen.lifetime) for seen in found}) == 28
