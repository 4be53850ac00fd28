"""The shipped unit on a real systemd: start, reload, hang, crash, secrets, the sandbox and the end."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .machine import UNITS, Machine, booted, install
from .processes import REPOSITORY, until

pytestmark = pytest.mark.real

DROP_IN_FOLDER = "/etc/systemd/system/expiryd.service.d"
CONFIG = "/etc/expiryd/expiryd.toml"
CANARY = "canary-5f1d0b9e7a6c4d21"
DROP_INS = sorted((UNITS / "drop-ins").glob("*.conf"))

# The unit's own values but for the times a test would wait for. `ended` tells how the main process ended.
IN_A_HURRY = """
[Service]
RestartSec=200ms
ExecStopPost=/bin/sh -c 'echo "ended: $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS"'
LoadCredential=webhook-secret:/etc/expiryd/credentials/webhook-secret
"""
IMPATIENT = "[Service]\nWatchdogSec=4s\n"

ONE_TOKEN = """
[http]
listen = "127.0.0.1:9783"
[policy]
group_wait = "1s"
[collectors.tokens]
type = "env-file"
path = "/srv/app/.tokens"
every = "1h"
[collectors.tokens.items.DEPLOY_TOKEN]
expires = 2020-01-01
[notifiers.sink]
type = "webhook"
url = "http://127.0.0.1:9999/hook"
secret = { credential = "webhook-secret" }
"""
MORE_TOKENS = """
[collectors.more]
type = "env-file"
path = "/srv/app/more.env"
every = "20s"
"""
WRONG = """
[collectors.broken]
type = "env-file"
path = "/srv/app/.tokens"
evry = "1h"
"""

# Keeps what is posted to it as one JSON line a request.
SINK = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open("/run/sink.jsonl", "a") as kept:
            kept.write(json.dumps({"body": body, "signature": self.headers["X-Expiryd-Signature"]}) + "\\n")
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9999), Handler).serve_forever()
"""
ASK = "import sys, urllib.request as ask; sys.stdout.write(ask.urlopen(sys.argv[1], timeout=5).read().decode())"


CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect('/var/lib/expiryd/expiryd.sock'); print('connected')"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine, with expiryd installed and something that takes its messages."""
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        install(machine, tmp_path_factory.mktemp("wheels"))
        machine.write("/opt/sink.py", SINK)
        machine.run("systemd-run", "--quiet", "--unit=sink", "/opt/expiryd/bin/python", "/opt/sink.py")
        machine.write("/srv/app/.tokens", f"DEPLOY_TOKEN=ghx_{CANARY}_in_the_store\n")
        machine.write("/srv/app/more.env", "API_TOKEN=x8Zq31vTt0aKpW77yLd2\nOTHER_TOKEN=mm3Jd8s7Qz5Lr0Vb2Xc4\n")
        machine.write("/etc/expiryd/credentials/webhook-secret", CANARY, mode=0o600)
        yield machine


@pytest.fixture
def machine(box: Machine) -> Iterator[Machine]:
    """The machine as freshly installed: no state, an empty journal, the plain config."""
    shutil.rmtree(box.file(DROP_IN_FOLDER), ignore_errors=True)
    box.write(CONFIG, ONE_TOKEN)
    box.run("rm", "-f", "/run/sink.jsonl")
    add_drop_in(box, IN_A_HURRY, "hurry.conf")
    box.run("journalctl", "--rotate", "--vacuum-time=1us", "--quiet")
    yield box
    box.run("systemctl", "kill", "--signal=KILL", "expiryd.service", check=False)
    box.run("systemctl", "stop", "expiryd.service", check=False)
    box.run("systemctl", "reset-failed", "expiryd.service", check=False)
    box.run("systemctl", "clean", "--what=all", "expiryd.service")


def add_drop_in(machine: Machine, text: str, name: str = "test.conf") -> None:
    machine.write(f"{DROP_IN_FOLDER}/{name}", text)
    machine.run("systemctl", "daemon-reload")


