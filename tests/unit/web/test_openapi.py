"""The description names every route there is, and nothing else."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from tests.rig import Rig
from tests.web import asking

from expiryd.engine.tasks import Tasks
from expiryd.web.openapi import SCHEMAS
from expiryd.web.server import application

PAGE = Path(__file__).parents[3] / "docs/http.md"


async def test_every_route_is_described_and_every_description_is_a_route(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        tasks = Tasks(rig.log)
        app = application(rig.daemon, tasks)
        served = {
            (route.method.lower(), route.resource.canonical.replace("{id:(?s:.+)}", "{id}"))
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
        async with asking(rig) as asker:
            document = await asker.get("/openapi.json")
        await tasks.drain(timedelta(0))
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == served
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation["summary"].endswith(".") for operation in operations)


async def test_every_reference_in_it_leads_somewhere(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig, asking(rig) as asker:
        text = json.dumps(await asker.get("/openapi.json"))
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= SCHEMAS.keys()


@pytest.mark.parametrize("what", ["paths", "metrics", "checks"])
async def test_the_documentation_names_all_of_it(tmp_path: Path, what: str) -> None:
    async with Rig(tmp_path) as rig, asking(rig) as asker:
        if what == "paths":
            names = set((await asker.get("/openapi.json"))["paths"])
        elif what == "metrics":
            names = set(re.findall(r"^# TYPE (expiryd_\S+)", await asker.get("/metrics"), re.MULTILINE))
        else:
            names = {
                check["name"].replace("tokens", "NAME").replace("slack", "NAME")
                for check in (await asker.get("/health"))["checks"]
            }
    page = PAGE.read_text()
    assert [name for name in sorted(names) if f"`{name}" not in page] == []
