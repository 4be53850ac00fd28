"""A matcher means exactly the news that people would say it means."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.words import NOW, event

from expiryd.core.matching import EVERYTHING, Facts, Matcher, exactly, imagine
from expiryd.core.model import EventKind, Severity, Traits

NEWS = event(
    EventKind.RAISED,
    Severity.CRITICAL,
    item="ci/AAR_TOKEN",
    traits=Traits(category="cicd", owner="platform team", labels={"env": "production", "tier": "1"}),
)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"severity": "critical"},
        {"severity": ["warning", "critical"]},
        {"category": "cicd", "owner": "platform*"},
        {"collector": "ci", "kind": "token", "aspect": "expiry"},
        {"item": "ci/*"},
        {"item": "*TOKEN"},
        {"item": "c*/*_*N"},
        {"labels": {"env": "prod*", "tier": ["1", "2"]}},
        {"labels": {"region": ""}},
        {"events": ["raised", "worsened"]},
        {"category": ["runtime", "cicd"]},
    ],
)
def test_news_is_meant_when_all_that_is_given_matches(said: dict[str, object]) -> None:
    assert Matcher.read(said).matches(NEWS)
    assert Matcher.read(said).why_not(NEWS) == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"severity": "warning"}, "severity is critical, not warning"),
        ({"severity": "critical", "category": "runtime"}, "category is cicd, not runtime"),
        ({"owner": ["web*", "db*"]}, "owner is platform team, not web* or db*"),
        ({"item": "ci/AAR"}, "item is ci/AAR_TOKEN, not ci/AAR"),
        ({"item": "AAR_TOKEN"}, "item is ci/AAR_TOKEN, not AAR_TOKEN"),
        ({"category": "CICD"}, "category is cicd, not CICD"),
        ({"labels": {"region": "eu"}}, "label region is not set, not eu"),
        ({"labels": {"env": "production", "tier": "2"}}, "label tier is 1, not 2"),
        ({"events": "resolved"}, "event is raised, not resolved"),
        ({"owner": ""}, "owner is platform team, not empty"),
    ],
)
def test_news_that_is_not_meant_says_why(said: dict[str, object], why: str) -> None:
    assert not Matcher.read(said).matches(NEWS)
    assert Matcher.read(said).why_not(NEWS) == why


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"sevrity": "critical"}, "`sevrity` is nothing to match by: there are severity, category"),
        ({"severity": "urgent"}, "`urgent` is no severity to match by: there are info, warning, critical, expired"),
        ({"severity": "healthy"}, "no severity to match by"),
        ({"events": "exploded"}, "`exploded` is no event: there are raised"),
        ({"owner": 7}, "owner must be text or a list of texts"),
        ({"owner": ["a", 7]}, "owner must be text or a list of texts"),
        ({"labels": "prod"}, "labels must be a table"),
    ],
)
def test_a_wrong_matcher_says_what_is_wrong(said: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=r".*") as refused:
        Matcher.read(said)
    assert problem in str(refused.value)


def test_texts_of_a_command_line_make_the_same_matcher() -> None:
    texts = ["severity=critical,expired", "category=cicd", "category=runtime", "labels.env=prod*", "label.tier=1"]
    said = {
        "severity": ["critical", "expired"],
        "category": ["cicd", "runtime"],
        "labels": {"env": "prod*", "tier": "1"},
    }
    assert Matcher.parse(texts) == Matcher.read(said)
    assert Matcher.parse(["owner=O=x, OU=y"]).owner == ("O=x, OU=y",)


@pytest.mark.parametrize("text", ["critical", "=critical", "colour=red", "labels=x", "labels.=x"])
def test_a_text_that_is_no_pair_of_ours_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"write KEY=VALUE with a key of severity"):
        Matcher.parse([text])


def test_the_end_of_a_matter_is_as_severe_as_the_matter_was() -> None:
    over = event(EventKind.RENEWED, Severity.HEALTHY, before=Severity.CRITICAL)
    assert Matcher.read({"severity": "critical"}).matches(over)
    gone = event(EventKind.VANISHED, Severity.INFO, before=Severity.HEALTHY)
    assert Matcher.read({"severity": "info"}).matches(gone)


def test_an_open_matter_has_no_event_and_any_is_right() -> None:
    matter = replace(Facts.of(NEWS), event=None)
    assert Matcher.read({"events": "resolved", "severity": "critical"}).matches(matter)


def test_an_event_can_be_imagined_from_words() -> None:
    imagined = imagine(["item=ci/AAR", "severity=critical", "labels.env=prod", "owner=web", "event=worsened"], NOW)
    assert (imagined.item, imagined.collector, imagined.severity) == ("ci/AAR", "ci", Severity.CRITICAL)
    assert (imagined.kind, imagined.traits.owner, imagined.traits.labels) == ("worsened", "web", {"env": "prod"})
    over = imagine(["event=renewed", "severity=expired", "collector=tls"], NOW)
    assert (over.before, over.severity, over.collector) == (Severity.EXPIRED, Severity.HEALTHY, "tls")


@pytest.mark.parametrize("texts", [["owner=a", "owner=b"], ["labels.env=a", "labels.env=b"]])
def test_one_event_has_one_of_each(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="is said twice"):
        imagine(texts, NOW)


words = st.text(alphabet="ab*[]?/", max_size=8)


@given(words, words)
def test_a_star_means_anything_and_nothing_else_is_special(pattern: str, text: str) -> None:
    shell = "".join(c if c == "*" else f"[{c}]" for c in pattern.replace("[*]", "\0"))
    assert Matcher(item=(pattern,)).matches(event(item=text)) is fnmatchcase(text, shell.replace("[\0]", "[*]"))


@given(words, words)
def test_exactly_means_one_text_alone(text: str, other: str) -> None:
    assert Matcher(item=(exactly(text),)).matches(event(item=other)) is (text == other)


matchers = st.builds(
    Matcher,
    severity=st.lists(st.sampled_from([s for s in Severity if s > 0]), max_size=3, unique=True).map(tuple),
    **{key: st.lists(st.text(max_size=5), max_size=2).map(tuple) for key in ("category", "owner", "item", "aspect")},
    labels=st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=3), min_size=1, max_size=2).map(tuple)),
    events=st.lists(st.sampled_from(list(EventKind)), max_size=2).map(tuple),
)


@given(matchers)
def test_what_a_matcher_says_reads_back_as_the_same(matcher: Matcher) -> None:
    assert Matcher.read(matcher.said) == matcher


@given(matchers)
def test_a_matcher_matches_exactly_when_it_has_nothing_to_object(matcher: Matcher) -> None:
    assert matcher.matches(NEWS) is (matcher.why_not(NEWS) == "")


def test_a_matcher_is_told_in_the_words_it_is_given_in() -> None:
    matcher = Matcher.parse(["severity=critical,expired", "labels.env=prod"])
    assert str(matcher) == "severity=critical severity=expired labels.env=prod"
    assert Matcher.parse(str(matcher).split()) == matcher
    assert str(EVERYTHING) == "everything"
