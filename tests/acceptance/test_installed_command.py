"""The installed command: what it does when it is started, told to reload, told to stop, killed, or cannot work."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.acceptance.installed import Daemon, Place, expiring_in


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with Place(tmp_path) as place:
        yield place


async def started(place: Place, *flags: str) -> Daemon:
    """It has looked at everything and told what there was to tell."""
    daemon = await place.run("--immediate", *flags)
    await daemon.until(lambda: daemon.told("collector.looked", collector="tokens"), "the first look")
    await daemon.quiet()
    return daemon


# ── start and stop ────────────────────────────────────────────────────────────────────────────────────


async def test_it_starts_is_ready_after_the_first_looks_tells_and_stops_with_0(place: Place) -> None:
    daemon = await started(place)
    assert (await daemon.get("/-/healthy"))[0] == 200
    assert (await daemon.get("/-/ready"))[0] == 200
    assert len(place.slack.posted) == 1
    assert "BOT_JWT" in place.slack.posted[0]["text"]
    assert await daemon.end() == 0
    assert daemon.lines()[-1]["event"] == "daemon.stopping"
    assert not (place.state / "expiryd.sock").exists()


async def test_it_is_not_ready_while_the_first_look_is_still_under_way(place: Place) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # the kernel takes the connection, and nobody answers
    port = silent.getsockname()[1]
    place.configure(collectors_web=f'type = "tls"\ntargets = ["127.0.0.1:{port}"]')
    daemon = await place.run("--immediate")
    await daemon.until(lambda: daemon.told("collector.looked", collector="tokens"), "the other look")
    assert await daemon.get("/-/ready") == (503, "1 of 2 collectors were not looked at yet\n")
    silent.close()


async def test_sigterm_ends_the_message_under_way_and_starts_no_other(place: Place) -> None:
    place.slack.open.clear()
    daemon = await place.run("--immediate")
    await daemon.until(lambda: place.slack.waiting, "a message under way")
    daemon.send(signal.SIGTERM)
    await daemon.until(lambda: daemon.told("daemon.stopping"), "the end to begin")
    place.slack.open.set()
    assert await daemon.end(None) == 0
    assert len(place.slack.posted) == 1
    assert place.owed() == []
    again = await started(place)
    assert await again.end() == 0
    assert len(place.slack.posted) == 1, "the receipt was remembered"


async def test_a_second_sigterm_ends_it_at_once_and_the_message_is_still_owed(place: Place) -> None:
    place.slack.open.clear()
    daemon = await place.run("--immediate")
    await daemon.until(lambda: place.slack.waiting, "a message under way")
    daemon.send(signal.SIGTERM)
    await daemon.until(lambda: daemon.told("daemon.stopping"), "the end to begin")
    assert await daemon.end() == -signal.SIGTERM
    assert len(place.owed()) == 1
    place.slack.open.set()
    again = await started(place)
    assert await again.end() == 0
    assert len(place.slack.posted) in {1, 2}, "sent again, since nobody knew whether it had arrived"


async def test_a_drain_that_takes_too_long_is_cut_short_and_nothing_is_lost(place: Place) -> None:
    place.configure(daemon=f'state_dir = "{place.state}"\ndrain = "0s"')
    place.slack.open.clear()
    daemon = await place.run("--immediate")
    await daemon.until(lambda: place.slack.waiting, "a message under way")
    assert await daemon.end() == 0
    assert len(place.owed()) == 1


async def test_killed_and_started_again_it_goes_on_where_it_was(place: Place) -> None:
    daemon = await started(place)
    assert await daemon.end(signal.SIGKILL) == -signal.SIGKILL
    assert (place.state / "expiryd.sock").exists()
    again = await started(place)
    assert (await again.look())["outcome"] == "complete"
    await again.quiet()
    assert await again.end() == 0
    assert len(place.slack.posted) == 1


async def test_a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on(place: Place) -> None:
    first = await started(place)
    second = await place.run(ready=False)
    assert await second.end(None) == 1
    assert second.stderr.endswith(f"another expiryd (pid {first.process.pid}) works with {place.state}\n")
    assert len(second.stderr.splitlines()) == 1
    assert (await first.look())["outcome"] == "complete"


# ── reload ────────────────────────────────────────────────────────────────────────────────────────────


async def reloaded(daemon: Daemon, event: str = "config.reloaded") -> None:
    count = len(daemon.told(event))
    daemon.send(signal.SIGHUP)
    await daemon.until(lambda: len(daemon.told(event)) > count, event)


async def test_sighup_takes_a_good_config_looks_at_what_was_edited_and_repeats_nothing(place: Place) -> None:
    daemon = await started(place)
    other = place.watch("other.tokens", BOT_JWT=place.token, CI_BOT_TOKEN=expiring_in(2))
    place.configure(
        collectors_tokens=f'type = "env-file"\npath = "{other}"\nevery = "1d"',
        collectors_more=f'type = "env-file"\npath = "{place.directory / ".tokens"}"\nlifetime = "1d"',
    )
    await reloaded(daemon)
    await daemon.until(lambda: len(daemon.told("collector.looked", collector="tokens")) == 2, "the edited source")
    await daemon.until(lambda: daemon.told("collector.looked", collector="more"), "the new source")
    await daemon.quiet()
    told = [str(post["text"]).partition("\n")[0] for post in place.slack.posted]
    await reloaded(daemon)
    await daemon.look()
    await daemon.look("more")
    await daemon.quiet()
    assert await daemon.end() == 0
    assert [str(post["text"]).partition("\n")[0] for post in place.slack.posted] == told, "a reload sends nothing"
    assert sum("CI_BOT_TOKEN" in post["text"] for post in place.slack.posted) == 1


async def test_sighup_with_a_bad_config_keeps_the_old_one_and_says_every_error(place: Place) -> None:
    daemon = await started(place)
    assert await daemon.metric("expiryd_config_last_reload_successful") == 1
    place.configure(policy='group_wait = "0s"\ncritical = "soon"', daemon=f'state_dir = "{place.state}"\nlog = 1')
    await reloaded(daemon, "config.rejected")
    (line,) = daemon.told("config.rejected")
    assert "daemon.log: " in line["problem"]
    assert "policy.critical: " in line["problem"]
    assert await daemon.metric("expiryd_config_last_reload_successful") == 0
    place.watch(BOT_JWT=place.token, CI_BOT_TOKEN=expiring_in(2))
    assert (await daemon.look())["items"] == 3
    await daemon.quiet()
    assert "CI_BOT_TOKEN" in place.slack.posted[-1]["text"]
    place.configure(policy='group_wait = "0s"', daemon=f'state_dir = "{place.state}"')
    await reloaded(daemon)
    assert await daemon.metric("expiryd_config_last_reload_successful") == 1


async def test_a_reload_takes_a_new_log_level(place: Place) -> None:
    daemon = await started(place)
    await daemon.until(lambda: daemon.told("collector.looked"), "the first look")
    for level, heard in (("error", 0), ("info", 1)):
        place.configure(daemon=f'state_dir = "{place.state}"\nlog_level = "{level}"')
        assert (await daemon.post("/-/reload"))[0] == 200
        before = len(daemon.told("collector.looked"))
        await daemon.look()
        assert len(daemon.told("collector.looked")) - before == heard


async def test_a_secret_that_is_missing_at_a_reload_is_an_error_with_its_path(place: Place) -> None:
    daemon = await started(place)
    place.configure(notifiers_slack='type = "slack"\nwebhook_url = { env = "NOT_SET" }')
    await reloaded(daemon, "config.rejected")
    (line,) = daemon.told("config.rejected")
    assert re.match(r"notifiers\.slack\.webhook_url: .*NOT_SET", line["problem"])


async def test_what_only_a_restart_can_honour_is_refused_and_named(place: Place) -> None:
    daemon = await started(place)
    place.configure(daemon=f'state_dir = "{place.directory / "elsewhere"}"', http='listen = "127.0.0.1:1"')
    await reloaded(daemon, "config.rejected")
    (line,) = daemon.told("config.rejected")
    assert "daemon.state_dir, http: changed, which needs a restart" in line["problem"]


async def test_a_burst_of_sighups_is_survived_and_the_last_config_counts(place: Place) -> None:
    daemon = await started(place)
    for number in range(60):
        place.configure(policy=f'group_wait = "0s"\nwarning = "{30 + number % 10}d"')
        daemon.send(signal.SIGHUP)
        await asyncio.sleep(0)
    other = place.directory / "other.env"
    other.write_text("OTHER=another-value-9f8e7d\n")
    place.configure(collectors_last=f'type = "env-file"\npath = "{other}"\nwarning = "1d"')
    daemon.send(signal.SIGHUP)
    await daemon.until(lambda: daemon.told("collector.looked", collector="last"), "the last config")
    await daemon.quiet()
    assert (await daemon.get("/-/ready"))[0] == 200
    assert await daemon.end() == 0
    assert sum("tokens/BOT_JWT" in post["text"] for post in place.slack.posted) == 1
    assert daemon.told("task.failed") == []


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_sigusr1_reopens_the_log_file_after_it_was_renamed(place: Place) -> None:
    log, old = place.directory / "expiryd.log", place.directory / "expiryd.log.1"
    place.configure(daemon=f'state_dir = "{place.state}"\nlog_file = "{log}"')
    daemon = await place.run("--immediate", ready=False)
    await daemon.until(lambda: log.exists() and '"collector.looked"' in log.read_text(), "the first look")
    log.rename(old)
    length = old.stat().st_size
    daemon.send(signal.SIGUSR1)
    await daemon.until(log.exists, "a new file")
    await daemon.look()
    assert '"collector.looked"' in log.read_text()
    assert old.stat().st_size == length
    assert daemon.stderr == ""
    assert await daemon.end() == 0


# ── what cannot work ──────────────────────────────────────────────────────────────────────────────────


async def test_a_bad_config_ends_with_4_and_every_error_on_a_line_of_its_own(place: Place) -> None:
    place.configure(
        daemon=f'state_dir = "{place.state}"\nlog_level = "loud"',
        policy='critical = "soon"',
        collectors_tokens='type = "env-file"',
        collectors_more='type = "env-file"\npaths = "/srv/.tokens"\nschedule = "x"',
        notifiers_slack='type = "slak"',
    )
    daemon = await place.run(ready=False)
    assert await daemon.end(None) == 4
    assert {line.partition(": ")[0] for line in daemon.stderr.splitlines()} == {
        "collectors.tokens.path",
        "collectors.more.path",
        "collectors.more.paths",
        "collectors.more.schedule",
        "daemon.log_level",
        "notifiers.slack.type",
        "policy.critical",
    }
    assert not place.state.exists()


async def test_a_state_directory_that_cannot_be_made_ends_with_4_and_names_it(place: Place) -> None:
    (place.directory / "file").touch()
    place.configure(daemon=f'state_dir = "{place.directory / "file/state"}"')
    daemon = await place.run(ready=False)
    assert await daemon.end(None) == 4
    assert daemon.stderr == f"daemon.state_dir: cannot make {place.directory / 'file/state'}: Not a directory\n"


@pytest.mark.parametrize("name", ["expiryd.lock", "expiryd.db", "fingerprint.key"])
async def test_a_state_directory_whose_files_cannot_be_opened_is_one_clear_line(place: Place, name: str) -> None:
    (place.state / name).mkdir(parents=True)
    daemon = await place.run(ready=False)
    assert await daemon.end(None) in {1, 4}
    assert len(daemon.stderr.splitlines()) == 1, daemon.stderr
    assert str(place.state) in daemon.stderr


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    place.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place.state], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    yield place.state
    subprocess.run(["umount", "-l", place.state], check=True)


async def test_a_full_disk_does_not_end_it_is_seen_and_passes(place: Place, small_disk: Path) -> None:
    daemon = await started(place)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    await daemon.until(lambda: daemon.told("store.failed"), "the full disk to be noticed")
    assert (await daemon.get("/health"))[0] == 503
    assert (await daemon.get("/-/ready"))[0] == 503
    place.watch(BOT_JWT=place.token, CI_BOT_TOKEN=expiring_in(2))
    assert daemon.process.returncode is None
    ballast.unlink()
    while (await daemon.get("/-/ready"))[0] != 200:
        await asyncio.sleep(0.05)
    await daemon.look()
    await daemon.quiet()
    assert "CI_BOT_TOKEN" in place.slack.posted[-1]["text"]
    assert await daemon.end() == 0


# ── dry run ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_dry_run_sends_nothing_and_leaves_the_state_as_it_was(place: Place) -> None:
    daemon = await place.run("--immediate", "--dry-run")
    await daemon.until(lambda: daemon.told("message.rehearsed"), "the rehearsal")
    assert "BOT_JWT" in daemon.told("message.rehearsed")[0]["subject"]
    assert await daemon.end() == 0
    assert place.slack.seen == []
    assert not place.state.exists()
    real = await started(place)
    assert await real.end() == 0
    assert len(place.slack.posted) == 1
    before = (place.state / "expiryd.db").read_bytes()
    place.watch(BOT_JWT=place.token, CI_BOT_TOKEN=expiring_in(2))
    again = await place.run("--immediate", "--dry-run")
    await again.until(lambda: again.told("message.rehearsed"), "the rehearsal")
    assert await again.end() == 0
    assert "BOT_JWT" not in again.told("message.rehearsed")[0]["subject"], "it knows what was told"
    assert (place.state / "expiryd.db").read_bytes() == before
    assert len(place.slack.posted) == 1


async def test_a_dry_run_beside_the_running_daemon_does_not_disturb_it(place: Place) -> None:
    daemon = await started(place)
    place.watch(BOT_JWT=place.token, CI_BOT_TOKEN=expiring_in(2))
    rehearsal = await place.run("--immediate", "--dry-run", ready=False)
    await rehearsal.until(lambda: rehearsal.told("message.rehearsed"), "the rehearsal")
    assert (await daemon.get("/-/ready"))[0] == 200
    assert await rehearsal.end() == 0
    assert place.owed() == []
    assert len(place.slack.posted) == 1
    assert (await daemon.look())["items"] == 3, "it is still the one behind the socket"
    await daemon.quiet()
    assert len(place.slack.posted) == 2
