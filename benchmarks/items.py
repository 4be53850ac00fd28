"""100,000 inventory items in a real daemon: the first cycle, an unchanged one, size, and scrapes beside a Go exporter.

The peer is Debian's prometheus-pushgateway, which is pushed the same series and scraped in the same run.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date, timedelta
from http.client import HTTPConnection
from pathlib import Path

ITEMS = int(os.environ.get("BENCH_ITEMS", "100000"))
LIMITS = {"first cycle s": 10.0, "unchanged cycle s": 2.0, "RSS MB": 250.0, "scrape ms": 50.0}
EXPIRYD = Path(sys.executable).with_name("expiryd")
ROUNDS = 9


class UnixConnection(HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def write_inventory(path: Path) -> None:
    start = date(2026, 1, 1)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "expires", "kind", "owner", "category"])
        for n in range(ITEMS):
            rows.writerow(
                [f"licence-{n:06}", start + timedelta(days=900 + n % 700), "licence", f"team-{n % 40}", "licences"]
            )


def look(sock: Path) -> float:
    started = time.perf_counter()
    connection = UnixConnection(sock)
    connection.request("POST", "/api/v1/collectors/licences/look")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"the look answered {answer.status}: {body[:200]!r}")
    connection.close()
    return time.perf_counter() - started


def scrape(url: str, *, compressed: bool) -> tuple[float, bytes]:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"} if compressed else {})
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    return time.perf_counter() - started, body


def peer(folder: Path, series: bytes) -> float | None:
    """Median seconds of a scrape of the same series from a Go exporter; None when it is not installed."""
    program = shutil.which("prometheus-pushgateway")
    if program is None:
        return None
    port = free_port()
    log = (folder / "peer.log").open("wb")
    process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=log, stdout=log)
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_for(lambda: scrape(url, compressed=True))
        push = urllib.request.Request(f"{url}/job/bench", data=series, method="PUT")
        urllib.request.urlopen(push, timeout=120).read()
        return statistics.median(scrape(url, compressed=True)[0] for _ in range(5))
    finally:
        process.terminate()
        process.wait()


def wait_for(attempt, patience: float = 60.0) -> None:  # type: ignore[no-untyped-def]  # any callable
    deadline = time.monotonic() + patience
    while True:
        try:
            attempt()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="expiryd-bench-"))
    port = free_port()
    write_inventory(folder / "licences.csv")
    (folder / "expiryd.toml").write_text(
        f'[daemon]\nstate_dir = "state"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        '[collectors.licences]\ntype = "inventory"\npath = "licences.csv"\nschedule = "0 3 29 2 *"\n'
    )
    log = (folder / "daemon.log").open("wb")
    daemon = subprocess.Popen([EXPIRYD, "-c", folder / "expiryd.toml", "run"], stderr=log, stdout=log)
    try:
        wait_for(lambda: scrape(f"http://127.0.0.1:{port}/-/healthy", compressed=False))
        sock = folder / "state" / "expiryd.sock"
        first = look(sock)
        unchanged = statistics.median(look(sock) for _ in range(3))
        url = f"http://127.0.0.1:{port}/metrics"
        scrape(url, compressed=True)
        packed = statistics.median(scrape(url, compressed=True)[0] for _ in range(ROUNDS))
        plain = statistics.median(scrape(url, compressed=False)[0] for _ in range(ROUNDS))
        body = gzip.decompress(scrape(url, compressed=True)[1])
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        rss = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]  # always there on Linux
        ours = b"".join(line for line in body.splitlines(keepends=True) if b"expiryd_item_" in line)
        theirs = peer(folder, ours)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
        shutil.rmtree(folder)
    series = ours.count(b"\n")
    figures = {"first cycle s": first, "unchanged cycle s": unchanged, "RSS MB": rss, "scrape ms": packed * 1000}
    print(f"{ITEMS} items, {series} lines, {len(body) / 1e6:.1f} MB plain")
    for name, value in figures.items():
        print(f"  {name:20} {value:8.2f}  limit {LIMITS[name]:g}  {value / LIMITS[name]:.2f} of it")
    print(f"  {'scrape plain ms':20} {plain * 1000:8.2f}")
    if theirs is None:
        print("  peer missing: prometheus-pushgateway is not installed (tests/real/install)")
        return 1
    print(f"  {'peer scrape ms':20} {theirs * 1000:8.2f}  ours takes {packed / theirs:.3f} of it")
    print(json.dumps({"ratios": {name: round(value / LIMITS[name], 3) for name, value in figures.items()}}))
    return 0 if all(value <= LIMITS[name] for name, value in figures.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
