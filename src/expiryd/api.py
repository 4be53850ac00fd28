"""All that a plugin's author needs. Everything else in this package is private.

A collector looks at one source of credentials; a notifier carries ready messages. Each is one file and one
entry-point line: a frozen config model with `type: Literal["..."]` and `build(tools)`. The daemon owns
time-outs, retries, concurrency, logging and metrics, so a plugin has none of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol
from zoneinfo import ZoneInfo

import aiohttp
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from expiryd.core.duration import format_duration, parse_duration, parse_setting, say_left
from expiryd.core.grouping import GroupBy
from expiryd.core.ladder import Share, parse_lead
from expiryd.core.model import (
    NO_TRAITS,
    Basis,
    Blind,
    Event,
    EventKind,
    Finding,
    ItemId,
    Lifetime,
    Measure,
    Observation,
    Reading,
    Served,
    Severity,
    Traits,
)
from expiryd.core.pace import Rate
from expiryd.core.render import tally
from expiryd.core.wording import action, badge, facts, headline, say_time
from expiryd.templates.written import NO_TEMPLATES, Templates

__all__ = [
    "NO_TRAITS",
    "AuthError",
    "Basis",
    "Blind",
    "Clock",
    "CollectError",
    "Collector",
    "CollectorConfig",
    "DeliveryError",
    "Duration",
    "Event",
    "EventKind",
    "ExpirydError",
    "Finding",
    "ItemConfig",
    "ItemId",
    "Lead",
    "Lifetime",
    "Log",
    "Measure",
    "Message",
    "Notifier",
    "NotifierConfig",
    "Observation",
    "OneOrMore",
    "PermanentError",
    "Reading",
    "Receipt",
    "Secret",
    "SecretError",
    "SecretRef",
    "Served",
    "Severity",
    "Share",
    "Thread",
    "Threshold",
    "Tools",
    "Traits",
    "TransientError",
    "action",
    "badge",
    "facts",
    "format_duration",
    "headline",
    "parse_duration",
    "say_left",
    "say_time",
    "tally",
]


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────
# ExpirydError
# ├── CollectError        the source could not be looked at
# ├── SecretError         a secret could not be read
# └── DeliveryError       a message was not delivered
#     ├── TransientError  try again (after `retry_after`, when the receiver said so)
#     └── PermanentError  trying the same again will not help
#         └── AuthError   the notifier's own credential or address was refused: a person must mend it


class ExpirydError(Exception):
    """The root of every error that is expected and explained. The message names the thing and what to do."""


class CollectError(ExpirydError):
    """The collector could not look, or not to the end. What was seen before it still counts."""


class SecretError(CollectError):
    """A secret could not be read. The message names the reference, never a value."""


class DeliveryError(ExpirydError):
    """The message was not delivered."""


class TransientError(DeliveryError):
    """Try again later.

    `retry_after` is the receiver's own wish. `ambiguous` means that the receiver may have taken the message
    although no answer came (time-out, reset after sending): the same message is then repeated under the same key.
    """

    def __init__(self, reason: str, *, retry_after: timedelta | None = None, ambiguous: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.ambiguous = ambiguous


class PermanentError(DeliveryError):
    """The receiver will never take this message."""


class AuthError(PermanentError):
    """The receiver refused the notifier itself (credential, revoked address), whatever the message."""


# ── configuration types ───────────────────────────────────────────────────────────────────────────────


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError("write a duration such as 90s, 15m, 2h, 7d or 2w")
    return parse_setting(value)


def _lead(value: object) -> object:
    if isinstance(value, timedelta | Share):
        return value
    return parse_lead(value if isinstance(value, str) else "")


def _ahead(lead: timedelta | Share) -> timedelta | Share:
    if isinstance(lead, timedelta) and lead <= timedelta(0):
        raise ValueError("must be more than 0s")
    return lead


def _moment(value: object) -> object:
    """As it is written, so that midnight is a moment and no day, and a number is neither."""
    if isinstance(value, date):
        return value
    try:
        text = (value if isinstance(value, str) else "").strip().upper()
        return date.fromisoformat(text) if len(text) <= len("2026-09-01") else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write a date such as 2026-09-01 or a time such as 2026-09-01T12:00:00Z") from None


def _before_never(moment: date | datetime | Literal["never"] | None) -> date | datetime | Literal["never"] | None:
    """The last year of the calendar is a stand-in, and arithmetic on it leaves the calendar."""
    if isinstance(moment, date) and moment.year > 9998:
        raise ValueError('write "never" for what never expires')
    return moment


def _rate(text: str | None) -> str | None:
    if text is not None:
        Rate.parse(text)
    return text


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A timedelta that is written `90s`, `15m`, `2h`, `7d` or `2w` in a config file."""

