"""Certificates as servers serve them: every address of every target, over TLS and STARTTLS, with the whole chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from expiryd.api import Blind, Collector, CollectorConfig, Duration, OneOrMore, Reading, Share, Tools
from expiryd.collectors._chain import ChainJudge, Limits
from expiryd.collectors._files import read_bounded
from expiryd.collectors._tls_dns import BulkResolver, ResolveError, Resolver
from expiryd.collectors._tls_item import KIND, Endpoint, read
from expiryd.collectors._tls_probe import Probe, Served, Step, Unreached
from expiryd.collectors._tls_target import Target, normalise_host, parse_target, redact
from expiryd.collectors._trust import Trust

_MAX_FILE = 16 * 1024 * 1024
_MAX_ADDRESSES = 16

_Deadline = Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=5))]


class TlsConfig(CollectorConfig):
    """`targets` and `targets_file` (one a line, `#` comments) together say where to look."""

    type: Literal["tls"]
    targets: Annotated[tuple[str, ...], OneOrMore] = ()
    targets_file: Path | None = None
    server_name: str | None = None
    ca_file: Path | None = None
    addresses: Literal["all", "any"] = "all"
    concurrency: int = Field(50, ge=1, le=2000)
    dns_timeout: _Deadline = timedelta(seconds=5)
    connect_timeout: _Deadline = timedelta(seconds=5)
    tls_timeout: _Deadline = timedelta(seconds=10)

    @field_validator("targets")
    @classmethod
    def _each_is_a_target(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        faults = []
        for text in targets:
            try:
                parse_target(text)
            except ValueError as error:
                faults.append(f"{redact(text)}: {error}")
        if faults:
            raise ValueError("; ".join(faults))
        return targets

    @field_validator("server_name")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is None:
            return None
        host, literal = normalise_host(name)
        if literal:
            raise ValueError("server_name is a name; TLS sends no address as one")
        return host

    @model_validator(mode="after")
    def _looks_somewhere(self) -> TlsConfig:
        if not self.targets and self.targets_file is None:
            raise ValueError("give targets, targets_file or both")
        return self

    def build(self, tools: Tools) -> TlsCollector:
        return TlsCollector(self, tools, BulkResolver())


class TlsCollector(Collector):
    """A fixed crew of workers takes targets from one iterator: a probe costs memory only while it is in flight."""

    network = True

    def __init__(self, config: TlsConfig, tools: Tools, resolver: Resolver) -> None:
        self._config = config
        self._clock = tools.clock
        self._log = tools.log
        self._resolver = resolver
        self._probe = Probe(config.connect_timeout.total_seconds(), config.tls_timeout.total_seconds())
        self._judge: ChainJudge | None = None

    async def look(self) -> AsyncIterator[Reading]:
        """Readings come in the order in which their probes end. Raises CollectError for a file that can't be read."""
        judge = await self._ready_judge()
        targets = _each_once([*self._config.targets, *await self._listed()])
        seen: asyncio.Queue[Reading | None] = asyncio.Queue()
        room = asyncio.Semaphore(2 * self._config.concurrency)  # readings made and not yet taken
        loop = asyncio.get_running_loop()
        crew = [loop.create_task(self._work(targets, judge, room, seen)) for _ in range(self._config.concurrency)]
        for worker in crew:
            worker.add_done_callback(lambda _: seen.put_nowait(None))
        try:
            working = len(crew)
            while working:
                if (reading := await seen.get()) is None:
                    working -= 1
                    continue
                yield reading
                room.release()
            for worker in crew:
                worker.result()
        finally:
            for worker in crew:
                worker.cancel()
            await asyncio.gather(*crew, return_exceptions=True)

    async def aclose(self) -> None:
        await self._resolver.aclose()

    async def _work(
        self, targets: Iterator[str], judge: ChainJudge, room: asyncio.Semaphore, seen: asyncio.Queue[Reading | None]
    ) -> None:
        for text in targets:
            await room.acquire()
            seen.put_nowait(await self._observe(text, judge))

    async def _observe(self, text: str, judge: ChainJudge) -> Reading:
        try:
            target = parse_target(text)
        except ValueError as error:
            return Blind(redact(text), str(error), KIND)
        return read(await self._visit(target), judge, self._clock.now())

    async def _visit(self, target: Target) -> Endpoint:
        server_name = self._config.server_name or target.host
        # An address is never sent as a server name (RFC 6066, 3).
        sni = "" if server_name == target.host and target.literal else server_name
        served: list[Served] = []
        unreached: dict[str, Unreached] = {}
        try:
            addresses = await self._resolve(target)
        except Unreached as reason:
            return Endpoint(target, server_name, served, {target.host: reason})
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                served.append(await self._probe.fetch(target, address, sni))
            except Unreached as reason:
                unreached[address] = reason
                continue
            if self._config.addresses == "any":
                # One that answers is all that was asked for.
                return Endpoint(target, server_name, served, {})
        return Endpoint(target, server_name, served, unreached, max(0, len(addresses) - _MAX_ADDRESSES))

    async def _resolve(self, target: Target) -> Sequence[str]:
        if target.literal:
            return [target.host]
        seconds = self._config.dns_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._resolver.resolve(target.host)
        except TimeoutError:
            raise Unreached(Step.DNS, f"was not resolved within {seconds:g} s") from None
        except ResolveError as error:
            raise Unreached(Step.DNS, f"has no address: {error}") from None

    async def _ready_judge(self) -> ChainJudge:
        """Made at the first look: reading a few hundred authorities takes time, and a file may be missing."""
        if self._judge is None:
            trust = await asyncio.to_thread(Trust, self._config.ca_file)
            if trust.empty:
                self._log.warning("tls.no_trust_store", hint="install ca-certificates or set ca_file")
            defaults = Limits()
            limits = Limits(
                _span_or(self._config.warning, defaults.warning), _span_or(self._config.critical, defaults.critical)
            )
            self._judge = ChainJudge(trust, limits)
        return self._judge

    async def _listed(self) -> list[str]:
        path = self._config.targets_file
        return [] if path is None else await asyncio.to_thread(_read_targets, path)


def _span_or(lead: timedelta | Share | None, default: timedelta) -> timedelta:
    """A share is one of the leaf's life, which says nothing of the certificates above it."""
    return lead if isinstance(lead, timedelta) else default


def _read_targets(path: Path) -> list[str]:
    lines = read_bounded(path, _MAX_FILE).decode("utf-8", "replace").splitlines()
    return [text for line in lines if (text := line.partition("#")[0].strip())]


def _each_once(texts: Iterable[str]) -> Iterator[str]:
    return iter(dict.fromkeys(text.strip() for text in texts))
