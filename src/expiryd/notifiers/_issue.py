"""Words an issue and its comments, and leaves marks in them by which they are recognised after a crash.

Our part of an issue's body lies between two HTML comments; only what is between them is ever replaced. Every matter
of the item (its expiry, each finding, each measure) is one row there, so that news of one does not erase another.
The marks are hashes: nobody learns from them what is not already written beside them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from expiryd.api import Event, EventKind, Message, Severity, action, badge, facts, headline, say_time

from ._markup import GAP, clean, fenced, fit, markdown, markdown_value, one_line

MOST_TITLE = 256
MOST_BODY = 65_536
MOST_ROWS = 40
MOST_RUNBOOKS = 5
END = "<!-- /expiryd -->"
_OURS = re.compile(
    r"<!-- expiryd thread=(?P<thread>[0-9a-f]{32}) message=(?P<message>[0-9a-f]{32}) -->\n.*?" + re.escape(END),
    re.DOTALL,
)
_ROW = re.compile(r"^\|.*<!-- row (?P<matter>[0-9a-f]{12}) (?P<state>open|over) -->.*\|$", re.MULTILINE)
_OPEN = re.compile(r"(<!-- row [0-9a-f]{12}) open --> \| [A-Z]+ \|")
_TITLE = re.compile(r"[🚨⚠ℹ]\ufe0f? [A-Z]+: ")
_SIGNS = {Severity.EXPIRED: "🚨", Severity.CRITICAL: "🚨", Severity.WARNING: "⚠️"}
_ALL_OVER = frozenset({EventKind.RENEWED, EventKind.VANISHED})


@dataclass(frozen=True, slots=True)
class Marks:
    """By what an issue of this item's generation and a comment of this message are known again."""

    thread: str
    message: str

    @classmethod
    def of(cls, message: Message) -> Marks:
        thread = message.thread
        named = f"{thread.item}\0{thread.generation}" if thread else f"message\0{message.key}"
        return cls(_hash(named), _hash(message.key))

    @property
    def opening(self) -> str:
        return f"<!-- expiryd thread={self.thread} message={self.message} -->"

    @property
    def comment(self) -> str:
        return f"<!-- expiryd message={self.message} -->"

    def own(self, body: str) -> bool:
        """Whether this body is that of our thread's issue."""
        found = _OURS.search(body)
        return bool(found and found["thread"] == self.thread)

    def opened(self, body: str) -> bool:
        """Whether the issue was opened by this very message: then all has been said."""
        found = _OURS.search(body)
        return bool(found and found["message"] == self.message)


def title(message: Message) -> str:
    """`🚨 CRITICAL: Token Expiry Alert - NAME`, the subject of a digest, or a person's own words; 256 characters."""
    if "subject" in message.own:
        return fit(one_line(message.subject), MOST_TITLE)
    if message.thread is None and len(message.events) > 1:
        return fit(f"{_SIGNS.get(message.severity, 'ℹ️')} {one_line(message.subject)}", MOST_TITLE)
    names = list(dict.fromkeys(one_line(event.title) for event in message.events)) or [one_line(message.subject)]
    what = "Token Expiry Alert" if any(event.aspect == "expiry" for event in message.events) else "Alert"
    return fit(f"{_SIGNS.get(message.severity, 'ℹ️')} {message.severity.name}: {what} - {', '.join(names)}", MOST_TITLE)


def is_our_title(text: str) -> bool:
    """False once a person has written another: then it is his."""
    return bool(_TITLE.match(text))


def opening_body(message: Message, marks: Marks, mention: str) -> str:
    return f"{_section(message, marks, ())}\n\n{mention}".rstrip()


def renewed_body(message: Message, marks: Marks, body: str) -> str:
    """The body with our part brought up to date. Everything people wrote around it stays."""
    found = _OURS.search(body)
    if found is None:
        return body
    kept = Marks(found["thread"], found["message"])
    done = body[: found.start()] + _section(message, kept, _rows(found[0])) + body[found.end() :]
    return done if len(done) <= MOST_BODY else body


