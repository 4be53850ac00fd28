"""Plays scripts on the pure core: one item, its looks, the deliveries, and every wake-up in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tests.scenario import At, Heard, Want, acts, check

from expiryd.core.acking import acknowledge
from expiryd.core.duration import parse_duration
from expiryd.core.model import (
    BLIND,
    EXPIRY,
    NO_TRAITS,
    Ack,
    Alert,
    Basis,
    Blind,
    Event,
    EventKind,
    Finding,
    ItemId,
    ItemState,
    Lifetime,
    Measure,
    Observation,
    Severity,
)
from expiryd.core.rules import Resolved, Rules
from expiryd.core.step import Step, evaluate, fail, given_up, see, told, vanish, wake_at

START = datetime(2030, 1, 1, tzinfo=UTC)
ITEM = ItemId("ci/TOKEN")
Act = Callable[["World"], None]


def moment(since_start: str) -> datetime:
    """`40d` after the start, or an ISO date."""
    return datetime.fromisoformat(since_start) if "T" in since_start else START + parse_duration(since_start)


@dataclass(slots=True)
class World:
    """One item in time. Every transition is heard as `kind aspect severity`, and proven to be well-formed."""

    by: Resolved = field(default_factory=lambda: Resolved(Rules(), NO_TRAITS))
    now: datetime = START
    state: ItemState | None = None
    events: list[Event] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    open: dict[tuple[str, str], Severity] = field(default_factory=dict)
    wakes: int = 0

    @property
    def rules(self) -> Rules:
        return self.by.rules

    def pass_to(self, when: datetime) -> None:
        """Let time pass, waking up for every judgement that is due on the way."""
        self._prove_sleep(when)
        while self.state is not None and self.state.wake_at is not None and self.state.wake_at <= when:
            self.now = max(self.state.wake_at, self.now)
            self.wakes += 1
            assert self.wakes < 10_000, "wake-ups do not come to an end"
            before = self.state
            step = evaluate(before, self.rules, self.now)
            changed = step.events or step.state != before or self.rules.hours  # another hour may change nothing
            assert changed, f"woken at {self.now} for nothing"
            assert step.state.wake_at is None or step.state.wake_at > self.now, "due again at once"
            self.take(step)
            self._prove_sleep(when)
        self.now = when

    def take(self, step: Step) -> None:
        """Remember the outcome of a step, after proving what every step promises."""
        before, self.state = self.state, step.state
        if before is not None and before == step.state and before.wake_at == step.state.wake_at:
            assert step.state is before, "nothing changed, yet it is another object"
            assert not step.events
        for event in step.events:
            self._hear(event)
        told_twice = [(e.aspect, e.generation) for e in step.events if e.kind is not EventKind.ESCALATED]
        assert len(told_twice) == len(set(told_twice)), f"said twice in one step: {told_twice}"
        assert {(a.aspect, a.generation): a.severity for a in step.state.alerts} == self.open
        self._prove_severity(step.state)

    def forget(self) -> None:
        if self.state is not None:
            self._hear(vanish(self.state, self.now))
            self.state = None
            self.open.clear()

    def answer(self, stamp: Callable[[Alert, datetime], Alert], aspect: str | None = None) -> None:
        """The delivery of what was asked succeeded or was given up, now."""
        if self.state is not None:
            alerts = tuple(stamp(a, self.now) if aspect in (None, a.aspect) else a for a in self.state.alerts)
            state = replace(self.state, alerts=alerts)
            self.state = replace(state, wake_at=wake_at(state, self.rules, self.now))

    def _hear(self, event: Event) -> None:
        assert event.at == self.now
        assert event.item == ITEM
        key = (event.aspect, event.generation)
        if event.kind in (EventKind.RAISED, EventKind.BLIND):
            assert key not in self.open, f"opened twice: {event}"
            assert event.before is Severity.HEALTHY
            assert (event.kind is EventKind.BLIND) == (event.aspect == BLIND)
            self.open[key] = event.severity
        elif event.kind is EventKind.VANISHED:
            assert not self.open or key in self.open
        else:
            assert key in self.open, f"about a matter that is not open: {event}"
            assert event.before is self.open[key]
            order = {EventKind.WORSENED: 1, EventKind.EASED: -1}
            if event.kind.closes:
                assert (event.kind is EventKind.SIGHTED) == (event.aspect == BLIND)
                assert event.kind is not EventKind.RENEWED or event.aspect == EXPIRY
                del self.open[key]
            else:
                rise = event.severity - event.before
                assert order.get(event.kind, 0) == (rise > 0) - (rise < 0)
                self.open[key] = event.severity
        self.events.append(event)
        words = [event.kind, event.aspect, event.severity.word, event.rung, *event.notify]
        self.heard.append((self.now - START, " ".join(filter(None, words))))

    def _prove_sleep(self, when: datetime) -> None:
        """Until it is to be woken, no judgement at any moment would say anything else."""
        if self.state is not None:
            last = when if self.state.wake_at is None else min(self.state.wake_at - timedelta(microseconds=1), when)
            if last >= self.now:
                step = evaluate(self.state, self.rules, last)
                assert (step.state, step.events) == (self.state, ()), f"{self.state.wake_at} is too late to wake up"

    def _prove_severity(self, state: ItemState) -> None:
        worst = max((alert.severity for alert in state.alerts), default=Severity.HEALTHY)
        if state.is_blind:
            assert state.severity is Severity.UNKNOWN
        elif not state.blind_looks:
            assert state.severity is worst or (worst is Severity.HEALTHY and state.severity is Severity.UNKNOWN)


# ── acts ──────────────────────────────────────────────────────────────────────────────────────────────


def sees(
    *findings: Finding,
    ends: str | None = None,
    issued: str | None = None,
    basis: Basis = Basis.EMBEDDED,
    generation: str = "",
    measures: tuple[Measure, ...] = (),
) -> Act:
    """A look sees the item; `ends` and `issued` count from the start of the script."""
    lifetime = None
    if ends is not None or issued is not None or basis is not Basis.EMBEDDED:
        lifetime = Lifetime(
            expires_at=moment(ends) if ends else None, issued_at=moment(issued) if issued else None, basis=basis
        )
    return shows(Observation("TOKEN", "token", "TOKEN", lifetime, generation, findings, measures))


def shows(seen: Observation) -> Act:
    """A look sees exactly this."""
    return lambda world: world.take(see(world.state, ITEM, seen, world.by, world.now))


def is_blind(reason: str = "no route to host") -> Act:
    """A look cannot see the item."""
    blind = Blind("TOKEN", reason, "token", "TOKEN")
    return lambda world: world.take(fail(world.state, ITEM, blind, world.by, world.now))


def delivers(aspect: str | None = None) -> Act:
    """Somebody is really told (of this aspect, or of all)."""
    return lambda world: world.answer(told, aspect)


def acks(until: str | None = None, *, until_renewed: bool = False, aspect: str = EXPIRY) -> Act:
    """Somebody takes the matter in hand."""

    def act(world: World) -> None:
        assert world.state is not None
        ack = Ack("ann", world.now, "on it", moment(until) if until else None, until_renewed)
        step = acknowledge(world.state, aspect, ack)
        assert step is not None
        world.take(step)
        world.take(evaluate(step.state, world.rules, world.now))

    return act


def gives_up(aspect: str | None = None) -> Act:
    """Nobody could be told."""
    return lambda world: world.answer(given_up, aspect)


def vanishes() -> Act:
    """A complete look does not find the item."""
    return World.forget


def rules_become(rules: Rules) -> Act:
    """Another configuration is loaded, and everything is judged again."""

    def act(world: World) -> None:
        world.by = replace(world.by, rules=rules)
        if world.state is not None:
            world.take(evaluate(world.state, rules, world.now))

    return act


def play(*script: Sequence[At | Want], by: Resolved | Rules | None = None, until: str = "0s") -> World:
    """Play the script, let time pass `until` then, and fail unless exactly the wanted was heard."""
    world = World(by=Resolved(by, NO_TRAITS)) if isinstance(by, Rules) else World(by=by) if by else World()
    for step in acts(script):
        world.pass_to(START + step.when)
        step.act(world)
    world.pass_to(START + max(parse_duration(until), world.now - START, timedelta(0)))
    check(script, world.heard)
    return world
