"""`[policy]` and `[categories.NAME]`: what counts as how bad, and how often it is said again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from expiryd.api import Duration, Severity, format_duration
from expiryd.config.section import PositiveDuration, Section
from expiryd.config.storm import StormConfig
from expiryd.core.grouping import FirstLook

DAY = timedelta(days=1)


def check_thresholds(critical: timedelta | None, warning: timedelta | None, info: timedelta | None) -> None:
    """Raises ValueError unless critical ≤ warning ≤ info, as far as they are given."""
    given = [(n, t) for n, t in (("critical", critical), ("warning", warning), ("info", info)) if t is not None]
    for (milder_name, sooner), (name, later) in pairwise(given):
        if sooner > later:
            raise ValueError(
                f"{milder_name} ({format_duration(sooner)}) must not be longer than {name} ({format_duration(later)})"
            )


def _never(value: object) -> object:
    return None if value == "never" else value


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


Cooldown = Mapping[
    Annotated[Severity, BeforeValidator(_severity)],
    Annotated[PositiveDuration | None, BeforeValidator(_never)],
]
"""By severity, how long before the same is said again. None, written `never`: it is said once."""

DEFAULT_COOLDOWN: Mapping[Severity, timedelta | None] = {
    Severity.EXPIRED: DAY,
    Severity.CRITICAL: DAY,
    Severity.WARNING: 7 * DAY,
    Severity.INFO: None,
}


class PolicyConfig(Section):
    """`[policy]`: what counts as how bad, and how often it is said again."""

    critical: PositiveDuration = 7 * DAY
    warning: PositiveDuration = 30 * DAY
    info: PositiveDuration = 45 * DAY
    cooldown: Cooldown = DEFAULT_COOLDOWN
    group_wait: Annotated[Duration, Field(ge=timedelta(0))] = timedelta(seconds=30)
    blind_after: Annotated[int, Field(ge=1)] = 2
    first_look: FirstLook = "summary"
    storm: StormConfig = StormConfig()

    @field_validator("cooldown")
    @classmethod
    def _over_the_defaults(cls, value: Mapping[Severity, timedelta | None]) -> Mapping[Severity, timedelta | None]:
        return {**DEFAULT_COOLDOWN, **value}

    @model_validator(mode="after")
    def _in_order(self) -> PolicyConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self


class CategoryConfig(Section):
    """`[categories.NAME]`: what differs from the policy for the items of one category."""

    critical: PositiveDuration | None = None
    warning: PositiveDuration | None = None
    info: PositiveDuration | None = None
    cooldown: Cooldown | None = None
    lifetime: PositiveDuration | None = None
    owner: str = ""
    runbook: str = ""
    labels: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _in_order(self) -> CategoryConfig:
        check_thresholds(self.critical, self.warning, self.info)
        return self
