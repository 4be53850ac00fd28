"""What counts as how bad, and how often it is said again: `[policy]`, and `[categories.NAME]` and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from expiryd.api import Duration, Lead, PositiveDuration, Severity, Share, Threshold, format_duration
from expiryd.config.calendars import public_holidays
from expiryd.config.errors import ConfigProblem, spell, unknown_key
from expiryd.config.section import Section
from expiryd.config.storm import StormConfig
from expiryd.core.cooldown import Cooldown, Fading, parse_cooldown
from expiryd.core.grouping import FirstLook
from expiryd.core.ladder import CRITICAL, INFO, WARNING, ShortLived, parse_lead
from expiryd.core.rules import Rules
from expiryd.core.windows import DAYS

LADDER: tuple[timedelta | Share, ...] = tuple(map(parse_lead, ("30d", "14d", "7d", "3d", "1d", "0d", "-1d")))


def check_thresholds(*leads: timedelta | Share | None) -> None:
    """Of critical, warning and info. Raises ValueError unless critical ≤ warning ≤ info, as far as they are given.

    A span and a share cannot be told apart without a lifetime.
    """
    for form in (timedelta, Share):
        given = [(n, t) for n, t in zip(("critical", "warning", "info"), leads, strict=True) if isinstance(t, form)]
        for (milder_name, sooner), (name, later) in pairwise(given):
            if sooner > later:  # type: ignore[operator]  # both are of one form
                raise ValueError(f"{milder_name} ({_say(sooner)}) must not be longer than {name} ({_say(later)})")


def check_hours(policy: PolicyConfig | None, windows: Collection[str]) -> Iterator[ConfigProblem]:
    """Windows that nothing has."""
    for place, hours in enumerate(policy.at if policy else ()):
        if hours.window not in windows:
            where = spell(("policy", "at", place, "window"))
            yield ConfigProblem(where, f"`{hours.window}`: {unknown_key(hours.window, windows, 'window')}")


def _say(lead: timedelta | Share) -> str:
    return str(lead) if isinstance(lead, Share) else format_duration(lead)


def _cooldown(value: object) -> object:
    if value is None or isinstance(value, timedelta | Fading):
        return value
    return parse_cooldown(value if isinstance(value, str) else "")


def _severity(word: object) -> object:
    if isinstance(word, str):
        try:
            severity = Severity.of(word)
        except KeyError:
            severity = Severity.UNKNOWN
        if severity > Severity.HEALTHY:
            return severity
        raise ValueError("a cooldown belongs to expired, critical, warning or info")
    return word


Cooldowns = Mapping[
    Annotated[Severity, BeforeValidator(_severity)],
    Annotated[Cooldown | None, BeforeValidator(_cooldown)],
]
"""By severity, how long before the same is said again. None, written `never`: it is said once."""

_USUAL = Rules()
_SHORT = ShortLived()


def _half(share: object) -> object:
    share = Share.parse(share) if isinstance(share, str) else share
    if not isinstance(share, Share):
        raise ValueError("write a share of the lifetime such as 33%")
    if share.percent > 50:
        raise ValueError("must be at most 50%: it takes the place of what is longer than half of the lifetime")
    return share


HalfShare = Annotated[Share, BeforeValidator(_half)]
Ladder = Annotated[tuple[Lead, ...], Field(max_length=32)]


class ShortLivedConfig(Section):
    """`[policy.short_lived]`: what takes the place of a lead that is longer than half of the lifetime."""

    critical: HalfShare = _SHORT.critical
    warning: HalfShare = _SHORT.warning
    info: HalfShare = _SHORT.info
    ladder: Annotated[tuple[HalfShare, ...], Field(max_length=32)] = _SHORT.ladder

    @model_validator(mode="after")
    def _in_order(self) -> ShortLivedConfig:
        check_thresholds(self.critical, self.warning, None)  # an info inside the warning never shows
        return self


def _form(said: object) -> str:
    return "word" if isinstance(said, str) else "table"


ShortLivedWord = Annotated[
    Annotated[ShortLivedConfig, Tag("table")] | Annotated[Literal["off"], Tag("word")], Discriminator(_form)
]
"""The table, or `"off"`: one of them is meant, so that a mistake in it is told once."""


class WorkingDaysConfig(Section):
    """`working_days = { weekend = ["sat", "sun"], country = "DE", subdivision = "BY" }`: what moves to days before."""

    weekend: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ("sat", "sun")
    country: str = ""
    subdivision: str = ""

    @model_validator(mode="after")
    def _known(self) -> WorkingDaysConfig:
        if self.subdivision and not self.country:
            raise ValueError("a subdivision needs its country")
        if set(self.weekend) == set(DAYS):
            raise ValueError("a weekend of seven days leaves no day to work")
        public_holidays(self.country, self.subdivision, range(2026, 2027))
        return self


class HoursConfig(Section):
    """`[[policy.at]]`: thresholds while a window is open."""

    window: str
    critical: Threshold | None = None
    warning: Threshold | None = None
    info: Threshold | None = None

    @model_validator(mode="after")
    def _in_order(self) -> HoursConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self


class PolicyConfig(Section):
    """`[policy]`: what counts as how bad, and how often it is said again."""

    critical: Threshold = CRITICAL
    warning: Threshold = WARNING
    info: Threshold = INFO
    ladder: Ladder = LADDER
    short_lived: ShortLivedWord = ShortLivedConfig()
    working_days: WorkingDaysConfig | None = None
    dynamic: bool = False
    at: tuple[HoursConfig, ...] = ()
    cooldown: Cooldowns = _USUAL.cooldown
    group_wait: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(seconds=30)
    blind_after: Annotated[int, Field(ge=1)] = _USUAL.blind_after
    first_look: FirstLook = "summary"
    crowd: Annotated[int, Field(ge=0)] = 10
    storm: StormConfig = StormConfig()

    @field_validator("cooldown")
    @classmethod
    def _over_the_defaults(cls, value: Mapping[Severity, Cooldown | None]) -> Mapping[Severity, Cooldown | None]:
        return {**_USUAL.cooldown, **value}

    @model_validator(mode="after")
    def _in_order(self) -> PolicyConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self


class CategoryConfig(Section):
    """`[categories.NAME]`, `[kinds.NAME]`, `[environments.NAME]`: what differs from the policy for such items."""

    critical: Threshold | None = None
    warning: Threshold | None = None
    info: Threshold | None = None
    ladder: Ladder | None = None
    short_lived: ShortLivedWord | None = None
    dynamic: bool | None = None
    cooldown: Cooldowns | None = None
    lifetime: PositiveDuration | None = None
    owner: str = ""
    runbook: str = ""
    labels: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _in_order(self) -> CategoryConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self
