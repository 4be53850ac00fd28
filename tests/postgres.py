"""A PostgreSQL server of our own for tests: made in a temporary directory, on a free port of loopback, and removed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "expiryd"
PASSWORD = "canary-Zq7-of-postgres"


@dataclass(frozen=True)
class Cluster:
    port: int
    socket_dir: Path

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"


def server_binaries() -> Path:
    """Where initdb and postgres are. Raises FileNotFoundError: the tests that need them fail, they do not skip."""
    places = [Path(found).parent for name in ("initdb",) if (found := shutil.which(name))]
    if asked := shutil.which("pg_config"):
        answer = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(answer.stdout.strip()))
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise FileNotFoundError(
        "no PostgreSQL server here: install one (`tests/real/install`, or `apt-get install postgresql`)"
    )


@contextmanager
def cluster() -> Iterator[Cluster]:
    binaries = server_binaries()
    home = Path(tempfile.mkdtemp(prefix="expiryd-pg-"))
    try:
        password_file = home / "password"
        password_file.write_text(PASSWORD)
        if os.geteuid() == 0:  # the server refuses to run as root
            for path in (home, password_file):
                shutil.chown(path, "postgres", "postgres")
        subprocess.run(
            [
                *_as_postgres(), binaries / "initdb", "--pgdata", home / "data", "--username", USER, "--no-sync",
                "--auth", "scram-sha-256", "--pwfile", password_file, "--encoding", "UTF8", "--no-locale",
            ],
            cwd=home, check=True, capture_output=True,
        )  # fmt: skip
        yield from _running(binaries, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _running(binaries: Path, home: Path) -> Iterator[Cluster]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [
                *_as_postgres(), binaries / "postgres", "-D", home / "data", "-p", str(port), "-h", "127.0.0.1",
                "-k", home, "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40",
            ],
            cwd=home, stdout=sink, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while b"database system is ready" not in log.read_bytes():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield Cluster(port, home)
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown
        server.wait(20)


def _as_postgres() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
