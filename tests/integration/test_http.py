"""The doors themselves: a real TCP port, a real unix socket, real certificates, and clients that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.rig import DAY, MINUTE, Rig, expiring
from tests.unit.collectors.made import certificate, key, key_pem

from expiryd.api import AuthError
from expiryd.web.doors import CannotListen
from expiryd.web.server import MOST_CLIENTS, serve


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="exp") as name:
        yield Path(name)


@asynccontextmanager
async def daemon(path: Path, **http: Any) -> AsyncIterator[tuple[Rig, Path]]:
    """A rig that serves on `http` and on the socket `path`/s."""
    async with Rig(path, settings={"http": {"listen": "", **http}}) as rig:
        rig.sources["tokens"].shows()
        async with serve(rig.daemon, path / "s"):
            yield rig, path / "s"


async def ask(address: Path | int, request: str, tls: ssl.SSLContext | None = None) -> str:
    """What comes back for these raw bytes until the other end closes."""
    if isinstance(address, Path):
        reader, writer = await asyncio.open_unix_connection(str(address))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", address, ssl=tls)
    writer.write(request.encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer.decode()


def get(path: str, host: str = "localhost", method: str = "GET") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


# ── the unix socket ───────────────────────────────────────────────────────────────────────────────────


async def test_the_socket_is_for_owner_and_group_only_and_goes_with_the_daemon(short: Path) -> None:
    before = os.umask(0)
    try:
        async with daemon(short) as (_, door):
            assert stat.S_IMODE(door.stat().st_mode) == 0o660
            assert "200 OK" in await ask(door, get("/-/healthy"))
    finally:
        os.umask(before)
    assert not door.exists()


async def test_the_socket_of_a_daemon_that_died_is_replaced(short: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(short / "s"))
    async with daemon(short) as (_, door):
        assert "200 OK" in await ask(door, get("/-/healthy"))


async def test_what_is_no_socket_is_not_replaced(short: Path) -> None:
    (short / "s").write_text("somebody's notes")
    with pytest.raises(CannotListen, match=f"cannot listen on {short}/s"):
        async with daemon(short):
            pass
    assert (short / "s").read_text() == "somebody's notes"


async def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(CannotListen, match="state_dir is too long"):
        async with daemon(deep):
            pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_another_user_cannot_open_the_socket_and_a_member_of_the_group_acts_by_name(short: Path) -> None:
    short.chmod(0o755)
    script = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        "s.sendall(b'POST /api/v1/collectors/tokens/look HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'); "
        "print(s.recv(99).split()[1].decode())"
    )

    async def as_nobody(door: Path, group: int) -> tuple[int | None, str]:
        python = shutil.which("python3", path="/usr/bin:/bin") or "python3"
        process = await asyncio.create_subprocess_exec(
            python, "-c", script, str(door), user="nobody", group=group, extra_groups=[], stdout=-1, stderr=-1, cwd="/"
        )
        out, err = await process.communicate()
        return process.returncode, (out + err).decode()

    async with daemon(short) as (rig, door):
        os.chown(door, 0, 4242)
        code, said = await as_nobody(door, 65534)
        assert (code, "PermissionError" in said) == (1, True), said
        assert await as_nobody(door, 4242) == (0, "200\n")
        assert ("info", "collector.look_asked", {"actor": "nobody", "collector": "tokens"}) in rig.log.lines


# ── TCP ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_answers_on_the_port_that_it_was_told(short: Path) -> None:
    port = free_port()
    async with daemon(short, listen=f"127.0.0.1:{port}"):
        assert "200 OK" in await ask(port, get("/-/healthy"))
    with pytest.raises(OSError, match="Connect call failed"):
        await ask(port, get("/-/healthy"))


async def test_an_address_in_use_is_an_error_that_names_the_setting(short: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match=f'http.listen = "{listen}": something else listens there'):
            async with daemon(short, listen=listen):
                pass
    assert not (short / "s").exists()


async def test_an_address_of_another_machine_is_an_error_that_names_the_setting(short: Path) -> None:
    with pytest.raises(CannotListen, match=r'http\.listen = "192\.0\.2\.1:9783"'):
        async with daemon(short, listen="192.0.2.1:9783"):
            pass


async def test_reading_works_over_tcp_and_acting_only_over_the_socket_without_tokens(short: Path) -> None:
    port = free_port()
    look = "/api/v1/collectors/tokens/look"
    async with daemon(short, listen=f"127.0.0.1:{port}") as (_, door):
        assert "200 OK" in await ask(port, get("/api/v1/items"))
        assert "403 Forbidden" in await ask(port, get(look, method="POST"))
        assert "200 OK" in await ask(door, get(look, method="POST"))


@pytest.mark.parametrize(
    "request_",
    [
        "GET / HTTP/1.1\r\nHost: x\r\nX: " + "y" * 20_000 + "\r\n\r\n",
        "GET /" + "y" * 20_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "\x00\x01\x02\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n",
        "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
    ],
    ids=["long header", "long path", "not HTTP", "broken escape", "announced flood", "broken chunks"],
)
async def test_a_malformed_request_is_refused_and_the_next_one_answered(
    short: Path, request_: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    async with daemon(short, listen=f"127.0.0.1:{port}"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_.encode())
        async with asyncio.timeout(5):
            answer = (await reader.readline()).decode()
        writer.close()
        assert answer.split()[1] in {"400", "403", "404"}
        assert "200 OK" in await ask(port, get("/-/healthy"))
    assert [record.message for record in caplog.records if record.name == "aiohttp.server"] == []  # no flood of them


async def test_a_body_that_does_not_come_is_not_waited_for_without_an_end(short: Path) -> None:
    async with Rig(short, settings={"http": {"listen": ""}}) as rig, serve(rig.daemon, short / "s", patience=0.1):
        begun = "POST /api/v1/silences HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{"
        reader, writer = await asyncio.open_unix_connection(str(short / "s"))
        writer.write(begun.encode())
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()


async def test_who_holds_all_connections_over_tcp_does_not_keep_the_owner_out(short: Path) -> None:
    port = free_port()
    async with daemon(short, listen=f"127.0.0.1:{port}") as (_, door):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CLIENTS)]
        assert await ask(port, "") == ""  # closed at once
        assert "200 OK" in await ask(door, get("/-/healthy"))
        for _, each in held:
            each.close()


async def test_more_clients_than_there_is_room_for_are_turned_away_and_the_others_served(short: Path) -> None:
    async with daemon(short) as (_, door):
        held = [await asyncio.open_unix_connection(str(door)) for _ in range(MOST_CLIENTS)]
        reader, writer = held[-1]
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        assert await ask(door, "") == ""  # closed at once
        for _, each in held:
            each.close()


async def test_a_client_that_stops_reading_does_not_keep_the_daemon_from_stopping(short: Path) -> None:
    async with daemon(short) as (rig, door):
        end = rig.clock.now() + 100 * DAY
        rig.sources["tokens"].shows(*(expiring(f"{'long name ' * 20}{n}", end) for n in range(20_000)))
        await rig.look()
        reader, writer = await asyncio.open_unix_connection(str(door), limit=1024)
        writer.write(get("/metrics").encode())
        assert b"200 OK" in await reader.readline()
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(door))) as http,
            http.get("http://x/-/ready"),
        ):
            pass  # others are served meanwhile
    writer.close()


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────


def pem(path: Path, serial: int) -> Path:
    path.write_bytes(certificate(serial=serial).public_bytes(Encoding.PEM))
    return path


async def served_serial(port: int) -> int:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


async def test_a_renewed_certificate_is_served_within_a_minute_and_a_broken_one_is_not(short: Path) -> None:
    port = free_port()
    chain, private = pem(short / "c.pem", 1001), short / "k.pem"
    private.write_bytes(key_pem())
    http = {"listen": f"127.0.0.1:{port}", "tls_certificate": chain, "tls_key": private}
    async with daemon(short, **http) as (rig, _):
        assert await served_serial(port) == 1001
        pem(chain, 1002)
        await rig.clock.advance(MINUTE)
        assert await served_serial(port) == 1002
        chain.write_text("half a certifi")
        await rig.clock.advance(MINUTE)
        assert await served_serial(port) == 1002
        assert [event for _, event, _ in rig.log.lines if event.startswith("certificate.")] == [
            "certificate.renewed",
            "certificate.rejected",
        ]


async def test_plain_text_is_not_answered_where_tls_is_configured(short: Path) -> None:
    port = free_port()
    chain, private = pem(short / "c.pem", 1), short / "k.pem"
    private.write_bytes(key_pem())
    async with daemon(short, listen=f"127.0.0.1:{port}", tls_certificate=chain, tls_key=private):
        assert "200 OK" not in await ask(port, get("/-/healthy"))


@pytest.mark.parametrize("wrong", ["missing", "not a certificate", "encrypted key"])
async def test_a_certificate_that_cannot_be_used_is_an_error_that_names_the_settings(short: Path, wrong: str) -> None:
    chain, private = pem(short / "c.pem", 1), short / "k.pem"
    private.write_bytes(key_pem())
    if wrong == "missing":
        chain.unlink()
    elif wrong == "not a certificate":
        chain.write_text("hello")
    else:
        secret = BestAvailableEncryption(b"canary-passphrase")
        private.write_bytes(key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(CannotListen, match=r"http\.tls_certificate = .*http\.tls_key = .*cannot be used"):
        async with daemon(short, listen=f"127.0.0.1:{free_port()}", tls_certificate=chain, tls_key=private):
            pass


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────


def wish(operation: dict[str, Any]) -> dict[str, Any] | None:
    """What its body must hold, if it takes one."""
    body = operation.get("requestBody")
    said = {"reason": "a test", "until": "1h", "matchers": []}
    return {key: said[key] for key in body["content"]["application/json"]["schema"]["required"]} if body else None


async def test_no_secret_and_no_trace_of_the_code_is_in_any_answer(short: Path) -> None:
    canary = "canary-7b1e5d"
    tokens = {"ops": {"hash": "sha256:" + "5ec4e7" * 10 + "abcd", "role": "admin"}}
    async with daemon(short, tokens=tokens) as (rig, door):
        (receiver,) = rig.receivers.values()
        receiver._outcomes = [RuntimeError(canary), AuthError("refused"), RuntimeError(canary)]
        rig.sources["tokens"].shows(expiring("T", rig.clock.now()), RuntimeError(canary))
        await rig.look()
        await rig.wait(timedelta(minutes=2))
        connector = aiohttp.UnixConnector(str(door))
        async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {canary}"}) as http:
            async with http.get("http://x/openapi.json") as response:
                paths = (await response.json())["paths"]
            for path, methods in paths.items():
                for method, operation in methods.items():
                    item = "tokens%2FT%23expiry" if "/alerts/" in path else "tokens/T"
                    full = path.replace("{id}", item).replace("{name}", "tokens" if "look" in path else "slack")
                    async with http.request(method, f"http://x{full}", json=wish(operation)) as response:
                        text = await response.text()
                        unknown = {404} if path.endswith(("/silences/{id}", "/forecast")) else set()
                        assert response.status in {200, 502, 503} | unknown, (full, text)
                        said = text + json.dumps(dict(response.headers))
                        for leak in (canary, "5ec4e7", "Traceback", ".py"):
                            assert leak not in said, (full, leak)
