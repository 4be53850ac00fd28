"""A forecast is what is then sent: on a virtual clock the daemon says the same, to the second."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rig import HOUR, RECEIVERS, Rig, expiring

from expiryd.api import Message
from expiryd.core.matching import Matcher
from expiryd.core.silencing import Silence
from expiryd.engine.admission import storm_item
from expiryd.engine.simulation import simulate
from expiryd.store.copying import copy_state
from expiryd.store.sql import SqlStore
from expiryd.testing import tools

TICK = timedelta(microseconds=1)
TICKS = 3
HALF_MINUTE = timedelta(seconds=30)
HEARERS = ("slack", "mail")
Heard = list[tuple[str, str, list[str]]]

leads = st.sampled_from(["1h", "2h", "3h", "5h", "0d", "-2h"])
ends = st.dictionaries(st.sampled_from("abcd"), st.integers(-2, 9), min_size=2, max_size=4)
policies = st.fixed_dictionaries(
    {
        "critical": st.sampled_from(["1h", "2h"]),
        "warning": st.sampled_from(["3h", "4h"]),
        "info": st.sampled_from(["5h", "6h"]),
        "ladder": st.lists(leads, max_size=4, unique=True),
        "cooldown": st.sampled_from([{"expired": "2h", "critical": "3h"}, {"warning": "2h"}]),
        "group_wait": st.just("30s"),
        "storm": st.sampled_from([{}, {"total": "3/10m", "critical_reserve": 1}, {"same_alert": "1/10m"}]),
    }
)
routes = st.sampled_from(
    [
        [],
        [
            {"severity": ["critical", "expired"], "notify": ["mail"], "continue": True},
            {"notify": ["slack"], "active": "day"},
        ],
        [{"notify": ["slack"], "escalate": [{"after": "1h", "notify": ["mail"]}]}],
    ]
)
silences = st.sampled_from([None, ("item=*/a",), ("severity=critical", "severity=expired")])


@given(ends=ends, policy=policies, routes=routes, silence=silences, hours=st.integers(2, 3))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_what_is_forecast_is_what_is_sent(ends: Any, policy: Any, routes: Any, silence: Any, hours: int) -> None:
    said = {"policy": policy, "routes": routes, "windows": {"day": {"times": ["mon-sun 08:00-18:00"]}}}
    with TemporaryDirectory() as folder:
        rig = Rig(Path(folder), receivers=HEARERS, settings=said)
        rig.wrap = lambda _: SqlStore(f"sqlite:///{folder}/expiryd.db", private=True)
        async with rig:
            begins = rig.clock.now()
            rig.sources["tokens"].shows(*(expiring(name, begins + hour * HOUR) for name, hour in ends.items()))
            if silence is not None:
                await rig.daemon.silences.add(_silence(silence, begins))
            await rig.look()
            foretold = await _foretell(rig, Path(folder), hours)
            await _live(rig, hours)
            assert _sorted(foretold) == _sorted(
                [_heard(name, message) for name in HEARERS for message in RECEIVERS[name].sent]
            )


def _silence(texts: tuple[str, ...], now: datetime) -> Silence:
    return Silence(Matcher.parse(texts), now, now + 2 * HOUR, "ann", "moving house", now)


async def _foretell(rig: Rig, folder: Path, hours: int) -> Heard:
    copy = folder / "copy.db"
    await copy_state(f"sqlite:///{folder / 'expiryd.db'}", copy)
    store = SqlStore(f"sqlite:///{copy}", private=True)
    await store.open()
    try:
        start, http = rig.clock.now(), rig.daemon._tools_for("x").http
        async with simulate(rig.config, store, lambda name: tools(http, name=name), start) as life:
            await life.run(start + hours * HOUR)
            return [_heard(one.notifier, one.message) for one in life.tellings]
    finally:
        await store.aclose()


async def _live(rig: Rig, hours: int) -> None:
    """Every half minute and the ticks after it, in which one thing follows from another, without any jump."""
    end = rig.clock.now() + hours * HOUR
    acted = await _turn(rig)
    while rig.clock.now() < end:
        into = (rig.clock.now() - rig.begins_at) % HALF_MINUTE
        ahead = TICK if into < (TICKS if acted else 1) * TICK else HALF_MINUTE - into
        await rig.clock.advance(min(ahead, end - rig.clock.now()))
        acted = await _turn(rig)


async def _turn(rig: Rig) -> bool:
    """Whether a courier had anything to do."""
    await rig.tick()
    now, acted = rig.clock.now(), False
    for name, courier in rig.daemon.graph.couriers.items():
        due = await rig.daemon.store.next_due(name)
        if (due is not None and due <= now) or rig.daemon.ledger.get(storm_item(name)) is not None:
            acted = True
            while await courier.deliver():
                pass
    return acted


def _heard(notifier: str, message: Message) -> tuple[str, str, list[str]]:
    events = sorted(f"{e.kind} {e.severity.word} {e.item}/{e.aspect} {e.rung}" for e in message.events)
    return f"{message.at:%Y-%m-%d %H:%M:%S}", notifier, events


def _sorted(heard: Heard) -> Heard:
    return sorted(one for one in heard if not any("expiryd/storm" in event for event in one[2]))
