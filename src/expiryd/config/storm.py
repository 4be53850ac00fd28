"""`[policy.storm]`: how much a receiver is told at once before the rest leaves as a digest."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from expiryd.config.section import Section
from expiryd.core.pace import Rate
from expiryd.core.storm import SAME_ALERT, TOTAL, Limits


def _rate(value: object) -> object:
    if isinstance(value, Rate):
        return value
    if not isinstance(value, str):
        raise ValueError('write a rate such as "5/5m" or "20/10m"')
    return Rate.parse(value)


Messages = Annotated[Rate, BeforeValidator(_rate)]


class StormConfig(Section):
    """Limits of each notifier. What they hold back waits, with its reason, and leaves as one digest.

    `critical_reserve` is a quarter of `total` unless it is said.
    """

    same_alert: Messages = SAME_ALERT
    total: Messages = TOTAL
    critical_reserve: Annotated[int, Field(ge=0)] | None = None
    max_active: Annotated[int, Field(ge=1)] = 50
    daily: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _room_for_all(self) -> StormConfig:
        if self.reserve >= self.total.count:
            raise ValueError(
                f"critical_reserve ({self.critical_reserve}) must be smaller than the {self.total.count} messages of "
                "total: else nothing but what is critical could ever be told"
            )
        return self

    @property
    def reserve(self) -> int:
        return self.total.count // 4 if self.critical_reserve is None else self.critical_reserve

    def limits(self, daily: int | None = None) -> Limits:
        """`daily` is a notifier's own word on it."""
        return Limits(self.same_alert, self.total, self.reserve, self.max_active, daily or self.daily)