def start(machine: Machine) -> int:
    """Start it, and answer the main process's id."""
    done = machine.run("systemctl", "start", "expiryd.service", check=False)
    assert done.returncode == 0, f"{done.stderr}{machine.journal()}"
    return int(machine.show("MainPID")["MainPID"])


def ask(machine: Machine, path: str) -> str:
    return machine.run("/opt/expiryd/bin/python", "-c", ASK, f"http://127.0.0.1:9783{path}").stdout


def messages(machine: Machine) -> list[dict[str, str]]:
    kept = machine.run("cat", "/run/sink.jsonl", check=False)
    return [json.loads(line) for line in kept.stdout.splitlines()]


def events(machine: Machine, name: str) -> list[dict[str, Any]]:
    """The lines of its log with this event name, oldest first."""
    words = (line.partition("]: ")[2] for line in machine.journal().splitlines())
    lines = [json.loads(word) for word in words if word.startswith("{")]
    return [line for line in lines if line["event"] == name]


def delivered(machine: Machine) -> dict[str, str]:
    """The first message, once the daemon has noted that it was taken."""
    until(lambda: events(machine, "message.delivered"), within=30, waiting_for="the first message")
    return messages(machine)[0]


def looked(machine: Machine, collector: str) -> bool:
    return any(line["collector"] == collector for line in events(machine, "collector.looked"))


