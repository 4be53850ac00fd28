"""The `tls` collector against real servers on loopback: what it shows, what it survives, what it lets go of."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from pydantic import ValidationError
from tests.fakes.tls import (
    NOW,
    Handler,
    Identity,
    after,
    demand_client_certificate,
    intermediate,
    issue,
    root,
    scripted,
    server_context,
    serving,
    tls,
)

from expiryd.api import Basis, Blind, CollectError, Finding, Observation, Reading, Severity
from expiryd.collectors._tls_dns import BulkResolver, ResolveError
from expiryd.collectors.tls import TlsCollector, TlsConfig
from expiryd.testing import FakeClock, readings, tools


class Names:
    """Addresses by name, or the failure to find them."""

    def __init__(self, **names: Sequence[str] | Exception | None) -> None:
        self._names = names
        self.closed = False

    async def resolve(self, host: str) -> Sequence[str]:
        found = self._names.get(host.partition(".")[0], ResolveError("Name or service not known"))
        if found is None:
            await asyncio.Event().wait()
            raise AssertionError
        if isinstance(found, Exception):
            raise found
        return found

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(root().pem)
    return path


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def collector(ca_file: Path | None, targets: Sequence[str], names: Names | None = None, **keys: Any) -> TlsCollector:
    config = TlsConfig(type="tls", targets=tuple(targets), ca_file=ca_file, **keys)
    lent = tools(cast(aiohttp.ClientSession, None), clock=FakeClock(NOW))
    return TlsCollector(config, lent, names or Names(www=["127.0.0.1"], localhost=["127.0.0.1"]))


async def look(ca_file: Path | None, *targets: str, names: Names | None = None, **keys: Any) -> list[Reading]:
    return await readings(collector(ca_file, targets, names, **keys))


async def see(ca_file: Path | None, target: str, names: Names | None = None, **keys: Any) -> Observation:
    (reading,) = await look(ca_file, target, names=names, **keys)
    assert isinstance(reading, Observation), reading
    return reading


async def miss(target: str, names: Names | None = None, **keys: Any) -> str:
    (reading,) = await look(None, target, names=names, **keys)
    assert isinstance(reading, Blind), reading
    assert (reading.id, reading.kind) == (target, "certificate")
    assert reading.reason.isprintable()
    return reading.reason


def codes(seen: Observation) -> set[str]:
    assert all(finding.detail.isprintable() and finding.detail for finding in seen.findings)
    return {finding.code for finding in seen.findings}


def finding(seen: Observation, code: str) -> Finding:
    (found,) = [each for each in seen.findings if each.code == code]
    return found


LEAF = issue("www.example", intermediate(), names=["www.example", "127.0.0.1", "::1", "127.0.0.2"])


def sound() -> SSL.Context:
    return server_context(LEAF, intermediate())


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_certificate_is_shown_with_its_dates_issuer_and_how_it_is_served(ca_file: Path) -> None:
    async with serving(tls(sound())) as port:
        target = f"https://www.example:{port}"
        seen = await see(ca_file, target)
    assert (seen.id, seen.kind, seen.title, seen.findings) == (target, "certificate", "www.example", ())
    assert seen.lifetime is not None
    assert (seen.lifetime.expires_at, seen.lifetime.issued_at) == (after(90), after(-10))
    assert seen.lifetime.basis is Basis.EMBEDDED
    labels = seen.traits.labels
    assert (labels["issuer"], labels["addresses"], labels["tls"]) == ("Test issuer", "1", "TLSv1.3")
    assert labels["serial"] == f"{LEAF.certificate.serial_number:x}"
    assert seen.generation.startswith(labels["serial"])


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_works_on_both_event_loops(ca_file: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> tuple[list[Reading], list[Reading]]:
        mail = scripted(b"220 mx\r\n", 0, b"250 STARTTLS\r\n", 0, b"220 go\r\n", then=sound())
        async with serving(tls(sound())) as direct, serving(mail) as prologue, serving(scripted()) as silent:
            targets = (f"127.0.0.1:{direct}", f"smtp://127.0.0.1:{prologue}", f"127.0.0.1:{silent}")
            readings = await look(ca_file, *targets, tls_timeout="0.2s")
        return readings, [reading for reading in readings if isinstance(reading, Blind)]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        seen, blind = runner.run(run())
    assert len(seen) == 3 and len(blind) == 1
    assert "did not finish the TLS handshake within 0.2 s" in cast(Blind, blind[0]).reason


async def test_a_renewed_certificate_is_a_new_generation(ca_file: Path) -> None:
    seen = []
    for _ in range(2):
        async with serving(tls(server_context(issue("www.example", intermediate()), intermediate()))) as port:
            seen.append(await see(ca_file, f"www.example:{port}"))
    assert seen[0].generation != seen[1].generation


async def test_an_expired_certificate_still_has_its_date(ca_file: Path) -> None:
    old = issue("www.example", intermediate(), start=after(-100), end=after(-3))
    async with serving(tls(server_context(old, intermediate()))) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert seen.lifetime is not None and seen.lifetime.expires_at == after(-3)
    assert codes(seen) == set()


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        ((issue("www.example"),), "self-signed"),
        ((issue("other.example", intermediate()), intermediate()), "wrong-name"),
        ((issue("www.example", intermediate()),), "incomplete-chain"),
        ((issue("www.example", issue("Nobody", authority=True)),), "incomplete-chain"),
    ],
)
async def test_a_chain_that_clients_refuse_still_has_its_date(
    ca_file: Path, chain: tuple[Identity, ...], code: str
) -> None:
    async with serving(tls(server_context(*chain))) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert seen.lifetime is not None and seen.lifetime.expires_at == after(90)
    assert codes(seen) == {code}
    assert finding(seen, code).severity is Severity.WARNING


async def test_an_address_in_the_certificate_fits_an_address_as_target(ca_file: Path) -> None:
    async with serving(tls(sound())) as port:
        assert codes(await see(ca_file, f"127.0.0.1:{port}")) == set()


async def test_ipv6_literals_are_reached(ca_file: Path) -> None:
    async with serving(tls(sound()), "::1") as port:
        assert codes(await see(ca_file, f"[::1]:{port}")) == set()


def by_name(asked: list[bytes | None], **contexts: SSL.Context) -> SSL.Context:
    """A server that serves by SNI and writes down what it was asked for."""
    default = server_context(issue("default.example", intermediate()), intermediate())

    def choose(connection: SSL.Connection) -> None:
        asked.append(connection.get_servername())
        if asked[-1] and (chosen := contexts.get(asked[-1].decode().partition(".")[0])):
            connection.set_context(chosen)

    default.set_tlsext_servername_callback(choose)
    return default


async def test_the_name_is_sent_and_an_address_is_not(ca_file: Path) -> None:
    asked: list[bytes | None] = []
    async with serving(tls(by_name(asked, www=sound()))) as port:
        assert codes(await see(ca_file, f"www.example:{port}")) == set()
        assert codes(await see(ca_file, f"127.0.0.1:{port}")) == {"wrong-name"}
        assert codes(await see(ca_file, f"127.0.0.1:{port}", server_name="WWW.example")) == set()
    assert asked == [b"www.example", None, b"www.example"]


async def test_an_international_name_is_sent_and_matched_in_its_wire_form(ca_file: Path) -> None:
    asked: list[bytes | None] = []
    leaf = issue("xn--bcher-kva.example", intermediate())
    names = Names(**{"xn--bcher-kva": ["127.0.0.1"]})
    async with serving(tls(by_name(asked, **{"xn--bcher-kva": server_context(leaf, intermediate())}))) as port:
        seen = await see(ca_file, f"Bücher.example:{port}", names)
    assert asked == [b"xn--bcher-kva.example"]
    assert (seen.id, codes(seen)) == (f"Bücher.example:{port}", set())


# ── settings that only some servers have ──────────────────────────────────────────────────────────────


def only(version: int, ciphers: bytes | None = None) -> SSL.Context:
    context = sound()
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if ciphers:
        context.set_cipher_list(ciphers)
    return context


async def test_tls_1_2_is_not_legacy(ca_file: Path) -> None:
    async with serving(tls(only(SSL.TLS1_2_VERSION))) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert (codes(seen), seen.traits.labels["tls"]) == (set(), "TLSv1.2")


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
async def test_a_server_with_nothing_newer_than_tls_1_1_is_legacy(ca_file: Path, version: int) -> None:
    async with serving(tls(only(version))) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert codes(seen) == {"legacy-tls"}
    legacy = finding(seen, "legacy-tls")
    assert legacy.severity is Severity.WARNING
    assert seen.traits.labels["tls"] in legacy.detail and "protocol version" in legacy.detail


async def test_a_server_that_was_out_of_breath_is_not_legacy(ca_file: Path) -> None:
    handlers = [resetting, closing, tls(sound())]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handlers.pop(0)(reader, writer)

    async with serving(handle) as port:
        assert codes(await see(ca_file, f"www.example:{port}")) == set()


async def test_a_server_that_tires_of_questions_is_known_by_its_first_answer() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        await resetting(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    reason = await miss(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await server.wait_closed()
    assert reason.startswith("TLS: 127.0.0.1 ") and "the connection before TLS was established" in reason


async def test_a_server_with_which_nothing_can_be_agreed_says_what_openssl_says(ca_file: Path) -> None:
    async with serving(tls(only(SSL.TLS1_2_VERSION, b"NULL-SHA256:@SECLEVEL=0"))) as port:
        reason = await miss(f"127.0.0.1:{port}")
    assert reason.startswith("TLS: 127.0.0.1 refused the TLS handshake")


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_a_server_without_the_group_that_is_offered_first_is_not_legacy(ca_file: Path, version: int) -> None:
    context = only(version)
    context.set_tmp_ecdh(ec.SECP384R1())
    context.set_cipher_list(b"ECDHE")
    async with serving(tls(context)) as port:
        assert codes(await see(ca_file, f"www.example:{port}")) == set()


@pytest.mark.parametrize("named", [True, False])
async def test_a_tls_1_2_server_that_turns_away_for_want_of_a_certificate_is_still_seen(
    ca_file: Path, named: bool
) -> None:
    context = demand_client_certificate(only(SSL.TLS1_2_VERSION), name_authorities=named)
    async with serving(tls(context)) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert codes(seen) == {"client-certificate-required"}
    assert finding(seen, "client-certificate-required").severity is Severity.INFO


async def test_a_tls_1_3_server_that_turns_away_for_want_of_a_certificate_is_still_seen(ca_file: Path) -> None:
    async with serving(tls(demand_client_certificate(sound()))) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert codes(seen) == {"client-certificate-required"}


async def test_a_tls_1_3_server_that_wants_a_certificate_from_nobody_in_particular_shows_its_own(ca_file: Path) -> None:
    """Such a refusal comes after the handshake and can't be expected: waiting for it would slow every probe."""
    async with serving(tls(demand_client_certificate(sound(), name_authorities=False))) as port:
        assert codes(await see(ca_file, f"www.example:{port}")) == set()


