"""The daemon's own numbers, in one registry per daemon. Items have their own exposition."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from expiryd.api import AuthError, DeliveryError, PermanentError, TransientError
from expiryd.core.model import Event, EventKind
from expiryd.store.port import Fate, Look, Outcome

_LOOK_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)
_OUTCOMES = ("delivered", "failed", "ambiguous", "rate-limited", "refused", "auth-failed")
_SEND_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60)


class Metrics:
    """Counts what happens. Gauges that mirror state are set by whoever scrapes."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._collectors: set[str] = set()
        self._notifiers: set[str] = set()
        counter, gauge = self._counter, self._gauge
        self._up = gauge("collector_up", "1 while the last look saw the source, else 0.", "collector")
        self._collected = gauge("collector_items", "Items the last look saw.", "collector")
        self._last_good = gauge(
            "collector_last_success_timestamp_seconds", "When a look was last complete.", "collector"
        )
        self._looks = counter("collector_looks", "Looks by how they ended.", "collector", "outcome")
        self._took = Histogram(
            "expiryd_collector_duration_seconds",
            "How long looks took.",
            ["collector"],
            buckets=_LOOK_BUCKETS,
            registry=self.registry,
        )
        self._overruns = counter(
            "collector_overruns", "Looks skipped because the one before was not over.", "collector"
        )
        self._events = counter("events", "Transitions of alerts.", "kind")
        self._notifications = counter("notifications", "Attempts to deliver a message.", "notifier", "outcome")
        self._suppressed = counter("notifications_suppressed", "Events not sent on purpose.", "reason")
        self._latency = Histogram(
            "expiryd_notification_latency_seconds",
            "How long receivers took to answer.",
            ["notifier"],
            buckets=_SEND_BUCKETS,
            registry=self.registry,
        )
        self._last_delivery = gauge(
            "notifier_last_delivery_timestamp_seconds", "When a message was last delivered.", "notifier"
        )
        self._reload_ok = gauge("config_last_reload_successful", "1 when the running config is the one on disk.")
        self._reload_at = gauge(
            "config_last_reload_success_timestamp_seconds", "When a config was last taken into use."
        )
        self._config = gauge("config_info", "The running config.", "hash")
        self._loop_lag = gauge("loop_lag_seconds", "How late the event loop last was.")
        gauge("build_info", "The running version.", "version").labels(version).set(1)
        for kind in EventKind:
            self._events.labels(kind.value)
        for reason in (Fate.SUPPRESSED, Fate.SUPERSEDED):
            self._suppressed.labels(reason.value)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def looked(self, look: Look, seconds: float | None = None) -> None:
        self._up.labels(look.collector).set(0 if look.outcome is Outcome.BLIND else 1)
        self._collected.labels(look.collector).set(look.items)
        if seconds is not None:
            self._looks.labels(look.collector, look.outcome.value).inc()
            self._took.labels(look.collector).observe(seconds)
        if look.outcome is Outcome.COMPLETE:
            self._last_good.labels(look.collector).set(look.finished_at.timestamp())

    def collectors(
        self, names: Iterable[str], last_looks: Mapping[str, Look], last_good: Mapping[str, datetime]
    ) -> None:
        """Exactly the configured collectors have series, with what was known of them before."""
        wanted = set(names)
        for name in self._collectors - wanted:
            for family in (self._up, self._collected, self._last_good, self._took, self._overruns):
                with suppress(KeyError):
                    family.remove(name)
            for outcome in Outcome:
                self._looks.remove(name, outcome.value)
        for name in wanted - self._collectors:
            self._overruns.labels(name)
            for outcome in Outcome:
                self._looks.labels(name, outcome.value)
            if name in last_looks:
                self.looked(last_looks[name])
            if name in last_good:
                self._last_good.labels(name).set(last_good[name].timestamp())
        self._collectors = wanted

    def notifiers(self, names: Iterable[str]) -> None:
        """Every configured notifier has its series from the start, so that the first failure is an increase too."""
        wanted = set(names)
        for name in self._notifiers - wanted:
            self._latency.remove(name)
            with suppress(KeyError):
                self._last_delivery.remove(name)
            for outcome in _OUTCOMES:
                self._notifications.remove(name, outcome)
        for name in wanted - self._notifiers:
            self._latency.labels(name)
            for outcome in _OUTCOMES:
                self._notifications.labels(name, outcome)
        self._notifiers = wanted

    def last_deliveries(self, times: Mapping[str, datetime]) -> None:
        """As the store knows them, also from before the start."""
        for name in self._notifiers & times.keys():
            self._last_delivery.labels(name).set(times[name].timestamp())

    def overrun(self, collector: str) -> None:
        self._overruns.labels(collector).inc()

    def happened(self, events: Iterable[Event]) -> None:
        for kind, count in Tally(event.kind for event in events).items():
            self._events.labels(kind.value).inc(count)

    def delivered(self, notifier: str, at: datetime) -> None:
        self._notifications.labels(notifier, "delivered").inc()
        self._last_delivery.labels(notifier).set(at.timestamp())

    def failed(self, notifier: str, failure: DeliveryError) -> None:
        self._notifications.labels(notifier, _outcome(failure)).inc()

    def suppressed(self, reason: str, count: int) -> None:
        self._suppressed.labels(reason).inc(count)

    def latency(self, notifier: str, seconds: float) -> None:
        self._latency.labels(notifier).observe(seconds)

    def reloaded(self, at: datetime, config_hash: str) -> None:
        self._reload_ok.set(1)
        self._reload_at.set(at.timestamp())
        self._config.clear()
        self._config.labels(config_hash).set(1)

    def reload_failed(self) -> None:
        self._reload_ok.set(0)

    def lag(self, seconds: float) -> None:
        self._loop_lag.set(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"expiryd_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"expiryd_{name}", text, labels, registry=self.registry)


def _outcome(failure: DeliveryError) -> str:
    if isinstance(failure, AuthError):
        return "auth-failed"
    if isinstance(failure, PermanentError):
        return "refused"
    if isinstance(failure, TransientError) and failure.retry_after is not None:
        return "rate-limited"
    return "ambiguous" if isinstance(failure, TransientError) and failure.ambiguous else "failed"
