"""Category, source, collector and item each have their say."""

from __future__ import annotations

from datetime import timedelta

from expiryd.core.model import NO_TRAITS, Severity, Traits
from expiryd.core.rules import NOTHING_SAID, Rules, Say, Shared, amend, resolve

DAY = timedelta(days=1)
BASE = Rules()


def test_the_defaults_are_those_of_the_contract() -> None:
    assert (BASE.critical, BASE.warning, BASE.info) == (7 * DAY, 30 * DAY, 45 * DAY)
    assert BASE.cooldown == {
        Severity.EXPIRED: DAY,
        Severity.CRITICAL: DAY,
        Severity.WARNING: 7 * DAY,
        Severity.INFO: None,
    }


def test_who_says_nothing_changes_nothing() -> None:
    assert amend(BASE, NOTHING_SAID) is BASE
    assert amend(BASE, Say(owner="me")) == BASE
    assert resolve(BASE, Shared(), NOTHING_SAID, NOTHING_SAID, NO_TRAITS).rules is BASE


def test_the_item_has_the_last_word_on_thresholds_then_the_collector_then_the_category() -> None:
    categories = {"cicd": Say(critical=1 * DAY, warning=1 * DAY, info=1 * DAY, lifetime=DAY)}
    by = resolve(
        BASE,
        Shared(categories=categories),
        Say(category="cicd", warning=2 * DAY, info=2 * DAY),
        Say(info=3 * DAY),
        NO_TRAITS,
    )
    assert (by.rules.critical, by.rules.warning, by.rules.info) == (1 * DAY, 2 * DAY, 3 * DAY)
    assert by.rules.lifetime == DAY


def test_zero_is_a_word_and_never_is_too() -> None:
    rules = amend(BASE, Say(info=timedelta(0), cooldown={Severity.CRITICAL: None}))
    assert rules.info == timedelta(0)
    assert rules.cooldown[Severity.CRITICAL] is None
    assert rules.cooldown[Severity.WARNING] == 7 * DAY


def test_the_category_is_the_items_else_the_sources_else_the_collectors() -> None:
    categories = {name: Say(critical=n * DAY, owner=name) for n, name in enumerate(("a", "b", "c"), 1)}
    collector, seen = Say(category="a"), Traits(category="b")
    assert resolve(BASE, Shared(categories=categories), collector, Say(category="c"), seen).traits.owner == "c"
    assert resolve(BASE, Shared(categories=categories), collector, NOTHING_SAID, seen).traits.owner == "b"
    assert resolve(BASE, Shared(categories=categories), collector, NOTHING_SAID, NO_TRAITS).rules.critical == DAY
    assert resolve(BASE, Shared(categories=categories), Say(category="nowhere"), NOTHING_SAID, NO_TRAITS).rules == BASE


def test_owner_runbook_and_labels_come_from_the_nearest_that_names_them() -> None:
    categories = {"c": Say(owner="category", runbook="https://c", labels={"a": "c", "b": "c", "c": "c", "d": "c"})}
    collector = Say(category="c", owner="collector", labels={"a": "k", "b": "k", "c": "k"})
    seen = Traits(owner="source", used_by=("web",), labels={"a": "s", "b": "s"})
    item = Say(owner="item", used_by=("api", "cron"), labels={"a": "i"})
    traits = resolve(BASE, Shared(categories=categories), collector, item, seen).traits
    assert traits == Traits("c", "item", "https://c", ("api", "cron"), {"a": "i", "b": "s", "c": "k", "d": "c"})
    assert resolve(BASE, Shared(categories=categories), collector, NOTHING_SAID, seen).traits.owner == "source"
    assert resolve(BASE, Shared(categories=categories), collector, NOTHING_SAID, NO_TRAITS).traits.owner == "collector"
    assert (
        resolve(BASE, Shared(categories=categories), Say(category="c"), NOTHING_SAID, NO_TRAITS).traits.owner
        == "category"
    )
