"""The words of the domain as values: what was seen, what is known, what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from sys import intern
from types import MappingProxyType
from typing import NewType

from expiryd.core.duration import in_utc

ItemId = NewType("ItemId", str)
"""`collector/local-id`; a collector's own item is the collector's name alone."""

EXPIRY = "expiry"
BLIND = "blind"
SELF = "expiryd"
"""The collector name under which the daemon watches itself."""
NO_LABELS: Mapping[str, str] = MappingProxyType({})
MOST_REMEMBERED = 8


class Severity(IntEnum):
    """How bad it is. The numbers are those of the `expiryd_item_severity` metric."""

    UNKNOWN = -1
    HEALTHY = 0
    INFO = 1
    WARNING = 2
    CRITICAL = 3
    EXPIRED = 4

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Severity:
        """Raises KeyError for a word that names no severity."""
        return cls[word.upper()]


class Basis(StrEnum):
    """Where a date comes from, strongest first."""

    VERIFIED = "verified"  # the issuer was asked
    EMBEDDED = "embedded"  # signed inside the thing: notAfter, exp
    TYPED = "typed"  # a person wrote it down
    METADATA = "metadata"  # a store's own record
    TTL = "ttl"  # counted down by the store
    POLICY = "policy"  # issued + lifetime, by rule
    NONE = "none"  # never expires


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a credential starts and stops working. All times are aware; any may be unknown.

    `span` is the lifetime by rule; with `basis=POLICY` and an unknown `expires_at` it waits for an
    issue date (typed, or the moment a rotation was witnessed).
    """

    expires_at: datetime | None = None
    issued_at: datetime | None = None
    not_before: datetime | None = None
    basis: Basis = Basis.EMBEDDED
    span: timedelta | None = None

    def __post_init__(self) -> None:
        for at in (self.expires_at, self.issued_at, self.not_before):
            if at is not None and at.tzinfo is None:
                raise ValueError(f"{at} has no time zone: make every time of a Lifetime an aware one")


@dataclass(frozen=True, slots=True)
class Finding:
    """A state that is not a date. `code` is a stable word such as `unsafe-permissions`, not `expiry` or `blind`."""

    code: str
    severity: Severity
    detail: str = ""

    def __post_init__(self) -> None:
        _refuse_taken(self.code)


@dataclass(frozen=True, slots=True)
class Measure:
    """A number judged by thresholds. `unit` is a base unit: seconds, bytes, ratio, or a plural noun."""

    name: str
    value: float
    unit: str = ""
    warning: float | None = None
    critical: float | None = None
    higher_is_worse: bool = True

    def __post_init__(self) -> None:
        _refuse_taken(self.name)


@dataclass(frozen=True, slots=True)
class Traits:
    """What is said about an item rather than seen of it. Shared between items: keep it interned."""

    category: str = ""
    owner: str = ""
    runbook: str = ""
    used_by: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS, hash=False)


NO_TRAITS = Traits()


@dataclass(frozen=True, slots=True)
class Served:
    """A certificate that was met at these addresses. Which of many addresses were asked is no difference."""

    fingerprint: str
    expires_at: datetime | None = None
    addresses: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a look said of one item. `id` is local to the collector and holds what a person would search for.

    `generation` says which credential this is (serial number, keyed fingerprint); empty means the
    expiry itself tells one generation from the next. `fingerprint` (keyed hash of a secret, hash of a certificate) is
    equal in every place that holds the same one. `identity` says what it stands for (a set of names, an app id): of two
    things with one identity the later takes the place of the earlier. `served`: each different certificate that its
    addresses hand out, which makes it an endpoint and not a place where one is kept.
    """

    id: str
    kind: str = ""
    title: str = ""
    lifetime: Lifetime | None = None
    generation: str = ""
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    traits: Traits = NO_TRAITS
    fingerprint: str = ""
    identity: str = ""
    served: tuple[Served, ...] = ()


@dataclass(frozen=True, slots=True)
class Blind:
    """This one item could not be looked at. Never a date, never good news, never bad news about it."""

    id: str
    reason: str
    kind: str = ""
    title: str = ""


Reading = Observation | Blind


class EventKind(StrEnum):
    """A transition of an alert."""

    RAISED = "raised"
    WORSENED = "worsened"
    REPEATED = "repeated"
    EASED = "eased"
    RENEWED = "renewed"
    RESOLVED = "resolved"
    VANISHED = "vanished"
    BLIND = "blind"
    SIGHTED = "sighted"
    RUNG = "rung"
    ACKNOWLEDGED = "acknowledged"
    ESCALATED = "escalated"

    @property
    def closes(self) -> bool:
        """Whether the matter is over with this event."""
        return self in _CLOSING


_CLOSING = frozenset({EventKind.RENEWED, EventKind.RESOLVED, EventKind.VANISHED, EventKind.SIGHTED})


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody has the matter in hand: nobody is reminded of it until its end.

    It ends at `until`, with the matter, and when the severity rises; with `until_renewed` not even then.
    """

    actor: str
    at: datetime
    reason: str
    until: datetime | None = None
    until_renewed: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """The open matter about (item, aspect, generation).

    `asked_at`: when it last asked to be told. `told_at`: when somebody last really was.
    `failed_at`: when the last attempt to tell anybody was given up. `rung`: the last rung of the ladder that was asked.
    `risen_at`: when it last became more severe than it was opened. `paged_at`: the first delivery since it opened or
    rose, from which escalation counts; `escalated`: how many of its levels were reached since.
    """

    item: ItemId
    aspect: str
    generation: str
    severity: Severity
    opened_at: datetime
    asked_at: datetime
    told_at: datetime | None = None
    failed_at: datetime | None = None
    detail: str = ""
    rung: str = ""
    risen_at: datetime | None = None
    paged_at: datetime | None = None
    escalated: int = 0
    ack: Ack | None = None

    @property
    def id(self) -> str:
        """As people and other programs name it."""
        return f"{self.item}#{self.aspect}"

    @property
    def is_told(self) -> bool:
        """Whether what it last asked has reached somebody."""
        return self.told_at is not None and self.told_at >= self.asked_at

    @property
    def since(self) -> datetime:
        """Since when it has been as severe as it is."""
        return self.risen_at or self.opened_at


