"""Health is the daemon's own ability: what it cannot see, write or deliver, never what has expired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.rig import DAY, MINUTE, Rig, expiring
from tests.web import Asker, asking

from expiryd.api import AuthError, CollectError, PermanentError, Receipt, TransientError
from expiryd.config.errors import ConfigError, ConfigProblem
from expiryd.core.matching import EVERYTHING
from expiryd.core.silencing import Silence
from expiryd.engine.daemon import STALE
from expiryd.store.port import Outbox, StoreError

CHECK_KEYS = {"name", "status", "message", "timestamp", "duration", "details"}
ITEM_KEYS = ["total", "expired", "critical", "warning", "info", "healthy", "unknown"]


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    async with Rig(tmp_path, sources=("tokens", "certs"), receivers=("slack", "mail")) as rig, asking(rig) as asker:
        for source in rig.sources.values():
            source.shows()
        yield asker


async def look(asker: Asker) -> None:
    for name in asker.rig.sources:
        await asker.rig.look(name)


def named(report: dict[str, Any], name: str) -> dict[str, Any]:
    (check,) = [check for check in report["checks"] if check["name"] == name]
    return check


async def test_the_report_has_the_shape_that_others_read(asker: Asker) -> None:
    await look(asker)
    report = await asker.get("/health")
    assert list(report) == [
        "overall",
        "timestamp",
        "uptime",
        "checks",
        "performance",
        "alerts",
        "recommendations",
        "items",
    ]
    assert report["overall"] == "healthy"
    assert report["timestamp"] == int(asker.rig.clock.now().timestamp() * 1000)
    assert [check["name"] for check in report["checks"]] == [
        *("store", "scheduler", "pulse", "audit", "config", "outbox"),
        *("collectors", "collector:tokens", "collector:certs", "notifiers", "notifier:slack", "notifier:mail"),
    ]
    assert all(check.keys() == CHECK_KEYS for check in report["checks"])
    assert list(report["performance"]) == ["executionMetrics", "resourceMetrics", "reliabilityMetrics"]
    assert list(report["items"]) == ITEM_KEYS


async def test_uptime_is_in_milliseconds(asker: Asker) -> None:
    await asker.rig.clock.advance(timedelta(seconds=30))
    assert (await asker.get("/health"))["uptime"] == 30_000


async def test_an_expired_token_does_not_make_the_daemon_ill(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(
        expiring("old", asker.rig.clock.now() - DAY), expiring("new", asker.rig.clock.now() + 300 * DAY)
    )
    await look(asker)
    report = await asker.get("/health")
    assert report["overall"] == "healthy"
    assert report["items"] == dict.fromkeys(ITEM_KEYS, 0) | {"total": 2, "expired": 1, "healthy": 1}
    assert [alert["id"] for alert in report["alerts"]] == ["tokens/old#expiry"]


async def test_the_most_severe_alerts_are_shown_and_no_more_than_twenty(asker: Asker) -> None:
    now = asker.rig.clock.now()
    asker.rig.sources["tokens"].shows(*(expiring(f"T{n}", now + n * DAY) for n in range(30)))
    await look(asker)
    alerts = (await asker.get("/health"))["alerts"]
    assert [alert["severity"] for alert in alerts] == ["expired"] + ["critical"] * 6 + ["warning"] * 13


async def test_one_blind_collector_is_a_warning_and_all_of_them_are_critical(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(CollectError("/srv/.tokens is gone: restore it"))
    await look(asker)
    report = await asker.get("/health")
    assert report["overall"] == "warning"
    assert "/srv/.tokens is gone: restore it" in named(report, "collector:tokens")["message"]
    assert named(report, "collectors")["status"] == "healthy"
    assert [line for line in report["recommendations"] if "/srv/.tokens is gone" in line]
    asker.rig.sources["certs"].shows(CollectError("no such directory"))
    await look(asker)
    report = await asker.get("/health", 503)
    assert report["overall"] == "critical"
    assert named(report, "collectors")["message"] == "all 2 fail"


async def test_a_partial_look_is_a_warning(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(expiring("T", asker.rig.clock.now() + 99 * DAY), CollectError("half of it"))
    await look(asker)
    assert named(await asker.get("/health"), "collector:tokens")["message"] == "saw only a part: half of it"


async def test_a_look_that_does_not_come_is_a_warning_that_says_since_when(asker: Asker) -> None:
    await look(asker)
    await asker.rig.clock.advance(DAY + timedelta(minutes=6))
    assert named(await asker.get("/health", 503), "collector:tokens")["status"] == "healthy"
    await asker.rig.clock.advance(timedelta(minutes=2))
    check = named(await asker.get("/health", 503), "collector:tokens")
    assert check["status"] == "warning"
    assert "due since 2030-01-02T00:00:00Z" in check["message"]


@pytest.mark.parametrize("failure", [AuthError("token revoked"), TransientError("refused")])
async def test_one_failing_notifier_is_a_warning_and_all_of_them_are_critical(asker: Asker, failure: Exception) -> None:
    rig = asker.rig
    rig.receivers["slack"]._outcomes = [failure] * 5
    rig.sources["tokens"].shows(expiring("T", rig.clock.now() + DAY))
    await look(asker)
    for _ in range(5):
        await rig.wait(MINUTE)
        await rig.wait(timedelta(hours=1))
        if named(await asker.get("/health", 503), "notifier:slack")["status"] == "warning":
            break
    report = await asker.get("/health", 503)  # its scheduler does not run in a rig
    check = named(report, "notifier:slack")
    assert check["status"] == "warning"
    assert str(failure) in check["message"]
    assert named(report, "notifiers")["status"] == "healthy"
    assert named(report, "notifier:mail")["details"]["lastDelivery"] is not None
    rig.receivers["mail"]._outcomes = [AuthError("mail, too")]
    rig.sources["tokens"].shows(expiring("T", rig.clock.now() + DAY), expiring("U", rig.clock.now() - DAY))
    await look(asker)
    await rig.wait(MINUTE)
    assert named(await asker.get("/health", 503), "notifiers")["status"] == "critical"


@pytest.mark.parametrize("outcome", [PermanentError("too long"), Receipt("ok", refused="ann@example.org")])
async def test_what_is_not_delivered_to_everybody_is_a_warning_but_its_notifier_works(
    asker: Asker, outcome: PermanentError | Receipt
) -> None:
    rig = asker.rig
    for receiver in rig.receivers.values():
        receiver._outcomes = [outcome]
    rig.sources["tokens"].shows(expiring("T", rig.clock.now() + DAY))
    await look(asker)
    await rig.wait(MINUTE)
    report = await asker.get("/health", 503)  # the scheduler does not run in a rig
    assert named(report, "notifier:slack")["status"] == "warning"
    assert named(report, "notifier:slack")["details"]["dead"] == isinstance(outcome, PermanentError)
    assert named(report, "notifiers")["status"] == "healthy"


async def test_what_is_owed_for_long_is_a_warning(asker: Asker) -> None:
    asker.rig.sources["tokens"].shows(expiring("T", asker.rig.clock.now() + DAY))
    await look(asker)
    assert named(await asker.get("/health"), "outbox")["message"] == "parcels owed: 2"
    await asker.rig.clock.advance(timedelta(minutes=16))
    assert "the oldest for 16m" in named(await asker.get("/health", 503), "outbox")["message"]


async def test_what_is_held_is_owed_for_no_time_yet(asker: Asker) -> None:
    rig, now = asker.rig, asker.rig.clock.now()
    await rig.daemon.silences.add(Silence(EVERYTHING, now, now + 2 * DAY, "ann", "moving house", now))
    rig.sources["tokens"].shows(expiring("T", now + DAY))
    await look(asker)
    await rig.wait(MINUTE)
    owed = (await asker.get("/health/metrics"))["reliabilityMetrics"]
    assert (owed["parcelsOwed"], owed["oldestOwedSeconds"]) == (2, 0)


async def test_a_failing_store_makes_it_unavailable_and_not_ready(asker: Asker) -> None:
    await look(asker)
    asker.rig.daemon.pulse.store_error = "disk full: make room on /var/lib/expiryd"
    report = await asker.get("/health", 503)
    assert report["overall"] == "unavailable"
    assert named(report, "store")["message"] == "disk full: make room on /var/lib/expiryd"
    assert (await asker.get("/health/status", 503))["status"] == "unavailable"
    assert "disk full" in await asker.get("/-/ready", 503)
    assert await asker.get("/-/healthy") == "ok\n"


async def test_a_scheduler_and_a_pulse_without_a_sign_of_life_are_critical(asker: Asker) -> None:
    await asker.rig.clock.advance(timedelta(seconds=STALE + 1))
    report = await asker.get("/health", 503)
    assert {named(report, part)["status"] for part in ("scheduler", "pulse")} == {"critical"}
    assert named(report, "store")["status"] == "unavailable"


async def test_a_store_that_hangs_holds_nobody_up_and_is_asked_only_once(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows()
        await rig.look()
        asked = 0
        released = asyncio.Event()

        async def hang() -> Outbox:
            nonlocal asked
            asked += 1
            await released.wait()
            raise StoreError("gone")

        rig.daemon.store.outbox = hang  # type: ignore[method-assign]  # the port's method, as a hung disk answers it
        async with asking(rig) as asker:
            async with asyncio.timeout(3):
                reports = await asyncio.gather(*(asker.get("/health") for _ in range(5)), asker.get("/metrics"))
            assert named(reports[0], "store")["message"] == "did not answer in time"
            assert "expiryd_outbox_parcels" not in reports[-1]
            assert asked == 1
            released.set()


async def test_a_refused_reload_is_a_warning_until_one_succeeds(asker: Asker) -> None:
    await look(asker)
    good = asker.rig.config
    asker.rig.config = ConfigError([ConfigProblem("http.listn", "no such key")])  # type: ignore[assignment]
    with pytest.raises(ConfigError):
        await asker.rig.daemon.reload()
    check = named(await asker.get("/health"), "config")
    assert check["status"] == "warning"
    assert "http.listn: no such key" in check["message"]
    asker.rig.config = good
    await asker.rig.daemon.reload()
    assert named(await asker.get("/health"), "config")["status"] == "healthy"


async def test_ready_means_that_every_collector_was_tried_also_in_vain(asker: Asker) -> None:
    assert "2 of 2 collectors" in await asker.get("/-/ready", 503)
    await asker.rig.look("tokens")
    assert "1 of 2 collectors" in await asker.get("/-/ready", 503)
    asker.rig.sources["certs"].shows(CollectError("gone"))
    await asker.rig.look("certs")
    assert await asker.get("/-/ready") == "ready\n"


async def test_advice_is_given_once_however_many_checks_give_it(asker: Asker) -> None:
    asker.rig.daemon.pulse.store_error = "gone"
    advice = (await asker.get("/health", 503))["recommendations"]
    assert len(advice) == len(set(advice)) == 1


async def test_the_short_form_counts_and_shares(asker: Asker) -> None:
    assert (await asker.get("/health/status"))["successRate"] is None  # nothing tried is not nothing achieved
    asker.rig.sources["tokens"].shows(expiring("T", asker.rig.clock.now() + DAY))
    asker.rig.sources["certs"].shows(CollectError("gone"))
    await look(asker)
    status = await asker.get("/health/status")
    assert list(status) == ["status", "timestamp", "items", "alerts", "successRate"]
    assert (status["items"]["total"], status["alerts"], status["successRate"]) == (1, 1, 0.5)


async def test_the_numbers_behind_it_are_plain_json(asker: Asker) -> None:
    await look(asker)
    numbers = await asker.get("/health/metrics")
    assert numbers["executionMetrics"]["looks"] == 2
    assert numbers["resourceMetrics"]["residentBytes"] > 1_000_000
    assert numbers["reliabilityMetrics"] == {
        "successRate": 1.0,
        "lookSuccessRate": 1.0,
        "deliverySuccessRate": None,
        "parcelsOwed": 0,
        "parcelsDead": 0,
        "oldestOwedSeconds": None,
    }
