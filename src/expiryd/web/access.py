"""Who may do what: bearer tokens with roles over TCP, the user's own name on the unix socket."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import pwd
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import web

from expiryd.api import Clock, Log
from expiryd.config.model import HttpToken
from expiryd.web.route import Caller, Problem, Right, Route

ROLES: Mapping[str, frozenset[Right]] = {
    "viewer": frozenset({Right.READ}),
    "operator": frozenset({Right.READ, Right.ACT}),
    "auditor": frozenset({Right.READ, Right.AUDIT}),
    "admin": frozenset(Right),
}
ANYBODY = Caller("anybody")
LOCAL = Caller("a local process", ROLES["viewer"])
WINDOW = timedelta(minutes=1)
MOST_GUESSES = 20
"""So many different wrong tokens of one address in a window look like guessing."""
_MOST_ADDRESSES = 1000
_LOCAL_HOST = re.compile(r"(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d+)?", re.IGNORECASE)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOW_TO_READ = "add [http.tokens.NAME] to the configuration and send `Authorization: Bearer TOKEN`"
_HOW_TO_WRITE = f"{_HOW_TO_READ}, or use the unix socket in the daemon's state directory"


@dataclass(slots=True)
class _Guesses:
    """The different wrong tokens of one address. The same one again (a forgotten client) is not a guess."""

    since: float
    tried: set[bytes] = field(default_factory=set)


class Access:
    """Admits callers. Remembers only who guesses."""

    def __init__(self, tokens: Mapping[str, HttpToken], clock: Clock, log: Log) -> None:
        self._tokens = tokens
        self._clock = clock
        self._log = log
        self._guesses: dict[str, _Guesses] = {}

    async def admit(self, request: web.Request, route: Route) -> Caller:
        """The caller, who has the right that the route needs. Raises Problem (401, 403 or 429)."""
        if request.method not in _SAFE_METHODS:
            refuse_other_sites(request)
        if route.right is None and not route.named:
            return ANYBODY
        caller = await self._identify(request, writes=request.method not in _SAFE_METHODS)
        if route.right is None or caller.may(route.right):
            return caller
        raise self._refusal(caller, route.right)

    def _refusal(self, caller: Caller, right: Right) -> Problem:
        if not self._tokens:
            if right is Right.READ:
                return Problem(403, f"without tokens only this machine itself may read: {_HOW_TO_READ}")
            barred = "change anything" if right is Right.ACT else "read the audit trail"
            return Problem(403, f"without tokens nobody may {barred} over TCP: {_HOW_TO_WRITE}")
        if caller is ANYBODY:
            challenge = {"WWW-Authenticate": 'Bearer realm="expiryd"'}
            return Problem(401, "send `Authorization: Bearer TOKEN` with a token of [http.tokens]", challenge)
        roles = " or ".join(role for role, rights in ROLES.items() if right in rights)
        return Problem(403, f"{caller.name} may not do this: it needs the role {roles}")

    async def _identify(self, request: web.Request, *, writes: bool) -> Caller:
        if (user := _user_behind(request)) is not None:
            return Caller(await _name_of(user) if writes else f"uid {user}", ROLES["admin"])
        if not self._tokens:
            return LOCAL if is_local(request.remote, request.headers) else ANYBODY
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return ANYBODY
        return self._check(token.strip() if scheme.lower() == "bearer" else "", request)

    def _check(self, token: str, request: web.Request) -> Caller:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        address, now = _network(request.remote), self._clock.monotonic()
        guesses = self._guesses.get(address)
        if guesses and now - guesses.since >= WINDOW.total_seconds():
            del self._guesses[address]
            guesses = None
        if guesses and len(guesses.tried) >= MOST_GUESSES:
            wait = WINDOW.total_seconds() - (now - guesses.since)
            raise Problem(429, "too many different wrong tokens from this address", {"Retry-After": f"{wait:.0f}"})
        found = None
        for name, known in self._tokens.items():  # all of them: the time taken tells nothing
            if hmac.compare_digest(f"sha256:{digest}", known.hash):
                found = Caller(f"token {name}", ROLES[known.role])
        if found is not None:
            return found
        self._note(address, digest, now)
        raise Problem(401, "this token is not known", {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    def _note(self, address: str, digest: str, now: float) -> None:
        if len(self._guesses) >= _MOST_ADDRESSES:
            del self._guesses[next(iter(self._guesses))]
        guesses = self._guesses.setdefault(address, _Guesses(now))
        before = len(guesses.tried)
        guesses.tried.add(bytes.fromhex(digest)[:8])
        if before == 0 or before < len(guesses.tried) == MOST_GUESSES:
            self._log.warning("access.refused", address=address, different_tokens=len(guesses.tried))


def refuse_other_sites(request: web.Request) -> None:
    """A page of another site must not act with its visitor's access. Raises Problem."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = origin is None or origin.partition("://")[2] == request.headers.get("Host", "")
    if site not in (None, "same-origin", "none") or not own:
        raise Problem(403, "a page of another site may not do this")


def _user_behind(request: web.Request) -> int | None:
    """The numeric user at the other end of a unix socket (SO_PEERCRED, unix(7)); None over TCP."""
    peer = request.transport.get_extra_info("socket") if request.transport else None
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    _, user, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(user)


async def _name_of(user: int) -> str:
    try:
        name = (await asyncio.to_thread(pwd.getpwuid, user)).pw_name
    except KeyError:
        return f"uid {user}"
    # a directory may know users of any name; none may pass for the daemon itself or for a token
    return f"uid {user}" if name == "system" or " " in name or ":" in name else name


def is_local(remote: str | None, headers: Mapping[str, str]) -> bool:
    """Asked by a process of this machine, for itself: not by a proxy, nor by a browser that was lied to (DNS)."""
    address = _address(remote)
    loopback = address is not None and address.is_loopback
    proxied = any(name in headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP"))
    return loopback and not proxied and _LOCAL_HOST.fullmatch(headers.get("Host", "")) is not None


def _network(remote: str | None) -> str:
    """What one guesser can hardly leave: an IPv4 address, or the /64 of an IPv6 one."""
    address = _address(remote)
    return str(ip_network(f"{address}/64", strict=False)) if isinstance(address, IPv6Address) else str(address)


def _address(remote: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(remote or "")
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
