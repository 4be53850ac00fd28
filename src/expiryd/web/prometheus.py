"""`/metrics`: the daemon's own numbers and the ready item series, in the format and coding that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiohttp import web
from prometheus_client import exposition, openmetrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from expiryd.core.model import Severity
from expiryd.engine.daemon import Daemon
from expiryd.engine.deflated import deflate, gzip, inflate
from expiryd.engine.exposition import Exposition, clean
from expiryd.store.port import Fate, Outbox
from expiryd.web.glance import Glance
from expiryd.web.route import Ask, Route

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_EOF = b"# EOF\n"


class Scrape:
    """Answers scrapes. A thing's series ends when the thing is no longer watched, never because it has expired."""

    def __init__(self, daemon: Daemon, items: Exposition, glance: Glance) -> None:
        self._daemon = daemon
        self._items = items
        self._glance = glance

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.show, "Prometheus text or OpenMetrics, gzip.", media="text/plain")]

    async def show(self, ask: Ask) -> web.StreamResponse:
        await self._items.refresh()
        media = negotiate(ask.request.headers.get("Accept", ""))
        outbox = await self._glance.outbox()
        self._daemon.metrics.last_deliveries(outbox.last_delivery if outbox else {})
        own = self._own(outbox, media)
        pieces = [deflate(own), *self._items.pieces, deflate(_EOF if media == OPENMETRICS else b"")]
        answer = web.StreamResponse(headers={"Content-Type": media, "Vary": "Accept, Accept-Encoding"})
        chunks: Iterable[bytes]
        if takes_gzip(ask.request.headers.get("Accept-Encoding", "")):
            packed = gzip(pieces)
            answer.headers["Content-Encoding"] = "gzip"
            answer.content_length = sum(map(len, packed))
            chunks = packed
        else:
            answer.content_length = sum(piece.size for piece in pieces)
            chunks = (chunk for piece in pieces for chunk in inflate(piece))
        await answer.prepare(ask.request)
        if ask.request.method != "HEAD":
            for chunk in chunks:
                await answer.write(chunk)
        return answer

    def _own(self, outbox: Outbox | None, media: str) -> bytes:
        source = _Source(self._daemon, self._items, outbox)
        if media == OPENMETRICS:
            text: bytes = openmetrics.exposition.generate_latest(source)  # type: ignore[no-untyped-call]  # it is not typed
            return text.removesuffix(_EOF)
        return exposition.generate_latest(source)


class _Source(Collector):
    """What is counted as it happens, and what is read off the state now."""

    def __init__(self, daemon: Daemon, items: Exposition, outbox: Outbox | None) -> None:
        self._daemon = daemon
        self._items = items
        self._outbox = outbox

    def collect(self) -> Iterator[Metric]:
        for family in self._daemon.metrics.registry.collect():
            # when a counter was created is of no use to anybody, and one series more each
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
        yield self._item_counts()
        yield self._alerts()
        yield GaugeMetricFamily(
            "expiryd_store_up", "1 while the state can be written.", value=0 if self._daemon.store_error else 1
        )
        if self._outbox is not None:
            yield from self._parcels(self._outbox)

    def _item_counts(self) -> Metric:
        family = GaugeMetricFamily("expiryd_items", "Items watched.", labels=["category", "severity"])
        counts = self._daemon.ledger.counts
        for category in sorted({category for category, _ in counts}):
            for severity in Severity:
                family.add_metric([clean(category), severity.word], counts[category, severity])
        return family

    def _alerts(self) -> Metric:
        family = GaugeMetricFamily(
            "expiryd_alerts", "Open alerts; owed ones wait to be told, or told again.", labels=["severity", "state"]
        )
        for severity in Severity:
            if severity is not Severity.HEALTHY:
                for told, word in ((False, "owed"), (True, "told")):
                    family.add_metric([severity.word, word], self._items.alerts[severity, told])
        return family

    def _parcels(self, outbox: Outbox) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "expiryd_outbox_parcels", "Duties to tell one notifier of one event.", labels=["notifier", "fate"]
        )
        for notifier in sorted({*self._daemon.graph.notifiers, *(name for name, _ in outbox.counts)}):
            for fate in Fate:
                family.add_metric([notifier, fate.value], outbox.counts.get((notifier, fate), 0))
        yield family
        waited = (self._daemon.clock.now() - outbox.oldest).total_seconds() if outbox.oldest else 0
        yield GaugeMetricFamily(
            "expiryd_outbox_oldest_seconds", "How long the oldest parcel has been owed; 0 when none is.", max(waited, 0)
        )


def negotiate(accept: str) -> str:
    """OpenMetrics 1 when it is liked best of what we have, else the text format."""
    best = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for name, wants in _wishes(accept):
        if name in best and wants.get("version", "").partition(".")[0] in ("", "0", "1"):
            best[name] = max(best[name], _quality(wants.get("q", "1")))
    ours, text = best.values()
    return OPENMETRICS if ours > 0 and ours >= text else PLAIN


def takes_gzip(accept_encoding: str) -> bool:
    return any(name == "gzip" and _quality(wants.get("q", "1")) > 0 for name, wants in _wishes(accept_encoding))


def _wishes(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The entries of an Accept header with their parameters."""
    for wish in header.lower().split(","):
        name, *parameters = (part.strip() for part in wish.split(";"))
        yield name, dict(parameter.partition("=")[::2] for parameter in parameters)


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0), 1)
    except ValueError:
        return 0
