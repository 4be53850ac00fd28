"""What must be told of a life: worked out from what happens in it and the documentation alone.

Nothing of the code under test is asked. A life is a list of deeds, each at its time since the start. Whoever plays it
says afterwards when receivers took what they were told of a matter, from which cooldowns run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tests.deeds import (
    CRITICAL,
    EXPIRED,
    HEALTHY,
    INFO,
    NO_TIME,
    WARNING,
    At,
    LetsGo,
    Looks,
    Reloads,
    Takes,
    Thing,
    Told,
    Wakes,
)

BLIND_AFTER = 2


@dataclass(frozen=True)
class Steps:
    """How long before its end a thing becomes how severe, and its rungs: written out by hand for each lifetime."""

    severities: tuple[tuple[timedelta, int], ...]
    rungs: tuple[tuple[timedelta, str], ...]

    def severity(self, left: timedelta) -> int:
        if left <= NO_TIME:
            return EXPIRED
        known = max((severity for lead, severity in self.severities if left < lead), default=HEALTHY)
        return max(known, INFO if self.rung(left) else HEALTHY)

    def rung(self, left: timedelta) -> tuple[timedelta, str] | None:
        """The most urgent that was crossed."""
        crossed = [(lead, name) for lead, name in self.rungs if (left < lead if lead > NO_TIME else left <= lead)]
        return min(crossed, default=None)


@dataclass(frozen=True)
class Policy:
    """`said` is for the configuration; `steps` by item. `cooldown`: by severity, after how long it is repeated.

    That of what has expired is a fading one.
    """

    said: Mapping[str, object]
    steps: Mapping[str, Steps]
    cooldown: Mapping[int, timedelta] = field(default_factory=dict)


@dataclass
class Ack:
    reason: str
    until: timedelta | None
    until_renewed: bool

    def holds(self, now: timedelta) -> bool:
        return self.until is None or now < self.until


@dataclass
class Matter:
    generation: str
    severity: int
    asked: timedelta
    ack: Ack | None = None
    rose: timedelta = NO_TIME
    """When it became as severe as it is."""


@dataclass
class Item:
    thing: Thing | None = None
    missed: int = 0
    matters: dict[str, Matter] = field(default_factory=dict)


Taken = Mapping[tuple[str, str, str], Sequence[timedelta]]
"""When a receiver took (or refused for good) news of a matter: item, aspect, generation."""


class Foreseen:
    """Goes through a life and notes in `told` what is to be told of its items."""

    def __init__(self, policies: Mapping[str, Policy], policy: str, taken: Taken) -> None:
        self._policies, self._policy, self._taken = policies, policies[policy], taken
        self._items: dict[str, Item] = {}
        self._source_missed = 0
        self.told: list[Told] = []

    def live(self, life: Iterable[At]) -> list[Told]:
        for now, deed in life:
            match deed:
                case Wakes(judges=True) if self._source_missed < BLIND_AFTER:
                    for name in self._items:
                        self._judge(name, now)
                case Looks():
                    self._look(deed, now)
                case Reloads(policy):
                    self._policy = self._policies[policy]
                case Takes():
                    self._take(deed, now)
                case LetsGo(name):
                    if matter := self._matter(name):
                        matter.ack = None
                case _:
                    pass
        return self.told

    def open_matters(self) -> set[tuple[str, str, str, int]]:
        """Item, aspect, generation and severity of what is not over at the end."""
        return {
            (name, aspect, matter.generation, matter.severity)
            for name, item in self._items.items()
            for aspect, matter in item.matters.items()
        }

    # ── looks ─────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, look: Looks, now: timedelta) -> None:
        for name, thing in look.shown.items():
            if thing is None:
                self._miss(name, now)
            else:
                self._see(name, thing, now)
        if look.breaks:
            self._source_missed = 0 if look.shown else self._source_missed + 1
            return
        self._source_missed = 0
        for name in [name for name in self._items if name not in look.shown]:
            self._vanish(name, now)

    def _miss(self, name: str, now: timedelta) -> None:
        item = self._items.setdefault(name, Item())
        item.missed += 1
        if item.missed >= BLIND_AFTER:
            self._judge(name, now)

    def _see(self, name: str, thing: Thing, now: timedelta) -> None:
        item = self._items.setdefault(name, Item())
        before, item.thing, item.missed = item.thing, thing, 0
        if before is not None and before.generation != thing.generation and (old := item.matters.pop("expiry", None)):
            self._close(name, "expiry", old, "renewed" if thing.ends > before.ends else "resolved", now)
        if blind := item.matters.pop("blind", None):
            self._close(name, "blind", blind, "sighted", now)
        self._judge(name, now)

    def _vanish(self, name: str, now: timedelta) -> None:
        """It is forgotten, with a last word even when nothing was wrong with it."""
        item = self._items.pop(name)
        nothing = Matter(item.thing.generation if item.thing else "-", INFO, now)
        worst = max(sorted(item.matters, reverse=True), key=lambda aspect: item.matters[aspect].severity, default="")
        matter = item.matters.get(worst, nothing)
        self._tell(now, "vanished", name, worst or "expiry", matter.generation, matter.severity)

    # ── judging ───────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, name: str, now: timedelta) -> None:
        item = self._items[name]
        steps = self._policy.steps[name]
        left = item.thing.ends - now if item.thing else None
        if item.missed >= BLIND_AFTER:
            hidden = HEALTHY if left is None else steps.severity(left)
            generation = item.thing.generation if item.thing else "-"
            if "expiry" in item.matters:
                self._weigh(name, "expiry", item.matters["expiry"].severity, None, now)
            self._weigh(name, "blind", max(WARNING, min(hidden, CRITICAL)), None, now, generation)
        elif item.thing is not None and left is not None:
            self._weigh(name, "expiry", steps.severity(left), steps.rung(left), now, item.thing.generation)

    def _weigh(
        self, name: str, aspect: str, severity: int, rung: tuple[timedelta, str] | None, now: timedelta, new: str = ""
    ) -> None:
        """A change of severity comes before a rung, a rung before a repetition; one word at most."""
        item = self._items[name]
        known = item.matters.get(aspect)
        if known is None:
            if severity > HEALTHY:
                item.matters[aspect] = Matter(new, severity, now, rose=now)
                kind = "blind" if aspect == "blind" else "raised"
                self._tell(now, kind, name, aspect, new, severity, rung[1] if rung else "")
            return
        if known.ack and not known.ack.holds(now):
            known.ack = None
        owed = rung[1] if rung and item.thing and item.thing.ends - rung[0] > known.asked - _least(rung[0]) else ""
        if severity == HEALTHY:
            del item.matters[aspect]
            self._close(name, aspect, known, "resolved", now)
            return
        if severity > known.severity:
            kind, known.rose = "worsened", now
            known.ack = known.ack if known.ack and known.ack.until_renewed else None
        elif severity < known.severity:
            kind = "eased"
        elif known.ack:
            return
        elif owed:
            kind = "rung"
        elif self._is_to_be_repeated(name, aspect, known, now):
            kind = "repeated"
        else:
            return
        known.severity, known.asked = severity, now
        self._tell(now, kind, name, aspect, known.generation, severity, owed)

    def _is_to_be_repeated(self, name: str, aspect: str, matter: Matter, now: timedelta) -> bool:
        cooldown = self._policy.cooldown.get(matter.severity)
        taken = [at for at in self._taken.get((name, aspect, matter.generation), ()) if at < now]
        if cooldown is None or not taken or max(taken) < matter.asked:
            return False
        if matter.severity == EXPIRED:
            cooldown *= max(1, (max(taken) - matter.rose) // 7 // cooldown)
        return now >= max(taken) + cooldown

    # ── people ────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, taking: Takes, now: timedelta) -> None:
        matter, ack = self._matter(taking.item), Ack(taking.reason, taking.until, taking.until_renewed)
        if matter is not None and matter.ack != ack:
            matter.ack = ack
            self._tell(now, "acknowledged", taking.item, "expiry", matter.generation, matter.severity)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _matter(self, name: str) -> Matter | None:
        item = self._items.get(name)
        return item.matters.get("expiry") if item else None

    def _close(self, name: str, aspect: str, matter: Matter, kind: str, now: timedelta) -> None:
        self._tell(now, kind, name, aspect, matter.generation, matter.severity)

    def _tell(
        self, now: timedelta, kind: str, name: str, aspect: str, generation: str, severity: int, rung: str = ""
    ) -> None:
        self.told.append(Told(now, kind, name, aspect, generation, severity, rung))


def _least(lead: timedelta) -> timedelta:
    """With exactly its lead left a rung before the end is not crossed yet."""
    return timedelta(microseconds=1) if lead > NO_TIME else NO_TIME
