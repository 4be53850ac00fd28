"""CPU of one TLS probe: the `tls` collector beside Prometheus' blackbox_exporter, on the same servers in the same run.

    python benchmarks/tls.py [--endpoints 2000] [--rounds 5]

Starts nginx with an own address, certificate and port for each endpoint, and blackbox_exporter; lets both probe all
endpoints in turn, round after round, and prints the median CPU (user + system) of a probe and its share of blackbox's.
Both do the same job: fetch the whole chain, parse it, judge names, trust and dates against the same root; blackbox is
also measured with `insecure_skip_verify`, where it judges nothing. The client that drives blackbox is not counted.

A daemon looks at the same endpoints again and again, so the figure that counts is that of a later look, when chains
judged before and served unchanged are recognised. The first look after a start, which judges every chain, is printed
too.

Exit 0: a later look takes at most TARGET of what blackbox takes for the same job. Exit 1: it takes more, or a probe
went wrong. Exit 2: a peer is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from expiryd.api import Observation
from expiryd.collectors.tls import TlsConfig
from expiryd.engine.clock import SystemClock
from expiryd.testing import tools

TARGET = 0.70
IN_FLIGHT = 50
PEERS = {"nginx": "nginx-light", "prometheus-blackbox-exporter": "prometheus-blackbox-exporter"}
TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; pid {home}/nginx.pid; error_log {home}/error.log warn; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
http {{
  access_log off; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
  client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home}; uwsgi_temp_path {home};
  scgi_temp_path {home}; ssl_certificate_key {home}/key.pem;
{servers}
}}
"""
SERVER = "  server {{ listen {address}:{port} ssl; ssl_certificate {home}/{number}.pem; return 200 ok; }}"
BLACKBOX = """
modules:
  judging: {{prober: tcp, timeout: 10s, tcp: {{tls: true, tls_config: {{ca_file: {home}/ca.pem}}}}}}
  blind: {{prober: tcp, timeout: 10s, tcp: {{tls: true, tls_config: {{insecure_skip_verify: true}}}}}}
"""


class Authority:
    """A root and an intermediate that sign leaves for addresses."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._signer = ec.generate_private_key(ec.SECP256R1())
        root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._certify("Benchmark root", root_key, "Benchmark root", root_key, None)
        self.intermediate = self._certify("Benchmark issuer", self._signer, "Benchmark root", root_key, None)

    def leaf(self, number: int, address: str) -> x509.Certificate:
        names = [x509.DNSName(f"h{number}.example"), x509.IPAddress(ipaddress.ip_address(address))]
        return self._certify(f"h{number}.example", self.key, "Benchmark issuer", self._signer, names)

    def _certify(
        self,
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        names: list[x509.GeneralName] | None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        ends = now + timedelta(days=3650) if names is None else now + timedelta(days=90)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())


def lay_out(home: Path, count: int, port: int) -> list[str]:
    """Writes nginx's configuration and certificates; returns the targets."""
    authority = Authority()
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / "key.pem").write_bytes(key)
    (home / "ca.pem").write_bytes(authority.root.public_bytes(Encoding.PEM))
    above = authority.intermediate.public_bytes(Encoding.PEM)
    addresses = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]
    for number, address in enumerate(addresses):
        (home / f"{number}.pem").write_bytes(authority.leaf(number, address).public_bytes(Encoding.PEM) + above)
    servers = (SERVER.format(address=address, port=port, home=home, number=n) for n, address in enumerate(addresses))
    (home / "nginx.conf").write_text(NGINX.format(home=home, servers="\n".join(servers)))
    (home / "blackbox.yml").write_text(BLACKBOX.format(home=home))
    return [f"{address}:{port}" for address in addresses]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], address: str, port: int) -> Iterator[int]:
    """The process id, once it accepts connections."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection((address, port), timeout=1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        said = process.stderr.read() if process.poll() is not None and process.stderr else "no word"
                        raise SystemExit(f"{command[0]} does not start: {said}") from None
                    time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()


def cpu_of(pid: int) -> float:
    """Seconds of user and system time so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def measure_ours(home: Path, targets: list[str]) -> tuple[float, float]:
    """Seconds of CPU a probe in a first look and in a second one."""
    config = TlsConfig(type="tls", targets=targets, ca_file=home / "ca.pem", concurrency=IN_FLIGHT)
    figures = []
    async with aiohttp.ClientSession() as http:
        collector = config.build(tools(http, clock=SystemClock()))  # type: ignore[arg-type]
        for _ in range(2):
            before = time.process_time()
            readings = [reading async for reading in collector.look()]
            figures.append((time.process_time() - before) / len(targets))
            wrong = [r for r in readings if not isinstance(r, Observation) or r.findings or r.lifetime is None]
            if wrong or len(readings) != len(targets):
                raise SystemExit(f"{len(wrong)} of our {len(readings)} probes went wrong, such as {wrong[:1]}")
        await collector.aclose()
    return figures[0], figures[1]


