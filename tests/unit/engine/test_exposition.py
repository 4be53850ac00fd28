"""Item series: complete, absolute in time, readable by every parser, and rendered only when something changed."""

from __future__ import annotations

import gzip as standard
import math
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.parser import text_string_to_metric_families as text_families
from tests.rig import DAY, Rig, expiring

from expiryd.api import AuthError, Basis, Blind, CollectError, ItemId, Lifetime, Measure, Observation, Severity, Traits
from expiryd.core.model import ItemState
from expiryd.engine.deflated import gzip, inflate
from expiryd.engine.exposition import EXPIRY, FAMILIES, ISSUED, MEASURE, SEVERITY, Exposition, number, render
from expiryd.testing import EPOCH

# As Prometheus' lexer has it (model/textparse/promlex.l), and no control character besides.
_VALUE = r'"((?:\\[\\"n]|[^\\"\x00-\x1f\x7f-\x9f])*)"'
LABEL = re.compile(rf"([a-z]+)={_VALUE}")
LINE = re.compile(rf"[a-z_]+{{(?:[a-z]+={_VALUE},?)+}} \S+")
ESCAPED, ESCAPES = re.compile(r'\\[\\"n]'), {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def state(seen: Observation, severity: Severity = Severity.HEALTHY, collector: str = "tokens") -> ItemState:
    return ItemState(ItemId(f"{collector}/{seen.id}"), collector, seen, severity, EPOCH)


def text_of(states: Sequence[ItemState]) -> str:
    return b"".join(chunk for piece in render(states).lines for chunk in inflate(piece)).decode()


def samples(text: str) -> list[tuple[str, dict[str, str], float]]:
    return [(s.name, s.labels, s.value) for family in text_families(text) for s in family.samples]


async def shown(exposition: Exposition) -> str:
    await exposition.refresh()
    return standard.decompress(b"".join(gzip(exposition.pieces))).decode()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as rig:
        yield rig


# ── what the lines say ────────────────────────────────────────────────────────────────────────────────


def test_every_family_has_the_labels_that_dashboards_rely_on() -> None:
    seen = Observation(
        "deploy/key",
        kind="x509",
        lifetime=Lifetime(EPOCH + DAY, EPOCH - DAY, basis=Basis.EMBEDDED),
        measures=(Measure("size", 12.5, "bytes"),),
        traits=Traits(category="cicd", owner="platform"),
    )
    who = {"collector": "tokens", "item": "deploy/key"}
    dated = who | {"category": "cicd", "kind": "x509", "owner": "platform", "basis": "embedded"}
    assert samples(text_of([state(seen, Severity.CRITICAL)])) == [
        (EXPIRY, dated, (EPOCH + DAY).timestamp()),
        (ISSUED, dated, (EPOCH - DAY).timestamp()),
        (SEVERITY, who | {"category": "cicd"}, 3),
        (MEASURE, who | {"measure": "size", "unit": "bytes"}, 12.5),
    ]


def test_what_never_expires_ends_at_infinity_and_what_is_unknown_has_no_end() -> None:
    never = state(Observation("never", lifetime=Lifetime(basis=Basis.NONE)))
    unknown = state(Observation("unknown", lifetime=Lifetime(basis=Basis.POLICY)), Severity.UNKNOWN)
    bare = state(Observation("bare"))
    found = samples(text_of([never, unknown, bare]))
    assert [(labels["item"], value) for name, labels, value in found if name == EXPIRY] == [("never", math.inf)]
    severities = {labels["item"]: value for name, labels, value in found if name == SEVERITY}
    assert severities == {"never": 0, "unknown": -1, "bare": 0}


def test_a_measure_named_twice_is_one_series() -> None:
    seen = Observation("a", measures=(Measure("load", 1, "ratio"), Measure("load", 2, "ratio")))
    assert [value for name, _, value in samples(text_of([state(seen)])) if name == MEASURE] == [2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1795236543, "1795236543"),
        (0.5, "0.5"),
        (-3.0, "-3"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_written_as_both_formats_want_them(value: float, text: str) -> None:
    assert number(value) == text


@given(some.text(some.characters(codec=None), max_size=30), some.text(some.characters(codec=None), max_size=10))
def test_whatever_an_item_is_called_the_lines_can_be_read_and_name_it(name: str, owner: str) -> None:
    seen = Observation(name, lifetime=Lifetime(EPOCH), traits=Traits(owner=owner))
    text = text_of([state(seen)])
    lines = text.split("\n")
    assert [line.partition("{")[0] for line in lines] == [EXPIRY, SEVERITY, ""]
    assert all(LINE.fullmatch(line) for line in lines[:-1])
    labels = {key: ESCAPED.sub(lambda e: ESCAPES[e[0]], value) for key, value in LABEL.findall(lines[0])}
    if name.isprintable() and owner.isprintable():
        assert (labels["item"], labels["owner"]) == (name, owner)


# ── when they are rendered ────────────────────────────────────────────────────────────────────────────


async def test_each_family_stands_together_under_one_help_and_type(rig: Rig) -> None:
    rig.sources["tokens"].shows(*(expiring(f"T{n}", rig.clock.now() + 100 * DAY) for n in range(200)))
    await rig.look()
    lines = (await shown(Exposition(rig.daemon.ledger))).splitlines()
    order = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert order == list(FAMILIES)
    assert [line.partition("{")[0] for line in lines if not line.startswith("#")] == [EXPIRY] * 200 + [SEVERITY] * 200


async def test_only_what_changed_is_rendered_again(rig: Rig) -> None:
    end = rig.clock.now() + 100 * DAY
    rig.sources["tokens"].shows(*(expiring(f"T{n}", end) for n in range(300)))
    await rig.look()
    exposition = Exposition(rig.daemon.ledger)
    before = await shown(exposition)
    assert rig.daemon.ledger.changed == set()
    rig.sources["tokens"].shows(*(expiring(f"T{n}", end + (DAY if n == 7 else timedelta(0))) for n in range(300)))
    await rig.look()
    assert len(rig.daemon.ledger.changed) == 1
    after = await shown(exposition)
    news = set(after.splitlines()) - set(before.splitlines())
    assert len(news) == 1
    assert 'item="T7"' in news.pop()


async def test_nothing_is_rendered_again_because_time_passes_or_a_look_sees_the_same(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("T", rig.clock.now() + 100 * DAY))
    await rig.look()
    exposition = Exposition(rig.daemon.ledger)
    await exposition.refresh()
    pieces = exposition.pieces
    await rig.wait(2 * DAY, step=DAY)
    await rig.look()
    await exposition.refresh()
    assert exposition.pieces is pieces


async def test_an_expired_item_keeps_its_series_and_a_vanished_one_loses_it(rig: Rig) -> None:
    end = rig.clock.now() + DAY
    rig.sources["tokens"].shows(expiring("short", end), expiring("long", end + 300 * DAY))
    await rig.look()
    exposition = Exposition(rig.daemon.ledger)
    await rig.wait(10 * DAY, step=DAY)
    text = await shown(exposition)
    assert f'{EXPIRY}{{collector="tokens",item="short",' in text
    assert f'{SEVERITY}{{collector="tokens",item="short",category=""}} 4' in text
    rig.sources["tokens"].shows(expiring("long", end + 300 * DAY))
    await rig.look()
    assert 'item="short"' not in await shown(exposition)


@pytest.mark.parametrize("hidden", [Blind("B", "no route to host"), CollectError("gone")])
async def test_what_cannot_be_seen_keeps_the_end_that_was_known_of_it(rig: Rig, hidden: Blind | CollectError) -> None:
    end = rig.clock.now() + DAY
    rig.sources["tokens"].shows(expiring("T", end), expiring("B", end))
    await rig.look()
    exposition = Exposition(rig.daemon.ledger)
    known = [line for line in (await shown(exposition)).splitlines() if line.startswith(EXPIRY)]
    rig.sources["tokens"].shows(expiring("T", end), hidden)
    await rig.look()
    await rig.look()
    assert [line for line in (await shown(exposition)).splitlines() if line.startswith(EXPIRY)] == known


async def test_the_daemons_words_on_its_own_parts_are_alerts_but_no_items(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=("slack", "mail")) as rig:
        rig.receivers["slack"]._outcomes = [AuthError("revoked")]
        rig.sources["tokens"].shows(expiring("T", rig.clock.now() + DAY))
        await rig.look()
        await rig.wait(timedelta(minutes=5))
        rig.sources["tokens"].shows(CollectError("gone"))
        await rig.look()
        await rig.look()
        exposition = Exposition(rig.daemon.ledger)
        text = await shown(exposition)
        assert {labels["item"] for _, labels, _ in samples(text)} == {"T"}
        assert sum(exposition.alerts.values()) == 3  # the token, the blind collector, the refused notifier


async def test_what_was_not_rendered_when_a_scrape_is_cut_off_is_rendered_by_the_next(rig: Rig) -> None:
    rig.sources["tokens"].shows(*(expiring(f"T{n}", rig.clock.now() + 100 * DAY) for n in range(100)))
    await rig.look()
    exposition = Exposition(rig.daemon.ledger)
    cut_off = exposition.refresh()
    cut_off.send(None)  # to its first pause
    cut_off.close()
    assert (await shown(exposition)).count(EXPIRY + "{") == 100
