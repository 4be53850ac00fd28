"""Make a message of the events that leave together, as things stand when it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from expiryd.api import Message, Severity, Thread
from expiryd.core.grouping import Draft
from expiryd.core.render import by_urgency, render
from expiryd.engine.ledger import Ledger


def compose(draft: Draft, key: str, now: datetime, thread: Thread | None, ledger: Ledger) -> Message:
    """The message of one draft. A thread goes on firing while any matter of its item and generation is open."""
    events = by_urgency([parcel.event for parcel in draft.parcels])
    wording = render(events, now)
    open_ones = [event for event in events if not event.kind.closes]
    return Message(
        key=key,
        subject=wording.subject,
        text=wording.text,
        html=wording.html,
        severity=max((event.severity for event in open_ones), default=Severity.HEALTHY),
        firing=bool(open_ones) if thread is None else _is_open(thread, ledger),
        at=now,
        events=tuple(events),
        thread=thread,
    )


def message_key(installation: str, notifier: str, parcels: Sequence[int]) -> str:
    """Made of what is sent, so that it is the same however often it is tried."""
    words = f"{installation}|{notifier}|{','.join(map(str, sorted(parcels)))}"
    return sha256(words.encode()).hexdigest()[:32]


def _is_open(thread: Thread, ledger: Ledger) -> bool:
    state = ledger.get(thread.item)
    return state is not None and any(alert.generation == thread.generation for alert in state.alerts)
