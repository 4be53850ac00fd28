"""A life as a list of what happens when, and a piece of news as it is to be heard.

Nothing of the code under test is imported here. Times are spans since the start of the life.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
NO_TIME = timedelta(0)
HEALTHY, INFO, WARNING, CRITICAL, EXPIRED = range(5)
SOURCE = "tokens"
ENDS = ("renewed", "resolved", "sighted")
"""What is told to those who heard of it."""


@dataclass(frozen=True)
class Thing:
    """A credential: which one it is, when it ends and how long it lives."""

    generation: str
    ends: timedelta
    lives: timedelta


@dataclass(frozen=True)
class Wakes:
    """Time alone is judged (or not), and what is owed leaves."""

    judges: bool = True


@dataclass(frozen=True)
class Looks:
    """The source shows these (None: one that cannot be seen), and then it breaks, or not."""

    shown: Mapping[str, Thing | None]
    breaks: bool = False


@dataclass(frozen=True)
class Restarts:
    pass


@dataclass(frozen=True)
class Reloads:
    policy: str


@dataclass(frozen=True)
class Dies:
    """At this of the writes to come, before it or after it."""

    write: int
    after: bool


@dataclass(frozen=True)
class Breaks:
    """So often a receiver does not take what it is sent, or does and nobody learns of it."""

    receiver: str
    how: str
    times: int


@dataclass(frozen=True)
class Heals:
    receiver: str


@dataclass(frozen=True)
class Hushes:
    """Nothing is to be heard of what matches from `begins` to `ends`. Empty: of anything."""

    begins: timedelta
    ends: timedelta
    items: tuple[str, ...] = ()
    severities: tuple[int, ...] = ()
    aspect: str = ""


@dataclass(frozen=True)
class Speaks:
    """All silences end now, or are taken back."""


@dataclass(frozen=True)
class Takes:
    """Somebody takes the end of a thing in hand."""

    item: str
    reason: str
    until: timedelta | None = None
    until_renewed: bool = False


@dataclass(frozen=True)
class LetsGo:
    item: str


Deed = Wakes | Looks | Restarts | Reloads | Dies | Breaks | Heals | Hushes | Speaks | Takes | LetsGo


class At(NamedTuple):
    when: timedelta
    deed: Deed


class Told(NamedTuple):
    """One piece of news. `severity` counts for what matches by severity: of an end it is how bad the matter was."""

    at: timedelta
    kind: str
    item: str
    aspect: str
    generation: str
    severity: int
    rung: str

    @property
    def matter(self) -> tuple[str, str, str]:
        return self.item, self.aspect, self.generation
