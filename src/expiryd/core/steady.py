"""What time it is, as far as it can be believed: the wall clock, held against one that no setting moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

JUMP = timedelta(seconds=30)
HOLD = timedelta(minutes=5)
LONG_AWAY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """A wall clock that moved by `jump` or more is not believed until it has been steady for `hold`."""

    jump: timedelta = JUMP
    hold: timedelta = HOLD


@dataclass(frozen=True, slots=True)
class Doubt:
    """The wall clock is ahead by `by` (behind when negative) of what is believed, steadily since `since` (monotonic).

    `at_start`: it was found so, rather than seen to jump.
    """

    by: timedelta
    since: float
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class Belief:
    """It was `wall` when the monotonic clock stood at `at` seconds. While there is a doubt, that goes on counting."""

    wall: datetime
    at: float
    doubt: Doubt | None = None

    def time(self, at: float) -> datetime:
        return self.wall + timedelta(seconds=at - self.at)


def regard(belief: Belief, wall: datetime, at: float, terms: Steadiness) -> Belief:
    """Both clocks were read again. Small steps are followed, and so is a wall clock that has come back."""
    off = wall - belief.time(at)
    if abs(off) < terms.jump:
        return Belief(wall, at)
    known = belief.doubt
    if known is not None and abs(off - known.by) < terms.jump:
        return belief
    return replace(belief, doubt=Doubt(off, at, at_start=known is not None and known.at_start))


def is_over(belief: Belief, at: float, terms: Steadiness) -> bool:
    """Whether the wall clock has been where it is for so long that it is to be believed."""
    return belief.doubt is not None and at - belief.doubt.since >= terms.hold.total_seconds()


def begin(wall: datetime, at: float, newest: datetime | None, ahead: timedelta | None, terms: Steadiness) -> Belief:
    """After a start. `newest` is the newest moment that is remembered, `ahead` the doubt there was then.

    What lies before it cannot be, and what lies far after it is doubtful: time goes on from there till it is over.
    """
    if newest is None:
        return Belief(wall, at)
    off = wall - newest
    if ahead is None or ahead <= timedelta(0):
        doubtful = off <= -terms.jump or off >= LONG_AWAY
    else:  # what was ahead and has come back is less ahead than it was; it stays where it was even over a long stop
        doubtful = off <= -terms.jump or off >= ahead
    return Belief(newest, at, Doubt(off, at, at_start=True)) if doubtful else Belief(wall, at)
