"""The verbs that look ahead or try the configuration, from the arguments to the exit code."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.rig import DAY, Rig, expiring

from expiryd.cli.main import call
from expiryd.engine.clock import SystemClock

CONFIG = """
[daemon]
state_dir = "state"
[http]
listen = ""
[policy]
warning = "10d"
[collectors.people]
type = "inventory"
path = "people.csv"
[windows.office]
times = ["mon-fri 08:00-18:00"]
[[routes]]
severity = ["critical", "expired"]
notify = ["oncall"]
[[routes]]
notify = ["chat"]
active = "office"
[notifiers.oncall]
type = "file"
directory = "alerts"
[notifiers.oncall.templates]
subject = "HARK {{ TOKEN_NAME }}"
[notifiers.chat]
type = "file"
directory = "alerts"
"""


class Desk:
    """Where somebody types."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        self.config = directory / "expiryd.toml"
        self.config.write_text(CONFIG)
        (directory / "alerts").mkdir()

    def types(self, *words: str, code: int = 0) -> str:
        """All that is printed on either stream."""
        done = call(["-c", str(self.config), *words], {})
        told = self._capsys.readouterr()
        assert done == code, told
        return told.out + told.err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.fixture
def lived(desk: Desk) -> Desk:
    """With a state in which bob has nine days left and alice has many."""
    asyncio.run(_live(desk.directory / "state"))
    return desk


async def _live(state: Path) -> None:
    state.mkdir()
    async with Rig(state, sources=("people",), receivers=("oncall", "chat")) as rig:
        now = SystemClock().now()
        await rig.clock.advance(now - rig.clock.now())
        rig.sources["people"].shows(expiring("bob", now + 9.5 * DAY), expiring("alice", now + 300 * DAY))
        await rig.look("people")


def test_explain_has_one_item_on_one_page(lived: Desk) -> None:
    page = lived.types("explain", "bob", "--ci")
    assert page.startswith("WARNING  people/bob")
    for part in ("says [policy]", "✗ route 1", "severity is warning", "✓ route 2", "What comes next"):
        assert part in page
    (row,) = [json.loads(lived.types("explain", "people/bob", "--json"))]
    assert row["item"] == "people/bob"


def test_what_comes_next_is_one_line_for_all_who_hear_it(lived: Desk) -> None:
    lived.config.write_text(CONFIG.replace("[[routes]]", "[[routes]]\nevents = 'vanished'"))
    page = lived.types("explain", "bob", "--days", "8", "--ci")
    (line,) = [line for line in page.splitlines() if "worsened critical expiry" in line]
    assert line.endswith("  worsened critical expiry at 7d: oncall, chat")


def test_explain_of_what_is_not_there_or_means_many_is_not_found(lived: Desk) -> None:
    assert "no item is called 'nobody'" in lived.types("explain", "nobody", code=2)
    assert "means 2 items" in lived.types("explain", "people/*", code=2)


def test_forecast_lists_what_is_to_come_and_refuses_an_unknown_notifier(lived: Desk) -> None:
    rows = json.loads(lived.types("forecast", "--days", "12", "--notifier", "oncall", "--format", "json"))
    assert [row["severity"] for row in rows if row["about"][0]["kind"] == "worsened"] == ["critical", "expired"]
    assert "there are: oncall, chat" in lived.types("forecast", "--notifier", "nobody", code=2)


@pytest.mark.parametrize("item", ["people/bob", "bob", "people/b*"])
def test_forecast_takes_an_item_as_explain_does(lived: Desk, item: str) -> None:
    rows = json.loads(lived.types("forecast", "--days", "12", "--item", item, "--json"))
    assert {about["item"] for row in rows for about in row["about"]} == {"people/bob"}


def test_forecast_of_an_item_that_is_not_there_is_no_good_news(lived: Desk) -> None:
    assert "no item is called 'nobody'" in lived.types("forecast", "--item", "bob", "--item", "nobody", code=2)


@pytest.mark.parametrize(
    "verb", ["forecast", "explain bob", "whatif --set policy.critical=5d", "notify render --item x"]
)
def test_without_a_state_there_is_nothing_to_look_ahead_from(desk: Desk, verb: str) -> None:
    said = desk.types(*verb.split(), code=1)
    assert "is not there: check daemon.state_dir; the daemon makes it when it starts" in said


def test_whatif_tells_what_other_rules_would_change(lived: Desk) -> None:
    rows = json.loads(lived.types("whatif", "--set", "policy.critical=2d", "--days", "12", "--format", "json"))
    assert ("later", "people/bob", "critical") in {(row["change"], row["item"], row["severity"]) for row in rows}
    assert "policy.critical" in lived.types("whatif", "--set", "policy.critical=soon", code=4)
    assert "policy.critcal" in lived.types("whatif", "--set", "policy.critcal=2d", code=4)
    assert "KEY=VALUE" in lived.types("whatif", "--set", "policy.critical", code=64)


def test_routes_test_says_who_would_hear_and_why_not(desk: Desk) -> None:
    told = desk.types("routes", "test", "severity=critical")
    assert "✓ route 1" in told
    assert "oncall: hears it now" in told
    told = json.loads(desk.types("routes", "test", "severity=warning", "--json"))
    assert [one["notifier"] for one in told["hears"]] == ["chat"]
    assert told["routes"][0]["why_not"] == "severity is warning, not critical or expired"
    desk.types("routes", "test", "colour=red", code=64)


def test_notify_render_uses_the_templates_of_a_real_send(lived: Desk) -> None:
    assert "Subject: HARK DEPLOY_TOKEN" in lived.types("notify", "render")
    told = lived.types("notify", "render", "--notifier", "chat", "--item", "people/bob")
    assert "Subject: WARNING: bob expires" in told
    assert "nothing has happened" in lived.types("notify", "render", "--item", "people/nobody", code=2)
    assert "there are: oncall, chat" in lived.types("notify", "render", "--notifier", "nobody", code=2)
    assert "means 2 items" in lived.types("notify", "render", "--item", "people/*", code=2)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("blind", "BLIND  DEPLOY_TOKEN could not be looked at"),
        ("vanished", "VANISHED  DEPLOY_TOKEN is gone: no longer found"),
        ("rung", "News: 3d before its end"),
        ("eased", "News: better, was critical"),
        ("acknowledged", "ACKNOWLEDGED  DEPLOY_TOKEN is in hand: ann: ticket 4711"),
    ],
)
def test_notify_render_makes_up_an_event_of_the_kind_that_is_asked_for(desk: Desk, kind: str, says: str) -> None:
    assert says in desk.types("notify", "render", "--notifier", "chat", "--event", kind)
