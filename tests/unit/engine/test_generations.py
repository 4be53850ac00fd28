"""One credential in time, through a whole daemon that is restarted, reloaded and killed on the way."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.rig import DAY, HOUR, MINUTE, Rig, expiring
from tests.scenario import at, want
from tests.story import Act, Disturbance, disturbed, play, sees

from expiryd.api import Observation
from expiryd.testing import EPOCH


def holds(name: str, days: float, item: str = "AAR") -> Act:
    """A look sees this credential, which ends so many days after the start."""
    return sees("tokens", expiring(item, EPOCH + days * DAY, generation=name, fingerprint=f"f-{name}"))


@disturbed
async def test_a_renewal_closes_the_matter_with_one_notice_that_says_how_long_it_took(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    rig = await play(
        tmp_path,
        at("0s", holds("A", 6)),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        want("1d", "1d2m", "slack: repeated critical tokens/AAR"),
        at("36h", holds("B", 96)),
        want("36h", "36h1m", "slack: renewed healthy tokens/AAR"),
        at("60h", holds("B", 96)),
        until="4d",
        disturbance=disturbance,
    )
    async with rig:
        state = rig.daemon.ledger.get("tokens/AAR")  # type: ignore[arg-type]  # as a person types it
        assert state is not None and state.took == (36 * HOUR,)
        assert [(was.name, was.fingerprint) for was in state.past] == [("A", "f-A")]


@disturbed
async def test_a_rollout_in_which_two_certificates_take_turns_is_told_once(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", holds("A", 6)),
        want("0s", "1m", "slack: raised critical tokens/AAR"),
        at("1h", holds("B", 96)),
        want("1h", "1h1m", "slack: renewed healthy tokens/AAR"),
        at("2h", holds("A", 6)),
        want("2h", "2h1m", "slack: raised critical tokens/AAR", "slack: raised info tokens/AAR flapping"),
        *(at(f"{hour}h", holds("AB"[hour % 2], (6, 96)[hour % 2])) for hour in range(3, 12)),
        at("38h", holds("B", 96)),
        want("26h", "26h2m", "slack: repeated critical tokens/AAR"),
        want("38h", "38h1m", "slack: renewed healthy tokens/AAR", "slack: resolved healthy tokens/AAR flapping"),
        until="50h",
        disturbance=disturbance,
    )


@disturbed
async def test_a_credential_that_was_put_back_is_a_warning_that_names_it(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", holds("A", 190)),
        at("3d", holds("B", 290)),
        at("6d", holds("A", 190)),
        want("6d", "6d1m", "slack: raised warning tokens/AAR rolled-back"),
        at("8d", holds("B", 290)),
        want("8d", "8d1m", "slack: resolved healthy tokens/AAR rolled-back"),
        until="9d",
        disturbance=disturbance,
    )


async def test_the_history_of_a_certificate_is_its_own_and_not_its_monitors(tmp_path: Path) -> None:
    """One certificate's notices never silence another one's, and a new one begins anew (Uptime Kuma's history)."""
    await play(
        tmp_path,
        at("0s", holds("A", 31)),
        want("0s", "1m", "slack: raised info tokens/AAR"),
        want("1d", "1d1m", "slack: worsened warning tokens/AAR"),
        at("2d", holds("B", 42)),
        want("2d", "2d1m", "slack: raised info tokens/AAR", "slack: renewed info tokens/AAR"),
        want("12d", "12d1m", "slack: worsened warning tokens/AAR"),
        until="13d",
    )


async def test_an_issue_is_closed_by_the_renewal_in_its_own_thread(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=("github", "slack"), threaded=("github",)) as rig:
        await holds("A", 6)(rig)
        await rig.wait(MINUTE)
        await rig.restart()
        await holds("B", 96)(rig)
        await rig.wait(MINUTE)
        opened, closed = rig.receivers["github"].sent
        assert opened.thread is not None and closed.thread is not None
        assert (opened.thread.generation, closed.thread.generation) == ("A", "A")
        assert (opened.firing, closed.firing) == (True, False)
        assert [message.firing for message in rig.receivers["slack"].sent] == [True, False]
        assert "renewed 1 minute after the first notice" in closed.text.replace("60 seconds", "1 minute")


async def test_what_was_known_of_generations_is_known_after_a_restart(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        for days in range(3):
            await holds(f"G{days}", 100 + days)(rig)
            await rig.wait(3 * DAY, step=DAY)
        before = list(rig.daemon.ledger.all())
        await rig.restart()
        assert list(rig.daemon.ledger.all()) == before
        assert [was.name for was in before[0].past] == ["G0", "G1"]
        assert before[0].past[1].last_seen - before[0].past[0].last_seen == timedelta(days=3)
        await sees("tokens", Observation("AAR", "token", generation="G2", lifetime=before[0].observation.lifetime))(rig)
        assert rig.news() == []
