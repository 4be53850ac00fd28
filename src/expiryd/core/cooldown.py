"""How long after it was told a matter is told again: the same each time, or ever longer while it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from expiryd.core.duration import format_duration, parse_setting

FADES = 7
"""Of the time for which a matter has lasted about this part passes before it is told again."""


@dataclass(frozen=True, slots=True)
class Fading:
    """Grows with what it is about: a word on the same dead thing that comes every day for a year is read by nobody."""

    span: timedelta

    def after(self, lasted: timedelta) -> timedelta:
        """In whole spans, so that what is told together stays together."""
        return self.span * max(lasted / FADES // self.span, 1)

    def __str__(self) -> str:
        return f"{format_duration(self.span)} fading"


Cooldown = timedelta | Fading


def parse_cooldown(text: str) -> Cooldown | None:
    """`7d`, `1d fading`, or `never`. Raises ValueError for anything else, and for what is not longer than zero."""
    said = text.strip()
    if said == "never":
        return None
    steady = said.removesuffix(" fading")
    try:
        span = parse_setting(steady)
    except ValueError as error:
        raise ValueError(f"{error}, `1d fading` if it is to grow, or never") from None
    if span <= timedelta(0):
        raise ValueError("must be more than 0s")
    return span if steady == said else Fading(span)
