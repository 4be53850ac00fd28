"""What keeps a word from being said now: until when, or for good, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from expiryd.core.model import Event


@dataclass(frozen=True, slots=True)
class Mute:
    """With `until` it is held back till then and still owed; without, it will never be said. `reason` is for people.

    `by` is one word for what mutes: silence, maintenance, window, quiet, ack, clock, storm, …
    """

    reason: str
    until: datetime | None = None
    by: str = ""


Muting = Callable[[Event], Mute | None]
"""Asked when a word is about to be said. None: nothing is in its way."""


def nothing_muted(_event: Event) -> Mute | None:
    return None