PositiveDuration = Annotated[Duration, Field(gt=timedelta(0))]

OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
"""Of a key with a list of texts, for which one text may be written alone."""

Lead = Annotated[timedelta | Share, BeforeValidator(_lead)]
"""How long before an end, written `30d`, `12h`, `-1d` (after it) or `33%` (a share of the lifetime)."""

Threshold = Annotated[Lead, AfterValidator(_ahead)]


Moment = Annotated[date | datetime, BeforeValidator(_moment)]
"""A day or a moment, as TOML writes them or in quotes."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SecretRef(_Frozen):
    """Where a secret's value is to be read: exactly one of the forms. The value itself never stands in a config."""

    env: str | None = None
    file: Path | None = None
    credential: str | None = None
    age: Path | None = None
    identity: Path | None = None
    command: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _never_plain(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(
                'a secret is never written here; say where it is: { env = "NAME" }, { file = "/path" }, '
                '{ credential = "name" }, { age = "file", identity = "file" } or { command = ["pass", "name"] }'
            )
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        chosen = [name for name in ("env", "file", "credential", "age", "command") if getattr(self, name) is not None]
        if len(chosen) != 1:
            raise ValueError("name exactly one of env, file, credential, age, command")
        if (self.age is None) != (self.identity is None):
            raise ValueError("age and identity belong together")
        return self

    def __str__(self) -> str:
        for name in ("env", "file", "credential", "age"):
            if (value := getattr(self, name)) is not None:
                return f"{name} {value}"
        return f"command {(self.command or ('?',))[0]}"


class Secret:
    """A secret's value, which no accident prints. `reveal()` where it is used, and nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not to be serialised")


class ItemConfig(_Frozen):
    """What a person says about one item: `[collectors.NAME.items.ID]`. It overrides category and collector."""

    title: str = ""
    issued: Moment | None = None
    expires: Annotated[Moment | Literal["never"] | None, AfterValidator(_before_never)] = None
    lifetime: PositiveDuration | None = None
    category: str = ""
    owner: str = ""
    runbook: str = ""
    used_by: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    critical: Threshold | None = None
    warning: Threshold | None = None
    info: Threshold | None = None
    ladder: tuple[Lead, ...] | None = None


# ── collectors ────────────────────────────────────────────────────────────────────────────────────────


class CollectorConfig(_Frozen, ABC):
    """Base of every collector's configuration; a subclass adds `type: Literal["name"]` and its own keys."""

    default_every: ClassVar[timedelta] = timedelta(hours=6)

    type: str
    schedule: str | None = None
    every: PositiveDuration | None = None
    timeout: PositiveDuration = timedelta(minutes=5)
    category: str = ""
    owner: str = ""
    runbook: str = ""
    labels: Mapping[str, str] = {}
    lifetime: PositiveDuration | None = None
    critical: Threshold | None = None
    warning: Threshold | None = None
    info: Threshold | None = None
    ladder: tuple[Lead, ...] | None = None
    items: Mapping[str, ItemConfig] = {}

    @model_validator(mode="after")
    def _one_rhythm(self) -> CollectorConfig:
        if self.schedule is not None and self.every is not None:
            raise ValueError("give either schedule or every, not both")
        return self

    @abstractmethod
    def build(self, tools: Tools) -> Collector:
        """May fail with a clear ExpirydError or ValueError; must not start or open anything."""


class Collector(ABC):
    """Looks at one source."""

    network: ClassVar[bool] = False
    """True: it looks over the network, and what it cannot see while this machine's own is down does not count."""

    @abstractmethod
    def look(self) -> AsyncIterator[Reading]:
        """Yield what is seen, as it is seen. Ending is a complete look.

        Yield `Blind` for a single item that could not be looked at. Raise CollectError when the source as a
        whole could not be, or no further: what was yielded before still counts, what was not seen is kept.
        """

    async def aclose(self) -> None:
        """Let go of anything opened. Most collectors hold nothing."""
        return


# ── notifiers ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Thread:
    """The conversation a message belongs to: one per item generation.

    `reference` is what this notifier returned as `Receipt.thread` for it before (an issue number), if anything.
    """

    item: ItemId
    generation: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Ready to be carried. `key` is the same at every retry: dedup key, Message-ID, issue marker.

    `firing` is False when every matter the message speaks of is over. `events` are sorted, most severe first.
    `thread` is set only for notifiers with `threaded = True`. `own` names the parts (`subject`, `text`, `html`)
    that come from a person's template: carry these as they are instead of laying the events out yourself.
    `beyond`: how many more events of which sort (as `tally` takes them) a large digest counts but does not carry.
    """

    key: str
    subject: str
    text: str
    html: str
    severity: Severity
    firing: bool
    at: datetime
    events: tuple[Event, ...] = ()
    thread: Thread | None = None
    own: frozenset[str] = frozenset()
    beyond: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of delivery in the receiver's own words (status, Message-ID, URL) and the thread it opened.

    `refused` says which of several recipients did not get it, and why: it is delivered, but that is told.
    """

    proof: str
    thread: str | None = None
    refused: str = ""


class NotifierConfig(_Frozen, ABC):
    """Base of every notifier's configuration; a subclass adds `type: Literal["name"]` and its own keys."""

    type: str
    timeout: PositiveDuration = timedelta(seconds=20)
    rate: Annotated[str | None, AfterValidator(_rate)] = None
    events: tuple[EventKind, ...] | None = None
    send_resolved: bool = True
    group_by: tuple[GroupBy, ...] = ()
    daily: Annotated[int, Field(ge=1)] | None = None
    templates: Templates = NO_TEMPLATES

    @abstractmethod
    def build(self, tools: Tools) -> Notifier:
        """May fail with a clear ExpirydError or ValueError; must not start, open or send anything."""


class Notifier(ABC):
    """Carries messages to one place."""

    threaded: ClassVar[bool] = False
    """True: one message per item generation, with its `thread`. False: one message for everything due."""

    @abstractmethod
    async def send(self, message: Message) -> Receipt:
        """Deliver once. Raises TransientError, PermanentError or AuthError."""

    async def aclose(self) -> None:
        """Let go of anything opened."""
        return


# ── what the daemon lends a plugin ────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """The only source of time. `now` is aware UTC wall time; `monotonic` counts seconds and never jumps."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, delay: timedelta) -> None: ...


class Log(Protocol):
    """Structured logging: an event name `noun.verb` and keys. Never a secret, never an f-string."""

    def debug(self, event: str, **keys: Any) -> Any: ...
    def info(self, event: str, **keys: Any) -> Any: ...
    def warning(self, event: str, **keys: Any) -> Any: ...
    def error(self, event: str, **keys: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a plugin may use of the daemon. `name` is the plugin's name in the config.

    `secret(ref)` reads a secret now (raises SecretError). `fingerprint(value)` is a keyed hash: it tells one
    generation from another without giving the value away. `installation` is a random id of this daemon's state.
    """

    name: str
    clock: Clock
    http: aiohttp.ClientSession
    log: Log
    secret: Callable[[SecretRef], Awaitable[Secret]]
    fingerprint: Callable[[str], str]
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    installation: str = ""
