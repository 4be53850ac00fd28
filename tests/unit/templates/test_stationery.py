"""Which template words which message, and the proof of each before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from expiryd.core.model import Event, EventKind, ItemId, Severity, Traits
from expiryd.core.render import Wording, by_urgency, render
from expiryd.templates.stationery import Stationery, print_stationery, prove, samples
from expiryd.templates.written import Slot, Source, TemplateFailure

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
OLD = """\
# Token Expiry Alert

**Token:** {{TOKEN_NAME}}
**Type:** {{TOKEN_TYPE}}
**Days Until Expiry:** {{DAYS_LEFT}}
**Severity:** {{SEVERITY}}

## Action Required
{{ACTION_REQUIRED}}

## Rotation Timeline
{{ROTATION_TIMELINE}}
"""


def event(kind: EventKind = EventKind.RAISED, title: str = "AAR_TOKEN", **more: object) -> Event:
    plain = Event(
        kind=kind,
        at=NOW,
        item=ItemId(f"ci/{title}"),
        collector="ci",
        aspect="expiry",
        generation="1",
        severity=Severity.CRITICAL,
        before=Severity.WARNING,
        title=title,
        item_kind="token",
        expires_at=NOW + timedelta(days=3, hours=1),
        traits=Traits("cicd", "infra", "", ("deploy",), {"env": "prod"}),
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def written(sources: Mapping[str, str]) -> dict[Slot, Source]:
    """`"raised.text": "…"`."""
    slots = {name: name.rpartition(".") for name in sources}
    return {(slots[name][0], slots[name][2]): Source(text, f"templates.{name}") for name, text in sources.items()}


def printed(sources: Mapping[str, str]) -> tuple[Stationery, list[TemplateFailure]]:
    stationery, failures = print_stationery("mail", written(sources))
    return stationery, [*failures, *prove(stationery)]


def sound(**sources: str) -> Stationery:
    stationery, failures = printed(sources)
    assert [str(failure) for failure in failures] == []
    return stationery


def words(stationery: Stationery, *events: Event) -> tuple[Wording, frozenset[str]]:
    return stationery.word(events, NOW, render(events, NOW))


def test_without_a_template_the_words_are_the_usual_ones() -> None:
    assert words(sound(), event()) == (render([event()], NOW), frozenset())


def test_a_template_of_the_old_scripts_works_as_it_is() -> None:
    wording, _ = words(sound(text=OLD), event())
    assert wording.text == (
        "# Token Expiry Alert\n\n**Token:** AAR_TOKEN\n**Type:** cicd\n**Days Until Expiry:** 3\n"
        "**Severity:** CRITICAL\n\n## Action Required\nRotate it now.\n\n## Rotation Timeline\n"
        "It expires 2026-11-24 10:00 UTC, 3 days left. Rotate it before then.\n"
    )


def test_the_template_of_a_kind_wins_over_the_general_one_part_by_part() -> None:
    papers = sound(**{"subject": "any {{ title }}", "raised.subject": "new {{ title }}", "text": "about {{ title }}"})
    wording, own = words(papers, event())
    assert (wording.subject, wording.text) == ("new AAR_TOKEN", "about AAR_TOKEN\n")
    assert own == {"subject", "text"}
    assert words(papers, event(EventKind.RENEWED))[0].subject == "any AAR_TOKEN"


def test_several_events_are_worded_by_the_digest_template_else_by_the_kind_of_the_most_urgent() -> None:
    events = by_urgency([event(EventKind.RENEWED), event(EventKind.WORSENED, "B")])
    papers = {
        "subject": "any {{ tally }}",
        "worsened.subject": "worse: {{ events | map(attribute='title') | join(', ') }}",
    }
    assert words(sound(**papers), *events)[0].subject == "worse: B, AAR_TOKEN"
    papers |= {"digest.subject": "{{ count }} matters: {{ tally }}"}
    assert words(sound(**papers), *events)[0].subject == "2 matters: 1 critical, 1 renewed"
    assert words(sound(**papers), *events[:1])[0].subject == "worse: B"
    papers |= {"digest.text": "look at the page"}
    assert words(sound(**papers), *events)[0].text == "look at the page\n"


def test_a_template_that_speaks_of_one_event_says_it_of_each() -> None:
    events = by_urgency([event(title=f"T{n:03}") for n in range(103)])
    papers = sound(subject="{{ title }} needs you", text="{{ TOKEN_NAME }}: {{ left }}", html="<p>{{ title }}</p>")
    wording, _ = words(papers, *events)
    assert wording.subject == "T000 needs you and 102 more"
    assert wording.text.startswith("T000: 3 days left\n\nT001: 3 days left\n\n")
    assert wording.text.endswith("T099: 3 days left\n\n… and 3 more. `expiryd alerts` lists them all.\n")
    assert wording.html.startswith("<p>T000</p>\n<hr>\n<p>T001</p>\n<hr>\n")
    assert words(papers, *events[:1])[0].subject == "T000 needs you"


def test_of_several_each_is_said_by_the_template_for_its_own_kind() -> None:
    events = by_urgency([event(), event(EventKind.RENEWED, "B"), event(EventKind.EASED, "C")])
    papers = sound(**{"raised.text": "new: {{ title }}", "renewed.text": "fine: {{ title }} of {{ count }}"})
    said = words(papers, *events)[0].text
    assert said.startswith("new: AAR_TOKEN\n\nCRITICAL  C expires 2026-11-24 10:00 UTC, 3 days left\n")
    assert said.endswith("\n\nfine: B of 1\n")


def test_a_subject_is_one_line_of_bounded_length() -> None:
    wording, _ = words(sound(subject="{{ title }}\n\n  {{ 'x' * 500 }}"), event())
    assert wording.subject.startswith("AAR_TOKEN xxx")
    assert (len(wording.subject), "\n" in wording.subject) == (180, False)


def test_own_text_without_own_html_is_sent_as_text_alone() -> None:
    assert words(sound(text="{{ title }}"), event())[0].html == ""
    assert words(sound(subject="{{ title }}"), event())[0].html == render([event()], NOW).html


def test_html_escapes_what_comes_from_outside_and_may_hold_the_usual_page() -> None:
    hostile = event(title="<script>alert(1)</script>")
    wording, _ = words(sound(html="<p>{{ title }}</p>{{ html }}"), hostile)
    assert "<script>" not in wording.html
    assert render([hostile], NOW).html in wording.html


def test_a_large_digest_is_counted_whole_and_listed_in_part() -> None:
    events = [event(title=f"T{n}") for n in range(5000)]
    text = (
        "{{ count }} {{ events | length }} {{ more }}\n{% for e in events %}\n{{ e.title }} {{ e.left }}\n{% endfor %}"
    )
    said = words(sound(text=text), *events)[0].text
    assert said.startswith("5000 100 4900\nT0 3 days left\n")
    assert said.count("\n") == 101


def test_what_a_message_only_counts_is_counted() -> None:
    papers = sound(text="{{ count }} {{ more }} {{ tally }}")
    usual = render([event()], NOW)
    assert papers.word([event()], NOW, usual, {"critical": 4, "expired": 2})[0].text == "7 6 5 critical, 2 expired\n"


def test_every_fact_can_be_named_alone_and_of_an_event() -> None:
    text = (
        "{{ event.kind }} {{ kind }} {{ owner }} {{ labels.env | default('') }} {{ used_by }} {{ places }} {{ rung }} "
        "{{ action }} {{ expires_at }} {{ days_left }} {% for n, v in facts %}{{ n }}={{ v }} {% endfor %}"
    )
    told = event(EventKind.RUNG, rung="3d", places=(ItemId("a/b"), ItemId("c/d")))
    said = words(sound(text=text), told)[0].text
    assert said.startswith("rung rung infra prod deploy a/b, c/d 3d Rotate it now. 2026-11-24 10:00 UTC 3 News=")


@pytest.mark.parametrize(
    ("sources", "place", "line", "problem"),
    [
        ({"text": "a\n{{ tite }}"}, "templates.text", 2, "did you mean title?"),
        ({"text": "{{ event.ownr }}"}, "templates.text", 1, "ownr"),
        ({"text": "{{ labels.team }}"}, "templates.text", 1, "default('')"),
        ({"text": "{{ expires_at.strftime('%Y') }}"}, "templates.text", 1, "strftime"),
        ({"vanished.text": "x{% if days_left < 3 %}{% endif %}"}, "templates.vanished.text", 1, "TypeError"),
        ({"digest.text": "\n{{ events[7].nope }}"}, "templates.digest.text", 2, "nope"),
        ({"html": "{% for e in events %}"}, "templates.html", 1, "endfor"),
        ({"text": "{% if kind == 'raised' %}x{% endif %}"}, "templates.text", 0, "says nothing"),
        ({"text": "{% for e in events %}{{ 'x' * 9000 }}{% endfor %}"}, "templates.text", 0, "262144"),
    ],
)
def test_what_could_fail_is_found_before_it_is_needed(
    sources: dict[str, str], place: str, line: int, problem: str
) -> None:
    _, failures = printed(sources)
    assert [(failure.place, failure.line) for failure in failures] == [(place, line)]
    assert problem in str(failures[0])


def test_every_wrong_template_is_told_at_once() -> None:
    _, failures = printed({"subject": "{{ x }}", "text": "{{ event.x }}", "html": "{{", "raised.text": "fine"})
    assert sorted(failure.place for failure in failures) == ["templates.html", "templates.subject", "templates.text"]


def test_the_samples_hold_every_kind_alone_and_first_of_several() -> None:
    made = list(samples())
    for kind in EventKind:
        assert any(len(sample) == 1 and sample[0].kind is kind for sample in made)
        assert any(len(sample) > 1 and sample[0].kind is kind for sample in made)


def test_a_failure_at_work_names_the_template() -> None:
    papers = sound(text="{{ title.split('/')[0] }}{{ 'x' if title != 'odd' else labels.nope }}")
    with pytest.raises(TemplateFailure) as failure:
        words(papers, event(title="odd"))
    assert failure.value.place == "templates.text"
