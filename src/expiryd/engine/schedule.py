"""When to look: APScheduler says when, the engine does what. The ways in which that goes wrong are closed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from expiryd.api import Clock, CollectorConfig, Log
from expiryd.config.cron import next_fire

HEARTBEAT = timedelta(seconds=1)
SIDELINED = timedelta(minutes=1)
_BEAT_JOB = "·heartbeat"
_RETRY = "·retry·"


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is not typed
    """Cron as Debian means it (Sunday is 0 or 7, day of month OR day of week, once per DST night)."""

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        self._expression = expression
        self._zone = zone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        # from `now` when runs were missed: they are made up for by one look, not counted off one by one
        moment = max(previous_fire_time, now) if previous_fire_time else now
        return self.after(moment)

    def after(self, moment: datetime) -> datetime:
        return next_fire(self._expression, moment.astimezone(self._zone))


class PeriodTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is not typed
    """Every so often, in absolute time, keeping the phase. Missed runs cost nothing, however many they are."""

    def __init__(self, every: timedelta) -> None:
        self._every = every

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is None:
            return now + self._every
        missed = max((now - previous_fire_time) // self._every, 0)
        return previous_fire_time + self._every * (missed + 1)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often one collector looks: a cron expression in a zone, or a period."""

    cron: str | None
    every: timedelta
    zone: ZoneInfo

    @classmethod
    def of(cls, config: CollectorConfig, zone: ZoneInfo) -> Rhythm:
        return cls(config.schedule, config.every or config.default_every, zone)

    def trigger(self) -> BaseTrigger:
        if self.cron is not None:
            return CronTrigger(self.cron, self.zone)
        return PeriodTrigger(self.every)

    def first(self, name: str, last: datetime | None, now: datetime) -> datetime:
        """When to look next, given when it last looked: never later than the rhythm says, at once when overdue.

        A reload or restart therefore never pushes a look away, however often it happens.
        """
        if last is None:
            return now + spread(name, self.every)
        if self.cron is not None:
            return max(CronTrigger(self.cron, self.zone).after(min(last, now)), now)
        return max(min(last, now) + self.every, now)

    def third(self, last: datetime) -> datetime:
        """When it should have been looked at three times since."""
        if self.cron is None:
            return last + 3 * self.every
        trigger, moment = CronTrigger(self.cron, self.zone), last
        for _ in range(3):
            moment = trigger.after(moment)
        return moment


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler is not typed
    """An exception while it picks the due jobs must not end the scheduling, silently, for ever."""

    def __init__(self, clock: Clock, log: Log) -> None:
        super().__init__(timezone=UTC, job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1})
        self._clock = clock
        self._log_to = log

    def _process_jobs(self) -> float | None:
        try:
            wait: float | None = super()._process_jobs()
        except Exception as failure:  # noqa: BLE001 - whatever a trigger raises, the others keep their time
            self._log_to.error("schedule.stumbled", exc_info=failure)
            self._sideline()
            return 1.0
        return wait

    def _sideline(self) -> None:
        """The job over whose trigger it stumbled would be met first again and again: it waits apart for a while."""
        now = self._clock.now()
        for job in self.get_jobs():
            try:
                job.trigger.get_next_fire_time(job.next_run_time, now)
            except Exception as failure:  # noqa: BLE001 - as above
                self._log_to.error("schedule.sidelined", job=job.id, problem=type(failure).__name__)
                job.modify(next_run_time=now + SIDELINED)


class Schedule:
    """One job per collector. Jobs only start work; they never are the work."""

    def __init__(self, clock: Clock, log: Log, trigger: Callable[[str], None]) -> None:
        self._clock = clock
        self._trigger = trigger
        self._timer = _Scheduler(clock, log)
        self._rhythms: dict[str, Rhythm] = {}
        self.beat_at = clock.monotonic()

    def start(self) -> None:
        """Needs the running loop."""
        self._timer.add_job(self._beat, PeriodTrigger(HEARTBEAT), id=_BEAT_JOB)
        self._timer.start()

    def install(
        self, rhythms: Mapping[str, Rhythm], last_looks: Mapping[str, datetime], *, immediate: bool = False
    ) -> None:
        """Make the jobs those of this configuration; the ones whose rhythm is as before are not touched."""
        now = self._clock.now()
        for name in self._rhythms.keys() - rhythms.keys():
            self._remove(name)
        for name, rhythm in rhythms.items():
            if self._rhythms.get(name) == rhythm and not immediate:
                continue
            first = now if immediate else rhythm.first(name, last_looks.get(name), now)
            self._timer.add_job(
                self._fire, rhythm.trigger(), args=[name], id=name, replace_existing=True, next_run_time=first
            )
        self._rhythms = dict(rhythms)

    def retry(self, name: str, delay: timedelta) -> None:
        """Look once more before the next regular time, if that is further away."""
        if not self.running:
            return
        regular = self.next_run(name)
        at = self._clock.now() + delay
        if name in self._rhythms and (regular is None or at < regular):
            self._timer.add_job(self._fire, "date", run_date=at, args=[name], id=_RETRY + name, replace_existing=True)

    def next_run(self, name: str) -> datetime | None:
        """The regular look, or the sooner one after a failed look."""
        jobs = (self._timer.get_job(job) for job in (name, _RETRY + name))
        return min((job.next_run_time for job in jobs if job is not None), default=None)

    def rewind(self, last_looks: Mapping[str, datetime]) -> None:
        """The wall clock was set: every job's next run is worked out anew, so that none waits for a lost future."""
        rhythms, self._rhythms = self._rhythms, {}
        self.install(rhythms, last_looks)
        self._timer.add_job(self._beat, PeriodTrigger(HEARTBEAT), id=_BEAT_JOB, replace_existing=True)
        self._timer.wakeup()

    @property
    def running(self) -> bool:
        return bool(self._timer.running)

    def stop(self) -> None:
        if self._timer.running:
            self._timer.shutdown(wait=False)

    async def _fire(self, name: str) -> None:
        self._trigger(name)

    async def _beat(self) -> None:
        self.beat_at = self._clock.monotonic()

    def _remove(self, name: str) -> None:
        for job in (name, _RETRY + name):
            if self._timer.get_job(job):
                self._timer.remove_job(job)


def spread(name: str, every: timedelta) -> timedelta:
    """A stable offset per collector, so that many with one rhythm do not all look at the same instant."""
    share = int.from_bytes(blake2b(name.encode(), digest_size=2).digest()) / 65_536
    return min(every / 10, timedelta(seconds=10)) * share