async def measure_blackbox(pid: int, url: str, module: str, targets: list[str]) -> float:
    """Seconds of CPU a probe of the exporter's process."""
    left = iter(targets)
    wrong: list[str] = []

    async def drive(http: aiohttp.ClientSession) -> None:
        for target in left:
            async with http.get(url, params={"module": module, "target": target}) as response:
                text = await response.text()
            if "\nprobe_success 1" not in text or "\nprobe_ssl_earliest_cert_expiry" not in text:
                wrong.append(target)

    before = cpu_of(pid)
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as crew:
        for _ in range(IN_FLIGHT):
            crew.create_task(drive(http))
    if wrong:
        raise SystemExit(f"{len(wrong)} of blackbox's probes went wrong, such as {wrong[0]}")
    return (cpu_of(pid) - before) / len(targets)


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of CPU a probe."""

    first: float
    later: float
    judging: float
    blind: float

    def __str__(self) -> str:
        return (
            f"blackbox {self.judging * 1e6:.0f} us/probe judging, {self.blind * 1e6:.0f} us not judging; "
            f"ours {self.later * 1e6:.0f} us ({self.later / self.judging:.2f}x, {self.later / self.blind:.2f}x), "
            f"first look {self.first * 1e6:.0f} us ({self.first / self.judging:.2f}x, {self.first / self.blind:.2f}x)"
        )


async def compare(home: Path, targets: list[str], pid: int, url: str, count: int) -> Round:
    """Prints every round and the medians; returns the medians."""
    rounds: list[Round] = []
    for number in range(count):
        judging = await measure_blackbox(pid, url, "judging", targets)
        first, later = await measure_ours(home, targets)
        blind = await measure_blackbox(pid, url, "blind", targets)
        rounds.append(Round(first, later, judging, blind))
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    median = Round(*map(statistics.median, zip(*map(astuple, rounds), strict=True)))
    print(f"median:  {median}")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--endpoints", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    if missing := [package for command, package in PEERS.items() if shutil.which(command) is None]:
        print(f"tls: can't compare, peers are missing: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="expiryd-bench-") as directory:
        home = Path(directory)
        home.chmod(0o755)  # nginx's workers run as another user
        tls_port, http_port = free_port(), free_port()
        targets = lay_out(home, arguments.endpoints, tls_port)
        nginx = ["nginx", "-p", directory, "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
        listen = f"127.0.0.1:{http_port}"
        blackbox = ["prometheus-blackbox-exporter", f"--config.file={home / 'blackbox.yml'}"]
        blackbox += [f"--web.listen-address={listen}", "--log.level=error"]
        first = targets[0].partition(":")[0]
        with (
            running(nginx, first, tls_port),
            running(blackbox, "127.0.0.1", http_port) as pid,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            median = runner.run(compare(home, targets, pid, f"http://{listen}/probe", arguments.rounds))
    ratio = median.later / median.judging
    print(f"tls: {ratio:.2f} of blackbox_exporter's CPU a probe; target at most {TARGET:.2f}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
