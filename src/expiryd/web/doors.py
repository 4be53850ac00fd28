"""The doors as the operating system sees them: the unix socket, the TCP sockets, the certificate."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from expiryd.api import Clock, ExpirydError, Log
from expiryd.config.model import HttpConfig

SOCKET_MODE = 0o660
LOOK_AGAIN = timedelta(minutes=1)
UNREAD = 60_000
"""Milliseconds after which a client that takes nothing of its answer is let go."""
_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


class CannotListen(ExpirydError):
    """An address, socket or certificate of the HTTP server cannot be had."""


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A bound socket for owner and group, in place of a stale one; its file goes with the context."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as door:
        try:
            if path.is_socket():  # of a daemon that is gone: the state's lock is ours
                path.unlink()
            os.fchmod(door.fileno(), SOCKET_MODE)  # before it has a name: at no moment may others open it
            door.bind(str(path))
            path.chmod(SOCKET_MODE)  # whatever the umask took
        except OSError as error:
            long = len(os.fsencode(path)) > 107
            hint = "; daemon.state_dir is too long for a unix socket (107 bytes)" if long else ""
            raise CannotListen(f"cannot listen on {path}: {error.strerror or error}{hint}") from None
        try:
            yield door
        finally:
            if path.is_socket():
                path.unlink()


@contextmanager
def tcp_sockets(config: HttpConfig) -> Iterator[list[socket.socket]]:
    """Bound sockets for every address that `listen` means; of several, those that this machine has."""
    with ExitStack() as stack:
        try:
            found = [stack.enter_context(closing(listener)) for listener in _bind(config)]
        except OSError as error:
            raise CannotListen(f'http.listen = "{config.listen}": {_why(error)}') from None
        yield found


def _bind(config: HttpConfig) -> Iterator[socket.socket]:
    host, port = config.address or ("", 0)
    flags = socket.AI_PASSIVE | socket.AI_NUMERICSERV
    absent: list[OSError] = []
    meant = socket.getaddrinfo(host or None, port, 0, socket.SOCK_STREAM, 0, flags)
    for family, kind, protocol, _, address in meant:
        try:
            yield _bound(socket.socket(family, kind, protocol), address)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            absent.append(error)
    if len(absent) == len(meant):
        raise absent[0]


def _bound(listener: socket.socket, address: tuple[object, ...]) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD)  # accepted ones inherit it
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "something else listens there already: stop it or choose another port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need a privilege: choose another port"
    return f"cannot listen there: {error.strerror or error}"


def tls_context(config: HttpConfig) -> ssl.SSLContext | None:
    """Raises CannotListen when certificate and key cannot be used."""
    if config.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, config)
    return context


def _load(context: ssl.SSLContext, config: HttpConfig) -> None:
    try:
        context.load_cert_chain(str(config.tls_certificate), config.tls_key, password=_no_password)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        both = f"http.tls_certificate = {config.tls_certificate}, http.tls_key = {config.tls_key}"
        raise CannotListen(f"{both}: cannot be used: {why}; both are PEM files, the key without a password") from None


async def renew(context: ssl.SSLContext, config: HttpConfig, clock: Clock, log: Log) -> None:
    """For ever: when the files change, new connections get the new certificate. A broken one is not taken."""
    served = _versions(config)
    while True:
        await clock.sleep(LOOK_AGAIN)
        if (there := _versions(config)) == served:
            continue
        served = there
        try:
            tls_context(config)  # tried apart: a key that does not fit must not spoil the live one
            _load(context, config)
        except CannotListen as problem:
            log.error("certificate.rejected", problem=str(problem))
        else:
            log.info("certificate.renewed", path=str(config.tls_certificate))


def _versions(config: HttpConfig) -> list[tuple[int, int]]:
    versions = []
    for path in (config.tls_certificate, config.tls_key):
        try:
            found = path.stat() if path else None
        except OSError:
            found = None
        versions.append((found.st_ino, found.st_mtime_ns) if found else (0, 0))
    return versions


def _no_password() -> str:
    """Instead of asking on the terminal."""
    raise ValueError("the key is encrypted")
