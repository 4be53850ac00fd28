"""Plays a script on a whole daemon, undisturbed and disturbed: restarted or reloaded at every step, killed at writes.

    STORY = [
        at("0s", shows("AAR", ends="31d")),
        want("0s", "1m", "slack: raised info tokens/AAR"),
        at("1d", mutes(...)),
        want("3d", "3d1m"),                        # silence
    ]

    @disturbed
    async def test_it(tmp_path, disturbance):
        await play(tmp_path, *STORY, until="40d", disturbance=disturbance)

Whatever the disturbance, exactly the same must be heard: a message under a key that was heard before is the same
message, delivered again because its receiver's answer was lost, and only a kill may cause one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from tests.rig import DAY, KEY, RECEIVERS, Rig, expiring
from tests.scenario import At, Heard, Want, acts, check

from expiryd.api import Blind, CollectError, Message, Observation, Reading, parse_duration
from expiryd.audit.trail import Query, search, verify
from expiryd.store.sql import SqlStore

Act = Callable[[Rig], Awaitable[None]]
MOST_STEPS = 3_000
MOST_LIVES = 100


class Disturbance(StrEnum):
    NONE = "undisturbed"
    RESTART = "restarted at every step"
    RELOAD = "reloaded at every step"
    KILL = "killed before and after every write"


disturbed = pytest.mark.parametrize("disturbance", list(Disturbance))


class Killed(Exception):
    """The process is gone. Nothing that it still tries reaches the database."""


@dataclass(slots=True)
class Fate:
    """At which write of a deed the process dies, before it or after it."""

    write: int = -1
    after: bool = False
    done: int = 0
    """Writes so far."""
    deaths: int = 0

    def begins(self, *, mortal: bool) -> None:
        self.write, self.after, self.done = (0 if mortal else -1), False, 0

    def next_life(self) -> tuple[int, bool]:
        """When it dies again. Until it is resumed it lives."""
        again = (self.write + 1, False) if self.after else (self.write, True)
        self.begins(mortal=False)
        return again

    def resume(self, again: tuple[int, bool]) -> None:
        (self.write, self.after), self.done = again, 0


class Mortal:
    """A store whose process dies when its fate says so. From then on nothing reaches the database."""

    WRITES = frozenset(
        {"commit", "lease", "dispatch", "settle", "postpone", "release", "hold", "hasten", "journaled", "prune"}
    )

    def __init__(self, real: SqlStore, fate: Fate) -> None:
        self._real = real
        self._fate = fate
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name in ("open", "aclose", "load") or not callable(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Killed
            if name in self.WRITES and name != "lease":
                self._die_if_due(after=False)
            answer = await method(*args, **kwargs)
            if name in self.WRITES and answer != []:
                self._die_if_due(after=True)
                self._fate.done += 1
            return answer

        return call

    def _die_if_due(self, *, after: bool) -> None:
        if (self._fate.done, self._fate.after) == (self._fate.write, after):
            self.dead = True
            self._fate.deaths += 1
            raise Killed


async def play(
    path: Path,
    *script: Sequence[At | Want],
    until: str,
    disturbance: Disturbance = Disturbance.NONE,
    line: Callable[[str, Message], list[str]] | None = None,
    **settings: Any,
) -> Rig:
    """Play it to the end and fail unless exactly the wanted was heard. `settings` are the Rig's."""
    rig = Rig(path, **settings)
    fate = Fate()
    if disturbance is Disturbance.KILL:
        rig.wrap = lambda store: Mortal(store, fate)
    heard: list[Heard] = []
    keys: dict[str, set[str]] = {}
    async with rig:
        todo = acts(script)
        end = rig.begins_at + max([parse_duration(until), *(step.when for step in todo)])
        for _ in range(MOST_STEPS):
            due = [step.act for step in todo if rig.begins_at + step.when <= rig.clock.now()]
            todo = todo[len(due) :]
            for act in due:
                await _surely(rig, fate, lambda act=act: act(rig))  # type: ignore[misc]  # the loop's own act
            await _goes_on(rig, fate)
            if disturbance in (Disturbance.RESTART, Disturbance.RELOAD):
                await (rig.restart() if disturbance is Disturbance.RESTART else rig.reload())
                await _goes_on(rig, fate)
            if _listen(rig, heard, keys, line or words, disturbance):
                await _surely(rig, fate, rig.audit)
            if rig.clock.now() >= end:
                break
            ahead = [rig.begins_at + step.when for step in todo]
            moment = min([*ahead, *await _moments(rig), end])
            await rig.clock.advance(max(moment - rig.clock.now(), timedelta(microseconds=1)))
        else:
            raise AssertionError(f"not at the end after {MOST_STEPS} steps, at {rig.clock.now() - rig.begins_at}")
        await _surely(rig, fate, rig.restart)
        await _surely(rig, fate, rig.audit)
        await prove_trail(rig, path / "audit")
    check(script, heard)
    assert fate.deaths or disturbance is not Disturbance.KILL
    return rig