async def test_a_server_that_only_wishes_for_a_client_certificate_has_no_finding(ca_file: Path) -> None:
    context = demand_client_certificate(sound())
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    async with serving(tls(context)) as port:
        assert codes(await see(ca_file, f"www.example:{port}")) == set()


async def test_a_hundred_certificates_are_too_many_but_the_first_counts(ca_file: Path) -> None:
    async with serving(tls(server_context(LEAF, intermediate(), *[root()] * 98))) as port:
        seen = await see(ca_file, f"www.example:{port}")
    assert seen.lifetime is not None and seen.lifetime.expires_at == after(90)
    assert codes(seen) == {"oversized-chain"}
    assert "100 certificates" in finding(seen, "oversized-chain").detail


async def test_more_certificates_than_openssl_takes_are_no_look() -> None:
    async with serving(tls(server_context(LEAF, *[root()] * 400))) as port:
        assert "100 KiB" in await miss(f"127.0.0.1:{port}")


# ── several addresses ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def refused() -> Iterator[int]:
    """A port that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@asynccontextmanager
async def serving_two(first: Handler, second: Handler) -> AsyncIterator[int]:
    """The same port at 127.0.0.1 and 127.0.0.2."""
    async with serving(first) as port, serving(second, "127.0.0.2", port):
        yield port


TWO = ["127.0.0.1", "127.0.0.2"]


async def test_addresses_that_serve_the_same_are_one_item_without_findings(ca_file: Path) -> None:
    async with serving_two(tls(sound()), tls(sound())) as port:
        seen = await see(ca_file, f"www.example:{port}", Names(www=TWO))
    assert (codes(seen), seen.traits.labels["addresses"]) == (set(), "2")


async def test_addresses_that_differ_are_told_and_the_earliest_end_counts(ca_file: Path) -> None:
    old = issue("www.example", intermediate(), end=after(5))
    async with serving_two(tls(sound()), tls(server_context(old, intermediate()))) as port:
        seen = await see(ca_file, f"www.example:{port}", Names(www=TWO))
    assert seen.lifetime is not None and seen.lifetime.expires_at == after(5)
    assert seen.generation.startswith(f"{old.certificate.serial_number:x}")
    assert codes(seen) == {"addresses-differ"}
    detail = finding(seen, "addresses-differ").detail
    assert all(text in detail for text in (*TWO, "2030-01-06", "2030-04-01"))


async def test_a_finding_of_one_address_names_the_address(ca_file: Path) -> None:
    async with serving_two(tls(sound()), tls(server_context(LEAF))) as port:
        seen = await see(ca_file, f"www.example:{port}", Names(www=TWO))
    assert codes(seen) == {"incomplete-chain"}
    assert finding(seen, "incomplete-chain").detail.startswith("127.0.0.2: ")


async def test_an_address_that_fails_while_another_answers_is_a_finding(ca_file: Path) -> None:
    async with serving(tls(sound())) as port:
        seen = await see(ca_file, f"www.example:{port}", Names(www=TWO))
    assert codes(seen) == {"address-unreachable"}
    unreachable = finding(seen, "address-unreachable")
    assert unreachable.severity is Severity.WARNING
    assert unreachable.detail.startswith(f"TCP: 127.0.0.2 refuses connections on port {port}")


async def test_when_no_address_answers_each_says_why() -> None:
    with refused() as port:
        reason = await miss(f"www.example:{port}", Names(www=[*TWO, "127.0.0.3", "127.0.0.4"]))
    assert "TCP: 127.0.0.1 refuses" in reason and "TCP: 127.0.0.3 refuses" in reason and "and 1 more" in reason


async def test_any_address_is_enough_when_told_so(ca_file: Path) -> None:
    async with serving(tls(sound())) as port:
        seen = await see(ca_file, f"www.example:{port}", Names(www=["127.0.0.9", *TWO]), addresses="any")
    assert codes(seen) == set()


async def test_a_name_with_very_many_addresses_is_bounded(ca_file: Path) -> None:
    many = [f"127.0.0.{n}" for n in range(1, 31)]
    async with serving(tls(sound()), "0.0.0.0") as port:
        seen = await see(ca_file, f"www.example:{port}", Names(www=many))
    assert codes(seen) == {"too-many-addresses"}
    assert seen.traits.labels["addresses"] == "30"


# ── what cannot be seen ───────────────────────────────────────────────────────────────────────────────


async def test_a_name_without_an_address_is_told_from_a_resolver_that_is_silent() -> None:
    assert await miss("nowhere.example") == "DNS: nowhere.example has no address: Name or service not known"
    names = Names(www=None)
    assert await miss("www.example", names, dns_timeout="0.05s") == "DNS: www.example was not resolved within 0.05 s"


async def test_a_refused_connection_is_told() -> None:
    with refused() as port:
        expected = f"TCP: 127.0.0.1 refuses connections on port {port}: does the service run?"
        assert await miss(f"127.0.0.1:{port}") == expected


async def test_a_host_that_does_not_answer_costs_only_the_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):  # fill the backlog: the kernel drops what comes after
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        reason = await miss(f"127.0.0.1:{full.getsockname()[1]}", connect_timeout="0.1s")
        for each in waiting:
            each.close()
    assert "did not answer" in reason and "within 0.1 s" in reason and "firewall" in reason


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def speaking_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n")
    await reader.read()


async def greeting_like_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reader.read()


async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"x" * 2**20)
    await reader.read()


async def flooding_with_records(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((b"\x16\x03\x03\x40\x00" + b"\x02\x00\xff\xff" * 4096) * 64)
    await reader.read()


async def stalling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Half a record, then nothing."""
    await reader.read(1)
    writer.write(b"\x16\x03\x03\x02\x00\x02")
    while await reader.read(65536):
        pass


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (silent, "did not finish the TLS handshake within 0.2 s"),
        (stalling, "did not finish the TLS handshake within 0.2 s"),
        (closing, "the connection before TLS was established"),
        (resetting, "the connection before TLS was established"),
        (speaking_http, 'does not speak TLS on this port, it said "HTTP/1.1 400 Bad Request'),
        (greeting_like_ssh, 'does not speak TLS on this port, it said "SSH-2.0-OpenSSH_9.2"'),
        (flooding, "does not speak TLS on this port"),
        (flooding_with_records, ""),
    ],
)
async def test_a_hostile_server_is_named_and_costs_no_more_than_its_deadline(handler: Handler, words: str) -> None:
    async with serving(handler) as port:
        reason = await miss(f"127.0.0.1:{port}", tls_timeout="0.2s")
    assert reason.startswith("TLS: 127.0.0.1 ") and words in reason


