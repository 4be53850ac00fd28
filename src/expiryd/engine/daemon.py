"""The running daemon: one ledger, one schedule, the graph of the day, and a pulse that proves all three alive."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from expiryd.api import Clock, CollectorConfig, ExpirydError, Log
from expiryd.config.model import Config
from expiryd.core.duration import say_left
from expiryd.core.model import ItemState, Severity
from expiryd.core.rules import Rules
from expiryd.core.silencing import MUTED
from expiryd.core.wording import count_of
from expiryd.engine.auditing import Auditor
from expiryd.engine.clock import SteadyClock
from expiryd.engine.cycle import Cycle
from expiryd.engine.depot import Depot
from expiryd.engine.graph import Graph, ToolsFor, build
from expiryd.engine.guard import NetworkGuard
from expiryd.engine.ledger import Ledger
from expiryd.engine.looking import Looking
from expiryd.engine.lookout import CrowdWatch, StaleWatch
from expiryd.engine.metrics import Metrics
from expiryd.engine.muting import mutes_of
from expiryd.engine.pulse import STALE, Pulse
from expiryd.engine.schedule import Rhythm, Schedule
from expiryd.engine.silences import Silences
from expiryd.engine.tasks import Tasks
from expiryd.engine.timekeeping import Timekeeper
from expiryd.engine.voice import Voice
from expiryd.store.port import Change, Entry, Look, Store, StoreError

AUDIT = "audit"
"""The task that carries the audit trail."""


class RestartNeeded(ExpirydError):
    """A setting changed that only a restart can honour."""


class Daemon:
    """Everything between the edges. It never reads a file, a signal or an environment variable."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        log: Log,
        metrics: Metrics,
        load: Callable[[], Awaitable[Config]],
        tools_for: ToolsFor,
        rehearse: bool = False,
        adopted: Callable[[Config], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.clock = SteadyClock(clock)
        self.log = log
        self.metrics = metrics
        self.ledger = Ledger(store)
        self.silences = Silences(store, self.clock, log, self._ask_again)
        self.schedule = Schedule(clock, log, self.look)
        self.started_at = clock.now()
        self._begun = clock.monotonic()
        self.reload_error = ""
        self._adopted = adopted
        self.voice = Voice(lambda: self.graph, log, metrics)
        self.pulse = Pulse(
            store,
            self.clock,
            log,
            metrics,
            tick=self.tick,
            replan=self._replan,
            retention=lambda: self.graph.config.daemon.retention,
        )
        self._timekeeper = Timekeeper(
            self.clock, store, self.ledger, observe=self.voice.observe, moved=self._time_moved
        )
        self._crowds = CrowdWatch(self.ledger, self.clock, lambda: self.graph, self.voice.observe, self.voice.forget)
        self._stale = StaleWatch(self.ledger, self.clock, lambda: self.graph, self.schedule, self.voice.trouble)
        self.looking = Looking(
            graph=lambda: self.graph,
            ledger=self.ledger,
            clock=self.clock,
            log=log,
            metrics=metrics,
            schedule=self.schedule,
            told_of=self.voice.told_of,
            store_failed=self.pulse.store_failed,
            done=self._crowds.looked,
        )
        self.network = NetworkGuard(
            self.ledger,
            self.clock,
            log,
            lambda: self.graph.config.connectivity,
            observe=self.voice.observe,
            returned=self.looking.begin_over_the_network,
        )
        self._load = load
        self._tools_for = tools_for
        self._rehearse = rehearse
        self.auditor: Auditor | None = None
        """Carries what is on record into the audit trail, where there is one."""
        self._graph: Graph | None = None
        self._background = Tasks(log)
        self._reloading = asyncio.Lock()
        self._held_is_stale = True
        """What muted the held parcels may be over, or may not be in the configuration any more."""
        self._may_have_orphans = True
        """Items may be known of a collector or notifier that the configuration no longer has."""

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, *, immediate: bool = False) -> None:
        """From here on it looks, judges and delivers by itself."""
        self.schedule.start()
        self.schedule.install(self._rhythms(), self._last_looks(), immediate=immediate)
        self.graph.employ()
        self._background.spawn(self.pulse.beat(), "pulse")
        if self.auditor is not None:
            self._background.spawn(self.auditor.serve(), AUDIT)

    async def prepare(self, config: Config) -> None:
        """Everything but the timers: looks, ticks and deliveries happen when somebody asks for them.

        The store must be open. Raises ExpirydError or ValueError when a part of the config cannot be built.
        """
        await self.ledger.load()
        await self.silences.load()
        self._timekeeper.begin(config.daemon.steadiness)
        graph = await build(config, self._tools_for, rehearse=self._rehearse)
        self.ledger.wake_all(self.clock.now())
        self._adopt(graph)
        await self._retire_items()
        await self._on_record("daemon.started", "system", config=config.hash)

    async def stop(self, patience: timedelta) -> list[str]:
        """Drain: no new looks, what runs may end, couriers finish the message they carry. Names what was cancelled."""
        self.looking.stopping = True
        self.pulse.stop()
        self.schedule.stop()
        late = await self.graph.close(patience)
        await self._on_record("daemon.stopped", "system", late=late)
        if self.auditor is not None:
            self.auditor.stop()
        return late + await self._background.drain(timedelta(seconds=2))

    async def reload(self, actor: str = "system") -> Config:
        """Take the config on disk into use, or raise and change nothing. Sends nothing by itself."""
        async with self._reloading:
            try:
                config = await self._load()
                self._refuse_what_needs_a_restart(config)
                graph = await build(config, self._tools_for, rehearse=self._rehearse)
            except (ExpirydError, ValueError) as problem:
                self.metrics.reload_failed()
                self.reload_error = str(problem)
                self.log.error("config.rejected", problem=str(problem))
                await self._on_record("config.rejected", actor, problems=str(problem).splitlines())
                raise
            old = self.graph
            patience = old.config.daemon.drain
            graph.edited.update(name for name, (now, _) in graph.collectors.items() if _differs(old, name, now))
            # the same notifier must not be served twice at once, so the old couriers rest before the new begin
            await old.rest_couriers(patience)
            self.ledger.wake_all(self.clock.now())
            self._adopt(graph)
            self._ask_again()
            for name in old.collectors.keys() - graph.collectors.keys():
                old.looks.cancel(name)  # what it would still find, nobody watches any more
            if self.schedule.running:
                self.schedule.install(self._rhythms(), self._last_looks())
                graph.employ()
                for name in graph.edited:
                    self.look(name)
            self._background.spawn(self._retire(old, patience), "retire the old graph")
            self.log.info("config.reloaded", hash=config.hash)
            changed = old.config.changed_sections(config)
            hashes = {"before": old.config.hash, "after": config.hash}
            await self._on_record("config.reloaded", actor, **hashes, changed=changed)
            with suppress(StoreError):  # the next tick tries again
                await self._retire_items()
            return config

    @property
    def graph(self) -> Graph:
        if self._graph is None:
            raise RuntimeError("the daemon has not been started")
        return self._graph

    @property
    def uptime(self) -> timedelta:
        """By the clock that no setting moves."""
        return timedelta(seconds=self.clock.monotonic() - self._begun)

    @property
    def store_error(self) -> str:
        """Why the state cannot be written now, if it cannot."""
        return self.pulse.store_error

    @property
    def has_looked(self) -> bool:
        """Whether the first look of every collector has been tried."""
        return all(name in self.ledger.last_looks for name in self.graph.collectors)

    def stuck(self) -> list[str]:
        """The parts that make no progress any more. The watchdog is fed only while there are none."""
        now = self.clock.monotonic()
        signs = {"scheduler": self.schedule.beat_at, **self.pulse.signs}
        silent = [part for part, seen in signs.items() if now - seen > STALE] + self.graph.idle_couriers(now)
        if self.auditor is not None and self.schedule.running and not self._background.runs(AUDIT):
            silent.append(AUDIT)
        return silent

    def summary(self) -> str:
        """One line for `systemctl status`."""
        severities: Counter[Severity] = Counter()
        for (_, severity), count in self.ledger.counts.items():
            severities[severity] += count
        bad = [f"{severities[s]} {s.word}" for s in sorted(Severity, reverse=True) if s > 0 and severities[s]]
        runs = ((run, name) for name in self.graph.collectors if (run := self.schedule.next_run(name)))
        soonest = min(runs, default=None)
        upcoming = f"; next look {soonest[1]}, {say_left(soonest[0], self.clock.now())}" if soonest else ""
        return f"{count_of(severities.total(), 'item')}: {', '.join(bad) or 'all healthy'}{upcoming}"

    # ── looking and judging ───────────────────────────────────────────────────────────────────────────

    def look(self, name: str) -> None:
        """Start a look at one collector, unless one is still under way."""
        self.looking.begin(name)

    async def look_now(self, name: str) -> Look | None:
        """Look and wait for the end. None when the collector is unknown."""
        return await self.looking.now(name)

    async def tick(self) -> None:
        """Judge what time alone may have changed. Raises StoreError."""
        await self._free_held()
        await self._retire_items()
        await self._timekeeper.review()
        if self.graph.cycle is not None:
            self.voice.told_of(await self.graph.cycle.tick())
        await self.network.review()
        await self._stale.review()
        await self._crowds.review()

    def _ask_again(self) -> None:
        self._held_is_stale = True

    async def _free_held(self) -> None:
        """What is still muted is held again by those who ask."""
        if not self._held_is_stale:
            return
        self._held_is_stale = False
        try:
            await self.silences.load()
            await self.store.hasten(self.clock.now(), MUTED)
        except StoreError:
            self._held_is_stale = True
            raise
        self.graph.wake_couriers()

    async def _on_record(self, action: str, actor: str, **detail: Any) -> None:
        """A store that is down takes no record of it; the log has it then."""
        entry = Entry(self.clock.now(), actor, action, detail={k: v for k, v in detail.items() if v})
        with suppress(StoreError):
            await self.store.commit(Change(journal=[entry]))

    def _time_moved(self) -> None:
        """Everything planned is planned anew, and what waits asks again how long."""
        self.log.warning("clock.believed", now=self.clock.now())
        self.ledger.wake_all(self.clock.now())
        self._ask_again()
        for courier in self.graph.couriers.values():
            courier.resume_at = None
        self._replan()
        self.graph.wake_couriers()

    def _replan(self) -> None:
        if self.schedule.running:
            self.schedule.rewind(self._last_looks())

    # ── the graph ─────────────────────────────────────────────────────────────────────────────────────

    def _adopt(self, graph: Graph) -> None:
        """From here on everything new happens with this graph. Synchronous: nothing can see half of it."""
        graph.cycle = Cycle(
            self.ledger, self.clock, graph.rulebook, graph.audience, self.log, graph.edited, self.network
        )
        graph.hire(
            Depot(
                store=self.store,
                ledger=self.ledger,
                clock=self.clock,
                log=self.log,
                metrics=self.metrics,
                rules=self._rules,
                complain=self.voice.complain,
                mutes=mutes_of(graph.hush, self.ledger, self.silences),
                held=self.silences.held,
                group_wait=graph.audience.group_wait,
                storm=graph.config.policy.storm,
                first_look=graph.config.policy.first_look,
                zone=graph.config.daemon.timezone,
                routes=graph.hush.routes,
            )
        )
        self._graph, self.reload_error = graph, ""
        self._may_have_orphans = True
        self.clock.terms = graph.config.daemon.steadiness
        self._crowds.stir()
        self.metrics.collectors(graph.collectors, self.ledger.last_looks, self.ledger.last_good)
        self.metrics.notifiers(graph.notifiers)
        self.metrics.reloaded(self.clock.now(), graph.config.hash)
        self._adopted(graph.config)

    async def _retire(self, old: Graph, patience: timedelta) -> None:
        """Let the old graph finish. A look that it could not finish in time is begun again: no tick is lost.

        What was seen meanwhile was judged by the rules of before.
        """
        looked = any(map(old.looks.runs, old.collectors))
        for name in await old.close(patience):
            self.look(name)
        if looked:
            self.ledger.wake_all(self.clock.now())

    async def _retire_items(self) -> None:
        """What belonged to a collector or notifier that the configuration no longer has is not watched any more."""
        if self._may_have_orphans and self.graph.cycle is not None:
            self.voice.told_of(await self.graph.cycle.retire(self.graph.collectors, self.graph.notifiers))
            self._may_have_orphans = False

    def _rhythms(self) -> dict[str, Rhythm]:
        zone = self.graph.config.daemon.timezone
        return {name: Rhythm.of(config, zone) for name, (config, _) in self.graph.collectors.items()}

    def _rules(self, state: ItemState) -> Rules:
        return self.graph.rulebook.of(state)

    def _last_looks(self) -> dict[str, datetime]:
        return {name: look.started_at for name, look in self.ledger.last_looks.items()}

    def _refuse_what_needs_a_restart(self, config: Config) -> None:
        running = self.graph.config
        fixed = ("state_dir", "database", "event_loop", "log_file", "log_format")
        pairs = ((key, attrgetter(key)) for key in (*fixed, "retention.audit", "retention.audit_size"))
        changed = [f"daemon.{key}" for key, get in pairs if get(config.daemon) != get(running.daemon)]
        changed += ["http"] if config.http != running.http else []
        if changed:
            raise RestartNeeded(f"{', '.join(changed)}: changed, which needs a restart; the old configuration is kept")


def _differs(old: Graph, name: str, now: CollectorConfig) -> bool:
    before = old.collectors.get(name)
    return before is None or before[0] != now
