"""/metrics of 100,000 items: scrapes and rendering beside prometheus_client with the same series, in the same run.

    python benchmarks/metrics.py [--items 100000] [--rounds 5]

Both render the same 300,000 series (expiry, issued, severity) out of memory in this process; ours also over HTTP, from
the real application on a loopback port. prometheus_client is given ready metric families, which is its fastest way.
Prints medians, ratios, and the longest time that the event loop was held up while everything was rendered anew.

Exit 0: a gzip scrape takes at most 50 ms, and the loop is never held up longer. Exit 1: it does, or something differs.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from expiryd.config.model import Config, DaemonConfig
from expiryd.core.model import Basis, ItemId, ItemState, Lifetime, Observation, Severity, Traits
from expiryd.engine.clock import SystemClock
from expiryd.engine.daemon import Daemon
from expiryd.engine.exposition import EXPIRY, ISSUED, SEVERITY
from expiryd.engine.metrics import Metrics
from expiryd.engine.tasks import Tasks
from expiryd.store.port import Change
from expiryd.store.sql import SqlStore
from expiryd.testing import EPOCH, SilentLog, tools
from expiryd.web.server import application

TARGET_MS = 50.0
COLLECTORS = 8


def make(count: int) -> list[ItemState]:
    traits = [Traits(category="tls", owner=f"team-{n}") for n in range(40)]
    return [
        ItemState(
            ItemId(f"c{n % COLLECTORS}/host-{n:06}.example.com:443"),
            f"c{n % COLLECTORS}",
            Observation(
                f"host-{n:06}.example.com:443",
                kind="x509",
                lifetime=Lifetime(EPOCH + timedelta(minutes=n), EPOCH - timedelta(minutes=n), basis=Basis.VERIFIED),
                traits=traits[n % 40],
            ),
            Severity(n % 5),
            EPOCH,
        )
        for n in range(count)
    ]


class Peer(Collector):
    """The same series through prometheus_client."""

    def __init__(self, states: list[ItemState]) -> None:
        who, dated = ["collector", "item"], ["category", "kind", "owner", "basis"]
        self._families = [
            GaugeMetricFamily(EXPIRY, "End.", labels=who + dated),
            GaugeMetricFamily(ISSUED, "Start.", labels=who + dated),
            GaugeMetricFamily(SEVERITY, "How bad.", labels=[*who, "category"]),
        ]
        for state in states:
            seen, traits, lifetime = state.observation, state.observation.traits, state.observation.lifetime
            assert lifetime is not None
            assert lifetime.expires_at is not None
            assert lifetime.issued_at is not None
            name = [state.collector, seen.id]
            labels = [*name, traits.category, seen.kind, traits.owner, lifetime.basis.value]
            self._families[0].add_metric(labels, lifetime.expires_at.timestamp())
            self._families[1].add_metric(labels, lifetime.issued_at.timestamp())
            self._families[2].add_metric([*name, traits.category], state.severity)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """The median in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def longest_pause(work: Awaitable[object]) -> float:
    """How long the loop was held up at most, in milliseconds, while the work was done."""
    pauses, last = [0.0], time.perf_counter()

    async def watch() -> None:
        nonlocal last
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            pauses.append((now - last) * 1000)
            last = now

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return max(pauses)


async def measure(home: Path, items: int, rounds: int) -> int:
    states = make(items)
    store = SqlStore(f"sqlite:///{home / 'bench.db'}")
    await store.open()
    log, config = SilentLog(), Config(daemon=DaemonConfig(state_dir=home))

    async def load() -> Config:
        return config

    async with aiohttp.ClientSession(auto_decompress=False) as http:
        daemon = Daemon(
            store=store,
            clock=SystemClock(),
            log=log,
            metrics=Metrics("bench"),
            load=load,
            tools_for=lambda name: tools(http, name=name),
        )
        await daemon.prepare(config)
        await store.commit(Change(items=states))
        await daemon.ledger.load()
        tasks = Tasks(log)
        runner = web.AppRunner(application(daemon, tasks), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"

        async def scrape(coding: str) -> bytes:
            async with http.get(url, headers={"Accept-Encoding": coding}) as response:
                return await response.read()

        before = resident()
        started = time.perf_counter()
        pause = await longest_pause(scrape("gzip"))
        first = (time.perf_counter() - started) * 1000
        memory = resident() - before
        zipped = await timed(lambda: scrape("gzip"), rounds)
        plain = await timed(lambda: scrape("identity"), rounds)
        packed = await scrape("gzip")
        await runner.cleanup()
        await tasks.drain(timedelta(0))
    await store.aclose()
    before = resident()
    peer = Peer(states)
    theirs, theirs_plain = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        text = generate_latest(peer)
        theirs_plain.append((time.perf_counter() - started) * 1000)
        gzip.compress(text, 5)
        theirs.append((time.perf_counter() - started) * 1000)
    peer_memory = resident() - before
    text, ours = generate_latest(peer), gzip.decompress(packed)
    series = ours.count(b"\nexpiryd_item_")
    if series != text.count(b"\nexpiryd_item_"):
        print(f"ours are {series} series, the peer's are another number", file=sys.stderr)
        return 1
    peer_zipped, peer_plain = statistics.median(theirs), statistics.median(theirs_plain)
    print(f"{items} items, {series} series, {len(ours) / 1e6:.1f} MB plain, {len(packed) / 1e6:.1f} MB gzip")
    print(
        f"  gzip scrape    {zipped:8.1f} ms, prometheus_client {peer_zipped:8.1f} ms: {zipped / peer_zipped:.4f} of it"
    )
    print(f"  plain scrape   {plain:8.1f} ms, prometheus_client {peer_plain:8.1f} ms: {plain / peer_plain:.4f} of it")
    print(f"  all rendered   {first:8.1f} ms, once per change: {first / peer_zipped:.4f} of every scrape of the peer")
    print(f"  held up        {pause:8.1f} ms of the loop at most; the peer holds it up for all of its scrape")
    print(f"  memory         {memory:8.1f} MB, prometheus_client {peer_memory:8.1f} MB")
    print(f"metrics: {zipped:.1f} ms a gzip scrape; target at most {TARGET_MS:.0f} ms")
    return 0 if max(zipped, pause) <= TARGET_MS else 1


def resident() -> float:
    """MB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="expiryd-bench-") as home,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(measure(Path(home), arguments.items, arguments.rounds))


if __name__ == "__main__":
    sys.exit(main())
