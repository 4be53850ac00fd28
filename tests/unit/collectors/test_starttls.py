"""STARTTLS in every protocol, against servers that agree, refuse, babble, fall silent or speak something else."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.tls import Handler, intermediate, issue, scripted, server_context, serving, speak_tls

from expiryd.collectors._starttls import PROLOGUES, PrologueError
from expiryd.collectors._tls_probe import Probe, Served, Step, Unreached
from expiryd.collectors._tls_target import parse_target

LEAF = issue("mail.example", intermediate())
CONTEXT = server_context(LEAF, intermediate())
LDAP_OK = bytes.fromhex("300c 020101 7807 0a0100 0400 0400")
LDAP_OK_LONG = bytes.fromhex("3082 000d 020101 788107 0a0100 0400 0400")
LDAP_REFUSED = bytes.fromhex("300c 020101 7807 0a0102 0400 0400")
LDAP_REQUEST = 31
MYSQL_REQUEST = 36
STREAM = b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='1'>"
FEATURES = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"


def mysql_greeting(capabilities: int = 0xFFFF, version: bytes = b"8.0.36") -> bytes:
    body = b"\x0a" + version + b"\0" + bytes(12) + b"\0" + capabilities.to_bytes(2, "little") + bytes(30)
    return len(body).to_bytes(3, "little") + b"\0" + body


async def fetch(protocol: str, handler: Handler, *, seconds: float = 5) -> Served:
    async with serving(handler) as port:
        target = parse_target(f"{protocol}://127.0.0.1:{port}")
        return await Probe(5, seconds).fetch(target, "127.0.0.1", "")


async def refusal(protocol: str, handler: Handler, *, seconds: float = 5) -> str:
    with pytest.raises(Unreached) as caught:
        await fetch(protocol, handler, seconds=seconds)
    assert caught.value.step is Step.STARTTLS
    return str(caught.value)


AGREEING: dict[str, tuple[bytes | int, ...]] = {
    "smtp": (b"220-mx\r\n220 mx ESMTP\r\n", 0, b"250-mx\r\n250-SIZE 1\r\n250 starttls\r\n", 0, b"220 go\r\n"),
    "imap": (b"* OK IMAP4rev2\r\n", 0, b"* CAPABILITY STARTTLS\r\na1 OK begin\r\n"),
    "pop3": (b"+OK POP3\r\n", 0, b"+OK begin\r\n"),
    "ftp": (b"220-hello\r\n anything\r\n220 ready\r\n", 0, b"234 go\r\n"),
    "ldap": (LDAP_REQUEST, LDAP_OK),
    "postgres": (8, b"S"),
    "mysql": (mysql_greeting(), MYSQL_REQUEST),
    "xmpp": (STREAM + FEATURES, 0, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
}


def agreeing(protocol: str) -> Handler:
    turns = AGREEING[protocol]
    if protocol == "xmpp":  # its requests have neither a length nor an end of line
        return xmpp(FEATURES, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    return scripted(*turns, then=CONTEXT)


def xmpp(features: bytes, answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"streams'>")
        writer.write(STREAM + features)
        await reader.readuntil(b"/>")
        writer.write(answer)
        await speak_tls(reader, writer, CONTEXT)
        await reader.read()

    return handle


def test_every_protocol_that_a_target_may_name_is_tried_here() -> None:
    assert AGREEING.keys() == PROLOGUES.keys()


@pytest.mark.parametrize("protocol", PROLOGUES)
async def test_a_server_that_agrees_shows_its_chain(protocol: str) -> None:
    served = await fetch(protocol, agreeing(protocol))
    assert served.chain == (LEAF.der, intermediate().der)
    assert served.version == "TLSv1.3"


async def test_clients_say_what_the_protocols_ask_for() -> None:
    said = {}
    for protocol in ("smtp", "imap", "pop3", "ftp", "ldap", "postgres", "mysql"):
        handler = agreeing(protocol)
        await fetch(protocol, handler)
        said[protocol] = handler.taken  # type: ignore[attr-defined]
    assert said["smtp"] == [b"EHLO expiryd.invalid\r\n", b"STARTTLS\r\n"]
    assert said["imap"] == [b"a1 STARTTLS\r\n"]
    assert said["pop3"] == [b"STLS\r\n"]
    assert said["ftp"] == [b"AUTH TLS\r\n"]
    assert said["ldap"] == [bytes.fromhex("301d020101771880") + b"\x161.3.6.1.4.1.1466.20037"]
    assert said["postgres"] == [bytes.fromhex("0000000804d2162f")]
    request = said["mysql"][0]
    assert request[:4] == b"\x20\0\0\x01" and len(request) == 36 and int.from_bytes(request[4:8], "little") & 0x800


async def test_an_ldap_answer_in_long_form_is_understood() -> None:
    served = await fetch("ldap", scripted(LDAP_REQUEST, LDAP_OK_LONG, then=CONTEXT))
    assert served.count == 2


@pytest.mark.parametrize(
    ("protocol", "turns", "words"),
    [
        ("smtp", (b"554 go away\r\n",), '"554 go away"'),
        ("smtp", (b"220 mx\r\n", 0, b"250 mx\r\n"), "does not offer STARTTLS"),
        ("smtp", (b"220 mx\r\n", 0, b"250 STARTTLS\r\n", 0, b"454 no TLS now\r\n"), "454 no TLS now"),
        ("smtp", (b"250-again\r\n" * 200,), "more than 100 lines"),
        ("imap", (b"HTTP/1.1 400 Bad Request\r\n",), "not IMAP"),
        ("imap", (b"* OK\r\n", 0, b"a1 NO not here\r\n"), "a1 NO not here"),
        ("imap", (b"* OK\r\n", 0, b"* spam\r\n" * 200), "more than 100 lines"),
        ("pop3", (b"+OK\r\n", 0, b"-ERR unknown\r\n"), "-ERR unknown"),
        ("ftp", (b"220 hi\r\n", 0, b"502 no\r\n"), "502 no"),
        ("ldap", (LDAP_REQUEST, LDAP_REFUSED), "result code 2"),
        ("ldap", (LDAP_REQUEST, b"\x30\x05hello"), "not LDAP"),
        ("ldap", (LDAP_REQUEST, b"SSH-2.0"), "not LDAP"),
        ("ldap", (LDAP_REQUEST, b"\x30\x84\xff\xff\xff\xff"), "absurd length"),
        ("postgres", (8, b"N"), "ssl = on"),
        ("postgres", (8, b"E"), "not PostgreSQL"),
        ("mysql", (b"\x0f\0\0\0\xff\x15\x04too many conns",), "too many"),
        ("mysql", (mysql_greeting(0x0001),), "8.0.36"),
        ("mysql", (b"\x05\0\0\0hello",), "not MySQL"),
    ],
)
async def test_a_server_that_does_not_agree_is_quoted(
    protocol: str, turns: tuple[bytes | int, ...], words: str
) -> None:
    reason = await refusal(protocol, scripted(*turns))
    assert words in reason
    assert reason.endswith(f"({protocol})") and reason.isprintable()


@pytest.mark.parametrize(
    ("features", "answer", "words"),
    [
        (b"<stream:features><auth/></stream:features>", b"", "does not offer STARTTLS"),
        (b"<stream:error><host-unknown/></stream:error>", b"", "does not offer STARTTLS"),
        (FEATURES, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "refused STARTTLS"),
    ],
)
async def test_an_xmpp_server_that_does_not_agree_is_quoted(features: bytes, answer: bytes, words: str) -> None:
    assert words in await refusal("xmpp", xmpp(features, answer))


@pytest.mark.parametrize("protocol", PROLOGUES)
async def test_a_server_that_falls_silent_before_tls_costs_only_the_deadline(protocol: str) -> None:
    assert "did not agree to TLS within 0.1 s" in await refusal(protocol, scripted(), seconds=0.1)


@pytest.mark.parametrize("protocol", PROLOGUES)
async def test_half_a_prologue_costs_only_the_deadline(protocol: str) -> None:
    half = {"ldap": b"\x30", "postgres": b"", "mysql": b"\x40\0\0\0\x0a8.0", "xmpp": STREAM}.get(protocol, b"22")
    assert "did not agree to TLS within 0.1 s" in await refusal(protocol, scripted(half), seconds=0.1)


@pytest.mark.parametrize("protocol", PROLOGUES)
async def test_a_server_that_hangs_up_is_told_from_a_silent_one(protocol: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"" if protocol == "postgres" else b"2")
        await writer.drain()
        writer.write_eof()

    assert "the connection before TLS was established" in await refusal(protocol, handle)


@pytest.mark.parametrize("protocol", PROLOGUES)
async def test_a_flood_before_tls_is_cut_off(protocol: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = {"mysql": b"\xff\xff\xff\0", "ldap": b"\x30\x82\xff\xff", "xmpp": STREAM}.get(protocol, b"")
        writer.write(header + b"x" * 2**20)
        await reader.read()

    reason = await refusal(protocol, handle)
    assert any(words in reason for words in ("64 KiB", "longer than 4096 bytes", "not PostgreSQL", "not LDAP")), reason


async def test_what_a_server_sends_ahead_of_tls_is_dropped() -> None:
    """CVE-2011-0411, the other way round: plain text behind the agreement must not become part of the TLS stream."""
    smuggled = scripted(
        b"220 mx\r\n", 0, b"250 STARTTLS\r\n", 0, b"220 go\r\n250 evil\r\n" + b"\x16\x03\x03\0\x04evil", then=CONTEXT
    )
    served = await fetch("smtp", smuggled)
    assert served.chain[0] == LEAF.der and served.broken_off == ""


class Canned:
    """A wire that has its whole answer ready."""

    def __init__(self, answer: bytes) -> None:
        self._reader = asyncio.StreamReader(limit=4096)
        self._reader.feed_data(answer)
        self._reader.feed_eof()

    def send(self, data: bytes) -> None: ...

    async def line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\n")
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            raise PrologueError("ended") from None

    async def exactly(self, count: int) -> bytes:
        try:
            return await self._reader.readexactly(count)
        except asyncio.IncompleteReadError:
            raise PrologueError("ended") from None

    async def until(self, pattern: bytes) -> bytes:
        return await self._reader.read()


@pytest.mark.parametrize("protocol", PROLOGUES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=200), kept=st.integers(0, 60))
def test_any_answer_is_agreement_or_a_prologue_error(protocol: str, noise: bytes, kept: int) -> None:
    sound = b"".join(turn for turn in AGREEING[protocol] if isinstance(turn, bytes))

    async def run() -> None:
        try:
            await PROLOGUES[protocol](Canned(sound[:kept] + noise), "host")
        except PrologueError as error:
            assert str(error).isprintable()

    asyncio.run(run())
