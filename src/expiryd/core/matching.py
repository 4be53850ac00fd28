"""Which news is meant: by severity, category, owner, labels and more, in patterns that people write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

from expiryd.core.model import EXPIRY, NO_TRAITS, Alert, Event, EventKind, ItemId, ItemState, Severity, Traits

NO_PATTERNS: Mapping[str, tuple[str, ...]] = {}
Read = Callable[["Facts"], str]
_READ: Mapping[str, Read] = {
    "category": attrgetter("traits.category"),
    "collector": attrgetter("collector"),
    "owner": attrgetter("traits.owner"),
    "kind": attrgetter("kind"),
    "item": attrgetter("item"),
    "aspect": attrgetter("aspect"),
    "generation": attrgetter("generation"),
}
_TEXTS = tuple(_READ)
_KEYS = ("severity", *_TEXTS, "labels", "events")
_SPLIT = ("severity", "events")
_TELLING = tuple(severity for severity in Severity if severity > Severity.HEALTHY)
_FORM = (
    "write KEY=VALUE with a key of severity, category, collector, owner, kind, item, aspect, generation, event or "
    "labels.NAME"
)
_STAR = "[*]"


@dataclass(frozen=True, slots=True)
class Facts:
    """What may be asked of a piece of news, or (without `event`) of an open matter."""

    severity: Severity
    item: ItemId
    collector: str
    aspect: str
    kind: str = ""
    traits: Traits = NO_TRAITS
    event: EventKind | None = None
    generation: str = ""

    @classmethod
    def of(cls, event: Event) -> Facts:
        """The end of a matter is as severe as the matter was; that a sound thing is gone is worth an info."""
        severity = max(event.before, Severity.INFO) if event.kind.closes else event.severity
        kind, traits = event.item_kind, event.traits
        return cls(severity, event.item, event.collector, event.aspect, kind, traits, event.kind, event.generation)

    @classmethod
    def about(cls, state: ItemState, alert: Alert) -> Facts:
        seen = state.observation
        return cls(
            alert.severity,
            state.id,
            state.collector,
            alert.aspect,
            seen.kind,
            seen.traits,
            generation=alert.generation,
        )


@dataclass(frozen=True, slots=True)
class Matcher:
    """All that is given must match; of several values one is enough. Nothing given: everything is meant.

    In texts `*` stands for anything and `[*]` for the star itself; letters match as they are written. What an item does
    not have (an owner, a label) is the empty text.
    """

    severity: tuple[Severity, ...] = ()
    category: tuple[str, ...] = ()
    collector: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    item: tuple[str, ...] = ()
    aspect: tuple[str, ...] = ()
    generation: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NO_PATTERNS, hash=False)
    events: tuple[EventKind, ...] = ()
    _texts: tuple[tuple[str, Read, tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        asked = [(key, read, getattr(self, key)) for key, read in _READ.items() if getattr(self, key)]
        asked += [(f"label {name}", _label(name), patterns) for name, patterns in self.labels.items()]
        object.__setattr__(self, "_texts", tuple(asked))

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Matcher:
        """From `{"category": "cicd", "severity": ["critical"], "labels": {"env": "prod*"}}`.

        Raises ValueError that names the key and what it may say.
        """
        if unknown := [key for key in said if key not in _KEYS]:
            raise ValueError(f"`{unknown[0]}` is nothing to match by: there are {', '.join(_KEYS)}")
        labels = said.get("labels", {})
        if not isinstance(labels, Mapping):
            raise ValueError('labels must be a table such as { env = "prod" }')
        return cls(
            severity=tuple(read_severity(word) for word in _words(said, "severity")),
            **{key: tuple(_words(said, key)) for key in _TEXTS},
            labels={name: tuple(_words(labels, name)) for name in labels},
            events=tuple(_kind(word) for word in _words(said, "events")),
        )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Matcher:
        """From `category=cicd`, `severity=critical,expired`, `labels.env=prod*`, …; a key given twice means either.

        Raises ValueError that names the text and what it may be.
        """
        said: dict[str, list[str]] = {}
        labels: dict[str, list[str]] = {}
        for key, label, value in map(_pair, texts):
            values = value.split(",") if key in _SPLIT else [value]
            (labels.setdefault(label, []) if label else said.setdefault(key, [])).extend(values)
        return cls.read({**said, "labels": labels})

    @property
    def said(self) -> dict[str, Any]:
        """What `read` takes, of plain texts only, without what is not given."""
        texts = {key: list(getattr(self, key)) for key in _TEXTS}
        labels = {name: list(patterns) for name, patterns in self.labels.items()}
        severities, events = [one.word for one in self.severity], [one.value for one in self.events]
        whole = {"severity": severities, **texts, "labels": labels, "events": events}
        return {key: value for key, value in whole.items() if value}

    def __str__(self) -> str:
        """`severity=critical severity=expired category=cicd`, as `parse` takes it, or `everything`."""
        said = self.said
        labels = {f"labels.{name}": patterns for name, patterns in said.pop("labels", {}).items()}
        pairs = [f"{key}={value}" for key, values in {**said, **labels}.items() for value in values]
        return " ".join(pairs) or "everything"

    def matches(self, news: Event | Facts) -> bool:
        facts = news if isinstance(news, Facts) else Facts.of(news)
        if self.severity and facts.severity not in self.severity:
            return False
        if self.events and facts.event is not None and facts.event not in self.events:
            return False
        for _, read, patterns in self._texts:  # noqa: SIM110 - asked of 100,000 events at once, a generator costs most
            if not _any_like(patterns, read(facts)):
                return False
        return True

    def why_not(self, news: Event | Facts) -> str:
        """The first thing that does not match, in words; empty when all does."""
        facts = news if isinstance(news, Facts) else Facts.of(news)
        if self.severity and facts.severity not in self.severity:
            return f"severity is {facts.severity.word}, not {_either(one.word for one in self.severity)}"
        if self.events and facts.event is not None and facts.event not in self.events:
            return f"event is {facts.event}, not {_either(self.events)}"
        for key, read, patterns in self._texts:
            text = read(facts)
            if not _any_like(patterns, text):
                return f"{key} is {text or 'not set'}, not {_either(pattern or 'empty' for pattern in patterns)}"
        return ""


EVERYTHING = Matcher()


def exactly(text: str) -> str:
    """The pattern that means this text and no other."""
    return text.replace("*", _STAR)


def read_severity(word: object) -> Severity:
    """Raises ValueError for what is no severity of a matter."""
    for severity in _TELLING:
        if word is severity or word == severity.word:
            return severity
    raise ValueError(f"`{word}` is no severity to match by: there are {', '.join(one.word for one in _TELLING)}")


def imagine(texts: Iterable[str], now: datetime) -> Event:
    """The event that `severity=critical`, `category=cicd`, `labels.env=prod`, … describe. Raises ValueError.

    What is not said is a raised warning about the end of a nameless item.
    """
    said: dict[str, str] = {}
    labels: dict[str, str] = {}
    for key, label, value in map(_pair, texts):
        if label in labels or key in said:
            raise ValueError(f"`{label or key}` is said twice: one event has one")
        if label:
            labels[label] = value
        else:
            said[key] = value
    item = said.get("item", "")
    severity = read_severity(said.get("severity", "warning"))
    kind = _kind(said.get("events", "raised"))
    return Event(
        kind=kind,
        at=now,
        item=ItemId(item),
        collector=said.get("collector", item.partition("/")[0]),
        aspect=said.get("aspect", EXPIRY),
        generation="",
        severity=Severity.HEALTHY if kind.closes else severity,
        before=severity if kind.closes else Severity.HEALTHY,
        title=item,
        item_kind=said.get("kind", ""),
        traits=Traits(category=said.get("category", ""), owner=said.get("owner", ""), labels=labels),
    )


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────


def _pair(text: str) -> tuple[str, str, str]:
    """(key, label, value): one of key and label is empty."""
    key, equals, value = text.partition("=")
    key = key.strip()
    head, dot, label = key.partition(".")
    if not equals or not key:
        raise ValueError(f"`{text}`: {_FORM}")
    if dot and head in ("label", "labels") and label:
        return "", label, value.strip()
    key = {"event": "events"}.get(key, key)
    if key not in _KEYS or key == "labels":
        raise ValueError(f"`{text}`: {_FORM}")
    return key, "", value.strip()


def _words(said: Mapping[str, Any], key: str) -> Sequence[str]:
    value = said.get(key, ())
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{key} must be text or a list of texts")
    return values


def _kind(word: str) -> EventKind:
    try:
        return EventKind(word)
    except ValueError:
        raise ValueError(f"`{word}` is no event: there are {', '.join(EventKind)}") from None


def _label(name: str) -> Read:
    return lambda facts: facts.traits.labels.get(name, "")


def _any_like(patterns: tuple[str, ...], text: str) -> bool:
    for pattern in patterns:  # noqa: SIM110 - as above
        if _like(pattern, text):
            return True
    return False


def _like(pattern: str, text: str) -> bool:
    """In one pass from left to right, so that no pattern takes longer than its text."""
    pieces = _pieces(pattern)
    if len(pieces) == 1:
        return text == pieces[0]
    head, tail = pieces[0], pieces[-1]
    if len(text) < len(head) + len(tail) or not (text.startswith(head) and text.endswith(tail)):
        return False
    at, end = len(head), len(text) - len(tail)
    for piece in pieces[1:-1]:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


@lru_cache(maxsize=4096)
def _pieces(pattern: str) -> tuple[str, ...]:
    """What stands between the stars."""
    plain = pattern.replace(_STAR, "\0").split("*")
    return tuple(piece.replace("\0", "*") for piece in plain)


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)
