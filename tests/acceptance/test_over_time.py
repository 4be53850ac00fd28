"""A hundred days of two tokens, told by a real daemon process to real receivers: exactly what is due, whoever dies."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from tests.acceptance.station import START, Station
from tests.scenario import Want, check, want

from expiryd.api import parse_duration

CONFIG = """
[daemon]
state_dir = "$state"
[http]
listen = ""
[policy]
ladder = ["12d"]
cooldown = { critical = "4d", warning = "never", expired = "never" }
[categories.cicd]
lifetime = "90d"
[collectors.tokens]
type = "env-file"
path = "$tokens"
every = "400d"  # it is looked at when the story says so
items.AAR_TOKEN = { issued = 2030-01-01 }
[notifiers.slack]
type = "slack"
webhook_url = { env = "SLACK" }
[notifiers.mail]
type = "email"
host = "127.0.0.1"
port = $smtp
username = "$username"
password = { env = "SMTP" }
sender = "expiryd@example.org"
recipients = "team@example.org"
ca_file = "$ca_file"
[notifiers.github]
type = "github-issue"
repository = "$repository"
token = { env = "GITHUB" }
api_url = "$github"
"""

AAR = "AAR_TOKEN expire? 2030-04-01 00:00 UTC*"
BOT = "BOT_JWT expire? 2030-03-22 00:00 UTC*"
STORY = [
    # day, hour: what is heard of which token, at Slack and in the mail's subject, and on its issue
    ("35d", f"INFO: {BOT}", "#1 opened ℹ️ INFO: Token Expiry Alert - BOT_JWT"),
    ("45d", f"INFO: {AAR}", "#2 opened ℹ️ INFO: Token Expiry Alert - AAR_TOKEN"),
    ("50d", f"WARNING: {BOT}", "#1 - [*][*]WARNING[*][*] (worsened) *"),
    ("60d", f"WARNING: {AAR}", "#2 - [*][*]WARNING[*][*] (worsened) *"),
    ("68d", f"WARNING: {BOT}", "#1 - [*][*]WARNING[*][*] (rung) *"),
    ("73d", f"CRITICAL: {BOT}", "#1 - [*][*]CRITICAL[*][*] (worsened) *"),
    ("77d", f"CRITICAL: {BOT}", "#1 - [*][*]CRITICAL[*][*] (repeated) *"),
    ("78d", f"WARNING: {AAR}", "#2 - [*][*]WARNING[*][*] (rung) *"),
    ("80d", f"EXPIRED: {BOT}", "#1 - [*][*]EXPIRED[*][*] (worsened) *"),
    ("81d", "RENEWED: BOT_JWT is renewed, expires 2030-10-08 00:00 UTC*", "#1 - [*][*]RENEWED[*][*] *", "#1 closed"),
    ("83d", f"CRITICAL: {AAR}", "#2 - [*][*]CRITICAL[*][*] (worsened) *"),
    ("87d", f"CRITICAL: {AAR}", "#2 - [*][*]CRITICAL[*][*] (repeated) *"),
    ("90d", f"EXPIRED: {AAR}", "#2 - [*][*]EXPIRED[*][*] (worsened) *"),
    ("91d", "RENEWED: AAR_TOKEN is renewed, expires 2030-07-01 00:00 UTC*", "#2 - [*][*]RENEWED[*][*] *", "#2 closed"),
]


def days(number: float) -> timedelta:
    return timedelta(days=number)


def wanted(receiver: str) -> list[list[Want]]:
    return [want(day, f"{day}10m", *([words] if receiver != "github" else issue)) for day, words, *issue in STORY]


class Tokens:
    """The watched file, replaced whole as a careful person does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[str, str] = {}

    def put(self, **values: str) -> None:
        self._lines |= values
        new = self._path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text("".join(f"{name}={value}\n" for name, value in self._lines.items()))
        new.rename(self._path)


def signed(days_after_start: int, number: int) -> str:
    expires = START + days(days_after_start)
    return jwt.encode({"exp": int(expires.timestamp()), "jti": str(number)}, "k" * 32, algorithm="HS256")


async def live(station: Station, tokens: Tokens) -> None:
    """The hundred days, with a look whenever something was done to the file and now and then in between."""
    await station.look()
    for day in [parse_duration(day) for day, *_ in STORY]:
        await station.pass_to(day - timedelta(minutes=5))
        match day.days:
            case 81:
                await station.pass_to(day)
                tokens.put(BOT_JWT=signed(280, 2))
                await station.look()
            case 91:
                await station.pass_to(day)
                tokens.put(AAR_TOKEN="aar-value-two-5d5e6f")
                await station.look()
            case 60 | 80:
                await station.look()
        await station.pass_to(day + timedelta(seconds=1))
        if day.days in {77, 87}:  # the cooldown runs from the delivery, a little after the hour
            await station.pass_to(day + timedelta(minutes=5))
    await station.look()
    await station.pass_to(days(100))


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    tokens = Tokens(tmp_path / ".tokens")
    tokens.put(AAR_TOKEN="aar-value-one-1a2b3c", BOT_JWT=signed(80, 1))
    return tokens


async def test_each_turn_of_each_token_is_told_once_to_everybody_and_nothing_else(
    tmp_path: Path, tokens: Tokens
) -> None:
    async with Station(tmp_path, CONFIG) as station:
        await live(station, tokens)
        assert await station.stop() == 0
    for receiver, heard in station.ears.heard.items():
        check(wanted(receiver), heard)
    assert not station.ears.repeats
    assert {issue["state"] for issue in station.receivers.github.issues.values()} == {"closed"}
    assert station.receivers.smtp.signed_in, "the mail went over STARTTLS with a login"


NOTHING_IN_FLIGHT = ["commit 1 before", "commit 1 after", "commit 3 after", "lease 1 after"]
IN_FLIGHT = ["dispatch 2 after", "settle 1 before", "settle 20 before"]
BY_A_RECEIVER = [
    *("slack before 1", "slack after 8", "mail before 3", "mail after 12"),
    *("github open after 1", "github comment after 6", "github update before 2"),
]


@pytest.mark.parametrize("death", [*NOTHING_IN_FLIGHT, *IN_FLIGHT, *BY_A_RECEIVER])
async def test_killed_at_any_moment_it_loses_nothing_and_repeats_only_what_was_in_flight(
    tmp_path: Path, tokens: Tokens, death: str
) -> None:
    """Slack may hear that message twice, mail under the same Message-ID; GitHub knows what it has by its marks."""
    async with Station(tmp_path, CONFIG, death) as station:
        await live(station, tokens)
        assert await station.stop() == 0
    assert station.deaths == 1
    for receiver, heard in station.ears.heard.items():
        check(wanted(receiver), heard)
    assert station.ears.repeats["github"] == 0
    most = 0 if death in NOTHING_IN_FLIGHT else 1
    assert max(station.ears.repeats.values(), default=0) <= most
    if death in {"slack after 8", "mail after 12"}:
        assert station.ears.repeats[death.split(maxsplit=1)[0]] == 1, "what was taken and not noted is said again"