async def test_a_server_that_stalls_after_its_certificate_has_shown_its_date(ca_file: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = SSL.Connection(only(SSL.TLS1_2_VERSION), None)
        connection.set_accept_state()
        connection.bio_write(await reader.read(65536))
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
        writer.write(connection.bio_read(65536))
        await reader.read(65536)
        await reader.read(65536)

    async with serving(handle) as port:
        seen = await see(ca_file, f"www.example:{port}", tls_timeout="0.3s")
    assert seen.lifetime is not None and seen.lifetime.expires_at == after(90)
    assert codes(seen) == {"handshake-failed"}
    assert "within 0.3 s" in finding(seen, "handshake-failed").detail


# ── many targets ──────────────────────────────────────────────────────────────────────────────────────


async def test_targets_come_from_the_config_and_from_the_file_each_once(ca_file: Path, tmp_path: Path) -> None:
    async with serving(tls(sound())) as port:
        listed = tmp_path / "targets"
        listed.write_text(f"# all of them\n127.0.0.1:{port}\n\n  www.example:{port}  # the site\nwww.example:{port}\n")
        seen = await look(ca_file, f"127.0.0.1:{port}", targets_file=listed)
        alone = await look(ca_file, targets_file=listed)
    assert sorted(reading.id for reading in seen) == [f"127.0.0.1:{port}", f"www.example:{port}"]
    assert len(alone) == 2


async def test_a_bad_line_of_the_file_is_blind_alone_and_keeps_its_password(ca_file: Path, tmp_path: Path) -> None:
    listed = tmp_path / "targets"
    async with serving(tls(sound())) as port:
        lines = [b"gopher://x", b"postgres://user:canary7f@db", b"\xff\xfe\x00", b"127.0.0.1:%d" % port]
        listed.write_bytes(b"\n".join(lines))
        seen = await look(ca_file, targets_file=listed)
    assert "canary7f" not in repr(seen)
    blind = {reading.id: reading.reason for reading in seen if isinstance(reading, Blind)}
    assert len(seen) == 4 and len(blind) == 3
    assert "not supported" in blind["gopher://x"] and "no password" in blind["db"]


async def test_a_targets_file_that_is_not_there_is_a_source_that_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="nothing-here"):
        await look(None, "www.example", targets_file=tmp_path / "nothing-here")


