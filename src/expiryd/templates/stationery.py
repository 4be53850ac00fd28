"""The templates of one notifier: which of them words a message, and the proof that each can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from expiryd.core.model import BLIND, EXPIRY, Basis, Event, EventKind, ItemId, Severity, Traits
from expiryd.core.render import MOST_LISTED, NOTHING_BEYOND, Wording, as_subject, by_urgency, render
from expiryd.templates.sandbox import MOST_CHARACTERS
from expiryd.templates.sheet import Sheet, compiled
from expiryd.templates.variables import variables
from expiryd.templates.written import DIGEST, GENERAL, PARTS, Slot, Source, TemplateFailure

OF_ALL = frozenset({"events", "count", "more", "tally", "subject", "text", "html"})
"""Variables by which a template shows that it knows of several events."""
_UNSAID = Wording("", "", "")


@dataclass(frozen=True, slots=True)
class Stationery:
    """Words messages for one notifier. Without a template for it a part is worded as always."""

    notifier: str
    sheets: Mapping[Slot, Sheet] = field(default_factory=dict)

    def word(
        self, events: Sequence[Event], now: datetime, usual: Wording, beyond: Mapping[str, int] = NOTHING_BEYOND
    ) -> tuple[Wording, frozenset[str]]:
        """The words for events in the order of `by_urgency`, and which parts of the `usual` ones they replace.

        `beyond` are others that are only counted, as `tally` takes them.
        Not for the event loop; raises TemplateFailure.
        """
        chosen = {part: sheet for part in PARTS if (sheet := self._sheet(part, events))}
        if not chosen:
            return usual, frozenset()
        known = variables(events, now, self.notifier, usual, beyond)
        said = {part: self._said(part, sheet, events, known) for part, sheet in chosen.items()}
        if "text" in said and "html" not in said:
            said["html"] = ""  # a mail shows its HTML where it has both: whose text was replaced wants to see that
        return replace(usual, **said), frozenset(chosen)

    def _said(self, part: str, sheet: Sheet, events: Sequence[Event], known: Mapping[str, Any]) -> str:
        """A template that speaks of one event says it of each, so that none is left out of a message of several."""
        if known["count"] == 1 or sheet.uses & OF_ALL or sheet is self.sheets.get((DIGEST, part)):
            return _whole(part, sheet, sheet.render(known))
        if part == "subject":
            return _whole(part, sheet, f"{sheet.render(known).strip()} and {known['count'] - 1} more")
        pieces = [self._alone(part, event, known["now"]) for event in events[:MOST_LISTED]]
        if known["more"]:
            more = f"… and {known['more']} more. `expiryd alerts` lists them all."
            pieces.append(f"<p>{more}</p>" if part == "html" else more)
        return _whole(part, sheet, ("<hr>\n" if part == "html" else "\n").join(pieces))

    def _alone(self, part: str, event: Event, now: datetime) -> str:
        """By the template for its own kind, which may be another one than that of the most urgent."""
        usual, sheet = render([event], now), self._sheet(part, [event])
        if sheet is None:
            return str(getattr(usual, part))
        return _whole(part, sheet, sheet.render(variables([event], now, self.notifier, usual)))

    def _sheet(self, part: str, events: Sequence[Event]) -> Sheet | None:
        sorts = ((DIGEST,) if len(events) > 1 else ()) + (events[0].kind.value, GENERAL)
        return next((sheet for sort in sorts if (sheet := self.sheets.get((sort, part)))), None)


def print_stationery(notifier: str, sources: Mapping[Slot, Source]) -> tuple[Stationery, list[TemplateFailure]]:
    """The stationery of those templates that can be understood, and what is wrong with the others."""
    sheets: dict[Slot, Sheet] = {}
    failures: list[TemplateFailure] = []
    known = frozenset(variables([_bare(EventKind.RAISED)], _NOW, notifier, _UNSAID))
    for (sort, part), source in sources.items():
        try:
            sheets[sort, part] = compiled(source.text, source.place, known, html=part == "html")
        except TemplateFailure as failure:
            failures.append(failure)
    return Stationery(notifier, sheets), failures


def prove(stationery: Stationery) -> list[TemplateFailure]:
    """What goes wrong with sample messages of every sort, those with all facts and those with none; one failure for
    each template."""
    failures: list[TemplateFailure] = []
    for sample in samples():
        failed = {failure.place for failure in failures}
        sound = {slot: sheet for slot, sheet in stationery.sheets.items() if sheet.place not in failed}
        if not sound:
            break
        try:
            replace(stationery, sheets=sound).word(sample, _NOW, render(sample, _NOW))
        except TemplateFailure as failure:
            failures.append(failure)
    return failures


def _whole(part: str, sheet: Sheet, said: str) -> str:
    if not said.strip():
        raise TemplateFailure(sheet.place, 0, "it says nothing")
    if len(said) > MOST_CHARACTERS:
        raise TemplateFailure(
            sheet.place, 0, f"it makes more than {MOST_CHARACTERS} characters of {MOST_LISTED} events"
        )
    if part != "subject":
        return said.rstrip() + "\n"
    return as_subject(said)


# ── samples ───────────────────────────────────────────────────────────────────────────────────────────

_NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
_SEVERITIES = {EventKind.EASED: Severity.INFO, EventKind.BLIND: Severity.WARNING, EventKind.VANISHED: Severity.INFO}


def samples() -> Iterator[list[Event]]:
    """Messages of every sort: each kind of event alone and before others, with all facts and with none."""
    made = (_full, _bare)
    for kind, make in product(EventKind, made):
        yield [make(kind)]
    everything = [make(kind) for kind, make in product(EventKind, made)]
    for kind in EventKind:
        yield [_full(kind), *by_urgency(everything)]
    yield [_full(EventKind.RAISED)] * (MOST_LISTED + 1)


def _bare(kind: EventKind) -> Event:
    return Event(
        kind=kind,
        at=_NOW,
        item=ItemId("sample/item"),
        collector="sample",
        aspect=BLIND if kind in (EventKind.BLIND, EventKind.SIGHTED) else "placeholder",
        generation="-",
        severity=Severity.HEALTHY if kind.closes else _SEVERITIES.get(kind, Severity.CRITICAL),
        before=Severity.WARNING,
        title="sample item",
    )


def _full(kind: EventKind) -> Event:
    runbook = "https://runbooks.example/rotate"
    return replace(
        _bare(kind),
        aspect=EXPIRY,
        item_kind="token",
        expires_at=_NOW + timedelta(days=3),
        issued_at=_NOW - timedelta(days=87),
        basis=Basis.TYPED,
        detail="as it was found",
        rung="3d",
        places=(ItemId("sample/elsewhere"),),
        traits=Traits("cicd", "infra-team", runbook, ("deploy",), {"env": "production"}),
    )
