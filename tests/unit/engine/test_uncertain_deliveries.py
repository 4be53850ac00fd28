"""What may have arrived goes again as the very same message, whatever comes between, so that a receiver can tell."""

from __future__ import annotations

from pathlib import Path

from tests.rig import DAY, Rig, expiring
from tests.scenario import at, want
from tests.story import Disturbance, disturbed, play, sees
from tests.unit.engine.test_trouble_stories import NEVER, fails, works

from expiryd.api import Finding, Message, Severity, TransientError

NO_ANSWER = TransientError("no answer", ambiguous=True)
BUSY = TransientError("503 busy")


def by_message(receiver: str, message: Message) -> list[str]:
    """One line for each message, without what the daemon says of itself."""
    about = [event.aspect for event in message.events if event.item == "tokens/AAR"]
    return [f"{receiver}: {' and '.join(about)}"] if about else []


async def turns_out_weak(rig: Rig) -> None:
    """A second matter of the same thing, which is told with the first as soon as either is due."""
    seen = expiring("AAR", rig.begins_at + 20 * DAY, findings=(Finding("weak", Severity.WARNING),))
    rig.sources["tokens"].shows(seen)
    await rig.look()


@disturbed
async def test_a_failure_that_is_certain_does_not_make_an_earlier_one_certain(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", NO_ANSWER), sees(AAR="20d")),
        at("5m", fails("slack", BUSY), turns_out_weak),
        at("10m", works("slack")),
        want("10m", "30m", "slack: expiry", "slack: weak"),
        until="1h",
        disturbance=disturbance,
        line=by_message,
        settings={"policy": NEVER},
    )


@disturbed
async def test_of_a_message_that_may_have_arrived_no_part_is_given_up_before_the_rest(
    tmp_path: Path, disturbance: Disturbance
) -> None:
    await play(
        tmp_path,
        at("0s", fails("slack", BUSY), sees(AAR="20d")),
        at("2d22h", turns_out_weak),
        at("3d", fails("slack", NO_ANSWER)),
        at("3d2h", works("slack")),
        want("3d2h", "3d4h", "slack: expiry and weak"),
        until="3d6h",
        disturbance=disturbance,
        line=by_message,
        settings={"policy": NEVER},
    )
