"""The installed command: what it prints, how it ends, and that it and the daemon say the same."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from expiryd.cli.main import call

COMMAND = Path(sys.executable).with_name("expiryd")
CANARY = "canary-5f2c91"
CONFIG = """
[daemon]
state_dir = "state"
[http]
listen = ""
[policy]
group_wait = "0s"
[collectors.tokens]
type = "env-file"
path = "tokens"
category = "cicd"
owner = "team-ci"
[collectors.tokens.items.TYPED]
expires = 2020-01-01
[collectors.tokens.items.NEVER]
expires = "never"
[collectors.people]
type = "inventory"
path = "people.csv"
[notifiers.alerts]
type = "file"
directory = "alerts"
"""
GONE = '[collectors.gone]\ntype = "env-file"\npath = "nowhere/.tokens"\n'


UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Even root is then refused by the mode of a file; others are anyway."""


@pytest.fixture(autouse=True)
def _logging_given_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)


def token(days: float) -> str:
    return jwt.encode({"exp": int((datetime.now(UTC) + timedelta(days=days)).timestamp())}, "k" * 32, "HS256")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def _without_secrets(done: Done) -> Done:
    assert CANARY not in done.stdout + done.stderr
    return done


class Place:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configure(CONFIG)
        (directory / "alerts").mkdir()
        tokens = directory / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text(
            f"SOON={token(3)}\nLATER={token(20)}\nFINE={token(300)}\nTYPED={CANARY}-value\nNEVER={CANARY}\n"
            f"DATELESS={CANARY}-other\nEMPTY=CHANGE_ME_please\n"
        )
        (directory / "people.csv").write_text("name,expires,owner\n=cmd()|x,2020-01-01,-boss\nalice,2099-01-01,hr\n")

    def configure(self, text: str) -> None:
        (self.directory / "expiryd.toml").write_text(text)

    def run(self, *arguments: str) -> Done:
        """In this process: the same from the arguments to the exit code, without the half second of a start."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = call(["-c", str(self.directory / "expiryd.toml"), *arguments], {})
        return _without_secrets(Done(code, output.getvalue(), errors.getvalue()))

    def start(self, *arguments: str, before: Sequence[str] = ()) -> Done:
        """As a process of its own, behind the words of another command that starts it."""
        command = [*before, COMMAND, "-c", self.directory / "expiryd.toml", *arguments]
        environ = {"PATH": os.environ["PATH"]}
        options: Any = {"capture_output": True, "text": True, "env": environ, "cwd": "/", "timeout": 50}
        done = subprocess.run(command, check=False, **options)
        assert "Traceback" not in done.stderr
        return _without_secrets(Done(done.returncode, done.stdout, done.stderr))

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run(*arguments, "--format", "json").stdout)
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="cli-") as directory:  # a unix socket's path is short
        yield Place(Path(directory))


@pytest.fixture(scope="module")
def running() -> Iterator[Place]:
    """A place with a daemon that has looked at everything."""
    with tempfile.TemporaryDirectory(prefix="cli-") as directory:
        place = Place(Path(directory))
        command = [COMMAND, "-c", place.directory / "expiryd.toml", "run", "--immediate"]
        with (place.directory / "log").open("w") as log, subprocess.Popen(command, stderr=log) as daemon:
            until(lambda: (place.directory / "log").read_text().count('"collector.looked"') == 2)
            yield place
            daemon.terminate()


def until(probe: Any) -> None:
    """Another process tells us nothing by itself: ask until it is so."""
    end = time.monotonic() + 30
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.02)


# ── check ─────────────────────────────────────────────────────────────────────────────────────────────


def test_check_lists_worst_first_and_counts(place: Place) -> None:
    done = place.run("check")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["SEVERITY", "ITEM", "LEFT", "EXPIRES", "(UTC)", "BASIS", "OWNER", "FINDINGS"]
    worst = [line.split()[0] for line in lines[1 : lines.index("")]]
    order = ["expired", "critical", "warning", "unknown", "info", "healthy"]
    assert worst == sorted(worst, key=order.index)
    assert lines[-1] == "11 items: 2 expired, 1 critical, 2 warning, 5 healthy, 1 unknown"
    assert (done.returncode, done.stderr) == (0, "")


def test_a_placeholder_a_missing_end_and_no_end_are_told_apart(place: Place) -> None:
    lines = {line.split()[1]: line for line in place.run("check").stdout.splitlines() if "tokens/" in line}
    assert "placeholder" in lines["tokens/EMPTY"]
    assert "no end known" in lines["tokens/DATELESS"]
    assert "never expires" in lines["tokens/NEVER"]
    assert "2 days left" in lines["tokens/SOON"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check"], 0),
        (["check", "--fail-on", "expired"], 5),
        (["check", "SOON", "--fail-on", "expired"], 0),
        (["check", "tokens/SOON", "--fail-on", "critical"], 5),
        (["check", "SOON", "--fail-on-critical"], 5),
        (["check", "FINE", "--fail-on", "info"], 0),
        (["check", "--collector", "people", "--fail-on", "expired"], 5),
        (["check", "NOPE"], 2),
        (["check", "SOON", "NOPE", "--fail-on", "critical"], 2),
        (["check", "--collector", "nope"], 2),
        (["check", "--category", "nope"], 2),
        (["monitor-all"], 0),
        (["cicd-only", "--fail-on-critical"], 5),
        (["check-token", "SOON", "cicd"], 0),
        (["check-token", "SOON", "runtime"], 2),
        (["check-token", "NOPE", "cicd"], 2),
        (["check", "--only", "dire"], 64),
        (["check", "--fail-on", "healthy"], 64),
        (["check", "--format", "xml"], 64),
        (["check-token", "SOON", "other"], 64),
        (["check-token", "SOON"], 64),
        (["chek"], 64),
        (["--nope"], 64),
        (["notify", "tset"], 64),
        (["silence"], 64),
        (["status"], 1),
    ],
)
def test_every_outcome_has_its_exit_code_and_every_error_its_line(
    place: Place, arguments: list[str], code: int
) -> None:
    done = place.run(*arguments)
    assert done.returncode == code
    assert bool(done.stderr) == (code not in (0, 5))
    assert all(line.startswith("expiryd: ") for line in done.stderr.splitlines())


def test_a_slip_of_the_pen_is_told_what_was_meant(place: Place) -> None:
    assert "did you mean check?" in place.run("chek").stderr
    assert "did you mean SOON?" in place.run("check", "SOONE").stderr
    silence = place.run("silence").stderr
    assert silence == "expiryd: say what to do: add, list, expire; see `expiryd silence --help`\n"


def test_without_a_verb_the_help_is_printed(place: Place) -> None:
    done = place.run()
    assert done.returncode == 0
    assert "check-config" in done.stdout


def test_a_source_that_cannot_be_seen_is_unknown_with_its_reason_and_not_a_success(place: Place) -> None:
    place.configure(CONFIG + GONE)
    done = place.run("check", "--only", "unknown")
    assert done.returncode == 1
    assert "blind: cannot read" in done.stdout
    assert "could not look at gone" in done.stderr
    assert place.run("check", "--fail-on", "expired").returncode == 5
    assert place.run("check", "tokens/FINE").returncode == 0
    assert place.run("check", "--collector", "tokens").returncode == 0
    (blind,) = [row for row in place.rows("check") if row["item"] == "gone"]
    assert (blind["severity"], blind["observed_at"]) == ("unknown", None)
    assert blind["findings"][0]["code"] == "blind"


def test_an_item_that_a_blind_source_may_hide_is_not_said_to_be_absent(place: Place) -> None:
    place.configure(CONFIG + GONE)
    done = place.run("check", "gone/AAR_TOKEN")
    assert done.returncode == 1
    assert "not seen" in done.stderr
    assert "gone" in done.stdout


def test_no_collectors_is_nothing_to_look_at(place: Place) -> None:
    place.configure("")
    assert place.run("check").stdout == "0 items\n"


def test_check_leaves_nothing_behind(place: Place) -> None:
    before = sorted(place.directory.rglob("*"))
    place.run("check")
    assert sorted(place.directory.rglob("*")) == before


def test_json_has_the_pinned_keys_and_csv_no_formula(place: Place) -> None:
    keys = (
        "item collector category kind title severity days_left expires_at issued_at basis findings measures owner "
        "runbook action labels observed_at"
    )
    rows = place.rows("check", "--collector", "people")
    assert all(set(keys.split()) <= set(row) for row in rows)
    table = list(csv.DictReader(io.StringIO(place.run("check", "--collector", "people", "--format", "csv").stdout)))
    cells = {row["title"]: row["owner"] for row in table}
    assert cells.items() >= {"'=cmd()|x": "'-boss", "alice": "hr"}.items()


def test_as_a_plugin_it_is_one_line_and_four_codes(place: Place) -> None:
    def plugin(*arguments: str) -> tuple[int, str]:
        done = place.run("check", *arguments, "--exit", "nagios")
        assert done.stdout.count("\n") == 1
        return done.returncode, done.stdout

    assert plugin("FINE") == (
        0,
        "EXPIRYD OK - 1 healthy of 1 items | expired=0 critical=0 warning=0 info=0 healthy=1 unknown=0\n",
    )
    assert plugin("LATER")[0] == 1
    code, line = plugin("tokens/SOON")
    assert code == 2
    assert line.startswith("EXPIRYD CRITICAL - 1 critical of 1 items: tokens/SOON 2 days left")
    assert plugin("NOPE")[0] == 3
    assert plugin("people/*")[1].count("|") == 1
    place.configure("nonsense = 1")
    assert plugin()[0] == 3


def test_notify_tells_at_once_what_is_bad_and_says_so(place: Place) -> None:
    done = place.run("cycle", "--notify")
    (message,) = (place.directory / "alerts").iterdir()
    assert done.returncode == 0
    assert f"alerts: told ({message}" in done.stderr
    text = message.read_text()
    assert "SOON" in text
    assert "FINE" not in text
    assert "nobody was told" in place.run("check", "FINE", "--notify").stderr


def test_a_check_uses_the_templates_and_check_config_proves_them(place: Place) -> None:
    place.configure(CONFIG + '[notifiers.alerts.templates]\ntext = { file = "own.j2" }\n')
    (place.directory / "own.j2").write_text("Dear all,\n{{ tally }}: {{ titel }}\n")
    done = place.run("check-config")
    assert done.returncode == 4
    assert done.stderr == (
        f"notifiers.alerts.templates.text: {place.directory}/own.j2: line 2: there is no variable 'titel'; "
        "did you mean title?\n"
    )
    (place.directory / "own.j2").write_text("Dear all,\n{{ tally }}: {{ title }}\n")
    assert place.run("check-config").returncode == 0
    place.run("check", "SOON", "--notify")
    (message,) = (place.directory / "alerts").iterdir()
    assert message.read_text() == "Dear all,\n1 critical: SOON\n"


def test_a_message_that_cannot_be_delivered_is_a_failure(place: Place) -> None:
    place.configure(CONFIG.replace('directory = "alerts"', 'directory = "tokens/alerts"'))
    done = place.run("check", "--notify")
    assert done.returncode == 1
    assert "alerts: NOT told:" in done.stderr


def test_the_old_token_check_prints_the_old_keys(place: Place) -> None:
    told = json.loads(place.run("check-token", "SOON", "cicd", "--json").stdout)
    assert (told["token_name"], told["token_type"], told["status"], told["analysis"]) == (
        *("SOON", "cicd", "critical"),
        "CRITICAL:2",
    )
    assert json.loads(place.run("check-token", "NOPE", "cicd", "--json").stdout)["status"] == "not_found"
    assert place.run("check-token", "EMPTY", "cicd").stdout == "EMPTY: placeholder -> PLACEHOLDER\n"


# ── check-config ──────────────────────────────────────────────────────────────────────────────────────


def test_a_good_config_says_what_it_holds(place: Place) -> None:
    done = place.run("check-config")
    assert done.stdout.endswith("valid, 2 collectors, 1 notifier\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_error_is_a_line_that_starts_with_its_path(place: Place) -> None:
    place.configure(CONFIG + '[collectors.bad]\ntype = "nope"\n[policy.extra]\n[notifiers.x]\ntype = "slack"\n')
    done = place.run("check-config")
    assert done.returncode == 4
    paths = sorted(line.partition(":")[0] for line in done.stderr.splitlines())
    assert paths == ["collectors.bad.type", "notifiers.x.webhook_url", "policy.extra"]


def test_a_secret_that_others_may_read_is_a_warning(place: Place) -> None:
    secret = place.directory / "url"
    secret.write_text("https://example.invalid/x")
    secret.chmod(0o644)
    place.configure(CONFIG + f'[notifiers.s]\ntype = "slack"\nwebhook_url = {{ file = "{secret}" }}\n')
    done = place.run("check-config")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: notifiers.s.webhook_url: ")
    assert "chmod 0600" in done.stderr


def test_a_state_directory_that_anybody_may_write_to_is_a_warning(place: Place) -> None:
    place.configure(CONFIG)
    state = place.directory / "state"
    state.mkdir(exist_ok=True)
    state.chmod(0o777)
    done = place.run("check-config")
    assert done.returncode == 0
    assert done.stderr == (
        f"warning: daemon.state_dir: {state} has mode 0777, so anybody may put another state and socket there: "
        f"chmod o-w {state}\n"
    )


@pytest.mark.parametrize("verb", ["check", "check-config"])
def test_a_config_that_is_not_there_is_exit_4(verb: str, place: Place) -> None:
    (place.directory / "expiryd.toml").unlink()
    done = place.run(verb)
    assert done.returncode == 4
    assert "No such file" in done.stderr


def test_what_may_not_be_read_is_exit_3(place: Place) -> None:
    (place.directory / "expiryd.toml").chmod(0)
    done = place.start("check-config", before=UNPRIVILEGED)
    assert done.returncode == 3
    assert "permission denied" in done.stderr


def test_a_state_directory_that_may_not_be_written_is_one_line_that_names_the_setting(place: Place) -> None:
    (place.directory / "state").mkdir(mode=0o555)
    done = place.start("run", before=UNPRIVILEGED)
    assert done.returncode == 4
    assert done.stderr.startswith("daemon.state_dir: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "auto"])
def test_the_daemon_starts_on_the_event_loop_of_the_config(place: Place, loop: str) -> None:
    place.configure(CONFIG.replace("[daemon]", f'[daemon]\nevent_loop = "{loop}"') + '[http.tokens.x]\nhash = "bad"\n')
    done = place.start("run")
    assert done.returncode == 4
    assert done.stderr.startswith("http.tokens.x.hash: ")


# ── the running daemon ────────────────────────────────────────────────────────────────────────────────


def test_check_and_the_daemon_judge_alike(running: Place) -> None:
    def judged(row: Mapping[str, Any]) -> tuple[Any, ...]:
        keys = ("item", "severity", "expires_at", "issued_at", "basis", "owner", "category", "title", "findings")
        return tuple(json.dumps(row[key]) for key in (*keys, "action", "generation", "labels", "kind"))

    by_daemon, by_check = running.rows("items"), running.rows("check")
    assert len(by_check) == 11
    assert sorted(map(judged, by_daemon)) == sorted(map(judged, by_check))


def test_status_is_one_screen(running: Place) -> None:
    done = running.run("status")
    assert done.returncode == 0
    assert "items:  11 (2 expired, 1 critical" in done.stdout
    assert all(name in done.stdout for name in ("tokens", "people", "alerts"))
    assert json.loads(running.run("status", "--json").stdout)["items"]["total"] == 11


def test_lists_are_filtered_and_limited(running: Place) -> None:
    assert {row["severity"] for row in running.rows("items", "--severity", "expired,critical")} == {
        "expired",
        "critical",
    }
    assert {row["collector"] for row in running.rows("items", "--category", "cicd")} == {"tokens"}
    assert [row["item"] for row in running.rows("items", "--owner", "hr")] == ["people/alice"]
    assert len(running.rows("items", "--limit", "2")) == 2
    assert {row["item"] for row in running.rows("alerts", "--collector", "people")} == {"people/=cmd()|x"}
    events = running.rows("events", "--severity", "expired", "--owner", "team-ci")
    assert [row["item"] for row in events] == ["tokens/TYPED"]
    assert running.rows("events", "--collector", "expiryd") == []
    assert running.run("items", "--owner", "nobody").stdout == "0 items\n"
    assert running.run("items", "--limit", "2").stdout.endswith("\n2 items: 2 expired; there are more than --limit\n")
    assert "more" not in running.run("items", "--limit", "11").stdout


@pytest.mark.parametrize("verb", ["items", "alerts", "events"])
def test_a_mistyped_collector_is_not_one_of_which_nothing_is_wrong(running: Place, verb: str) -> None:
    done = running.run(verb, "--collector", "tokens", "--collector", "nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "expiryd: no collector is called nope; there are: people, tokens\n"


def test_a_look_is_taken_now_and_its_end_is_waited_for(running: Place) -> None:
    assert running.run("look", "tokens").stdout == "tokens: complete, 8 items\n"
    done = running.run("look", "nope")
    assert (done.returncode, done.stderr) == (2, "expiryd: no collector is called 'nope'\n")


def test_notify_test_sends_a_message_through_each_notifier(running: Place) -> None:
    done = running.run("notify", "test")
    assert done.returncode == 0
    assert done.stdout.startswith("alerts: delivered (")
    assert running.run("notify", "test", "nope").returncode == 2


def test_reload_waits_for_the_verdict_and_prints_every_error(running: Place) -> None:
    try:
        running.configure(CONFIG + '[collectors.bad]\ntype = "nope"\n[policy.extra]\n')
        done = running.run("reload")
        assert done.returncode == 4
        assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["policy.extra", "collectors.bad.type"]
        running.configure(CONFIG + "[[[ not TOML\n")
        done = running.run("reload")
        assert done.returncode == 4
        assert "is not TOML" in done.stderr
    finally:
        running.configure(CONFIG)
    done = running.run("reload")
    assert done.returncode == 0
    assert done.stdout.startswith("reloaded")


def test_a_backup_is_made_beside_the_daemon_and_overwrites_nothing(running: Place) -> None:
    copy = running.directory / "copy.db"
    assert running.run("backup", str(copy)).returncode == 0
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT count(*) FROM item").fetchone() == (11,)
    before = copy.stat()
    assert running.run("backup", str(copy)).returncode == 1
    assert copy.stat() == before


def test_a_second_daemon_is_refused(running: Place) -> None:
    done = running.start("run")
    assert done.returncode == 1
    assert "another expiryd" in done.stderr


def test_who_may_not_open_the_socket_is_told_what_to_do(running: Place) -> None:
    state = running.directory / "state"
    state.chmod(0)
    try:
        done = running.start("status", before=UNPRIVILEGED)
    finally:
        state.chmod(0o700)
    assert done.returncode == 3
    assert "permission denied" in done.stderr
    assert "sudo" in done.stderr


@pytest.mark.parametrize("verb", ["status", "items", "reload"])
def test_without_a_daemon_the_socket_and_the_way_out_are_named(place: Place, verb: str) -> None:
    done = place.run(verb)
    assert done.returncode == 1
    assert str(place.directory / "state/expiryd.sock") in done.stderr
    assert "`expiryd run`" in done.stderr


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{", b"\x00" * 70000]
)
def test_something_else_behind_the_socket_is_one_clear_line(place: Place, answer: bytes) -> None:
    (place.directory / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(place.directory / "state/expiryd.sock"))
        door.listen()

        def reply() -> None:
            client, _ = door.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        done = place.run("status")
        thread.join()
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


# ── the terminal ──────────────────────────────────────────────────────────────────────────────────────


def on_a_terminal(place: Place, *arguments: str, **environ: str) -> str:
    """Output and errors as a terminal of 100 columns shows them."""
    ours, theirs = pty.openpty()
    command = [COMMAND, "-c", place.directory / "expiryd.toml", *arguments]
    environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", "LINES": "40", **environ}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:  # how Linux tells that the other end is closed
            pass
        process.wait()
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour_and_progress_and_nobody_else_does(place: Place) -> None:
    said = on_a_terminal(place, "check")
    assert "\x1b[31mcritical" in said
    assert "looking at" in said
    assert "\x1b" not in on_a_terminal(place, "check", "--ci")
    without = on_a_terminal(place, "check", NO_COLOR="1")
    assert "\x1b[31m" not in without
    assert "SOON" in without


def test_no_line_is_wider_than_the_terminal(place: Place) -> None:
    place.configure(CONFIG + GONE)
    lines = re.sub(r"\x1b\[[\d;]*m", "", on_a_terminal(place, "check")).splitlines()
    assert [line for line in lines if len(line) > 100 and "\x1b[K" not in line] == []


@pytest.mark.parametrize(("verb", "code"), [("check --fail-on expired", 5), ("notify render", 0), ("routes test", 0)])
def test_a_reader_that_has_had_enough_changes_neither_errors_nor_the_verdict(
    place: Place, verb: str, code: int
) -> None:
    command = f"{COMMAND} -c {place.directory}/expiryd.toml {verb} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def _heed_interrupts() -> None:
    """A shell starts what it puts in the background with interrupts ignored, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_check_ends_with_130_and_no_trace(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        place.configure(f'[collectors.slow]\ntype = "tls"\ntargets = ["127.0.0.1:{port}"]\n')
        command = [COMMAND, "-c", place.directory / "expiryd.toml", "check"]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - pytest has no threads of its own while this test runs
        ) as process:
            client, _ = silent.accept()  # from here on it waits for a handshake that does not come
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
            client.close()
    assert (process.returncode, output, errors.strip()) == (130, "", "")


def test_help_and_check_config_do_not_load_what_only_the_daemon_needs(place: Place) -> None:
    for verb in ("--help", "check-config", "check"):
        code = (
            "import sys; from expiryd.cli.main import call\n"
            f"code = call(['-c', {str(place.directory / 'expiryd.toml')!r}, {verb!r}], {{}})\n"
            "heavy = {'sqlalchemy', 'aiohttp.web', 'alembic', 'rich.table'} & set(sys.modules)\n"
            f"light = {{'pydantic', 'aiohttp', 'asyncio'}} & set(sys.modules) if {verb!r} == '--help' else set()\n"
            "assert not heavy | light, heavy | light\nassert code == 0"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
