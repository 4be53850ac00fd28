"""One probe of one address: TCP, a STARTTLS prologue where the protocol has one, the TLS handshake, the chain served.

Nothing is judged here and nothing is trusted: the handshake runs unverified, and the chain is kept also when the
handshake fails after it was sent. Every step has a deadline, everything read is bounded, nothing waits for a close.
"""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass, replace
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from expiryd.collectors._starttls import PROLOGUES, PrologueError
from expiryd.collectors._tls_target import Target
from expiryd.collectors._tls_wire import Wire

MAX_CHAIN = 10
_REFUSAL_GRACE = 1.0  # seconds a TLS 1.3 server has to refuse a client that came without a certificate
_CERTIFICATE_REQUEST = b"SSLv3/TLS read server certificate request"  # TLS 1.3 uses the same words
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Step(StrEnum):
    """Where a probe ended."""

    DNS = "DNS"
    TCP = "TCP"
    STARTTLS = "STARTTLS"
    TLS = "TLS"


@dataclass(frozen=True, slots=True)
class Served:
    """What one address served.

    `chain` is DER, starts with the leaf and holds at most MAX_CHAIN of the `count` certificates sent. `weak`: why
    modern settings were refused, when only permissive ones got through. `broken_off`: why the handshake did not finish
    although the chain was sent.
    """

    address: str
    chain: tuple[bytes, ...]
    count: int
    version: str
    client_certificate_required: bool = False
    weak: str = ""
    broken_off: str = ""


class Unreached(Exception):
    """The handshake was not reached or not finished. The message is a phrase whose subject is the server.

    `partial`: what was served all the same. `no_route`: this machine itself has no way to such an address.
    `hopeless`: other TLS settings would not help.
    """

    def __init__(
        self,
        step: Step,
        reason: str,
        *,
        partial: Served | None = None,
        no_route: bool = False,
        hopeless: bool = True,
    ) -> None:
        super().__init__(reason)
        self.step = step
        self.partial = partial
        self.no_route = no_route
        self.hopeless = hopeless


class Probe:
    """Probes addresses with three contexts made once. Holds no connection between probes.

    Deadlines are in seconds; `handshake_timeout` holds for the prologue and the handshake together.
    """

    def __init__(self, connect_timeout: float, handshake_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._handshake_timeout = handshake_timeout
        self._swift = _swift_context()
        self._modern = _modern_context()
        self._permissive = _permissive_context()

    async def fetch(self, target: Target, address: str, server_name: str) -> Served:
        """`server_name` is sent as SNI; empty sends none. Raises Unreached when no certificate was seen.

        A server that does not agree to the cheapest settings is asked again with usual ones, then with permissive.
        """
        refusal: Unreached | None = None
        partial: Served | None = None
        for context in (self._swift, self._modern, self._permissive):
            try:
                served = await self._attempt(context, target, address, server_name)
            except Unreached as error:
                partial = partial or error.partial
                if refusal is None or (context is self._modern and error.step is Step.TLS):
                    refusal = error
                if error.hopeless:
                    break
            else:
                # With TLS 1.3 it was not the settings: the server is out of breath at times.
                outdated = context is self._permissive and served.version != "TLSv1.3"
                return replace(served, weak=str(refusal)) if outdated else served
        if partial is not None:
            return partial
        raise refusal or AssertionError

    async def _attempt(self, context: SSL.Context, target: Target, address: str, server_name: str) -> Served:
        connection = SSL.Connection(context, None)
        connection.set_connect_state()
        if server_name:
            connection.set_tlsext_host_name(server_name.encode("ascii"))
        wire = Wire(connection, plain=bool(target.protocol))
        try:
            await self._talk(wire, target, address)
            served = _gather(connection, address)
            asked = connection.get_app_data() is True or bool(connection.get_client_ca_list())
            if not wire.failure and served is not None:
                if asked and await _is_refused(wire):
                    return replace(served, client_certificate_required=True)
                return served
        finally:
            wire.abort()
        if served is None:
            raise Unreached(Step.TLS, wire.failure or "presented no certificate", hopeless=wire.hopeless)
        if asked and not wire.hopeless:
            return replace(served, client_certificate_required=True)
        partial = replace(served, broken_off=wire.failure)
        raise Unreached(Step.TLS, wire.failure, partial=partial, hopeless=wire.hopeless)

    async def _talk(self, wire: Wire, target: Target, address: str) -> None:
        """Up to the end of the handshake, which `wire` tells of."""
        await self._connect(wire, address, target.port)
        seconds = self._handshake_timeout
        # A timer that ends the wire is a tenth of the cost of one that cancels the task.
        timer = asyncio.get_running_loop().call_later(seconds, wire.expire, seconds)
        try:
            if target.protocol:
                await PROLOGUES[target.protocol](wire, target.host)
            await wire.shake_hands()
        except PrologueError as error:
            raise Unreached(Step.STARTTLS, f"{error} ({target.protocol})") from None
        finally:
            timer.cancel()

    async def _connect(self, wire: Wire, address: str, port: int) -> None:
        seconds = self._connect_timeout
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().create_connection(lambda: wire, address, port)
        except TimeoutError:
            reason = f"did not answer on port {port} within {seconds:g} s: host down, or a firewall drops packets"
            raise Unreached(Step.TCP, reason) from None
        except ConnectionRefusedError:
            raise Unreached(Step.TCP, f"refuses connections on port {port}: does the service run?") from None
        except OSError as error:
            number = error.errno or 0
            words = os.strerror(number) if number > 0 else error.strerror or str(error)  # a resolver's are negative
            no_route = number in _NO_ROUTE
            raise Unreached(Step.TCP, f"can't be reached on port {port}: {words}", no_route=no_route) from None


async def _is_refused(wire: Wire) -> bool:
    """A TLS 1.3 client is done before the server has looked for the client's certificate: the verdict comes after."""
    try:
        async with asyncio.timeout(_REFUSAL_GRACE):
            return await wire.hear_refusal()
    except TimeoutError:
        return False


def _gather(connection: SSL.Connection, address: str) -> Served | None:
    """As bytes: a chain seen before need not be parsed again."""
    sent = connection.get_peer_cert_chain()
    if not sent:
        return None
    chain = tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in sent[:MAX_CHAIN])
    return Served(address, chain, len(sent), connection.get_protocol_version_name())


def _swift_context() -> SSL.Context:
    """TLS 1.2 and later by the cheapest means every TLS 1.3 server must have (RFC 8446, 9.1): secp256r1 and AES-128.

    OpenSSL's defaults make an ML-KEM and an X25519 key share for each greeting, a fifth of a probe's CPU.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tmp_ecdh(ec.SECP256R1())
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
    return context


def _modern_context() -> SSL.Context:
    """TLS 1.2 and later, OpenSSL's own defaults; notes a certificate request that names no authority, too."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_info_callback(_note_certificate_request)
    return context


def _permissive_context() -> SSL.Context:
    """All that OpenSSL can still be brought to speak, TLS 1.0 and small keys included: to see a date, not to trust."""
    context = _modern_context()
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(b"ALL:!aNULL:@SECLEVEL=0")
    context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)
    return context


def _note_certificate_request(connection: SSL.Connection, where: int, result: int) -> None:
    """OpenSSL tells each state it passes; this one is told nowhere else."""
    if where == SSL.SSL_CB_CONNECT_LOOP and connection.get_state_string() == _CERTIFICATE_REQUEST:
        connection.set_app_data(True)
