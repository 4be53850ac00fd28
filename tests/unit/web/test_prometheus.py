"""A scrape: two formats, two codings, the pinned names, and never a broken page because of one odd thing."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from tests.rig import DAY, MINUTE, Rig, expiring
from tests.web import Asker, asking

from expiryd.api import AuthError, CollectError, Measure, Observation, Traits
from expiryd.web.prometheus import OPENMETRICS, PLAIN, negotiate, takes_gzip

PINNED = (
    "item_expiry_timestamp_seconds",
    "item_issued_timestamp_seconds",
    "item_severity",
    "item_measure",
    "items",
    "collector_up",
    "collector_items",
    "collector_last_success_timestamp_seconds",
    "collector_duration_seconds",
    "collector_overruns_total",
    "alerts",
    "events_total",
    "notifications_total",
    "notifications_suppressed_total",
    "notification_latency_seconds",
    "notifier_last_delivery_timestamp_seconds",
    "outbox_parcels",
    "outbox_oldest_seconds",
    "config_last_reload_successful",
    "config_last_reload_success_timestamp_seconds",
    "config_info",
    "build_info",
    "loop_lag_seconds",
)


@pytest.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    async with Rig(tmp_path, receivers=("slack", "mail")) as rig, asking(rig) as asker:
        now = rig.clock.now()
        rig.sources["tokens"].shows(
            expiring("old", now - DAY, traits=Traits(category="cicd")),
            expiring('odd "name"\n\\\0\udc80', now + 300 * DAY, measures=(Measure("size", 3, "bytes"),)),
            Observation("bare", traits=Traits(category="caf\udce9\0")),
        )
        await rig.look()
        yield asker


def value(text: str, series: str) -> float:
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found)


async def test_the_pinned_names_are_there(asker: Asker) -> None:
    text = await asker.get("/metrics")
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert {f"expiryd_{name}" for name in PINNED} <= told
    assert "process_resident_memory_bytes" in told


async def test_every_family_has_one_help_one_type_and_stands_together(asker: Asker) -> None:
    lines = (await asker.get("/metrics")).splitlines()
    for mark in ("# HELP ", "# TYPE "):
        named = [line.split()[2] for line in lines if line.startswith(mark)]
        assert len(named) == len(set(named))
    families = [
        re.sub(r"_(bucket|sum|count)$", "", line.partition("{")[0].split()[0]) for line in lines if line[0] != "#"
    ]
    changes = [name for name, before in zip(families, [None, *families], strict=False) if name != before]
    assert len(changes) == len(set(changes))


async def test_both_formats_can_be_read_and_hold_the_same_items(asker: Asker) -> None:
    text = await asker.get("/metrics")
    opened = await asker.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert opened.endswith("# EOF\n")
    assert opened.count("# EOF") == 1
    assert list(text_families(text))
    assert list(open_families(opened))
    items = [line for line in text.splitlines() if line.startswith("expiryd_item_")]
    assert [line for line in opened.splitlines() if line.startswith("expiryd_item_")] == items


@pytest.mark.parametrize("accept", [PLAIN, OPENMETRICS])
async def test_gzip_holds_what_identity_says_in_one_member(asker: Asker, accept: str) -> None:
    answers = {}
    for coding in ("gzip", "identity"):
        headers = {"Accept": accept, "Accept-Encoding": coding}
        async with asker.http.get(f"{asker.base}/metrics", headers=headers, auto_decompress=False) as response:
            assert response.headers["Content-Type"] == accept
            assert response.headers.get("Content-Encoding", "identity") == coding
            answers[coding] = await response.read()
            assert int(response.headers["Content-Length"]) == len(answers[coding])
    reader = zlib.decompressobj(wbits=31)
    unpacked = reader.decompress(answers["gzip"])
    assert reader.eof
    assert reader.unused_data == b""
    moving = re.compile(rb"^(process_cpu_seconds_total|process_\w+_bytes|process_open_fds) .*$", re.MULTILINE)
    assert moving.sub(b"", unpacked) == moving.sub(b"", answers["identity"])


async def test_items_and_alerts_are_counted_with_zeroes_where_there_are_none(asker: Asker) -> None:
    text = await asker.get("/metrics")
    assert value(text, 'expiryd_items{category="cicd",severity="expired"}') == 1
    assert value(text, 'expiryd_items{category="cicd",severity="warning"}') == 0
    assert value(text, r'expiryd_items{category="caf\\udce9\\x00",severity="healthy"}') == 1
    assert value(text, 'expiryd_alerts{severity="expired",state="owed"}') == 1
    await asker.rig.wait(MINUTE)
    text = await asker.get("/metrics")
    assert value(text, 'expiryd_alerts{severity="expired",state="owed"}') == 0
    assert value(text, 'expiryd_alerts{severity="expired",state="told"}') == 1


async def test_a_notifier_has_all_its_series_before_it_was_ever_used(asker: Asker) -> None:
    text = await asker.get("/metrics")
    for outcome in ("delivered", "failed", "refused", "auth-failed"):
        assert value(text, f'expiryd_notifications_total{{notifier="slack",outcome="{outcome}"}}') == 0
    assert value(text, 'expiryd_outbox_parcels{fate="pending",notifier="slack"}') == 1
    assert value(text, 'expiryd_outbox_parcels{fate="dead",notifier="slack"}') == 0


async def test_the_age_of_the_oldest_parcel_is_as_of_the_scrape(asker: Asker) -> None:
    await asker.rig.clock.advance(MINUTE)
    assert value(await asker.get("/metrics"), "expiryd_outbox_oldest_seconds") == 60
    await asker.rig.wait(MINUTE)
    assert value(await asker.get("/metrics"), "expiryd_outbox_oldest_seconds") == 0


async def test_the_last_delivery_is_known_after_a_restart_too(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.sources["tokens"].shows(expiring("T", rig.clock.now() + DAY))
        await rig.look()
        await rig.wait(MINUTE)
        at = rig.clock.now().timestamp()
        await rig.restart()
        async with asking(rig) as asker:
            text = await asker.get("/metrics")
        assert value(text, 'expiryd_notifier_last_delivery_timestamp_seconds{notifier="slack"}') == at


async def test_failures_and_blindness_are_counted(asker: Asker) -> None:
    asker.rig.receivers["slack"]._outcomes = [AuthError("revoked")]
    asker.rig.sources["tokens"].shows(CollectError("gone"))
    await asker.rig.look()
    await asker.rig.wait(MINUTE)
    text = await asker.get("/metrics")
    assert value(text, 'expiryd_notifications_total{notifier="slack",outcome="auth-failed"}') == 1
    assert value(text, 'expiryd_collector_up{collector="tokens"}') == 0
    assert value(text, 'expiryd_collector_looks_total{collector="tokens",outcome="blind"}') == 1
    assert 'item="old"' in text  # what was known is still known


async def test_what_a_reload_takes_away_has_no_series_any_more(asker: Asker) -> None:
    await asker.get("/metrics")
    del asker.rig.receivers["mail"]
    asker.rig.config = asker.rig._configured()
    await asker.rig.daemon.reload()
    assert 'expiryd_notifications_total{notifier="mail"' not in await asker.get("/metrics")


async def test_a_store_that_is_down_shows_and_breaks_nothing(asker: Asker) -> None:
    asker.rig.daemon.pulse.store_error = "gone"
    assert value(await asker.get("/metrics"), "expiryd_store_up") == 0


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/html", PLAIN),
        ("text/plain", PLAIN),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75", OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
            OPENMETRICS,
        ),
        ("text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5", PLAIN),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", PLAIN),
        ("application/openmetrics-text;version=abc;q=x,;;=,", PLAIN),
        ("application/openmetrics-text;q=0", PLAIN),
        ("APPLICATION/OpenMetrics-Text;Q=1", OPENMETRICS),
    ],
)
def test_the_format_is_the_one_that_is_liked_best(accept: str, media: str) -> None:
    assert negotiate(accept) == media


@pytest.mark.parametrize(
    ("header", "taken"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("", False), ("gzip;q=0", False), ("br", False), ("GZIP", True)],
)
def test_gzip_is_used_only_when_it_is_taken(header: str, taken: bool) -> None:
    assert takes_gzip(header) is taken
