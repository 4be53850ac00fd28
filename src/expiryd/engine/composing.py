"""Make a message of the events that leave together, as things stand when it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from html import escape

from expiryd.api import Message, Severity, Thread
from expiryd.core.grouping import Draft, Purpose, keyed
from expiryd.core.model import Event, EventKind
from expiryd.core.render import Found, Occasion, by_urgency, counted, render
from expiryd.core.wording import plain, say_time
from expiryd.engine.ledger import Ledger

MOST_CARRIED = 1_000
"""So many events travel with a message; of the others, which its text counts too, only their number."""


def compose(draft: Draft, key: str, now: datetime, thread: Thread | None, ledger: Ledger) -> Message:
    """The message of one draft. A thread goes on firing while any matter of its item and generation is open."""
    events = by_urgency([_as_it_stands(parcel.event, ledger) for parcel in draft.parcels])
    firsts = _found(events, ledger) if draft.purpose is Purpose.FIRST_LOOK else ()
    wording = render(events, now, Occasion(firsts, is_digest=draft.purpose is Purpose.DIGEST))
    open_ones = [event for event in events if not event.kind.closes]
    return Message(
        key=key,
        subject=wording.subject,
        text=wording.text,
        html=wording.html,
        severity=max((event.severity for event in open_ones), default=Severity.HEALTHY),
        firing=bool(open_ones) if thread is None else _is_open(thread, ledger),
        at=now,
        events=tuple(events[:MOST_CARRIED]),
        thread=thread,
        beyond=counted(events[MOST_CARRIED:]),
    )


def farewell(thread: Thread, ledger: Ledger, now: datetime, most: int) -> Message:
    """The last word in a conversation that ends for want of a place, though its matter goes on."""
    state = ledger.get(thread.item)
    title = plain(state.title) if state else thread.item
    text = (
        f"{title} is still open, but what is more severe takes its place here: at most {most} conversations are kept "
        "at once (`max_active`). `expiryd alerts` lists it, and its next news opens a conversation again if there is "
        f"a place.\n\nexpiryd, {say_time(now)}\n"
    )
    html = f"<!doctype html><html><body><p>{escape(text)}</p></body></html>"
    subject = f"MOVED: {title} is still open, but makes room for what is more severe"
    key = sha256(f"{ledger.installation}|{thread.item}|{thread.generation}|{now.isoformat()}".encode()).hexdigest()[:32]
    return Message(key, subject, text, html, Severity.HEALTHY, firing=False, at=now, thread=thread)


def message_key(installation: str, notifier: str, parcels: Sequence[int], purpose: Purpose = Purpose.NEWS) -> str:
    """Made of what is sent, so that it is the same however often it is tried."""
    words = f"{installation}|{notifier}|{','.join(map(str, sorted(parcels)))}"
    return keyed(purpose, sha256(words.encode()).hexdigest()[:32])


def _as_it_stands(event: Event, ledger: Ledger) -> Event:
    """Who has let go of a matter is not said to have it in hand: what is left of that word is a reminder."""
    if event.kind is not EventKind.ACKNOWLEDGED:
        return event
    alert = ledger.alert(event)
    return event if alert is None or alert.ack else replace(event, kind=EventKind.REPEATED, detail=alert.detail)


def _found(events: Sequence[Event], ledger: Ledger) -> list[Found]:
    """All that each source shows by now, also what is healthy."""
    sources = dict.fromkeys(event.collector for event in events)
    return [Found(name, Counter(state.severity for state in ledger.of(name) if not state.is_own)) for name in sources]


def _is_open(thread: Thread, ledger: Ledger) -> bool:
    state = ledger.get(thread.item)
    return state is not None and any(alert.generation == thread.generation for alert in state.alerts)
