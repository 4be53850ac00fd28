"""100,000 items turn critical at once in a real daemon: decided and stored, told within the storm limits, the size.

Receivers are this process's own HTTP server (webhook, one message for everything) and folder (file). The digest has to
count every item, in one message.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from items import ITEMS, UnixConnection, free_port, scrape, wait_for  # type: ignore[import-not-found]  # beside it

LIMITS = {"decided and stored s": 5.0, "RSS MB": 400.0, "messages": 20.0}
EXPIRYD = Path(sys.executable).with_name("expiryd")


class Receiver(ThreadingHTTPServer):
    """Keeps every body that was posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[tuple[float, dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((time.monotonic(), json.loads(body)))  # type: ignore[attr-defined]  # a Receiver
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """In silence."""


def write_inventory(path: Path, ends: datetime) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "expires", "kind", "owner", "category"])
        end = ends.isoformat(timespec="seconds")
        rows.writerows([f"licence-{n:06}", end, "licence", f"team-{n % 40}", "licences"] for n in range(ITEMS))


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


def stored(database: Path, patience: float = 120.0) -> float:
    """When the last event was in the database, in seconds since the first batch was: looked up cheaply."""
    deadline, first = time.monotonic() + patience, 0.0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    ((before,),) = connection.execute("SELECT last_event FROM installation")
    while time.monotonic() < deadline:
        ((last,),) = connection.execute("SELECT last_event FROM installation")
        count = last - before
        if count and not first:
            first = time.monotonic()
        if count >= ITEMS:
            connection.close()
            return time.monotonic() - first
        time.sleep(0.05)
    raise SystemExit(f"only {count} of {ITEMS} events were decided")


def high_water(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]  # always there on Linux


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="expiryd-bench-"))
    port, receiver = free_port(), Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    crossing = datetime.now(UTC) + timedelta(seconds=60)
    write_inventory(folder / "licences.csv", crossing + timedelta(days=7))
    (folder / "expiryd.toml").write_text(
        f'[daemon]\nstate_dir = "state"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        '[policy]\nwarning = "7d"\ninfo = "7d"\nladder = []\ngroup_wait = "10s"\n'
        '[collectors.licences]\ntype = "inventory"\npath = "licences.csv"\nschedule = "0 3 29 2 *"\n'
        f'[notifiers.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:{receiver.server_port}/"\ntimeout = "60s"\n'
        '[notifiers.folder]\ntype = "file"\ndirectory = "alerts"\n'
    )
    (folder / "alerts").mkdir()
    log = (folder / "daemon.log").open("wb")
    daemon = subprocess.Popen([EXPIRYD, "-c", folder / "expiryd.toml", "run"], stderr=log, stdout=log)
    try:
        wait_for(lambda: scrape(f"http://127.0.0.1:{port}/-/healthy", compressed=False))
        look(folder / "state" / "expiryd.sock")
        calm = high_water(daemon.pid)
        time.sleep(max((crossing - datetime.now(UTC)).total_seconds() - 1, 0))
        decided = stored(folder / "state" / "expiryd.db")
        begun = time.monotonic()
        wait_for(lambda: told(receiver, folder / "state" / "expiryd.db"), patience=180.0)
        delivered = time.monotonic() - begun
        time.sleep(15)  # anything that is one too many would come now
        bodies = [body for _, body in receiver.bodies]
        rss = high_water(daemon.pid)
        owed = left(folder / "state" / "expiryd.db")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
        receiver.shutdown()
        if "--keep" not in sys.argv:
            shutil.rmtree(folder)
    figures = {"decided and stored s": decided, "RSS MB": rss, "messages": float(len(bodies))}
    titles = [body["title"][:60] for body in bodies]
    print(f"{ITEMS} items critical at once, {calm:.0f} MB before; told {delivered:.0f} s later as: {titles}")
    for name, value in figures.items():
        print(f"  {name:20} {value:8.2f}  limit {LIMITS[name]:g}  {value / LIMITS[name]:.2f} of it")
    print(f"  {'counted in messages':20} {counted(receiver):8}  of {ITEMS}, still owed {owed}")
    print(json.dumps({"ratios": {name: round(value / LIMITS[name], 3) for name, value in figures.items()}}))
    complete = counted(receiver) >= ITEMS and not owed
    return 0 if complete and all(value <= LIMITS[name] for name, value in figures.items()) else 1


def told(receiver: Receiver, database: Path) -> None:
    if counted(receiver) < ITEMS or left(database):
        raise OSError("not all of it was told yet")


def counted(receiver: Receiver) -> int:
    said = (re.search(r"(\d+) matters", body["message"]) for _, body in receiver.bodies)
    return sum(int(found[1]) for found in said if found)


def left(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM parcel WHERE settled_at IS NULL").fetchone()[0])


if __name__ == "__main__":
    raise SystemExit(main())
