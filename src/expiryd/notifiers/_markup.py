"""Makes text of unknown origin harmless inside Markdown and chat messages, and fits it into their limits."""

from __future__ import annotations

import re
from collections.abc import Mapping

ELLIPSIS = "…"
GAP = "\u200b"
"""A zero-width space: behind `@` or `#` it breaks a mention or a reference without being seen."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
"""Control characters but tab and line feed, line separators, marks that turn the reading direction, and letters that
nobody sees. What joins letters or parts of a sign stays."""

_MARKDOWN = {ord(sign): "\\" + sign for sign in "\\`*_[]<>&|~!"} | {ord("@"): "@" + GAP, ord("#"): "#" + GAP}
_WEB_LINK = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")


def clean(text: str) -> str:
    """Without control characters, marks that turn the reading direction, and halves of surrogate pairs."""
    return _HIDDEN.sub("", text.replace("\r\n", "\n").encode("utf-8", "replace").decode())


def one_line(text: str) -> str:
    return " ".join(clean(text.replace("\r", "\n")).split())


def units(text: str) -> int:
    """Length in UTF-16 units: what JavaScript and Java receivers count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fit(text: str, limit: int, table: Mapping[int, str] | None = None) -> str:
    """`text` translated by `table` in at most `limit` UTF-16 units; a cut never falls inside an escape."""
    done = text.translate(table) if table else text
    if units(done) <= limit:
        return done
    kept, room = [], limit - units(ELLIPSIS)
    for sign in text:
        piece = sign.translate(table) if table else sign
        room -= units(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + ELLIPSIS


def markdown(text: str, limit: int = 1000) -> str:
    """Text for the inside of a line, shown as it is: no markup, no mention, no reference, no table cell's end."""
    return fit(one_line(text), limit, _MARKDOWN)


def code(text: str, limit: int = 300) -> str:
    """A name as a code span: exact, to be copied, and inert. The fence is longer than any run inside.

    A bar ends a table's cell even here, so it is replaced by its look-alike.
    """
    name = fit(one_line(text), limit).replace("|", "¦") or "-"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    pad = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{pad}{name}{pad}{fence}"


def fenced(text: str, limit: int = 20_000) -> str:
    """Several lines, verbatim, in a fence that nothing inside can close."""
    body = fit(clean(text).strip("\n"), limit)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"{fence}text\n{body}\n{fence}"


def is_link(text: str) -> bool:
    """Whether it is a plain web address that may be shown as a link."""
    return bool(_WEB_LINK.fullmatch(text))


def markdown_value(text: str) -> str:
    """A fact: a web address as a link, anything else as escaped text."""
    return f"<{text}>" if is_link(text) and len(text) <= 1000 else markdown(text)
