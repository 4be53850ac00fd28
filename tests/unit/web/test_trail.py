"""The audit trail over HTTP: for auditors alone, by what is asked, page by page."""

from __future__ import annotations

import os
import pwd
from hashlib import sha256
from pathlib import Path

from tests.rig import DAY, MINUTE, Rig, expiring
from tests.web import asking, served

TOKENS = {
    name: {"hash": f"sha256:{sha256(name.encode()).hexdigest()}", "role": name}
    for name in ("viewer", "operator", "auditor", "admin")
}


async def lived(rig: Rig) -> None:
    rig.sources["tokens"].shows(expiring("T", rig.clock.now() + 3 * DAY), expiring("U", rig.clock.now() + 3 * DAY))
    await rig.look()
    await rig.wait(MINUTE)
    await rig.audit()


async def test_what_happened_is_listed_newest_first_and_by_what_is_asked(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"http": {"listen": ""}}) as rig, served(rig) as asker:
        await lived(rig)
        lines = (await asker.get("/api/v1/audit"))["lines"]
        assert [line["action"] for line in lines] == [
            "message.delivered",
            "look.ended",
            "alert.raised",
            "alert.raised",
            "daemon.started",
        ]
        about = (await asker.get("/api/v1/audit?item=tokens%2FT"))["lines"]
        assert [line["action"] for line in about] == ["message.delivered", "alert.raised"]
        (raised, _) = (await asker.get("/api/v1/audit?action=alert"))["lines"]
        assert raised["detail"]["severity"] == "critical"
        assert (await asker.get("/api/v1/audit?since=1h&actor=nobody"))["lines"] == []
        assert (await asker.get("/api/v1/audit?until=2000-01-01"))["lines"] == []


async def test_it_is_paged_without_gap_or_double(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"http": {"listen": ""}}) as rig, served(rig) as asker:
        await lived(rig)
        seen, path = [], "/api/v1/audit?limit=2"
        while True:
            answer = await asker.get(path)
            seen += [line["seq"] for line in answer["lines"]]
            if answer["next"] is None:
                break
            path = f"/api/v1/audit?limit=2&before={answer['next']}"
        assert seen == [5, 4, 3, 2, 1]


async def test_only_auditors_may_read_it(tmp_path: Path) -> None:
    settings = {"http": {"listen": "127.0.0.1:0", "tokens": TOKENS}}
    async with Rig(tmp_path, settings=settings) as rig, asking(rig) as asker:
        await lived(rig)
        for name, status in (("viewer", 403), ("operator", 403), ("auditor", 200), ("admin", 200)):
            await asker.get("/api/v1/audit", status, Authorization=f"Bearer {name}")
        await asker.get("/api/v1/audit", 401)


async def test_a_time_that_is_none_is_told(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"http": {"listen": ""}}) as rig, served(rig) as asker:
        answer = await asker.get("/api/v1/audit?since=yesterday", 400)
        assert answer["error"].startswith("since: 'yesterday' is no time: write 2d for two days ago")


async def test_a_reload_is_on_record_with_its_actor_and_what_changed(tmp_path: Path) -> None:
    async with Rig(tmp_path, settings={"http": {"listen": ""}}) as rig, served(rig) as asker:
        rig.settings["policy"] = {"critical": "5d"}
        rig.config = rig._configured()
        await asker.post("/-/reload")
        await rig.audit()
        (line,) = (await asker.get("/api/v1/audit?action=config"))["lines"]
        assert line["action"] == "config.reloaded"
        assert line["actor"] == f"user:{pwd.getpwuid(os.getuid()).pw_name}"
        assert line["detail"]["changed"] == ["policy"]
        assert line["detail"]["before"] != line["detail"]["after"]
