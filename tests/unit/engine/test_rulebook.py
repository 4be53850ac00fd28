"""Which rules an item is judged by, from the keys that people write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pytest

from expiryd.api import Collector, CollectorConfig, Share, Tools
from expiryd.config.calendars import public_holidays
from expiryd.config.model import Config
from expiryd.config.policy import LADDER, CategoryConfig
from expiryd.core.ladder import ShortLived
from expiryd.core.model import NO_TRAITS, Traits
from expiryd.core.rules import Rules
from expiryd.engine.rulebook import Rulebook

DAY = timedelta(days=1)
TODAY = date(2030, 1, 1)


class Watch(CollectorConfig):
    type: Literal["watch"] = "watch"

    def build(self, tools: Tools) -> Collector:
        raise NotImplementedError


def rules(sections: Mapping[str, Any] | None = None, item: str = "T", kind: str = "token", **watch: Any) -> Rules:
    config = Config(collectors={"c": Watch(**watch)}, **(sections or {}))
    return Rulebook(config, TODAY).resolve("c", item, NO_TRAITS, kind).rules


def test_without_a_word_the_ladder_is_that_of_the_documentation() -> None:
    found = rules()
    assert found.ladder == LADDER == (30 * DAY, 14 * DAY, 7 * DAY, 3 * DAY, DAY, 0 * DAY, -DAY)
    assert found.short_lived == ShortLived()
    assert (found.workdays, found.dynamic, found.hours, found.routes) == (None, False, (), ())


def test_the_nearest_word_counts_item_then_collector_then_category_then_kind_then_policy() -> None:
    levels = {
        "policy": {"critical": "1%", "warning": "2%", "info": "3%", "ladder": ["1d"], "dynamic": True},
        "kinds": {"token": {"critical": "2d", "warning": "2d", "info": "2d", "ladder": ["2d"], "short_lived": "off"}},
        "categories": {"cicd": {"critical": "3d", "warning": "3d", "ladder": ["3d"]}},
    }
    of_kind = rules(levels)
    assert (of_kind.critical, of_kind.ladder, of_kind.short_lived, of_kind.dynamic) == (2 * DAY, (2 * DAY,), None, True)
    assert rules(levels, kind="certificate").info == Share(3)
    in_category = rules(levels, category="cicd")
    assert (in_category.critical, in_category.info, in_category.ladder) == (3 * DAY, 2 * DAY, (3 * DAY,))
    of_collector = rules(levels, category="cicd", critical="4%", ladder=["4%"])
    assert (of_collector.critical, of_collector.ladder) == (Share(4), (Share(4),))
    of_item = rules(levels, category="cicd", ladder=["4%"], items={"T": {"ladder": ["5%", "-1d"], "critical": "5d"}})
    assert (of_item.critical, of_item.warning, of_item.ladder) == (5 * DAY, 3 * DAY, (Share(5), -DAY))


def test_an_environment_counts_more_than_a_category_and_less_than_a_collector() -> None:
    levels = {
        "policy": {"critical": "1%"},
        "categories": {"cicd": {"critical": "3d", "warning": "9d", "labels": {"environment": "dev"}}},
        "environments": {"dev": {"critical": "1d", "ladder": ["1d"]}, "prod": {"critical": "8d"}},
    }
    assert rules(levels).critical == Share(1)
    in_dev = rules(levels, category="cicd")
    assert (in_dev.critical, in_dev.warning, in_dev.ladder) == (DAY, 9 * DAY, (DAY,))
    in_prod = rules(levels, category="cicd", labels={"environment": "prod"})
    assert (in_prod.critical, in_prod.ladder) == (8 * DAY, LADDER)
    assert rules(levels, category="cicd", labels={"environment": "prod"}, critical="4%").critical == Share(4)
    assert rules(levels, items={"T": {"labels": {"environment": "dev"}}}).critical == DAY


def test_what_the_source_says_of_its_environment_counts_and_what_is_said_of_that_is_said_of_its_items() -> None:
    said = {"prod": CategoryConfig(owner="sre", runbook="https://wiki.example/prod", labels={"tier": "1"})}
    book = Rulebook(Config(environments=said, collectors={"c": Watch()}), TODAY)
    found = book.resolve("c", "a", Traits(labels={"environment": "prod", "tier": "2"})).traits
    assert (found.owner, found.runbook) == ("sre", "https://wiki.example/prod")
    assert found.labels == {"environment": "prod", "tier": "2"}


def test_equals_share_their_rules() -> None:
    book = Rulebook(Config(collectors={"c": Watch()}), TODAY)
    assert book.resolve("c", "a", Traits(owner="x"), "token") is book.resolve("c", "b", Traits(owner="x"), "token")


def test_what_a_kind_says_is_said_of_its_items() -> None:
    book = Rulebook(Config(kinds={"token": {"owner": "ops", "labels": {"env": "prod"}}}), TODAY)
    assert book.resolve("c", "a", NO_TRAITS, "token").traits == Traits(owner="ops", labels={"env": "prod"})
    assert book.resolve("c", "a", NO_TRAITS, "account").traits == NO_TRAITS


def test_shares_for_short_lives_can_be_others_or_none() -> None:
    said = {"policy": {"short_lived": {"warning": "40%", "ladder": ["50%"]}}}
    assert rules(said).short_lived == ShortLived(Share(15), Share(40), Share(33), (Share(50),))
    assert rules({"policy": {"short_lived": "off"}}).short_lived is None


def test_hours_have_thresholds_under_those_of_everybody_with_a_word_of_his_own() -> None:
    night = {
        "policy": {"at": [{"window": "night", "critical": "1d", "warning": "50%"}]},
        "windows": {"night": {"times": ["22:00-06:00"], "timezone": "Europe/Berlin"}},
        "categories": {"cicd": {"critical": "3d"}},
    }
    late, noon = datetime(2030, 1, 1, 22, tzinfo=UTC), datetime(2030, 1, 1, 12, tzinfo=UTC)
    plain, own = rules(night), rules(night, category="cicd")
    assert (plain.at(noon).critical, plain.at(late).critical) == (7 * DAY, DAY)
    assert (own.at(noon).critical, own.at(late).critical) == (3 * DAY, 3 * DAY)
    assert own.at(late).warning == Share(50)


def test_holidays_are_those_of_the_country_and_its_part_from_last_year_to_eleven_years_ahead() -> None:
    found = rules({"policy": {"working_days": {"country": "DE", "subdivision": "BY"}}}).workdays
    assert found is not None
    assert found.weekend == {5, 6}
    assert {day.year for day in found.holidays} == set(range(2029, 2042))
    assert date(2030, 1, 6) in found.holidays  # Epiphany is one in Bavaria
    assert date(2030, 1, 6) not in public_holidays("DE", "BE", [2030])
    other = rules({"policy": {"working_days": {"weekend": ["fri", "sat"]}}}).workdays
    assert other is not None
    assert (other.weekend, other.holidays) == ({4, 5}, frozenset())


def test_without_the_library_a_country_is_one_line_that_names_what_to_install() -> None:
    code = (
        "import sys; sys.modules['holidays'] = None\n"
        "from expiryd.config.model import Config\n"
        "Config(policy={'working_days': {'weekend': ['sun']}})\n"
        "from expiryd.config.calendars import public_holidays\n"
        "try: public_holidays('DE', '', [2030])\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a country needs its holidays: pip install 'expiryd[holidays]'\n"


def test_the_library_is_loaded_only_when_a_country_is_named() -> None:
    code = "import sys, expiryd.engine.rulebook, expiryd.config.load; print('holidays' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("ladder", [["1d"], []])
def test_another_ladder_is_another_configuration(ladder: list[str]) -> None:
    assert Config(policy={"ladder": ladder}).hash != Config().hash
