"""An independent judge: prometheus-blackbox-exporter sees the same end of every certificate as the `tls` collector.

It speaks no LDAP and no PostgreSQL, so slapd is asked on its ldaps port and PostgreSQL is left to `test_tls_targets`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from expiryd.api import Observation

from .processes import Processes, free_port, program
from .tls_looks import look
from .tls_servers import Server, Servers, serving

pytestmark = pytest.mark.real

_STARTTLS = [
    {"expect": "^220 "},
    {"send": "EHLO prober"},
    {"expect": "^250[ -]STARTTLS"},
    {"send": "STARTTLS"},
    {"expect": "^220"},
    {"starttls": True},
]


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Servers]:
    home = folder / "oracle"
    home.mkdir()
    with serving(home) as running:
        yield running


@pytest.fixture
def oracle(servers: Servers, processes: Processes, tmp_path: Path) -> str:
    """Its address. Each server has a module of its own, named by its target."""
    port = free_port()
    settings = tmp_path / "blackbox.yml"
    settings.write_text(json.dumps({"modules": {server.target: _module(server) for server in _probed(servers)}}))
    options = (f"--config.file={settings}", f"--web.listen-address=127.0.0.1:{port}")
    processes.start(program("prometheus-blackbox-exporter"), *options, port=port)
    return f"http://127.0.0.1:{port}"


async def test_it_sees_the_same_end_of_every_certificate(servers: Servers, oracle: str) -> None:
    probed = _probed(servers)
    found = await look(*(server.target for server in probed), ca_file=servers.root)
    async with aiohttp.ClientSession() as http:
        answers = await asyncio.gather(*(_earliest_end(http, oracle, server) for server in probed))
    theirs = dict(zip((server.target for server in probed), answers, strict=True))
    ours = {}
    for target, reading in found.items():
        assert isinstance(reading, Observation), reading
        assert reading.lifetime is not None
        assert reading.lifetime.expires_at is not None
        ours[target] = reading.lifetime.expires_at.timestamp()
    assert len(ours) == 7
    assert ours == theirs


def _probed(servers: Servers) -> list[Server]:
    return [server for server in servers.each if server.scheme in {"tls", "ldaps", "smtp"}]


def _module(server: Server) -> dict[str, Any]:
    tls = {"insecure_skip_verify": True, "server_name": server.name}
    talk = {"query_response": _STARTTLS} if server.scheme == "smtp" else {"tls": True}
    return {"prober": "tcp", "timeout": "5s", "tcp": {"preferred_ip_protocol": "ip4", "tls_config": tls, **talk}}


async def _earliest_end(http: aiohttp.ClientSession, oracle: str, server: Server) -> float:
    """Seconds since the epoch."""
    query = {"module": server.target, "target": f"127.0.0.1:{server.port}"}
    async with http.get(f"{oracle}/probe", params=query) as answer:
        text = await answer.text()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return float(values["probe_ssl_earliest_cert_expiry"])
