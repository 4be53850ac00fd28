"""A forecast over HTTP: the verb in a process of its own, one at a time, with no more than it needs."""

from __future__ import annotations

import asyncio
import os
import sys
from hashlib import sha256
from pathlib import Path

from tests.rig import DAY, Rig, expiring
from tests.web import asking

from expiryd.engine.clock import SystemClock
from expiryd.web.foresight import Outlook, outlook

CANARY = "canary-8be1"
CONFIG = """
[daemon]
state_dir = "."
[http]
listen = ""
[collectors.tokens]
type = "env-file"
path = "nowhere"
[notifiers.slack]
type = "file"
directory = "alerts"
"""


def says(code: str, patience: float = 20) -> Outlook:
    return Outlook((sys.executable, "-c", code), {}, patience)


async def test_what_will_be_told_is_answered_beside_the_daemon_at_work(tmp_path: Path) -> None:
    config = tmp_path / "expiryd.toml"
    config.write_text(CONFIG)
    ahead = outlook([config], {**os.environ, "SLACK_TOKEN": CANARY})
    async with Rig(tmp_path) as rig, asking(rig, ahead) as asker:
        now = SystemClock().now()
        await rig.clock.advance(now - rig.clock.now())
        rig.sources["tokens"].shows(expiring("T", now + 45 * DAY))
        await rig.look()
        told = await asker.get("/api/v1/forecast?days=60")
    assert told["days"] == 60
    assert {one["notifier"] for one in told["notifications"]} == {"slack"}
    assert {about["item"] for one in told["notifications"] for about in one["about"]} == {"tokens/T"}
    assert told["notifications"][-1]["severity"] == "expired"


async def test_the_child_is_given_no_secret_of_the_daemons(tmp_path: Path) -> None:
    ahead = outlook([], {"PATH": "/bin", "SLACK_TOKEN": CANARY, "EXPIRYD_ENV": "prod", "PGPASSWORD": CANARY})
    told = "import json, os, sys; print(json.dumps([[sorted(os.environ.items()), sys.argv]]))"
    async with Rig(tmp_path) as rig, asking(rig, Outlook((sys.executable, "-c", told), ahead.environ)) as asker:
        ((environ, argv),) = (await asker.get("/api/v1/forecast?days=7"))["notifications"]
    assert CANARY not in str(environ)
    assert {"PATH", "EXPIRYD_ENV", "TMPDIR"} <= dict(environ).keys()
    assert not Path(dict(environ)["TMPDIR"]).exists()
    assert argv[1:] == ["forecast", "--days", "7", "--format", "json"]


async def test_only_one_forecast_is_made_at_a_time_and_one_that_lasts_too_long_is_ended(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig, asking(rig, says("import time; time.sleep(60)", patience=1)) as asker:
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(_status(asker.http, f"{asker.base}/api/v1/forecast")) for _ in range(2)]
        assert sorted(answer.result()[0] for answer in answers) == [409, 504]
        assert "ask for fewer days" in str([answer.result()[1] for answer in answers])
        assert (await _status(asker.http, f"{asker.base}/api/v1/forecast"))[0] == 504


async def test_why_it_failed_is_said(tmp_path: Path) -> None:
    for code, status in ((4, 422), (1, 500)):
        ahead = says(f"import sys; print('policy.critical: too long', file=sys.stderr); sys.exit({code})")
        async with Rig(tmp_path) as rig, asking(rig, ahead) as asker:
            assert "policy.critical: too long" in str(await asker.get("/api/v1/forecast", status))


async def test_days_are_bounded_and_a_viewer_may_ask(tmp_path: Path) -> None:
    tokens = {"tv": {"hash": f"sha256:{sha256(b'tv').hexdigest()}", "role": "viewer"}}
    settings = {"http": {"listen": "", "tokens": tokens}}
    async with Rig(tmp_path, settings=settings) as rig, asking(rig, says("print([])")) as asker:
        for days in ("0", "401", "soon"):
            await asker.get(f"/api/v1/forecast?days={days}", 400, Authorization="Bearer tv")
        assert await asker.get("/api/v1/forecast", Authorization="Bearer tv") == {"notifications": [], "days": 30}
        await asker.get("/api/v1/forecast", 401, Authorization="Bearer nobody")


async def _status(http: object, url: str) -> tuple[int, str]:
    async with http.get(url) as response:  # type: ignore[attr-defined]  # a ClientSession
        return response.status, await response.text()
