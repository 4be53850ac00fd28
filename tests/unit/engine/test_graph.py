"""A configuration comes to life as a whole, or leaves nothing behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from expiryd.api import Collector, CollectorConfig, Notifier, NotifierConfig, Tools
from expiryd.config.model import Config, DaemonConfig
from expiryd.engine.graph import build
from expiryd.testing import Recording, Scripted, tools

COLLECTORS: dict[str, Scripted] = {}
NOTIFIERS: dict[str, Recording] = {}
ZONES: dict[str, ZoneInfo] = {}


class WatchConfig(CollectorConfig):
    type: Literal["watch"] = "watch"

    def build(self, tools: Tools) -> Collector:
        ZONES[tools.name] = tools.timezone
        return COLLECTORS.setdefault(tools.name, Scripted([]))


class FaultyConfig(CollectorConfig):
    type: Literal["faulty"] = "faulty"

    def build(self, tools: Tools) -> Collector:
        return {}["secret"]  # a bug


class TellConfig(NotifierConfig):
    type: Literal["tell"] = "tell"
    broken: bool = False

    def build(self, tools: Tools) -> Notifier:
        if self.broken:
            raise ValueError(f"notifiers.{tools.name}: cannot be built")
        return NOTIFIERS.setdefault(tools.name, Recording())


@pytest.fixture(autouse=True)
def _afresh() -> None:
    COLLECTORS.clear()
    NOTIFIERS.clear()


def config(*, broken: bool = False) -> Config:
    notifiers = {"slack": TellConfig(), "mail": TellConfig(broken=broken)}
    return Config(collectors={"web": WatchConfig()}, notifiers=notifiers)


async def test_closing_a_graph_closes_every_plugin() -> None:
    async with aiohttp.ClientSession() as http:
        graph = await build(config(), lambda name: tools(http, name=name))
        assert not COLLECTORS["web"].closed
        assert await graph.close(timedelta(0)) == []
    assert [plugin.closed for plugin in (*COLLECTORS.values(), *NOTIFIERS.values())] == [True] * 3


async def test_when_one_part_cannot_be_built_those_before_it_are_closed() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ValueError, match=r"notifiers\.mail"):
            await build(config(broken=True), lambda name: tools(http, name=name))
    assert COLLECTORS["web"].closed
    assert NOTIFIERS["slack"].closed


async def test_a_rehearsal_closes_the_notifier_it_stands_for() -> None:
    async with aiohttp.ClientSession() as http:
        graph = await build(config(), lambda name: tools(http, name=name), rehearse=True)
        await graph.close(timedelta(0))
    assert NOTIFIERS["slack"].closed


async def test_a_bug_in_a_plugin_is_told_as_an_error_of_the_configuration_that_names_it() -> None:
    faulty = config().model_copy(update={"collectors": {"web": WatchConfig(), "own": FaultyConfig()}})
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ValueError, match=r"^collectors\.own: it cannot be built \(KeyError: 'secret'\)$"):
            await build(faulty, lambda name: tools(http, name=name))
    assert COLLECTORS["web"].closed


async def test_plugins_are_lent_the_time_zone_of_the_configuration_they_are_built_of() -> None:
    async with aiohttp.ClientSession() as http:
        for zone in (ZoneInfo("Europe/Berlin"), ZoneInfo("America/Lima")):  # the second as by a reload
            moved = config().model_copy(update={"daemon": DaemonConfig(timezone=zone)})
            await (await build(moved, lambda name: tools(http, name=name))).close(timedelta(0))
            assert ZONES["web"] == zone
