"""Forecasts as rows, and what is different between two of them: more, fewer, earlier, later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from expiryd.core.model import Event, Severity
from expiryd.core.view import rfc3339
from expiryd.core.wording import headline


@dataclass(frozen=True, slots=True)
class Word:
    """One event as one notifier would hear it."""

    at: datetime
    notifier: str
    event: Event

    @property
    def matter(self) -> tuple[str, str, str, str, Severity]:
        """What is the same word although it may be said at another time."""
        event = self.event
        return self.notifier, event.item, event.aspect, event.kind.value, event.severity


@dataclass(frozen=True, slots=True)
class Shift:
    """The same word under two sets of rules; None: not said."""

    before: Word | None
    after: Word | None

    @property
    def change(self) -> str:
        if self.before is None:
            return "more"
        if self.after is None:
            return "fewer"
        return "earlier" if self.after.at < self.before.at else "later"


def shifts(before: Iterable[Word], after: Iterable[Word]) -> list[Shift]:
    """What differs, by the moment it concerns. Of a word said several times the n-th is compared to the n-th."""
    told, would = _numbered(before), _numbered(after)
    pairs = [Shift(told.get(key), would.get(key)) for key in dict.fromkeys([*told, *would])]
    changed = [pair for pair in pairs if not (pair.before and pair.after and pair.before.at == pair.after.at)]
    return sorted(changed, key=lambda pair: (_moment(pair), _any(pair).notifier, _any(pair).event.item))


def telling_row(at: datetime, notifier: str, subject: str, events: Sequence[Event], beyond: int) -> dict[str, Any]:
    """One message that would be sent."""
    worst = max((event.severity for event in events if not event.kind.closes), default=Severity.HEALTHY)
    return {
        "at": rfc3339(at),
        "notifier": notifier,
        "severity": worst.word,
        "subject": subject,
        "events": len(events) + beyond,
        "about": [
            {
                "kind": event.kind.value,
                "item": event.item,
                "aspect": event.aspect,
                "severity": event.severity.word,
                "rung": event.rung,
            }
            for event in events
        ],
    }


def shift_row(shift: Shift) -> dict[str, Any]:
    """One difference."""
    word = _any(shift)
    return {
        "change": shift.change,
        "severity": word.event.severity.word,
        "item": word.event.item,
        "aspect": word.event.aspect,
        "kind": word.event.kind.value,
        "notifier": word.notifier,
        "today": rfc3339(shift.before.at if shift.before else None),
        "then": rfc3339(shift.after.at if shift.after else None),
        "says": headline(word.event, word.at),
    }


def _numbered(words: Iterable[Word]) -> dict[tuple[Any, ...], Word]:
    said: Counter[Any] = Counter()
    numbered = {}
    for word in sorted(words, key=lambda word: word.at):
        said[word.matter] += 1
        numbered[*word.matter, said[word.matter]] = word
    return numbered


def _any(shift: Shift) -> Word:
    word = shift.after or shift.before
    if word is None:
        raise ValueError("a shift is of at least one word")
    return word


def _moment(shift: Shift) -> datetime:
    return min(word.at for word in (shift.before, shift.after) if word)
