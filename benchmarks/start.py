"""The daemon on the default configuration: time until it is ready, and its size, beside a bare Python interpreter."""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMITS = {"ready s": 1.5, "RSS MB": 100.0}
ROUNDS = 5


def start(state: str) -> tuple[float, float]:
    """Seconds until it says that it is ready, and its peak size in MB once everything was looked at."""
    command = [Path(sys.executable).with_name("expiryd"), "-c", ROOT / "config/expiryd.toml", "run", "--immediate"]
    environ = os.environ | {"EXPIRYD_DAEMON__STATE_DIR": state, "EXPIRYD_HTTP__LISTEN": "127.0.0.1:0"}
    environ |= {"EXPIRYD_DAEMON__LOG_FORMAT": "json"}
    started = time.perf_counter()
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ, cwd=ROOT)
    try:
        ready, looked = 0.0, 0
        for line in daemon.stderr or ():
            if "daemon.ready" in line:
                ready = time.perf_counter() - started
            looked += "collector.looked" in line
            if ready and looked >= 3:
                break
        size = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{daemon.pid}/status").read_text())
        return ready, int(size[1]) / 1024 if size else 0.0
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)


def bare() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import asyncio"], check=True)
    return time.perf_counter() - started


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="expiryd-bench-"))
    try:
        runs = [(start(str(folder / f"state{n}")), bare()) for n in range(ROUNDS)]
    finally:
        shutil.rmtree(folder)
    figures = {
        "ready s": statistics.median(ready for (ready, _), _ in runs),
        "RSS MB": statistics.median(size for (_, size), _ in runs),
    }
    for name, value in figures.items():
        print(f"  {name:20} {value:8.2f}  limit {LIMITS[name]:g}  {value / LIMITS[name]:.2f} of it")
    print(f"  ready takes {figures['ready s'] / statistics.median(b for _, b in runs):.1f} bare interpreters")
    return 0 if all(value <= LIMITS[name] for name, value in figures.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
