"""Items are meant by their full id, by their name, by a glob, and never by accident."""

from __future__ import annotations

import pytest

from expiryd.api import ItemId, Observation, Severity, Traits
from expiryd.cli.choice import Choice, resembling
from expiryd.core.model import ItemState, collector_of
from expiryd.testing import EPOCH


def state(item: str, *, category: str = "", title: str = "") -> ItemState:
    local = item.partition("/")[2]
    seen = Observation(local, title=title, traits=Traits(category=category))
    return ItemState(ItemId(item), collector_of(ItemId(item)), seen, Severity.HEALTHY, first_seen=EPOCH)


STATES = [
    state("ci/AAR_TOKEN", category="cicd", title="Deploy"),
    state("tls/[::1]:443", category="web"),
    state("certs//etc/ssl/a.pem"),
    state("certs"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("ci/AAR_TOKEN", ["ci/AAR_TOKEN"]),
        ("AAR_TOKEN", ["ci/AAR_TOKEN"]),
        ("Deploy", ["ci/AAR_TOKEN"]),
        ("AAR*", ["ci/AAR_TOKEN"]),
        ("aar_token", []),
        ("[::1]:443", ["tls/[::1]:443"]),
        ("/etc/ssl/a.pem", ["certs//etc/ssl/a.pem"]),
        ("certs/*", ["certs//etc/ssl/a.pem"]),
        ("", []),
    ],
)
def test_an_item_is_named_by_id_name_title_or_glob(wanted: str, found: list[str]) -> None:
    choice = Choice((wanted,))
    assert [one.id for one in choice.of(STATES)] == found
    assert choice.missing(STATES) == ([] if found else [wanted])


def test_a_category_takes_its_items_and_sources_that_may_hide_some() -> None:
    assert [one.id for one in Choice(category="cicd").of(STATES)] == ["ci/AAR_TOKEN", "certs"]


@pytest.mark.parametrize(
    ("choice", "sources"),
    [
        (Choice(), ["ci", "tls", "certs"]),
        (Choice(("ci/AAR_TOKEN",)), ["ci"]),
        (Choice(("ci/AAR_TOKEN", "tls/x")), ["ci", "tls"]),
        (Choice(("ci/AAR_TOKEN", "/etc/ssl/a.pem")), ["ci", "tls", "certs"]),
        (Choice(("AAR_TOKEN",)), ["ci", "tls", "certs"]),
        (Choice(collectors=("tls",)), ["tls"]),
    ],
)
def test_only_sources_that_may_hold_what_is_named_are_looked_at(choice: Choice, sources: list[str]) -> None:
    assert choice.sources(["ci", "tls", "certs"]) == sources


def test_a_slip_of_the_pen_is_told_what_was_meant() -> None:
    assert resembling("AAR_TOKN", STATES) == "; did you mean AAR_TOKEN?"
    assert resembling("zzz", STATES) == ""
