"""One secret in several places, and what replaced what, through a whole daemon with several sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, disturbed, play, sees

from expiryd.api import Blind, Observation, Served
from expiryd.core.model import EventKind, ItemId
from expiryd.core.view import alert_row, event_row, item_row
from expiryd.testing import EPOCH

TWO: dict[str, Any] = {"sources": ("files", "vault")}
WEB: dict[str, Any] = {"sources": ("files", "web")}


def copy(item: str, mark: str, days: float, *, identity: str = "") -> Observation:
    """A place that holds this secret, which ends so many days after the start."""
    return expiring(item, EPOCH + days * DAY, generation=mark, fingerprint=mark, identity=identity)


def stored(item: str, mark: str, days: float) -> Observation:
    return copy(item, mark, days, identity="certificate www.example")


def site(*served: tuple[str, float, str]) -> Observation:
    """An endpoint with these certificates, each with its end and its addresses; the first to end is judged."""
    mark, days, _ = min(served, key=lambda one: one[1])
    handed = tuple(Served(mark, EPOCH + days * DAY, tuple(at.split())) for mark, days, at in sorted(served))
    seen = stored("www:443", mark, days)
    return expiring(
        "www:443", EPOCH + days * DAY, generation=mark, fingerprint=mark, identity=seen.identity, served=handed
    )


def both(first: Act, second: Act) -> Act:
    async def act(rig: Rig) -> None:
        await first(rig)
        await second(rig)

    return act


# ── places ────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_names_every_other_place_of_the_secret(tmp_path: Path) -> None:
    async with Rig(tmp_path, **TWO) as rig:
        await sees("vault", copy("ci", "k", 90))(rig)
        await sees("files", copy("a", "k", 5), copy("b", "k", 90), copy("c", "other", 90))(rig)
        await rig.wait(MINUTE)
        (message,) = rig.receivers["slack"].sent
        (event,) = message.events
        assert event.places == ("files/b", "vault/ci")
        assert "Also in: files/b, vault/ci" in message.text
        await rig.restart()
        (record,) = await rig.daemon.store.events()
        assert record.event.places == ("files/b", "vault/ci")


async def test_a_place_is_none_any_more_when_it_holds_another_or_is_gone(tmp_path: Path) -> None:
    async with Rig(tmp_path, **TWO) as rig:
        await sees("files", copy("a", "k", 90), copy("b", "k", 90), copy("c", "k", 90))(rig)
        await sees("files", copy("a", "k", 90), copy("b", "new", 90))(rig)
        assert rig.daemon.ledger.kinship.places("k") == ["files/a"]
        await rig.restart()
        assert rig.daemon.ledger.kinship.places("k") == ["files/a"]
        assert rig.daemon.ledger.kinship.places("new") == ["files/b"]


async def test_of_a_fingerprint_no_more_than_twelve_digits_are_ever_shown(tmp_path: Path) -> None:
    marks = ["0123456789abcdef", "fedcba9876543210"]
    async with Rig(tmp_path, sources=("files",)) as rig:
        for mark, days in (*zip(marks, (5, 90), strict=True), (marks[0], 5), (marks[1], 90), (marks[0], 5)):
            seen = [
                expiring(name, EPOCH + days * DAY, generation=mark[:12], fingerprint=mark, identity="token A")
                for name in "ab"
            ]
            await sees("files", *seen)(rig)
            await rig.wait(HOUR)
        shown = [message.subject + message.text + message.html for message in rig.receivers["slack"].sent]
        for state in rig.daemon.ledger.all():
            shown.append(json.dumps(item_row(state, EPOCH, EPOCH, places=rig.daemon.ledger.places(state))))
            shown += [json.dumps(alert_row(state, alert, EPOCH)) for alert in state.alerts]
        shown += [json.dumps(event_row(record.event)) for record in await rig.daemon.store.events()]
        text = " ".join(shown)
        assert "take turns" in text and marks[0][:12] in text
        assert not any(mark[:13] in text for mark in marks)


# ── stale copies ──────────────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_after_a_rotation_a_place_that_was_forgotten_is_told(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at(
            "0s",
            both(sees("files", copy("a", "old", 100), copy("b", "old", 100)), sees("vault", copy("v", "old", 100))),
        ),
        at("1d", sees("files", copy("a", "new", 200), copy("b", "new", 200))),
        at("2d", sees("vault", copy("v", "old", 100))),
        want("2d", "2d1m", "slack: raised warning vault/v stale-copy"),
        at("3d", sees("vault", copy("v", "new", 200))),
        want("3d", "3d1m", "slack: resolved healthy vault/v stale-copy"),
        until="4d",
        disturbance=disturbance,
        **TWO,
    )


@disturbed
async def test_a_copy_beside_it_is_told_by_the_very_look_that_saw_the_rotation(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees("files", copy("a", "old", 100), copy("b", "old", 100), copy("c", "old", 100))),
        at("1d", sees("files", copy("a", "old", 100), copy("b", "new", 200), copy("c", "old", 100))),
        want("1d", "1d1m", "slack: raised warning files/a stale-copy", "slack: raised warning files/c stale-copy"),
        at("2d", sees("files", copy("a", "new", 200), copy("b", "new", 200), copy("c", "new", 200))),
        want("2d", "2d1m", "slack: resolved healthy files/a stale-copy", "slack: resolved healthy files/c stale-copy"),
        until="3d",
        disturbance=disturbance,
        sources=("files",),
    )


@disturbed
async def test_all_places_of_a_secret_close_with_one_notice_when_it_is_renewed_everywhere(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", sees("files", copy("a", "old", 5), copy("b", "old", 5))),
        want("0s", "1m", "slack: raised critical files/a", "slack: raised critical files/b"),
        at("2h", sees("files", copy("a", "new", 200), copy("b", "new", 200))),
        want("2h", "2h1m", "slack: renewed healthy files/a", "slack: renewed healthy files/b"),
        until="3h",
        disturbance=disturbance,
        sources=("files",),
        line=lambda name, message: [f"{name}: {e.kind} {e.severity.word} {e.item}" for e in message.events],
    )


async def test_a_place_that_cannot_be_seen_is_not_called_stale(tmp_path: Path) -> None:
    async with Rig(tmp_path, **TWO) as rig:
        await both(sees("files", copy("a", "old", 100)), sees("vault", copy("v", "old", 100)))(rig)
        await rig.clock.advance(DAY)
        await sees("files", copy("a", "new", 200))(rig)
        await sees("vault", Blind("v", "no route to host"))(rig)
        await rig.wait(MINUTE)
        assert rig.news() == []


# ── replaced by another ───────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_what_is_replaced_by_another_file_is_closed_and_alarms_no_more(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    """Old and new are not both shown as a matter (Icinga x509#90), nor does the old one alarm when it ends."""
    rig = await play(
        tmp_path,
        at("0s", sees("files", stored("2029.pem", "a", 5))),
        want("0s", "1m", "slack: raised critical files/2029.pem"),
        at("2h", sees("vault", stored("2030", "b", 95))),
        want("2h", "2h1m", "slack: renewed info files/2029.pem"),
        at("6d", sees("files", stored("2029.pem", "a", 5))),
        until="8d",
        disturbance=disturbance,
        **TWO,
    )
    async with rig:
        state = rig.daemon.ledger.get(ItemId("files/2029.pem"))
        assert state is not None and state.severity.word == "info" and state.alerts == ()
        (finding,) = state.observation.findings
        assert finding.code == "superseded" and "vault/2030" in finding.detail
        records = await rig.daemon.store.events()
        (event,) = [record.event for record in records if record.event.kind is EventKind.RENEWED]
        assert event.detail == "replaced by vault/2030, which ends 2030-04-06 00:00 UTC"


@disturbed
async def test_when_the_successor_is_gone_the_end_counts_again(tmp_path: Path, disturbance: Disturbance) -> None:
    await play(
        tmp_path,
        at("0s", sees("files", stored("old", "a", 5), stored("new", "b", 95), stored("else", "c", 50))),
        at("2h", sees("files", stored("old", "a", 5), Observation("new", "token"), Observation("else", "token"))),
        want("2h", "2h1m", "slack: raised critical files/old"),
        until="3h",
        disturbance=disturbance,
        sources=("files",),
    )


async def test_the_last_word_on_a_file_that_is_gone_names_its_successor(tmp_path: Path) -> None:
    async with Rig(tmp_path, sources=("files",)) as rig:
        await sees("files", stored("cert7.pem", "a", 5))(rig)
        await rig.wait(MINUTE)
        await sees("files", stored("cert8.pem", "b", 95))(rig)
        await sees("files", stored("cert8.pem", "b", 95))(rig)
        await rig.wait(MINUTE)
        *_, message = rig.receivers["slack"].sent
        assert "replaced by files/cert8.pem, which ends 2030-04-06" in message.text
        assert rig.news()[0] == "raised files/cert7.pem" and list(rig.daemon.ledger.kinship.places("a")) == []


async def test_the_issue_of_what_was_replaced_is_closed(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=("github",), threaded=("github",), **TWO) as rig:
        await sees("files", stored("old", "a", 5))(rig)
        await rig.wait(MINUTE)
        await sees("vault", stored("new", "b", 95))(rig)
        await rig.restart()
        await rig.wait(MINUTE)
        opened, closed = rig.receivers["github"].sent
        assert (opened.firing, closed.firing) == (True, False)
        assert "replaced by vault/new" in closed.subject


# ── served, but not stored ────────────────────────────────────────────────────────────────────────────


@disturbed
async def test_renewed_on_disk_but_the_old_one_is_served(tmp_path: Path, disturbance: Disturbance) -> None:
    every = ("old", 60.0, "192.0.2.1 192.0.2.2 192.0.2.3")
    await play(
        tmp_path,
        at("0s", both(sees("files", stored("www.pem", "old", 60)), sees("web", site(every)))),
        at("1d", sees("files", stored("www.pem", "new", 150))),
        at("26h", sees("web", site(("old", 60, "192.0.2.1 192.0.2.2"), ("new", 150, "192.0.2.3")))),
        want("26h", "26h1m", "slack: raised warning web/www:443 served-not-stored"),
        at("28h", sees("web", site(("new", 150, "192.0.2.1 192.0.2.2 192.0.2.3")))),
        want("28h", "28h1m", "slack: resolved healthy web/www:443 served-not-stored"),
        until="30h",
        disturbance=disturbance,
        **WEB,
    )


async def test_at_the_first_look_at_both_it_is_told_with_how_things_stand(tmp_path: Path) -> None:
    async with Rig(tmp_path, **WEB) as rig:
        await sees("web", site(("old", 5, "192.0.2.1")))(rig)
        await rig.clock.advance(MINUTE / 60)
        await sees("files", stored("www.pem", "new", 150))(rig)
        await rig.wait(MINUTE)
        events = [event for message in rig.receivers["slack"].sent for event in message.events]
        told = {event.aspect: event.is_first for event in events}
        assert told == {"expiry": True, "served-not-stored": False}


async def test_it_says_which_addresses_and_which_of_the_two_is_newer(tmp_path: Path) -> None:
    async with Rig(tmp_path, **WEB) as rig:
        await sees("files", stored("www.pem", "new", 150))(rig)
        await rig.clock.advance(HOUR)
        await sees("web", site(("old", 60, "192.0.2.1 192.0.2.2"), ("new", 150, "192.0.2.3")))(rig)
        await rig.wait(MINUTE)
        (message,) = rig.receivers["slack"].sent
        assert "2 of 3 addresses (192.0.2.1, 192.0.2.2) serve a certificate that ends 2030-03-02" in message.text
        assert "newer is that in files/www.pem" in message.text
        await rig.restart()
        await rig.tick()
        await rig.wait(MINUTE)
        assert rig.news() == [message.events[0].kind + " web/www:443"]


async def test_what_is_served_before_it_is_stored_is_settled_by_the_next_look_at_the_files(tmp_path: Path) -> None:
    async with Rig(tmp_path, **WEB) as rig:
        await both(sees("files", stored("www.pem", "old", 60)), sees("web", site(("old", 60, "192.0.2.1"))))(rig)
        await rig.clock.advance(DAY)
        await sees("web", site(("new", 150, "192.0.2.1")))(rig)
        await rig.wait(MINUTE)
        assert rig.news() == []
        await sees("files", stored("www.pem", "new", 150))(rig)
        await rig.wait(MINUTE)
        assert rig.news() == []


async def test_a_certificate_that_only_the_server_has_is_told_when_the_files_were_looked_at(tmp_path: Path) -> None:
    async with Rig(tmp_path, **WEB) as rig:
        await both(sees("files", stored("www.pem", "old", 60)), sees("web", site(("old", 60, "192.0.2.1"))))(rig)
        for source, seen in (("web", site(("new", 150, "192.0.2.1"))), ("files", stored("www.pem", "old", 60))):
            await rig.clock.advance(DAY)
            await sees(source, seen)(rig)
        await rig.clock.advance(DAY)
        await sees("web", site(("new", 150, "192.0.2.1")))(rig)
        await rig.wait(MINUTE)
        assert rig.news() == ["raised web/www:443"]
