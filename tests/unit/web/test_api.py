"""What is known, over HTTP: filtered, worst first, in pages, whatever the items are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.rig import DAY, MINUTE, Rig, expiring
from tests.web import Asker, asking
from yarl import URL

from expiryd.api import CollectError, Measure, Observation, Traits
from expiryd.store.port import StoreError
from expiryd.web.api import MOST
from expiryd.web.openapi import SCHEMAS


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    async with Rig(tmp_path, sources=("tokens", "certs"), receivers=("slack",)) as rig, asking(rig) as asker:
        for source in rig.sources.values():
            source.shows()
        yield asker


@pytest.fixture
async def filled(asker: Asker) -> Asker:
    """Five items of two collectors, from expired to healthy."""
    now = asker.rig.clock.now()
    asker.rig.sources["tokens"].shows(
        expiring("CI", now - DAY, traits=Traits(category="cicd", owner="platform")),
        expiring("BOT", now + 3 * DAY, traits=Traits(category="cicd", owner="apps")),
        Observation("WHEN", kind="token"),
    )
    asker.rig.sources["certs"].shows(
        Observation("/etc/a.pem", kind="x509", title="Web front"), expiring("/etc/b.pem", now + 20 * DAY)
    )
    for name in asker.rig.sources:
        await asker.rig.look(name)
    return asker


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["item"] for row in answer["items"]]


# ── items ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_items_come_worst_first(filled: Asker) -> None:
    assert ids(await filled.get("/api/v1/items")) == [
        *("tokens/CI", "tokens/BOT", "certs//etc/b.pem", "certs//etc/a.pem", "tokens/WHEN")
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("category=cicd", {"tokens/CI", "tokens/BOT"}),
        ("collector=certs", {"certs//etc/a.pem", "certs//etc/b.pem"}),
        ("owner=apps", {"tokens/BOT"}),
        ("owner=apps&owner=platform", {"tokens/CI", "tokens/BOT"}),
        ("severity=expired&severity=critical", {"tokens/CI", "tokens/BOT"}),
        ("kind=x509", {"certs//etc/a.pem"}),
        ("q=WEB%20FR", {"certs//etc/a.pem"}),
        ("q=platform", {"tokens/CI"}),
        ("q=.pem&severity=warning", {"certs//etc/b.pem"}),
        ("category=none", set()),
    ],
)
async def test_filters_narrow_and_add_up(filled: Asker, query: str, found: set[str]) -> None:
    assert set(ids(await filled.get(f"/api/v1/items?{query}"))) == found


async def test_pages_follow_one_another(filled: Asker) -> None:
    first = await filled.get("/api/v1/items?limit=2")
    second = await filled.get(f"/api/v1/items?limit=2&cursor={first['next']}")
    third = await filled.get(f"/api/v1/items?limit=2&cursor={second['next']}")
    assert ids(first) + ids(second) + ids(third) == ids(await filled.get("/api/v1/items"))
    assert third["next"] is None


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("serverity=expired", "'serverity': no such query key; known are category, collector"),
        ("severity=bad", "severity: 'bad' is not one of unknown, healthy"),
        ("limit=0", f"limit: must be a whole number from 1 to {MOST}"),
        (f"limit={MOST + 1}", "limit: must be"),
        ("limit=ten", "limit: must be"),
        ("limit=%D9%A1", "limit: must be"),
        ("limit=1&limit=2", "limit: give it once"),
        ("cursor=x", "cursor: send back the `next`"),
        ("limit=0&x=1", "limit: must be"),
        ("limit=0&x=1", "'x': no such query key"),
    ],
)
async def test_a_wrong_query_is_refused_and_all_that_is_wrong_is_named(asker: Asker, query: str, says: str) -> None:
    assert says in (await asker.get(f"/api/v1/items?{query}", 400))["error"]


@pytest.mark.parametrize("path", ["status", "collectors", "notifiers", "items/tokens%2FX"])
async def test_what_takes_no_query_says_so(asker: Asker, path: str) -> None:
    assert "it takes none" in (await asker.get(f"/api/v1/{path}?limit=1", 400))["error"]


NAMES = ["plain", "/etc/ssl/a b.pem", "100%", "a?b#c", "ünï/ço∂é", "smtp://mail:587", "back\\slash", '"quoted"', "%2F"]


@pytest.mark.parametrize("name", [*NAMES, "line\nbreak", "nul\0byte", "half\udc80pair"])
async def test_an_item_is_found_by_its_id_whatever_that_is(asker: Asker, name: str) -> None:
    asker.rig.sources["tokens"].shows(Observation(name))
    await asker.rig.look()
    path = "/api/v1/items/" + quote(f"tokens/{name}".encode("utf-8", "surrogateescape"), safe="")
    async with asker.http.get(URL(asker.base + path, encoded=True)) as response:
        assert response.status == 200, await response.text()
        assert (await response.json())["item"] == f"tokens/{name}"


async def test_an_item_comes_with_its_open_alerts(filled: Asker) -> None:
    item = await filled.get("/api/v1/items/tokens/CI")
    assert [alert["id"] for alert in item["alerts"]] == ["tokens/CI#expiry"]
    assert item["observed_at"] == "2030-01-01T00:00:00Z"


async def test_an_unknown_item_is_not_found_and_asking_for_it_leaves_nothing_behind(asker: Asker) -> None:
    before = len(asker.rig.daemon.ledger._shards)
    assert "'nowhere/x'" in (await asker.get("/api/v1/items/nowhere/x", 404))["error"]
    assert len(asker.rig.daemon.ledger._shards) == before


async def test_a_measure_that_json_cannot_say_is_null(asker: Asker) -> None:
    measures = (Measure("load", float("nan")), Measure("rate", float("inf")))
    asker.rig.sources["tokens"].shows(Observation("host", measures=measures))
    await asker.rig.look()
    assert [m["value"] for m in (await asker.get("/api/v1/items"))["items"][0]["measures"]] == [None, None]


async def test_the_daemons_word_on_its_own_collector_is_an_alert_but_not_an_item(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(CollectError("gone"))
    await asker.rig.look()
    await asker.rig.look()
    assert ids(await asker.get("/api/v1/items")) == []
    assert [row["id"] for row in (await asker.get("/api/v1/alerts"))["alerts"]] == ["tokens#blind"]
    assert (await asker.get("/api/v1/items/tokens"))["item"] == "tokens"


# ── alerts, events, parts ─────────────────────────────────────────────────────────────────────────────


async def test_alerts_are_filtered_by_their_own_severity_and_paged(filled: Asker) -> None:
    everything = await filled.get("/api/v1/alerts")
    assert [row["severity"] for row in everything["alerts"]] == ["expired", "critical", "warning"]
    first = await filled.get("/api/v1/alerts?limit=1")
    rest = await filled.get(f"/api/v1/alerts?cursor={first['next']}")
    assert first["alerts"] + rest["alerts"] == everything["alerts"]
    found = await filled.get("/api/v1/alerts?severity=critical&owner=apps")
    assert [row["item"] for row in found["alerts"]] == ["tokens/BOT"]


async def test_events_come_newest_first_with_what_became_of_them(filled: Asker) -> None:
    await filled.rig.wait(MINUTE)
    everything = await filled.get("/api/v1/events")
    assert [row["kind"] for row in everything["events"]] == ["raised"] * 3
    assert {d["fate"] for row in everything["events"] for d in row["deliveries"]} == {"delivered"}
    first = await filled.get("/api/v1/events?limit=2")
    rest = await filled.get(f"/api/v1/events?limit=2&before={first['next']}")
    assert first["events"] + rest["events"] == everything["events"]
    assert rest["next"] is None


async def test_collectors_say_when_they_looked_and_what_came_of_it(filled: Asker) -> None:
    filled.rig.sources["certs"].shows(CollectError("no such directory"))
    await filled.rig.look("certs")
    certs, tokens = (await filled.get("/api/v1/collectors"))["collectors"]
    assert (certs["name"], certs["outcome"], certs["reason"]) == ("certs", "blind", "no such directory")
    assert (tokens["outcome"], tokens["items"], tokens["last_look"]) == ("complete", 3, "2030-01-01T00:00:00Z")
    assert tokens["every_seconds"] == DAY.total_seconds()


async def test_notifiers_say_what_they_delivered_and_what_is_owed(filled: Asker) -> None:
    assert (await filled.get("/api/v1/notifiers"))["notifiers"][0]["parcels"] == {"pending": 3}
    await filled.rig.wait(MINUTE)
    (slack,) = (await filled.get("/api/v1/notifiers"))["notifiers"]
    assert (slack["parcels"], slack["last_delivery"]) == ({"delivered": 3}, "2030-01-01T00:01:00Z")


async def test_the_status_holds_all_of_it_at_a_glance(filled: Asker) -> None:
    status = await filled.get("/api/v1/status")
    assert status["items"]["total"] == 5
    assert status["alerts"] == {"expired": 1, "critical": 1, "warning": 1, "info": 0, "unknown": 0}
    assert [row["name"] for row in status["collectors"]] == ["certs", "tokens"]


async def test_a_failing_store_is_told_as_such(asker: Asker) -> None:
    async def fail(**_: object) -> Any:
        raise StoreError("database is locked: wait or find who holds it")

    asker.rig.daemon.store.events = fail  # type: ignore[method-assign]  # the port's method, as a broken disk answers
    assert (await asker.get("/api/v1/events", 503))["error"] == "database is locked: wait or find who holds it"


# ── as described ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("items", "Items"),
        ("items/tokens/CI", "ItemWithAlerts"),
        ("alerts", "Alerts"),
        ("events", "Events"),
        ("collectors", "Collectors"),
        ("notifiers", "Notifiers"),
        ("status", "Status"),
    ],
)
async def test_answers_have_exactly_the_keys_that_are_described(filled: Asker, path: str, schema: str) -> None:
    await filled.rig.wait(MINUTE)
    conforms(await filled.get(f"/api/v1/{path}"), SCHEMAS[schema], path)


async def test_health_has_exactly_the_keys_that_are_described(filled: Asker) -> None:
    conforms(await filled.get("/health"), SCHEMAS["Health"], "health")


KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}


def conforms(value: Any, schema: dict[str, Any], where: str) -> None:
    """Fails where the value is not as the schema says, or has keys that it does not name."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if value is None and "null" in kinds:
        return
    assert any(isinstance(value, KINDS[kind]) for kind in kinds if kind != "null"), f"{where} is {value!r}"
    assert value in schema.get("enum", [value]), f"{where} is {value!r}"
    if "properties" in schema:
        assert value.keys() == schema["properties"].keys(), where
        for key, inner in schema["properties"].items():
            conforms(value[key], inner, f"{where}.{key}")
    for number, entry in enumerate(value if "items" in schema else ()):
        conforms(entry, schema["items"], f"{where}[{number}]")


# ── deeds ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/-/reload", "/api/v1/collectors/tokens/look", "/api/v1/notify/test/slack"])
async def test_nothing_is_done_by_reading(asker: Asker, path: str) -> None:
    async with asker.http.get(asker.base + path) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert "method not allowed" in (await response.json())["error"]


async def test_an_unknown_path_is_told_in_json(asker: Asker) -> None:
    assert await asker.get("/API/v1/Nothing", 404) == {"error": "GET /API/v1/Nothing: not found"}


async def test_heads_have_no_body(filled: Asker) -> None:
    for path in ("/-/healthy", "/health", "/metrics", "/api/v1/items"):
        async with asyncio.timeout(5), filled.http.head(filled.base + path) as response:
            assert (response.status, await response.read()) == (200, b"")