async def prove_trail(rig: Rig, directory: Path) -> None:
    """Whatever died when: the trail holds every entry once, and every event."""
    store: Any = rig.daemon.store
    assert verify(directory, KEY, await store.trail_head()).problems == []
    lines = list(search(directory, Query()))
    told = [line["detail"]["event"] for line in lines if "event" in line["detail"]]
    records = await store.events(limit=10_000)
    assert sorted(told) == sorted(record.id for record in records)
    entries = {line["entry"] for line in lines} - {0}
    assert entries == set(range(1, len(entries) + 1)), "an entry is missing or was never carried"


async def _goes_on(rig: Rig, fate: Fate) -> None:
    await _surely(rig, fate, rig.tick)
    await _surely(rig, fate, rig.deliver)


async def _surely(rig: Rig, fate: Fate, deed: Callable[[], Awaitable[None]]) -> None:
    """Again after each death, until it was done in a life that lasted."""
    fate.begins(mortal=True)
    for _ in range(MOST_LIVES):
        with suppress(Killed):
            await deed()
        if not _is_dead(rig):
            fate.begins(mortal=False)
            return
        again = fate.next_life()
        await rig.restart()
        fate.resume(again)
    raise AssertionError("dies again and again")


def _is_dead(rig: Rig) -> bool:
    store: Any = rig.daemon.store
    return bool(getattr(store, "dead", False))


async def _moments(rig: Rig) -> list[datetime]:
    """When anything may happen next by itself."""
    now = rig.clock.now()
    found = [rig.daemon.ledger.next_wake]
    for name, courier in rig.daemon.graph.couriers.items():
        due = await _asked(rig, name)
        found.append(due if due is None or courier.resume_at is None else max(due, courier.resume_at))
    return [max(moment, now) for moment in found if moment is not None]


async def _asked(rig: Rig, notifier: str) -> datetime | None:
    return await rig.daemon.store.next_due(notifier)


def _listen(
    rig: Rig,
    heard: list[Heard],
    keys: dict[str, set[str]],
    line: Callable[[str, Message], list[str]],
    disturbance: Disturbance,
) -> bool:
    before = len(heard)
    for name, receiver in RECEIVERS.items():
        for message in receiver.sent:
            if message.key in keys.setdefault(name, set()):
                assert disturbance is Disturbance.KILL, f"{name} heard {message.subject!r} twice"
                continue
            keys[name].add(message.key)
            heard += [(message.at - rig.begins_at, said) for said in line(name, message)]
        receiver.sent.clear()
    return len(heard) > before


def words(receiver: str, message: Message) -> list[str]:
    """`slack: raised warning tokens/AAR`, one line per event of the message, in its order."""
    return [f"{receiver}: {e.kind} {e.severity.word} {e.item}{_aspect(e.aspect)}" for e in message.events]


def _aspect(aspect: str) -> str:
    return "" if aspect == "expiry" else f" {aspect}"


# ── acts ──────────────────────────────────────────────────────────────────────────────────────────────


def sees(source: str = "tokens", /, *readings: Reading | CollectError, **ends: str | None) -> Act:
    """A look at the source, which shows these readings and, by keyword, things that end so long after the start."""

    async def act(rig: Rig) -> None:
        dated = [_dated(name, rig, span) for name, span in ends.items()]
        rig.sources[source].shows(*dated, *readings)
        await rig.look(source)

    return act


def _dated(name: str, rig: Rig, span: str | None) -> Observation | Blind:
    if span is None:
        return Blind(name, "no route to host", "token")
    return expiring(name, rig.begins_at + parse_duration(span))


def becomes(**settings: Mapping[str, Any] | Any) -> Act:
    """Another configuration is put in its place and loaded."""

    async def act(rig: Rig) -> None:
        await rig.reload(**settings)

    return act


__all__ = ["DAY", "Disturbance", "Killed", "becomes", "disturbed", "play", "prove_trail", "sees", "words"]
