"""Whatever happens in whatever order: what is due is told, nothing twice, and every duty ends with its reason.

Any life is made here: `tests.deeds` says what may happen, `tests.living` lets it happen to a whole daemon,
`tests.foreseen` works out from the documentation what must be told, `tests.outcome` holds that against what was.
`pytest --hypothesis-profile=deep --timeout=0` lives thousands of lives instead of a few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.deeds import (
    CRITICAL,
    DAY,
    EXPIRED,
    HOUR,
    INFO,
    MINUTE,
    NO_TIME,
    WARNING,
    At,
    Breaks,
    Deed,
    Dies,
    Heals,
    Hushes,
    LetsGo,
    Looks,
    Reloads,
    Restarts,
    Speaks,
    Takes,
    Thing,
    Told,
    Wakes,
)
from tests.foreseen import Foreseen, Policy, Steps
from tests.living import HEARERS, Life
from tests.outcome import Outcome, compared
from tests.story import prove_trail

IS_DEEP = settings.get_current_profile_name() == "deep"

# ── the rules of these lives ──────────────────────────────────────────────────────────────────────────

LIFETIMES = {"long": 100 * DAY, "mid": 40 * DAY, "short": 4 * DAY}
NEVER = dict.fromkeys(("info", "warning", "critical", "expired"), "never")
USUAL = {"critical": "7d", "warning": "30d", "info": "45d", "ladder": ["14d", "20%", "3d", "0d", "-2d"]}
OTHER = {"critical": "10d", "warning": "30d", "info": "45d", "ladder": ["-1d", "0d", "5d", "10%", "21d"]}
QUIET = {"crowd": 0, "group_wait": "30s", "cooldown": NEVER}
LOUD = {**QUIET, "cooldown": {"info": "never", "warning": "7d", "critical": "1d", "expired": "2d fading"}}


def days(*steps: tuple[float, Any]) -> tuple[tuple[timedelta, Any], ...]:
    return tuple((number * DAY, what) for number, what in steps)


THIRD = 13.2  # of 40 days; of 4 it is 1.32
USUAL_STEPS = {
    "long": Steps(
        days((45, INFO), (30, WARNING), (7, CRITICAL)),
        days((20, "20%"), (14, "14d"), (3, "3d"), (0, "0d"), (-2, "-2d")),
    ),
    # 30 and 45 days are more than half of 40, so they become a third of it; no rung is, so the ladder stays
    "mid": Steps(
        days((THIRD, INFO), (THIRD, WARNING), (7, CRITICAL)),
        days((14, "14d"), (8, "20%"), (3, "3d"), (0, "0d"), (-2, "-2d")),
    ),
    "short": Steps(
        days((1.32, INFO), (1.32, WARNING), (0.6, CRITICAL)),
        days((1.32, "33%"), (0.8, "20%"), (0.6, "15%"), (0.2, "5%"), (0, "0d"), (-2, "-2d")),
    ),
}
OTHER_STEPS = {
    "long": Steps(
        days((45, INFO), (30, WARNING), (10, CRITICAL)),
        days((21, "21d"), (10, "10%"), (5, "5d"), (0, "0d"), (-1, "-1d")),
    ),
    "mid": Steps(
        days((THIRD, INFO), (THIRD, WARNING), (10, CRITICAL)),
        days((THIRD, "33%"), (6, "15%"), (4, "10%"), (2, "5%"), (0, "0d"), (-1, "-1d")),
    ),
    "short": Steps(
        days((1.32, INFO), (1.32, WARNING), (0.6, CRITICAL)),
        days((1.32, "33%"), (0.6, "15%"), (0.4, "10%"), (0.2, "5%"), (0, "0d"), (-1, "-1d")),
    ),
}
POLICIES = {
    "usual": Policy({**QUIET, **USUAL}, USUAL_STEPS),
    "other": Policy({**QUIET, **OTHER}, OTHER_STEPS),
    "loud": Policy({**LOUD, **USUAL}, USUAL_STEPS, {WARNING: 7 * DAY, CRITICAL: DAY, EXPIRED: 2 * DAY}),
}
SETTINGS: dict[str, Any] = {
    "routes": [{"notify": ["mail"], "continue": True}, {"notify": ["slack"], "quiet": "night"}],
    "windows": {"night": {"times": ["22:00-06:00"]}},
    "maintenance": {"upkeep": {"times": ["wed 08:00-16:00"], "matchers": {"item": ["tokens/mid"]}}},
}


def is_quiet(now: timedelta, receiver: str, told: Told) -> bool:
    """By the routes and the calendar above. Lives begin on a Tuesday at midnight."""
    of_day = now % DAY
    if receiver == "slack" and told.severity < CRITICAL and (of_day >= 22 * HOUR or of_day < 6 * HOUR):
        return True
    return told.item == "mid" and now // DAY % 7 == 1 and 8 * HOUR <= of_day < 16 * HOUR


# ── any life ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Waits:
    span: timedelta
    parts: int


@dataclass(frozen=True)
class Sees:
    """A look after these things were renewed (to have so much of their lifetime left), hidden or taken away."""

    changes: Mapping[str, float | str]
    source: str = "works"
    again: bool = False
    """What was missed is looked for once more a minute later."""


@dataclass(frozen=True)
class Silences:
    begins: timedelta
    span: timedelta
    items: tuple[str, ...] = ()
    severities: tuple[int, ...] = ()
    aspect: str = ""


@dataclass(frozen=True)
class Manner:
    """How it is all told: by which policy, to mail with a conversation for each thing, to slack with what is alike."""

    policy: str = "usual"
    threaded: bool = False
    group_by: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        return {**SETTINGS, "policy": POLICIES[self.policy].said, "slack": {"group_by": self.group_by}}


@dataclass(frozen=True)
class Acks:
    item: str
    span: timedelta | None
    until_renewed: bool


names = st.sampled_from(sorted(LIFETIMES))
shares = st.sampled_from([1.0, 0.5, 0.36, 0.21, 0.16, 0.06, 0.01, -0.03])
changes = st.one_of(shares, shares, st.sampled_from(["hidden", "hidden", "gone", "shown"]))
hearers = st.sampled_from(HEARERS)
spans = st.sampled_from([5 * HOUR, DAY, 3 * DAY])
waits = st.builds(
    Waits,
    st.sampled_from([10 * MINUTE, HOUR, 5 * HOUR, 11 * HOUR, DAY, 2 * DAY, 5 * DAY, 9 * DAY]),
    st.sampled_from([1, 2, 5]),
)
sources = st.sampled_from(["works", "works", "works", "gone", "breaks"])
looks = st.builds(Sees, st.dictionaries(names, changes, max_size=2), sources, st.booleans())
failures = st.sampled_from(["later", "lost", "lost", "unsure", "unknown", "never"])
breaks = st.builds(Breaks, hearers, failures, st.sampled_from([1, 2, 100]))
dies = st.builds(Dies, st.integers(0, 4), st.booleans())
acks = st.builds(Acks, names, st.none() | spans, st.booleans())
silences = st.one_of(
    st.builds(
        Silences,
        st.sampled_from([NO_TIME, NO_TIME, 7 * HOUR]),
        spans,
        st.sampled_from([(), ("long",), ("mid", "short")]),
        st.sampled_from([(), (INFO, WARNING), (CRITICAL, EXPIRED)]),
    ),
    st.builds(lambda span, name: Silences(NO_TIME, span, (name,), (), "expiry"), spans, names),
)
steps = st.one_of(
    waits,
    looks,
    breaks,
    acks,
    silences,
    dies,
    st.builds(Restarts),
    st.builds(Reloads, st.sampled_from(sorted(POLICIES))),
    st.builds(Heals, hearers),
    st.builds(Speaks),
    st.builds(LetsGo, names),
)
soon = st.just(Waits(10 * MINUTE, 1))
hides = st.builds(lambda name: Sees({name: "hidden"}, again=True), names)
episodes = st.one_of(
    st.tuples(steps),
    st.tuples(waits),
    st.tuples(looks, waits),
    st.tuples(breaks, looks, waits, waits),
    st.tuples(breaks, waits, breaks, waits),
    st.tuples(soon, acks, waits, steps, waits),
    st.tuples(silences, looks, waits, steps, waits),
    st.tuples(silences, looks, waits, st.just(Speaks()), soon),
    st.tuples(breaks, looks, waits, acks, waits),
    st.tuples(dies, waits),
    st.tuples(hides, waits, steps, looks),
    st.tuples(silences, hides, steps, looks, waits),
    st.tuples(st.just(Sees({}, "gone", again=True)), waits, looks, waits),
)
manners = st.builds(
    Manner, st.sampled_from(sorted(POLICIES)), st.booleans(), st.sampled_from([(), ("severity",), ("kind", "day")])
)
scripts = st.builds(
    lambda manner, at_first, story: (manner, [Sees(at_first), *(step for episode in story for step in episode)]),
    manners,
    st.fixed_dictionaries(dict.fromkeys(sorted(LIFETIMES), shares)),
    st.lists(episodes, min_size=3, max_size=8),
)


class World:
    """What there is to see, and from it what happens when."""

    def __init__(self) -> None:
        self.now = NO_TIME
        self.looked = NO_TIME
        self.things: dict[str, Thing] = {}
        self.state: dict[str, str] = {}
        self.life: list[At] = []

    def happens(self, script: Sequence[Any]) -> list[At]:
        for step in script:
            self.now += MINUTE  # so that it is clear what came first
            match step:
                case Waits(span, parts):
                    self._wait(span, parts)
                case Sees():
                    self._look(step)
                case Silences(begins, span, items, severities, aspect):
                    since = self.now + begins
                    self._do(Hushes(since, since + span, items, severities, aspect))
                case Acks(name, span, until_renewed):
                    until = self.now + span if span and not until_renewed else None
                    self._do(Takes(name, f"ticket {len(self.life)}", until, until_renewed))
                case _:
                    self._do(step)
        self._end()
        return self.life

    def _do(self, deed: Deed) -> None:
        self.life.append(At(self.now, deed))

    def _wait(self, span: timedelta, parts: int) -> None:
        if self.now + span - self.looked > 28 * DAY:
            self._look(Sees({}))  # nobody is away for so long that the clock is doubted
        for _ in range(parts):
            self.now += span / parts
            self._do(Wakes())

    def _look(self, look: Sees) -> None:
        for name, change in look.changes.items():
            if isinstance(change, str):
                self.state[name] = change
            else:
                number = int(self.things[name].generation) + 1 if name in self.things else 1
                self.things[name] = Thing(str(number), self.now + change * LIFETIMES[name], LIFETIMES[name])
                self.state[name] = "shown"
        seen = {name: self.things[name] if self.state[name] == "shown" else None for name in self.things}
        seen = {name: thing for name, thing in seen.items() if self.state[name] != "gone"}
        breaks = look.source != "works" or not seen  # one that shows nothing at all is a story of its own
        if look.source == "gone":
            seen = {}
        elif look.source == "breaks":
            seen = dict(list(seen.items())[:1])
        self._do(Looks(seen, breaks))
        self.looked = self.now
        if look.again and (breaks or None in seen.values()):
            self.now += MINUTE
            self._do(Looks(seen, breaks))

    def _end(self) -> None:
        """All that kept anything back is over, and there is time to tell it."""
        self.now += MINUTE
        for name in HEARERS:
            self._do(Heals(name))
        self._do(Speaks())
        self.now += MINUTE
        self._wait(10 * MINUTE, 1)
        for span in (MINUTE, *[2 * HOUR] * 15):
            self.now += span
            self._do(Wakes(judges=False))


@settings(
    max_examples=settings().max_examples if IS_DEEP else 60,
    derandomize=not IS_DEEP,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(script=scripts)
async def test_what_is_due_is_told_nothing_twice_and_every_duty_ends_with_its_reason(
    script: tuple[Manner, list[Any]],
) -> None:
    await prove(*script)


async def prove(manner: Manner, steps: list[Any]) -> None:
    deeds = World().happens(steps)
    with TemporaryDirectory() as directory:
        life = Life(Path(directory), POLICIES, manner.settings, "mail" if manner.threaded else "")
        async with life.rig:
            await life.live(deeds)
            outcome = Outcome(life, deeds, await life.records(), is_quiet)
            await life.rig.audit()
            await prove_trail(life.rig, Path(directory) / "audit")
            known = life.open_matters()
    foreseen = Foreseen(POLICIES, manner.policy, outcome.taken())
    told, happened = foreseen.live(deeds), outcome.happened()
    assert sorted(happened) == sorted(told), compared(told, happened)
    assert known == foreseen.open_matters()
    outcome.prove()
