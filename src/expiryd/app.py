"""Puts the daemon together, runs it, and takes it apart in reverse: the only place that knows the concrete parts."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from pydantic import SecretStr

from expiryd import __version__, log
from expiryd.api import Clock, ExpirydError, Log, SecretError, SecretRef, Tools
from expiryd.audit.chain import derive_key
from expiryd.audit.trail import DIRECTORY as AUDIT
from expiryd.audit.trail import Keeping, Trail
from expiryd.config.errors import ConfigError, ConfigProblem
from expiryd.config.load import load
from expiryd.config.model import Config
from expiryd.config.walk import secret_refs
from expiryd.engine.auditing import Auditor
from expiryd.engine.client import open_client
from expiryd.engine.clock import SystemClock, uptime
from expiryd.engine.daemon import Daemon
from expiryd.engine.memory import collect_less_often
from expiryd.engine.metrics import Metrics
from expiryd.redact import Redactor
from expiryd.registry import discover
from expiryd.secrets import KEY_NAME, Fingerprint, Secrets, load_fingerprint_key
from expiryd.store.connect import database_url as sqlite_url
from expiryd.store.copying import copy_state
from expiryd.store.port import Store
from expiryd.store.sql import SqlStore
from expiryd.systemd import Service, watchdog_interval
from expiryd.web.foresight import outlook
from expiryd.web.server import serve

THREADS = 16
SOCKET_NAME = "expiryd.sock"


class AlreadyRunning(ExpirydError):
    """Another daemon works with the same state."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What comes from outside. Tests replace `clock` and `make_store`; nothing else is replaceable."""

    paths: Sequence[Path]
    environ: Mapping[str, str]
    immediate: bool = False
    dry_run: bool = False
    clock: Clock | None = None
    make_store: Callable[[str], Store] = SqlStore


async def load_config(paths: Sequence[Path], environ: Mapping[str, str], secrets: Secrets) -> Config:
    """The config, with every secret it names proven to be there. Raises ConfigError with all problems at once."""
    collectors, notifiers = discover()
    config = await asyncio.to_thread(load, paths, environ=environ, collectors=collectors, notifiers=notifiers)
    problems = []
    for path, ref in secret_refs(config):
        if ref.command is not None or ref.age is not None:
            continue  # may ask a person or take seconds: read when it is needed
        try:
            await secrets.read(ref)
        except SecretError as missing:
            problems.append(ConfigProblem(path, str(missing)))
    if problems:
        raise ConfigError(problems)
    return config


async def database_url(config: Config, secrets: Secrets) -> str:
    """Where the state is kept. Holds the password: not to be shown."""
    database = config.daemon.database
    if database is None:
        return sqlite_url(config.daemon.state_dir / "expiryd.db")
    if isinstance(database, SecretRef):
        return (await secrets.read(database)).reveal()
    return database.get_secret_value() if isinstance(database, SecretStr) else str(database)


async def back_up(config: Config, environ: Mapping[str, str], target: Path) -> None:
    """Copy the state to a new file, also beside a running daemon. Raises StoreError or SecretError."""
    await SqlStore(await database_url(config, Secrets(environ))).backup(target)


async def trail_head(config: Config, environ: Mapping[str, str]) -> tuple[int, str] | None:
    """What the database knows of the end of the audit trail, also beside a running daemon. Raises StoreError."""
    if config.daemon.database is None and not (config.daemon.state_dir / "expiryd.db").exists():
        return None
    store = SqlStore(await database_url(config, Secrets(environ)), exclusive=False)
    try:
        return await store.trail_head()
    finally:
        await store.aclose()


async def run(setting: Setting) -> None:
    """The daemon, until a signal ends it. Raises ConfigError, AlreadyRunning, StoreError or another ExpirydError."""
    # well-known roots have the serial number 0; a negative one is a finding, and neither is for stderr
    warnings.filterwarnings("ignore", message="Parsed a serial number")
    ending, reloading = asyncio.Event(), asyncio.Event()
    _handle_signals(ending, reloading)  # from the first moment on: left alone, SIGHUP and SIGUSR1 end a process
    redactor = Redactor()
    secrets = Secrets(setting.environ, redactor.add)
    config = await load_config(setting.paths, setting.environ, secrets)
    told = config.daemon
    journal = log.configure(level=told.log_level, format=told.log_format, file=told.log_file, redactor=redactor)
    async with AsyncExitStack() as stack:
        stack.callback(journal.close)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, journal.reopen)
        daemon = await _assemble(setting, config, secrets, stack)
        await _live(daemon, setting, ending, reloading, stack=stack)


