"""Can the daemon do its work? One check per part, judged from what is known already: none of them waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from expiryd.api import format_duration
from expiryd.core.view import rfc3339
from expiryd.engine.daemon import Daemon
from expiryd.engine.pulse import STALE
from expiryd.engine.schedule import Rhythm
from expiryd.engine.trouble import NOTICEABLE, own_item
from expiryd.store.port import Fate, Outbox, Outcome
from expiryd.web.vitals import OWED

GRACE = timedelta(minutes=2)
OWED_LONG = timedelta(minutes=15)
DELIVERS = frozenset({"dead-letter", "recipients-refused", "template-failed"})
"""Trouble of a notifier that works all the same."""
SILENT = f"no sign of life for {STALE:.0f} seconds"


class Status(IntEnum):
    """How able a part is."""

    HEALTHY = 0
    WARNING = 1
    CRITICAL = 2
    UNAVAILABLE = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """`advice` says what to do when it is not healthy. `failing` counts towards all of its kind failing."""

    name: str
    status: Status
    message: str
    advice: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    failing: bool = False


def store(daemon: Daemon, outbox: Outbox | None) -> Check:
    advice = "store: see that the state directory has room and may be written, or that the database server answers"
    if daemon.store_error:
        return Check("store", Status.UNAVAILABLE, daemon.store_error, advice)
    if "store" in daemon.stuck():
        return Check("store", Status.UNAVAILABLE, SILENT, advice)
    if outbox is None:
        return Check("store", Status.WARNING, "did not answer in time", advice)
    return Check("store", Status.HEALTHY, "can be written and read")


def moving(daemon: Daemon, part: str) -> Check:
    """The scheduler, the pulse or the audit trail."""
    if part in daemon.stuck():
        advice = f"{part}: restart the daemon, and keep its log from before"
        return Check(part, Status.CRITICAL, SILENT, advice)
    return Check(part, Status.HEALTHY, "moves")


def config(daemon: Daemon) -> Check:
    details = {"hash": daemon.graph.config.hash}
    if not daemon.reload_error:
        return Check("config", Status.HEALTHY, "the running configuration is the last one asked for", "", details)
    advice = "config: correct what `expiryd check-config` names, then reload"
    message = f"the last reload was refused, the configuration before it is kept: {daemon.reload_error}"
    return Check("config", Status.WARNING, message, advice, details)


def outbox(daemon: Daemon, known: Outbox | None) -> Check:
    if known is None:
        return Check("outbox", Status.WARNING, "the store did not say in time what is owed")
    owed = sum(count for (_, fate), count in known.counts.items() if fate in OWED)
    details = {"owed": owed, "oldest": stamp(known.oldest)}
    if known.oldest and daemon.clock.now() - known.oldest > OWED_LONG:
        waited = format_duration(timedelta(seconds=int((daemon.clock.now() - known.oldest).total_seconds())))
        message = f"parcels owed: {owed}, the oldest for {waited}"
        return Check("outbox", Status.WARNING, message, "outbox: see which notifier does not deliver", details)
    return Check("outbox", Status.HEALTHY, f"parcels owed: {owed}", "", details)


def collector(daemon: Daemon, name: str) -> Check:
    look, title = daemon.ledger.last_looks.get(name), f"collector:{name}"
    details = {
        "lastLook": stamp(look.started_at if look else None),
        "lastComplete": stamp(daemon.ledger.last_good.get(name)),
        "nextLook": stamp(daemon.schedule.next_run(name)),
        "outcome": look.outcome.value if look else None,
        "items": look.items if look else None,
    }
    if look and look.outcome is Outcome.BLIND:
        advice = f"{title}: make its source visible again: {look.reason}"
        return Check(title, Status.WARNING, f"could not look: {look.reason}", advice, details, failing=True)
    if (late := overdue(daemon, name)) is not None:
        message = f"a look has been due since {rfc3339(late)}"
        return Check(title, Status.WARNING, message, f"{title}: see why its look does not end or begin", details)
    if look and look.outcome is Outcome.PARTIAL:
        advice = f"{title}: let it see all of its source: {look.reason}"
        return Check(title, Status.WARNING, f"saw only a part: {look.reason}", advice, details)
    if look is None:
        return Check(title, Status.HEALTHY, "not looked at yet", "", details)
    return Check(title, Status.HEALTHY, f"items seen: {look.items}", "", details)


def overdue(daemon: Daemon, name: str) -> datetime | None:
    """Since when a look should have come, if it is late by more than it may take."""
    wanted, _ = daemon.graph.collectors[name]
    look = daemon.ledger.last_looks.get(name)
    last = look.started_at if look else daemon.started_at
    rhythm = Rhythm.of(wanted, daemon.graph.config.daemon.timezone)
    due: datetime = max(rhythm.trigger().get_next_fire_time(last, last), daemon.started_at)
    return due if daemon.clock.now() > due + wanted.timeout + GRACE else None


def notifier(daemon: Daemon, name: str, outbox: Outbox | None) -> Check:
    courier, title = daemon.graph.couriers[name], f"notifier:{name}"
    code, reason = trouble(daemon, name)
    details = {
        "lastDelivery": stamp(outbox.last_delivery.get(name)) if outbox else None,
        "owed": sum(outbox.counts.get((name, fate), 0) for fate in OWED) if outbox else None,
        "dead": outbox.counts.get((name, Fate.DEAD), 0) if outbox else None,
        "failures": courier.failures,
        "resumeAt": stamp(courier.resume_at),
        "trouble": code or None,
    }
    if code:
        advice = f"{title}: mend it, then try it with `expiryd notify test {name}`"
        message = f"{code}: {reason}" if reason else code
        return Check(title, Status.WARNING, message, advice, details, failing=code not in DELIVERS)
    if courier.failures:
        return Check(title, Status.HEALTHY, "the last attempt failed, it is tried again", "", details)
    return Check(title, Status.HEALTHY, "delivers" if details["lastDelivery"] else "nothing delivered yet", "", details)


def trouble(daemon: Daemon, name: str) -> tuple[str, str]:
    """The code and the reason of a notifier's trouble, also of one told before a restart; empty when it is well."""
    courier = daemon.graph.couriers[name]
    state = daemon.ledger.get(own_item(name))
    found = max(state.observation.findings, key=lambda each: each.severity, default=None) if state else None
    if found is not None:
        return found.code, found.detail
    if courier.channel.overdue(daemon.clock.monotonic()):
        return "stuck", "a send goes on long after its own time-out"
    return "delivery-failing" if courier.failures >= NOTICEABLE else "", ""


def together(name: str, parts: list[Check]) -> Check:
    """One failing part of several is a warning, its own; all of them failing is critical."""
    failing = sum(part.failing for part in parts)
    if failing == len(parts):
        advice = f"{name}: none of them works any more: see each of them"
        return Check(name, Status.CRITICAL, f"all {failing} fail", advice)
    return Check(name, Status.HEALTHY, f"{len(parts) - failing} of {len(parts)} work")


def stamp(at: datetime | None) -> int | None:
    """Epoch milliseconds."""
    return int(at.timestamp() * 1000) if at else None