# ── the unit file ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path.name if path else "alone")
def test_systemd_knows_every_word_of_the_unit_and_its_drop_ins(machine: Machine, drop_in: Path | None) -> None:
    if drop_in is not None:
        add_drop_in(machine, drop_in.read_text())
    done = machine.run("systemd-analyze", "verify", "expiryd.service", check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")  # 252 complains of an unknown word and answers 0


def test_an_unknown_word_would_be_noticed(machine: Machine) -> None:
    add_drop_in(machine, "[Service]\nRestrictReality=yes\n")
    assert "RestrictReality" in machine.run("systemd-analyze", "verify", "expiryd.service", check=False).stderr


def test_the_exposure_is_at_most_one_and_a_half(machine: Machine) -> None:
    machine.run("systemd-analyze", "security", "--offline=yes", "--threshold=15", "/etc/systemd/system/expiryd.service")


# ── start and reload ──────────────────────────────────────────────────────────────────────────────────


def test_it_counts_as_started_only_when_it_answers(machine: Machine) -> None:
    start(machine)
    ask(machine, "/-/healthy")
    assert machine.show("ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    assert machine.file("/var/lib/private/expiryd").is_dir()


def test_systemctl_status_says_how_things_stand(machine: Machine) -> None:
    add_drop_in(machine, IMPATIENT)  # the line is renewed whenever the watchdog is fed
    start(machine)
    until(lambda: looked(machine, "tokens"), within=20, waiting_for="the first look")
    until(lambda: "1 expired" in machine.show("StatusText")["StatusText"], within=30, waiting_for="a new status line")
    status = machine.run("systemctl", "status", "--no-pager", "expiryd.service").stdout
    assert re.search(r'Status: "\d+ items?: 1 expired', status), status


def test_a_reload_takes_the_new_config_in_the_same_process(machine: Machine) -> None:
    pid = start(machine)
    machine.write(CONFIG, ONE_TOKEN + MORE_TOKENS)
    machine.run("systemctl", "reload", "expiryd.service")
    until(lambda: looked(machine, "more"), within=20, waiting_for="the look of the new collector")
    machine.wait(ActiveState="active", SubState="running", MainPID=str(pid), NRestarts="0")


def test_a_reload_of_a_wrong_config_fails_for_all_to_see_and_the_old_one_stays(machine: Machine) -> None:
    pid = start(machine)
    until(lambda: looked(machine, "tokens"), within=20, waiting_for="the first look")
    machine.write(CONFIG, ONE_TOKEN + MORE_TOKENS + WRONG)
    assert machine.run("systemctl", "reload", "expiryd.service", check=False).returncode != 0
    machine.wait(ActiveState="active", SubState="running", MainPID=str(pid), NRestarts="0")
    assert "collectors.broken.evry: " in machine.journal()
    ask(machine, "/-/healthy")
    assert not looked(machine, "more")


def test_a_hang_up_signal_with_a_wrong_config_leaves_the_service_running(machine: Machine) -> None:
    """Whoever sends SIGHUP as of old reads the outcome in the log and in the status line."""
    pid = start(machine)
    machine.write(CONFIG, ONE_TOKEN + WRONG)
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", "expiryd.service")
    until(lambda: events(machine, "config.rejected"), within=20, waiting_for="the verdict")
    machine.wait(ActiveState="active", SubState="running", MainPID=str(pid), NRestarts="0")
    ask(machine, "/-/healthy")


def test_a_wrong_config_at_the_start_fails_once_and_says_why(machine: Machine) -> None:
    machine.write(CONFIG, ONE_TOKEN.replace("group_wait", "group_weight") + WRONG)
    assert machine.run("systemctl", "start", "expiryd.service", check=False).returncode != 0
    machine.wait(ActiveState="failed", Result="exit-code", ExecMainStatus="4", NRestarts="0")
    said = [line.partition("]: ")[2] for line in machine.journal().splitlines()]
    assert [line for line in said if line.startswith("policy.group_weight: ")]
    assert [line for line in said if line.startswith("collectors.broken.evry: ")]


def test_a_missing_credential_fails_once(machine: Machine) -> None:
    add_drop_in(machine, "[Service]\nLoadCredential=gone:/etc/expiryd/credentials/gone\n")
    assert machine.run("systemctl", "start", "expiryd.service", check=False).returncode != 0
    machine.wait(ActiveState="failed", Result="exit-code", ExecMainStatus="243", NRestarts="0")


# ── hang, crash, end ──────────────────────────────────────────────────────────────────────────────────


def test_a_daemon_that_hangs_is_killed_by_the_watchdog_and_started_again(machine: Machine) -> None:
    add_drop_in(machine, IMPATIENT)
    pid = start(machine)
    machine.run("kill", "-STOP", str(pid))
    machine.wait(within=60, ActiveState="active", SubState="running", NRestarts="1")
    assert machine.show("MainPID")["MainPID"] != str(pid)
    assert "Watchdog timeout" in machine.journal()
    assert "Fatal Python error: Aborted" in machine.journal(), "where it hung is to be seen"
    ask(machine, "/-/healthy")


def test_a_healthy_daemon_outlives_the_watchdog(machine: Machine) -> None:
    add_drop_in(machine, IMPATIENT)
    pid = start(machine)
    started = int(machine.show("WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])

    def fed_for_twice_its_length() -> bool:
        return int(machine.show("WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]) - started > 8_000_000

    until(fed_for_twice_its_length, within=30, waiting_for="the watchdog to be fed")
    assert machine.show("MainPID", "NRestarts") == {"MainPID": str(pid), "NRestarts": "0"}


def test_after_a_kill_it_comes_back_and_remembers_whom_it_told(machine: Machine) -> None:
    pid = start(machine)
    delivered(machine)
    machine.run("kill", "-KILL", str(pid))
    machine.wait(ActiveState="active", SubState="running", NRestarts="1")
    first, second = events(machine, "daemon.ready")
    assert (first["items"], second["items"] > 0) == (0, True)
    machine.write(CONFIG, ONE_TOKEN + MORE_TOKENS)  # a new collector is looked at at once
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", "expiryd.service")
    until(lambda: looked(machine, "more"), within=20, waiting_for="a look after the restart")
    machine.run("systemctl", "stop", "expiryd.service")
    told = [event["item"] for message in messages(machine) for event in json.loads(message["body"])["events"]]
    assert told.count("tokens/DEPLOY_TOKEN") == 1


def test_a_stop_is_clean(machine: Machine) -> None:
    start(machine)
    machine.run("systemctl", "stop", "expiryd.service")
    assert machine.show("ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    assert "ended: success exited 0" in machine.journal()
    assert "Traceback" not in machine.journal()


# ── secrets and the sandbox ───────────────────────────────────────────────────────────────────────────


def test_a_credential_reaches_the_daemon_and_is_seen_nowhere(machine: Machine) -> None:
    pid = start(machine)
    message = delivered(machine)
    signature = hmac.new(CANARY.encode(), message["body"].encode(), hashlib.sha256).hexdigest()
    assert message["signature"] == f"sha256={signature}"
    machine.write(CONFIG, ONE_TOKEN + WRONG)
    machine.run("systemctl", "reload", "expiryd.service", check=False)

    outputs = {
        "the message": message["body"],
        "systemctl show": machine.run("systemctl", "show", "expiryd.service").stdout,
        "systemctl status": machine.run("systemctl", "status", "--no-pager", "--full", "expiryd.service").stdout,
        "environment": machine.run("cat", f"/proc/{pid}/environ").stdout,
        "command line": machine.run("cat", f"/proc/{pid}/cmdline").stdout,
        "journal": machine.run("journalctl", "--no-pager", "--output=export").stdout,
        "health": ask(machine, "/health"),
        "metrics": ask(machine, "/metrics"),
    }
    assert {where for where, text in outputs.items() if CANARY in text} == set()
    found = machine.run(
        "grep", "--recursive", "--text", "--files-with-matches", CANARY, "/var/lib/private", check=False
    )
    assert (found.returncode, found.stdout) == (1, "")


def test_it_can_write_to_its_own_directory_and_nowhere_else(machine: Machine) -> None:
    pid = start(machine)
    ids = machine.run("ps", "-o", "uid=,gid=", "-p", str(pid)).stdout.split()
    assert ids[0] != "0"
    as_the_daemon = ["nsenter", f"--target={pid}", "--mount", "setpriv", f"--reuid={ids[0]}", f"--regid={ids[1]}"]
    skipped = ["-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/dev", "-o", "-path", "/run/credentials"]
    search = ["find", "/", "(", *skipped, ")", "-prune", "-o", "-type", "d", "-writable", "-print"]
    found = machine.run(*as_the_daemon, "--clear-groups", "--no-new-privs", *search, check=False).stdout.split()
    assert {path for path in found if not path.startswith("/var/lib/private/expiryd/")} == {
        "/var/lib/private/expiryd",
        "/tmp",  # a private one
        "/var/tmp",
    }


def test_its_files_are_for_nobody_else(machine: Machine) -> None:
    start(machine)
    listed = machine.run("find", "/var/lib/private/expiryd", "-printf", "%m %f\n").stdout.split("\n")
    modes = dict(reversed(line.split(" ", 1)) for line in listed if line)
    assert modes.pop("expiryd") == "700"
    assert modes.pop("expiryd.sock") == "660"
    assert set(modes.values()) <= {"600", "700"}, modes


@pytest.mark.parametrize(
    ("drop_in", "outcome"),
    [
        pytest.param("", "blind", id="as installed"),
        pytest.param("[Service]\nDynamicUser=no\nUser=www-data\n", "complete", id="as the owner"),
        pytest.param((UNITS / "drop-ins/read-everything.conf").read_text(), "complete", id="read-everything.conf"),
    ],
)
def test_a_store_that_only_its_owner_may_read_is_seen_only_when_allowed(
    machine: Machine, drop_in: str, outcome: str
) -> None:
    machine.write("/srv/other/.tokens", f"API_TOKEN=ghx_{CANARY}\n", mode=0o600)
    machine.run("chown", "--recursive", "www-data:", "/srv/other")
    machine.write(CONFIG, ONE_TOKEN + MORE_TOKENS.replace("/srv/app/more.env", "/srv/other/.tokens"))
    add_drop_in(machine, drop_in)
    start(machine)
    until(lambda: looked(machine, "more"), within=20, waiting_for="the look")
    look = next(line for line in events(machine, "collector.looked") if line["collector"] == "more")
    assert look["outcome"] == outcome, look
    assert CANARY not in machine.journal()


LIBRARIES = "uvloop cffi cryptography.x509 OpenSSL.SSL pycares pydantic_core yaml sqlalchemy psycopg pyrage jks"
HANDSHAKE = """
import asyncio, ssl, sys, OpenSSL.SSL as tls, uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
for name in sys.argv[1:]:
    __import__(name)
rsa.generate_private_key(65537, 2048)
tls.Context(tls.TLS_METHOD).set_verify(tls.VERIFY_PEER, lambda *seen: True)
async def resolve():
    import aiodns
    return await asyncio.get_running_loop().getaddrinfo("localhost", 80), aiodns.DNSResolver()
uvloop.run(resolve())
print("all run")
"""


def test_every_library_of_ours_runs_inside_the_sandbox(machine: Machine) -> None:
    """Above all those with machine code of their own, without memory that is writable and executable at once."""
    unit = (UNITS / "expiryd.service").read_text()
    own = ("Type=", "NotifyAccess=", "Exec", "Restart", "Watchdog", "Timeout", "StateDirectory", "#", "[")
    service = unit[unit.index("[Service]") : unit.index("[Install]")].splitlines()
    sandbox = [f"--property={line}" for line in service if line and not line.startswith(own)]
    python = ["/opt/expiryd/bin/python", "-c", HANDSHAKE, *LIBRARIES.split()]
    done = machine.run("systemd-run", "--quiet", "--wait", "--pipe", *sandbox, *python, check=False)
    assert done.stdout == "all run\n", done.stderr


# ── log file ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_file_is_rotated_under_the_running_daemon(machine: Machine) -> None:
    add_drop_in(machine, (UNITS / "drop-ins/log-file.conf").read_text())
    machine.write(CONFIG, '[daemon]\nlog_file = "/var/log/expiryd/expiryd.log"\n' + ONE_TOKEN)
    shutil.copy(REPOSITORY / "deploy/logrotate/expiryd", machine.file("/etc/logrotate.d/expiryd"))
    start(machine)
    log = Path("/var/log/private/expiryd/expiryd.log")
    machine.run("logrotate", "--force", "/etc/logrotate.d/expiryd")
    until(
        lambda: machine.run("test", "-e", str(log), check=False).returncode == 0,
        within=10,
        waiting_for="a new log file",
    )
    machine.run("systemctl", "stop", "expiryd.service")
    assert "daemon.stopping" in machine.run("cat", str(log)).stdout
    assert "daemon.ready" in machine.run("cat", f"{log}.1").stdout


# ── operators ─────────────────────────────────────────────────────────────────────────────────────────


def test_members_of_the_group_may_operate_it_and_others_may_not(machine: Machine) -> None:
    """The drop-in `operators.conf`, as its first lines say to use it."""
    make = (UNITS / "drop-ins/operators.conf").read_text().partition("First: ")[2].splitlines()[0]
    machine.run("sh", "-c", f"id expiryd >/dev/null 2>&1 || {make}")
    for person, groups in (("alice", "expiryd"), ("mallory", "nogroup")):
        machine.run("sh", "-c", f"id {person} >/dev/null 2>&1 || useradd --no-create-home --groups {groups} {person}")
    start(machine)  # as installed, so that there is a state to hand over
    until(lambda: looked(machine, "tokens"), within=20, waiting_for="the first look")
    machine.run("systemctl", "stop", "expiryd.service")
    add_drop_in(machine, (UNITS / "drop-ins/operators.conf").read_text())
    start(machine)
    assert events(machine, "daemon.ready")[-1]["items"] > 0
    connect = ["/opt/expiryd/bin/python", "-c", CONNECT]
    assert machine.run("runuser", "-u", "alice", "--", *connect).stdout == "connected\n"
    refused = machine.run("runuser", "-u", "mallory", "--", *connect, check=False)
    assert "PermissionError" in refused.stderr
