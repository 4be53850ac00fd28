"""At these times this happens, in these windows exactly that is heard: a form for tests of behaviour over time.

    at("1d", sees(ends="40d"))                           something happens one day in
    want("10d", "10d1s", "raised expiry warning")        exactly this is heard then, in this order

What is heard outside every window, or is one too many inside, fails like what is missing. A wanted line is a shell
pattern (`*`, `?`) for one heard line. Whoever plays a script decides what an act is and how a heard line reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from expiryd.api import format_duration, parse_duration

Heard = tuple[timedelta, str]
"""When (since the start), and the line."""


@dataclass(frozen=True, slots=True)
class At:
    when: timedelta
    act: Any


@dataclass(frozen=True, slots=True)
class Want:
    start: timedelta
    end: timedelta
    lines: tuple[str, ...]


def at(when: str, *acts: Any) -> list[At]:
    """These acts, one after the other, at this time since the start."""
    return [At(parse_duration(when), act) for act in acts]


def want(start: str, end: str, *lines: str) -> list[Want]:
    """Between these times, both included, exactly these lines in this order. Without lines: silence."""
    return [Want(parse_duration(start), parse_duration(end), lines)]


def acts(script: Iterable[Sequence[At | Want]]) -> list[At]:
    """What happens, in the order of time; what stands first in the script comes first at the same time."""
    return sorted((step for steps in script for step in steps if isinstance(step, At)), key=lambda step: step.when)


def check(script: Iterable[Sequence[At | Want]], heard: Sequence[Heard]) -> None:
    """Fails with everything that was heard and what is wrong with it."""
    wants = sorted((step for steps in script for step in steps if isinstance(step, Want)), key=lambda want: want.start)
    for earlier, later in pairwise(wants):
        assert earlier.end < later.start, f"the windows {_window(earlier)} and {_window(later)} overlap"
    wrong = [_missed(want, heard) for want in wants]
    wrong += [
        f"nothing was wanted at {format_duration(when)}, but there was: {line}"
        for when, line in heard
        if not any(want.start <= when <= want.end for want in wants)
    ]
    if any(wrong):
        transcript = [f"  {format_duration(when):>12}  {line}" for when, line in heard]
        raise AssertionError("\n".join([*filter(None, wrong), "all that was heard:", *(transcript or ["  nothing"])]))


def _missed(want: Want, heard: Sequence[Heard]) -> str:
    got = [line for when, line in heard if want.start <= when <= want.end]
    if len(got) == len(want.lines) and all(map(fnmatchcase, got, want.lines)):
        return ""
    return f"{_window(want)}: wanted {list(want.lines)}, heard {got}"


def _window(want: Want) -> str:
    return f"{format_duration(want.start)}..{format_duration(want.end)}"
