"""Text of unknown origin is inert in Markdown and fits, and is read as it was written."""

from __future__ import annotations

import re
from html import unescape

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from expiryd.notifiers._markup import GAP, clean, code, fenced, fit, is_link, markdown, markdown_value, one_line, units

GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="`*_[]()<>&|~!@#\\ \n-:ax1", max_size=120),
    st.sampled_from(
        ["</td>", "<!-- x -->", "@everyone", "[a](javascript:b)", "![](//e)", "```\n# x", "&lt;", "\ud800"]
    ),
)


def shown(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html)).replace(GAP, "").strip()


@settings(deadline=None)
@given(HOSTILE)
def test_markdown_shows_exactly_the_text_and_makes_no_element(text: str) -> None:
    html = GFM.render(f"x:{markdown(text)}:y")
    assert set(re.findall(r"<(/?\w+)", html)) <= {"p", "/p"}
    assert shown(html) == f"x:{one_line(text)}:y".replace(GAP, "")


@settings(deadline=None)
@given(HOSTILE)
def test_a_cell_of_a_table_holds_the_text_and_only_it(text: str) -> None:
    html = GFM.render(f"| a | b |\n| --- | --- |\n| {code(text)} | {markdown(text)} |\n")
    assert html.count("<td>") == 2
    assert html.count("<tr>") == 2


@settings(deadline=None)
@given(HOSTILE)
def test_a_code_span_is_the_exact_name(text: str) -> None:
    html = GFM.render(f"- **Token:** {code(text)}")
    found = re.search(r"<code>(.*)</code>", html)
    assert found
    assert unescape(found[1]) == (one_line(text).replace("|", "¦") or "-")


@settings(deadline=None)
@given(HOSTILE)
def test_nothing_closes_a_fence_from_inside(text: str) -> None:
    html = GFM.render(f"{fenced(text)}\n\nafter")
    assert html.startswith("<pre>")
    assert html.endswith("<p>after</p>\n")
    assert html.count("<pre>") == 1


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(min_value=1, max_value=40))
def test_a_cut_keeps_within_utf16_units_and_never_splits_an_escape(text: str, limit: int) -> None:
    table = {ord("&"): "&amp;", ord("a"): "aaaa"}
    done = fit(clean(text), limit, table)
    assert units(done) <= limit
    assert fit(clean(text), 10_000, table).startswith(done.removesuffix("…"))
    assert not re.search(r"&(a?m?p?)…", done)


def test_mentions_and_references_are_broken_without_being_seen() -> None:
    assert markdown("@acme/infra see #12") == f"@{GAP}acme/infra see #{GAP}12"


def test_controls_and_reversed_text_are_taken_out_and_half_characters_replaced() -> None:
    assert clean("a\x00b\x1b[31m\u202ec\ud83d\nd") == "ab[31mc?\nd"
    assert clean("a\u200eb\u200f\u061c\ufeff\u2060\xad\U000e0041c") == "abc"  # neither turned nor written unseen
    assert one_line("a\r\nSubject: b\u2028c") == "a Subject: bc"


def test_only_plain_web_addresses_become_links() -> None:
    assert is_link("https://wiki.example.org/a?b=c&d=e#f")
    assert markdown_value("https://wiki.example.org/a_b") == "<https://wiki.example.org/a_b>"
    for text in (
        "javascript:alert(1)",
        "https://a b",
        "https://a|b",
        "https://a>b",
        "https://x/`y`",
        "//a",
        "see https://a",
    ):
        assert not is_link(text)
        assert not markdown_value(text).startswith("<")
