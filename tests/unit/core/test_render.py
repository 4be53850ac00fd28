"""A message says everything it carries, first things first, in a subject, in text and in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.words import DAY, NOW, event

from expiryd.core.model import BLIND, EXPIRY, Event, EventKind, Severity, Traits
from expiryd.core.render import MOST_IN_FULL, MOST_LISTED, MOST_SUBJECT, by_urgency, render, tally


class Page(HTMLParser):
    """What a mail reader makes of the page: elements, their attributes and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


OURS = {"html", "head", "meta", "body", "p", "div", "b", "table", "tr", "td", "a", "code", "br", "span"}


def crowd(count: int) -> list[Event]:
    return [event(title=f"host{n:03}", item=f"certs/{n:03}", ends=n * DAY / 10) for n in range(1, count + 1)]


def test_one_matter_is_told_in_the_subject_in_full() -> None:
    told = event(severity=Severity.CRITICAL, ends=3 * DAY, traits=Traits(owner="ops", runbook="https://wiki/a?b=1&c=2"))
    wording = render([told], NOW)
    assert wording.subject == "CRITICAL: AAR_TOKEN expires 2026-11-24 09:30 UTC, 3 days left"
    assert wording.text == (
        "CRITICAL  AAR_TOKEN expires 2026-11-24 09:30 UTC, 3 days left\n"
        "    Do: Rotate it now.\n"
        "    Owner: ops\n"
        "    Runbook: https://wiki/a?b=1&c=2\n"
        "    Item: token ci/AAR_TOKEN\n"
        "    Known from: the thing itself\n"
        "\n"
        "expiryd, 2026-11-21 09:30 UTC\n"
    )
    page = Page(wording.html)
    assert page.links == ["https://wiki/a?b=1&c=2"]
    for words in ("AAR_TOKEN expires 2026-11-24 09:30 UTC, 3 days left", "Rotate it now.", "ops"):
        assert words in page.text


def test_many_matters_are_counted_and_the_first_named_in_the_subject() -> None:
    told = [
        event(severity=Severity.EXPIRED, title="a", item="c/a"),
        event(severity=Severity.CRITICAL, title="b", item="c/b"),
        event(severity=Severity.CRITICAL, title="b", item="c/b", aspect="revoked"),
        event(EventKind.BLIND, aspect=BLIND, title="c", item="c/c"),
        event(EventKind.RENEWED, title="d", item="c/d"),
    ]
    wording = render(told, NOW)
    assert wording.subject == "EXPIRED: 1 expired, 2 critical, 1 blind, 1 renewed (a, b, c and 1 more)"
    assert wording.text.startswith("5 matters: 1 expired, 2 critical, 1 blind, 1 renewed\n\n")
    assert "5 matters: 1 expired, 2 critical, 1 blind, 1 renewed" in Page(wording.html).text


def test_what_is_open_comes_first_then_by_severity_news_before_reminders_and_by_its_end() -> None:
    ordered = [
        event(severity=Severity.EXPIRED, item="c/1", ends=-DAY),
        event(EventKind.REPEATED, Severity.EXPIRED, item="c/2", ends=-90 * DAY),
        event(severity=Severity.CRITICAL, item="c/3", ends=DAY),
        event(severity=Severity.CRITICAL, item="c/4", ends=2 * DAY),
        event(severity=Severity.CRITICAL, item="c/5", ends=None),
        event(severity=Severity.INFO, item="c/6", aspect="a"),
        event(severity=Severity.INFO, item="c/6", aspect="b"),
        event(EventKind.VANISHED, Severity.INFO, item="c/7"),
        event(EventKind.RESOLVED, Severity.HEALTHY, item="c/8"),
    ]
    assert by_urgency(ordered[::-1]) == ordered


@pytest.mark.parametrize("count", [1, 2, MOST_IN_FULL, MOST_IN_FULL + 1, MOST_LISTED, MOST_LISTED + 1, 150, 5000])
def test_every_event_is_counted_the_first_hundred_are_told_and_the_first_ten_in_full(count: int) -> None:
    wording = render(crowd(count), NOW)
    page = Page(wording.html)
    for text in (wording.text, page.text):
        assert sum(f"host{n:03} expires" in text for n in range(1, count + 1)) == min(count, MOST_LISTED)
        assert text.count("Rotate") + text.count("Plan") == min(count, MOST_IN_FULL)
        assert sum(f"certs/{n:03}" in text for n in range(1, count + 1)) == min(count, MOST_LISTED)
        assert (f"… and {count - MOST_LISTED} more: {count - MOST_LISTED} warning." in text) == (count > MOST_LISTED)
        assert ("expiryd alerts" in text) == (count > MOST_LISTED)
        assert (f"{count} matters: {count} warning" in text) == (count > 1)


def test_of_many_it_says_whose_they_are() -> None:
    def owned(*owners: str) -> str:
        several = [event(item=f"c/{n}", traits=Traits(owner=owner)) for n, owner in enumerate(owners)]
        return render(several, NOW).text

    assert "By owner" not in owned(*["ops"] * MOST_IN_FULL)
    assert "By owner: ops 11\n" in owned(*["ops"] * 11)
    assert "By owner: ops 8, nobody named 2, web 1\n" in owned(*["ops"] * 8, "", "", "web")
    assert "By owner" not in owned(*[""] * 20)
    assert "By owner: a 5, b 4, c 3, d 2, e 1 and 2 more\n" in owned(*"aaaaabbbbcccddefg")
    assert "(ops, c/12)" in owned(*["ops"] * 13)


def test_only_web_addresses_become_links() -> None:
    for runbook in ("javascript:alert(1)", "data:text/html,x", "ask Maria", "//evil.example", " https"):
        assert Page(render([event(traits=Traits(runbook=runbook))], NOW).html).links == []


hostile = st.text(st.characters(), max_size=400) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "&lt;b&gt;",
        "a\r\nBcc: all@example.org",
        "x" * 10_000,
        "\udcff\x00\u202e",
        'https://example.org/"onmouseover="alert(1)',
        "https://example.org/\n<b>",
        "</td></table></div></body>",
    ]
)
events = st.lists(
    st.builds(
        event,
        st.sampled_from(list(EventKind)),
        st.sampled_from(list(Severity)),
        title=hostile,
        item=hostile,
        item_kind=hostile,
        aspect=st.sampled_from([EXPIRY, BLIND]) | hostile,
        ends=st.none() | st.timedeltas(-700 * 1000 * DAY, 2900 * 1000 * DAY),
        issued=st.none() | st.timedeltas(-700 * 1000 * DAY, 2900 * 1000 * DAY),
        detail=hostile,
        traits=st.builds(Traits, hostile, hostile, hostile, st.lists(hostile, max_size=3).map(tuple)),
    ),
    min_size=1,
    max_size=4,
)


@given(events)
def test_hostile_text_stays_text(told: Sequence[Event]) -> None:
    wording = render(by_urgency(told), NOW)
    assert len(wording.subject) <= MOST_SUBJECT
    assert wording.subject.isprintable()
    page = Page(wording.html)
    assert page.tags <= OURS
    assert page.names <= {"charset", "style", "href"}
    assert all(link.startswith(("https://", "http://")) for link in page.links)
    for text in (wording.subject, wording.text, wording.html):
        text.encode()
    own = [line for line in wording.text.splitlines() if line and not line.startswith("    ")]
    assert len(own) == len(told) + 1 + (len(told) > 1), "a name began a line of its own"


@given(events)
def test_the_tally_counts_every_event_once(told: Sequence[Event]) -> None:
    assert sum(int(part.split()[0]) for part in tally(told).split(", ")) == len(told)