async def test_a_ca_file_that_is_not_there_is_a_source_that_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="nothing-here"):
        await look(tmp_path / "nothing-here", "www.example")


async def test_no_more_probes_are_in_flight_than_allowed(ca_file: Path) -> None:
    now, most = 0, 0
    full = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        now -= 1
        await tls(sound())(reader, writer)

    async with serving(handle, "0.0.0.0") as port:
        seen = await look(ca_file, *[f"127.0.1.{n}:{port}" for n in range(1, 13)], concurrency=3)
    assert len(seen) == 12 and most == 3


async def test_a_look_that_is_ended_early_lets_go_of_everything(ca_file: Path) -> None:
    async with serving(tls(sound())) as port, serving(silent) as dead:
        targets = [f"127.0.0.1:{port}", f"127.0.0.1:{dead}", "nowhere.example"]
        names = Names(nowhere=None)
        async with aclosing(cast(Any, collector(ca_file, targets, names).look())) as reading:
            first = await anext(reading)
        assert first.id == targets[0]
        assert len(asyncio.all_tasks()) <= 3  # this test and its two servers' handlers


async def test_a_look_that_is_cancelled_keeps_what_was_yielded(ca_file: Path) -> None:
    kept: list[str] = []
    async with serving(tls(sound())) as port, serving(silent) as dead:
        running = collector(ca_file, [f"127.0.0.1:{port}", f"127.0.0.1:{dead}"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                async for reading in running.look():
                    kept.append(reading.id)  # noqa: PERF401  an interrupted comprehension keeps nothing
    assert kept == [f"127.0.0.1:{port}"]


async def test_a_slow_reader_holds_the_probes_back(ca_file: Path) -> None:
    probed = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal probed
        probed += 1
        await tls(sound())(reader, writer)

    async with serving(handle, "0.0.0.0") as port:
        targets = [f"127.0.1.{n}:{port}" for n in range(1, 21)]
        async with aclosing(cast(Any, collector(ca_file, targets, concurrency=2).look())) as reading:
            await anext(reading)
            for _ in range(2000):  # much more than the next probes would need
                await asyncio.sleep(0)
            assert probed == 4  # the one taken, and those that wait to be
            assert len([each async for each in reading]) == 19


async def test_a_bug_is_not_swallowed_and_costs_no_other_item(ca_file: Path) -> None:
    names = Names(www=["127.0.0.1"], buggy=RuntimeError("a bug"))
    kept: list[str] = []
    async with serving(tls(sound())) as port:
        with pytest.raises(RuntimeError, match="a bug"):
            async for reading in collector(ca_file, ["buggy.example", f"www.example:{port}"], names).look():
                kept.append(reading.id)  # noqa: PERF401  an interrupted comprehension keeps nothing
    assert kept == [f"www.example:{port}"]


async def test_a_second_look_sees_what_changed(ca_file: Path) -> None:
    renewed = server_context(issue("www.example", intermediate(), end=after(200)), intermediate())
    contexts = [sound(), renewed]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await tls(contexts.pop(0))(reader, writer)

    async with serving(handle) as port:
        running = collector(ca_file, [f"www.example:{port}"])
        (before,), (now,) = await readings(running), await readings(running)
    assert isinstance(before, Observation) and isinstance(now, Observation)
    assert before.lifetime and now.lifetime and now.lifetime.expires_at == after(200)
    assert before.generation != now.generation


async def test_closing_closes_the_resolver() -> None:
    names = Names()
    await collector(None, ["www.example"], names).aclose()
    assert names.closed


# ── the real resolver ─────────────────────────────────────────────────────────────────────────────────


async def test_localhost_and_the_hosts_file_resolve() -> None:
    resolver = BulkResolver()
    try:
        assert set(await resolver.resolve("localhost")) <= {"127.0.0.1", "::1"}
    finally:
        await resolver.aclose()
        await resolver.aclose()


async def test_a_name_that_nobody_knows_is_a_resolve_error() -> None:
    resolver = BulkResolver()
    try:
        with pytest.raises(ResolveError):
            await resolver.resolve("no-such-host.invalid")
    finally:
        await resolver.aclose()


async def test_the_system_is_asked_for_what_c_ares_does_not_know_by_few_threads_at_a_time() -> None:
    asked: list[str] = []
    answer = threading.Event()

    def stuck(host: str, *_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        assert answer.wait(30)
        return [(None, None, None, "", ("192.0.2.7", 0)), (None, None, None, "", ("192.0.2.7", 0))]

    resolver = BulkResolver(stuck)
    try:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(resolver.resolve(f"name{n}.invalid")) for n in range(9)]
            while len(asked) < 4:
                await asyncio.sleep(0.001)
            for each in waiting:
                each.cancel()  # their deadline passes, the threads stay
        last = asyncio.gather(resolver.resolve("last.invalid"))
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert len(asked) == 4
        answer.set()
        assert await last == [["192.0.2.7"]]
    finally:
        answer.set()
        await resolver.aclose()


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "targets, targets_file or both"),
        ({"targets": ["gopher://x", "::1"]}, r"gopher://x: .*; ::1: "),
        ({"targets": ["a"], "server_name": "192.0.2.1"}, "server_name is a name"),
        ({"targets": ["a"], "server_name": "not a name"}, "host name"),
        ({"targets": ["a"], "concurrency": 0}, "concurrency"),
        ({"targets": ["a"], "tls_timeout": "0s"}, "tls_timeout"),
        ({"targets": ["a"], "addresses": "some"}, "addresses"),
    ],
)
def test_a_wrong_configuration_is_refused_with_words(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TlsConfig(type="tls", **keys)


def test_a_password_in_the_configuration_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="no user and no password") as caught:
        TlsConfig(type="tls", targets=("postgres://user:canary7f@db",))
    assert "canary7f" not in str(caught.value)


def test_one_target_may_stand_without_brackets() -> None:
    assert TlsConfig.model_validate({"type": "tls", "targets": "a:1"}).targets == ("a:1",)


async def test_build_opens_nothing() -> None:
    config = TlsConfig(type="tls", targets=("www.example",), ca_file=Path("/nowhere"))
    built = config.build(tools(cast(aiohttp.ClientSession, None)))
    await built.aclose()