@dataclass(frozen=True, slots=True)
class Generation:
    """A credential that an item once was."""

    name: str
    first_seen: datetime
    last_seen: datetime
    expires_at: datetime | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class ItemState:
    """All that is remembered of one item between looks.

    `observation` is the last good one, with dates and traits already settled by the rules.
    `rotated_at` is when a change of generation was witnessed. `blind_looks` counts looks in a row that
    could not see it. `wake_at` is the next moment at which time alone may change the judgement;
    it follows from the rest and the rules, so states that differ in it alone are equal. `past` are earlier generations
    and `took` how long the last renewals took since their first notice: newest last, at most MOST_REMEMBERED of each.
    """

    id: ItemId
    collector: str
    observation: Observation
    severity: Severity
    first_seen: datetime
    rotated_at: datetime | None = None
    blind_looks: int = 0
    alerts: tuple[Alert, ...] = ()
    past: tuple[Generation, ...] = ()
    took: tuple[timedelta, ...] = ()
    wake_at: datetime | None = field(default=None, compare=False)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.observation.title or self.observation.id or self.id

    @property
    def generation(self) -> str:
        return generation_of(self.observation)

    def judged(self, severity: Severity, alerts: tuple[Alert, ...], wake_at: datetime | None) -> ItemState:
        """The same under another judgement. Written out: in a storm it is made a hundred thousand times at once."""
        return ItemState(
            self.id,
            self.collector,
            self.observation,
            severity,
            self.first_seen,
            self.rotated_at,
            self.blind_looks,
            alerts,
            self.past,
            self.took,
            wake_at,
        )

    @property
    def is_own(self) -> bool:
        """Whether it is the daemon's word on one of its own collectors or notifiers, not a thing out there."""
        return self.collector in (self.id, SELF)

    @property
    def is_blind(self) -> bool:
        """Whether it is a matter by now that it cannot be seen."""
        return any(alert.aspect == BLIND for alert in self.alerts)


@dataclass(frozen=True, slots=True)
class Event:
    """One transition, with the facts a message needs, as they were when it happened.

    `rung` is the rung of the ladder it crossed. `is_first`: of the first look at its source. `notify`: exactly these
    notifiers are to hear it, whatever the routes say. `places` are the other items that hold the same secret.
    """

    kind: EventKind
    at: datetime
    item: ItemId
    collector: str
    aspect: str
    generation: str
    severity: Severity
    before: Severity
    title: str
    item_kind: str = ""
    expires_at: datetime | None = None
    issued_at: datetime | None = None
    basis: Basis | None = None
    detail: str = ""
    traits: Traits = NO_TRAITS
    rung: str = ""
    is_first: bool = False
    notify: tuple[str, ...] = ()
    places: tuple[ItemId, ...] = ()


def collector_of(item: ItemId) -> str:
    return intern(item.partition("/")[0])


def generation_of(observation: Observation) -> str:
    """The name of the credential seen: the collector's word for it, else its expiry."""
    if observation.generation:
        return observation.generation
    expires = observation.lifetime.expires_at if observation.lifetime else None
    return in_utc(expires).isoformat() if expires else "-"


def _refuse_taken(aspect: str) -> None:
    if aspect in (EXPIRY, BLIND):
        raise ValueError(f"`{aspect}` is the daemon's own word: give the finding or measure another name")
