"""A template can neither reach into Python nor run, grow or wait without an end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from expiryd.templates.sheet import compiled
from expiryd.templates.written import TemplateFailure

KNOWN = {"name": "web <1>", "events": (1, 2, 3), "labels": {"env": "prod"}, "at": datetime(2026, 6, 1, tzinfo=UTC)}


def say(text: str, *, html: bool = False) -> str:
    return compiled(text, "mail.text", KNOWN, html=html).render(KNOWN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello {{ name }}", "Hello web <1>"),
        ("{{ at }}", "2026-06-01 00:00 UTC"),
        ("{{ at.strftime('%d.%m.%Y') }}", "01.06.2026"),
        ("{{ none }}", ""),
        ("{{ events }}", "1, 2, 3"),
        ("{{ labels }} {{ labels.env }} {{ labels.team | default('none') }}", "env=prod prod none"),
        ("{% for n in events %}\n- {{ n * 2 }}\n{% endfor %}", "- 2\n- 4\n- 6\n"),
        ("{% macro m(n) %}<{{ n }}>{% endmacro %}{{ m(1) ~ m(2) }}", "<1><2>"),
        ("{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
        ("{% set ns = namespace(x=['x'] * 9999) %}{% set ns.y = [ns.x, ns.x] %}{{ ns }}", "a namespace"),
        ("{{ 'a\nb' | indent(2) }} {{ events | join('+') }} {{ name | replace('web', 'x') }}", "a\n  b 1+2+3 x <1>"),
        ("{{ name.upper() }}", "WEB <1>"),
        ("{{ 2.345 | round(1) }} {{ 2.5 | round | int }}", "2.3 2"),
        ("{{ events | sum }} {{ [{'n': 2.5}] | sum('n', 1) }} {{ 'a b' | wordwrap(1) }}", "6 3.5 a\nb"),
    ],
)
def test_what_a_message_needs_can_be_said(text: str, said: str) -> None:
    assert say(text) == said


def test_in_html_every_value_is_escaped() -> None:
    assert say("<b>{{ name }}</b> {{ name ~ '&' }}", html=True) == "<b>web &lt;1&gt;</b> web &lt;1&gt;&amp;"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a\n{{ name", 2, "end of"),
        ("a\n\n{% if true %}{% else %}{{ nmae }}{% endif %}", 3, "there is no variable 'nmae'; did you mean name?"),
        ("{{ name | centre }}", 1, "No filter named 'centre'"),
        ("{% include 'other' %}", 1, "a template stands alone"),
    ],
)
def test_what_can_never_work_is_told_with_its_line_before_it_is_used(text: str, line: int, problem: str) -> None:
    with pytest.raises(TemplateFailure) as failure:
        compiled(text, "mail.text", KNOWN)
    assert (failure.value.line, problem in str(failure.value)) == (line, True), str(failure.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x\n{{ labels.team }}", "has no attribute 'team'"),
        ("x\n{{ name + 1 }}", "TypeError"),
        ("x\n{{ 1 // 0 }}", "ZeroDivisionError"),
        ("x\n{{ name.__class__.__mro__ }}", "__class__"),
        ("x\n{{ events.append(4) }}", "append"),
        ("x\n{{ labels.clear() }}", "clear"),
    ],
)
def test_what_goes_wrong_at_work_is_told_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(TemplateFailure) as failure:
        say(text)
    assert (failure.value.line, problem in str(failure.value)) == (2, True), str(failure.value)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
        "{% for a in range(999999999) %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{{ range(99999) | map('string') | list | sort | join | wordcount }}" * 200,
        "{{ 'x' * 999999999 }}",
        "{{ [1] * 999999999 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% set ns = namespace(n=9) %}{% for i in range(9999) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(9) %}{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set b %}{{ ns.x }}{{ ns.x }}{% endset %}"
        "{% set ns.x = b %}{% endfor %}",
        "{{ 'x' | indent(999999999, true) }}",
        "{{ name.center(999999999) }}",
        "{{ 1.5 | round(999999999, 'ceil') }}",
        "{{ '%999999999s' % name }}",
        "{{ '{:999999999}'.format(name) }}",
        "{% for i in range(99999) %}abcdefgh{% endfor %}",
        "{{ ['x' * 1000] * 1000 }}",
        "{{ (['x' * 1000] * 1000) | upper | wordcount }}",
        "{{ ((['x' * 1000] * 1000) ~ '') | length }}",
        "{% set a = ['x' * 1000] %}{% set a = [a] * 99 %}{% set a = [a] * 99 %}{{ a | string | length }}",
        "{{ {'a': ['x' * 1000] * 1000} }}",
        "{{ ([[1]] * 999) | sum(start=[]) }}",
        "{{ 'a b' | wordwrap(1, wrapstring='x' * 200000) }}",
        "{{ 'http://a.example' | urlize(rel='x' * 200000) }}",
        "{{ 15 | round(-999999999) }}",
    ],
)
def test_nothing_runs_or_grows_without_an_end(text: str) -> None:
    with pytest.raises(TemplateFailure):
        say(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{% for a in events %}" * 21 + "{% endfor %}" * 21, "too many statically nested blocks"),
        ("{{ " + "9" * 5000 + " }}", "digits"),
        ("{{ 0x" + "f" * 5000 + " }}", "digits"),
        ("{{ " + "[" * 500 + "]" * 500 + " }}", "without an end"),
    ],
)
def test_what_python_itself_cannot_compile_is_refused_like_any_other_mistake(text: str, problem: str) -> None:
    with pytest.raises(TemplateFailure, match=problem):
        compiled(text, "mail.text", KNOWN)


def test_a_template_of_unreasonable_length_is_refused() -> None:
    with pytest.raises(TemplateFailure, match="longer than"):
        compiled("x" * 300_000, "mail.text", KNOWN)
