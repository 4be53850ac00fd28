"""The daemon's numbers as health tells them, read off its state and its own metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from expiryd.core.model import Severity
from expiryd.engine.daemon import Daemon
from expiryd.store.port import Fate, Outbox, Outcome

OWED = (Fate.PENDING, Fate.LEASED)


class Samples:
    """Every sample of a registry, once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._all = [sample for family in registry.collect() for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        wanted = labels.items()
        return sum(sample.value for sample in self._all if sample.name == name and wanted <= sample.labels.items())


def item_totals(daemon: Daemon) -> dict[str, int]:
    """`total` and how many there are of each severity."""
    by: Counter[Severity] = Counter()
    for (_, severity), count in daemon.ledger.counts.items():
        by[severity] += count
    return {"total": sum(by.values()), **{severity.word: by[severity] for severity in reversed(Severity)}}


def performance(daemon: Daemon, outbox: Outbox | None) -> dict[str, dict[str, Any]]:
    """Shares are from 0 to 1 since the start, seconds and bytes as they are called; null is what is not known."""
    seen = Samples(daemon.metrics.registry)
    total = seen.total
    looks = total("expiryd_collector_looks_total")
    complete = total("expiryd_collector_looks_total", outcome=Outcome.COMPLETE.value)
    sent, delivered = total("expiryd_notifications_total"), total("expiryd_notifications_total", outcome="delivered")
    counts: Mapping[tuple[str, Fate], int] = outbox.counts if outbox else {}
    waited = (daemon.clock.now() - outbox.oldest).total_seconds() if outbox and outbox.oldest else None
    took = total("expiryd_collector_duration_seconds_sum")
    return {
        "executionMetrics": {
            "looks": int(looks),
            "looksUnderWay": sum(daemon.graph.looks.runs(name) for name in daemon.graph.collectors),
            "looksOverrun": int(total("expiryd_collector_overruns_total")),
            "averageLookSeconds": _share(took, looks),
            "events": int(total("expiryd_events_total")),
            "messagesAttempted": int(sent),
            "messagesDelivered": int(delivered),
        },
        "resourceMetrics": {
            "residentBytes": int(total("process_resident_memory_bytes")),
            "cpuSeconds": round(total("process_cpu_seconds_total"), 3),
            "openFiles": int(total("process_open_fds")),
            "openFilesLimit": int(total("process_max_fds")),
            "loopLagSeconds": round(total("expiryd_loop_lag_seconds"), 4),
        },
        "reliabilityMetrics": {
            "successRate": _share(complete + delivered, looks + sent),
            "lookSuccessRate": _share(complete, looks),
            "deliverySuccessRate": _share(delivered, sent),
            "parcelsOwed": sum(n for (_, fate), n in counts.items() if fate in OWED) if outbox else None,
            "parcelsDead": sum(n for (_, fate), n in counts.items() if fate is Fate.DEAD) if outbox else None,
            "oldestOwedSeconds": None if waited is None else max(waited, 0.0),  # what is held counts from its release
        },
    }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
