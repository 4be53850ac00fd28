"""Messages as the engine would hand them to a notifier, worded by the real renderer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from expiryd.api import Basis, Event, EventKind, ItemId, Message, Severity, Thread, Traits
from expiryd.core.render import by_urgency, render
from expiryd.testing import EPOCH

TRAITS = Traits(
    category="cicd",
    owner="web team",
    runbook="https://wiki.example.org/rotate?item=aar",
    used_by=("deploy", "release"),
    labels={"env": "prod"},
)


def event(name: str = "AAR_TOKEN", kind: EventKind = EventKind.RAISED, **fields: Any) -> Event:
    """An event of `ci-tokens/NAME`, three days before its end unless told otherwise."""
    known: dict[str, Any] = {
        "kind": kind,
        "at": EPOCH,
        "item": ItemId(f"ci-tokens/{name}"),
        "collector": "ci-tokens",
        "aspect": "expiry",
        "generation": "g1",
        "severity": Severity.CRITICAL,
        "before": Severity.HEALTHY,
        "title": name,
        "item_kind": "env token",
        "expires_at": EPOCH + timedelta(days=3),
        "issued_at": EPOCH - timedelta(days=87),
        "basis": Basis.POLICY,
        "traits": TRAITS,
    }
    return Event(**{**known, **fields})


def message(*events: Event, key: str = "k-2f9c81d3", at: datetime = EPOCH, thread: Thread | None = None) -> Message:
    ordered = by_urgency(events or [event()])
    wording = render(ordered, at)
    return Message(
        key=key,
        subject=wording.subject,
        text=wording.text,
        html=wording.html,
        severity=max(e.severity for e in ordered),
        firing=any(not e.kind.closes for e in ordered),
        at=at,
        events=tuple(ordered),
        thread=thread,
    )


def threaded(*events: Event, reference: str | None = None, key: str = "k-2f9c81d3", at: datetime = EPOCH) -> Message:
    """A message of one item generation, as threaded notifiers get them."""
    first = (events or (event(),))[0]
    return message(*events, key=key, at=at, thread=Thread(first.item, first.generation, reference))