def is_over(message: Message, body: str) -> bool:
    """Whether nothing is left open once this message is told, also of the matters it does not speak of."""
    if message.firing:
        return False
    if not message.events:
        return True  # the conversation ends here, though its matter does not
    if any(event.kind in _ALL_OVER for event in message.events):
        return True
    closed = {_matter(event) for event in message.events}
    found = _OURS.search(body)
    return all(matter in closed or state == "over" for matter, state, _ in _rows(found[0] if found else ""))


def comment(message: Message, marks: Marks, mention: str) -> str:
    """The news. People are called only when it is worse than what they know."""
    worse = any(event.kind in {EventKind.RAISED, EventKind.WORSENED} for event in message.events)
    events = () if "text" in message.own else message.events
    told = "\n".join(f"- {_news(event, message)}" for event in events[:MOST_ROWS]) or _verbatim(message.text)
    left = len(events) - MOST_ROWS + sum(message.beyond.values())
    more = f"\n- … and {left} more." if left > 0 else ""
    runbooks = dict.fromkeys(event.traits.runbook for event in message.events if event.traits.runbook)
    how = "".join(f"\n\nRunbook: {markdown_value(runbook)}" for runbook in list(runbooks)[:MOST_RUNBOOKS])
    return f"{marks.comment}\n{told}{more}{how}\n\n{mention if worse else ''}".rstrip()


def _news(event: Event, message: Message) -> str:
    line = f"**{badge(event)}** ({event.kind.value}) {markdown(headline(event, message.at))}"
    to_do = dict(facts(event)).get("Do")
    return f"{line}. {to_do}" if to_do else line


def _section(message: Message, marks: Marks, before: Iterable[tuple[str, str, str]]) -> str:
    rows = {matter: row for matter, _, row in before}
    if not message.firing and any(event.kind in _ALL_OVER for event in message.events):
        rows = {matter: _OPEN.sub(r"\1 over --> | OVER |", row) for matter, row in rows.items()}
    for event in reversed(message.events):
        matter = _matter(event)
        rows.pop(matter, None)
        rows = {matter: _row(event, message), **rows}
    table = ["| Matter | State | As of | What |", "| --- | --- | --- | --- |", *list(rows.values())[:MOST_ROWS]]
    parts = [
        marks.opening,
        f"**{markdown(message.subject, 500)}**",
        *([_verbatim(message.text)] if rows and "text" in message.own else []),
        "\n".join(table) if rows else _verbatim(message.text),
        *_about(message.events),
        f"_Kept by expiryd, last at {say_time(message.at)}. What you write above or below this part stays._",
        END,
    ]
    return parts[0] + "\n" + "\n\n".join(parts[1:])


def _row(event: Event, message: Message) -> str:
    state = "over" if event.kind.closes else "open"
    what = markdown(headline(event, message.at), 400)
    if event.detail and event.detail not in headline(event, message.at):
        what += f" ({markdown(event.detail, 300)})"
    mark = f"<!-- row {_matter(event)} {state} -->"
    return f"| {markdown(event.aspect, 80)} {mark} | {badge(event)} | {say_time(message.at)} | {what} |"


def _about(events: Iterable[Event]) -> list[str]:
    """What holds for the item as a whole: who owns it, who uses it, what to do."""
    lines: dict[str, str] = {}
    to_do: list[str] = []
    for event in events:
        for label, value in facts(event):
            if label != "Do":
                lines.setdefault(label, f"- **{label}:** {markdown_value(value)}")
        if labels := ", ".join(f"{name}={value}" for name, value in event.traits.labels.items()):
            lines.setdefault("Labels", f"- **Labels:** {markdown(labels)}")
        if not event.kind.closes:
            to_do.append(f"- [ ] {markdown(event.aspect, 80)}: {action(event.severity, event.aspect)}")
    return ["\n".join(block) for block in (lines.values(), list(dict.fromkeys(to_do))[:MOST_ROWS]) if block]


def _verbatim(text: str) -> str:
    """Several lines as they are, except that none can look like a mark of ours."""
    return fenced(clean(text).replace("<!--", f"<!{GAP}--"))


def _rows(section: str) -> list[tuple[str, str, str]]:
    """(matter, state, row as written) of the table in a section."""
    return [(found["matter"], found["state"], found[0]) for found in _ROW.finditer(section)]


def _matter(event: Event) -> str:
    return _hash(event.aspect)[:12]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