async def _assemble(setting: Setting, config: Config, secrets: Secrets, stack: AsyncExitStack) -> Daemon:
    clock = setting.clock or SystemClock()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "expiryd"))
    state_dir = key_dir = config.daemon.state_dir
    url = await database_url(config, secrets)
    if setting.dry_run:
        state_dir, url = await _rehearsal(config, url, stack)
        key_dir = key_dir if (key_dir / KEY_NAME).exists() else state_dir
    else:
        _make_directory(state_dir)
    stack.callback(_lock(state_dir))
    fingerprint = Fingerprint(load_fingerprint_key(key_dir))
    store = setting.make_store(url)
    await store.open()
    stack.push_async_callback(store.aclose)
    http = await stack.enter_async_context(open_client())
    logger: Log = structlog.get_logger()
    daemon: Daemon

    def tools_for(name: str) -> Tools:
        return Tools(
            name=name,
            clock=daemon.clock,
            http=http,
            log=structlog.get_logger(plugin=name),
            secret=secrets.read,
            fingerprint=fingerprint,
            installation=daemon.ledger.installation,
        )

    daemon = Daemon(
        store=store,
        clock=clock,
        log=logger,
        metrics=Metrics(__version__),
        load=lambda: load_config(setting.paths, setting.environ, secrets),
        tools_for=tools_for,
        rehearse=setting.dry_run,
        adopted=lambda config: log.set_level(config.daemon.log_level),
    )
    if not setting.dry_run:
        kept = config.daemon.retention
        keeping = Keeping(age=kept.audit, total_bytes=kept.audit_size)
        trail = Trail(state_dir / AUDIT, derive_key(load_fingerprint_key(key_dir)), keeping)
        daemon.auditor = Auditor(
            store,
            trail,
            daemon.clock,
            logger,
            daemon.voice.complain_of_trail,
            is_quiet=lambda: not daemon.ledger.lock.locked(),
        )
    await daemon.prepare(config)
    stack.push_async_callback(daemon.stop, config.daemon.drain)
    return daemon


async def _live(
    daemon: Daemon, setting: Setting, ending: asyncio.Event, reloading: asyncio.Event, *, stack: AsyncExitStack
) -> None:
    """Serve, tell systemd, and wait for the end."""
    config = daemon.graph.config
    if not setting.dry_run:  # a rehearsal must not take the doors of the daemon that runs beside it
        ahead = outlook(setting.paths, setting.environ)
        await stack.enter_async_context(serve(daemon, config.daemon.state_dir / SOCKET_NAME, ahead))
    daemon.begin(immediate=setting.immediate)  # the doors come first: who cannot be asked must not begin to tell
    service = Service.of(setting.environ)
    feed = watchdog_interval(setting.environ) or timedelta(seconds=10)
    async with asyncio.TaskGroup() as group:
        group.create_task(_feed(daemon, service, feed, ending))
        group.create_task(_reload_on(daemon, service, reloading, ending))
        daemon.log.info("daemon.ready", version=__version__, items=len(daemon.ledger), config=config.hash[:12])
        service.ready(daemon.summary())
        await ending.wait()
        reloading.set()
    service.stopping("draining")
    daemon.log.info("daemon.stopping")


async def _reload_on(daemon: Daemon, service: Service, asked: asyncio.Event, ending: asyncio.Event) -> None:
    while True:
        await asked.wait()
        if ending.is_set():
            return
        asked.clear()
        service.reloading(uptime())
        try:
            await daemon.reload()
            service.ready(daemon.summary())
        except (ExpirydError, ValueError) as problem:
            # kept, logged and counted by the daemon; systemd is told that the old one goes on
            service.ready(f"kept the old configuration: {str(problem).splitlines()[0]}")


async def _feed(daemon: Daemon, service: Service, every: timedelta, ending: asyncio.Event) -> None:
    """Feed the watchdog only while the scheduler, the pulse, the store and every courier really move."""
    gc.freeze()  # what is loaded by now lives as long as the process: no collection need walk it again
    collect_less_often()
    young = True
    while not ending.is_set():
        if stuck := daemon.stuck():
            daemon.log.error("daemon.stuck", parts=stuck)
        else:
            service.watchdog()
        service.status(daemon.summary())
        try:
            async with asyncio.timeout(every.total_seconds()):
                await ending.wait()
        except TimeoutError:
            if young and daemon.has_looked:
                gc.freeze()  # so do the items: with 100,000 of them a collection would hold the loop for 0.3 s
                young = False


def _handle_signals(ending: asyncio.Event, reloading: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        ending.set()
        loop.remove_signal_handler(number)  # the second one ends the process at once

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    loop.add_signal_handler(signal.SIGHUP, reloading.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)  # until there is a log file to open again


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([ConfigProblem("daemon.state_dir", f"cannot make {path}: {error.strerror}")]) from None


def _lock(state_dir: Path) -> Callable[[], None]:
    """Held on an open descriptor, so that it ends with the process however that ends."""
    path = state_dir / "expiryd.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        problem = f"{path} cannot be opened for writing by this user: {error.strerror}"
        raise ConfigError([ConfigProblem("daemon.state_dir", problem)]) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise AlreadyRunning(f"another expiryd (pid {holder or 'unknown'}) works with {state_dir}") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return lambda: os.close(descriptor)


async def _rehearsal(config: Config, url: str, stack: AsyncExitStack) -> tuple[Path, str]:
    """A dry run works on a copy of the state, so that nobody counts as told."""
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="expiryd-dry-run-")))
    target = directory / "expiryd.db"
    if config.daemon.database is not None or (config.daemon.state_dir / "expiryd.db").exists():
        await copy_state(url, target)
    return directory, sqlite_url(target)
