"""Templates as they are written in a configuration, without a word of Jinja2, which only those who use it load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from expiryd.core.model import EventKind

PARTS = ("subject", "text", "html")
DIGEST = "digest"
GENERAL = ""
SORTS = (DIGEST, *(kind.value for kind in EventKind))
Slot = tuple[str, str]
"""A sort of message (an event's kind, DIGEST or GENERAL) and a part of it."""


class TemplateFailure(Exception):
    """A template cannot be used: where it stands, in which of its lines (0: unknown), and what is wrong."""

    def __init__(self, place: str, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.place = place
        self.line = line


@dataclass(frozen=True, slots=True)
class Source:
    """A template's text, and where it stands."""

    text: str
    place: str


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Written(_Frozen):
    """One template: its text, or the file that holds it. Who loads the configuration reads the file into `text`."""

    text: str | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_or_file(cls, value: object) -> object:
        if isinstance(value, str):
            return {"text": value}
        if not (isinstance(value, dict) and value.keys() == {"file"}):
            raise ValueError('write the text itself, or { file = "path" }')
        return value


class Parts(_Frozen):
    """`[notifiers.NAME.templates.raised]`: the words of one kind of event, or of a digest."""

    subject: Written | None = None
    text: Written | None = None
    html: Written | None = None


class Templates(Parts):
    """`[notifiers.NAME.templates]`: the words of every message, and those of each sort that has its own."""

    digest: Parts | None = None
    raised: Parts | None = None
    worsened: Parts | None = None
    rung: Parts | None = None
    repeated: Parts | None = None
    escalated: Parts | None = None
    acknowledged: Parts | None = None
    eased: Parts | None = None
    renewed: Parts | None = None
    resolved: Parts | None = None
    vanished: Parts | None = None
    blind: Parts | None = None
    sighted: Parts | None = None

    def written(self) -> Iterator[tuple[Slot, Written]]:
        for sort in (GENERAL, *SORTS):
            parts = self if sort == GENERAL else getattr(self, sort)
            for part in PARTS:
                if parts is not None and (one := getattr(parts, part)) is not None:
                    yield (sort, part), one

    def holding(self, slot: Slot, text: str) -> Templates:
        """The same with this text in one of the templates."""
        sort, part = slot
        parts = getattr(self, sort) if sort else self
        held = parts.model_copy(update={part: getattr(parts, part).model_copy(update={"text": text})})
        return self.model_copy(update={sort: held}) if sort else held

    def sources(self, place: str) -> dict[Slot, Source]:
        """`place` is that of the table: `notifiers.mail.templates`."""
        return {slot: Source(one.text or "", spell_slot(place, slot)) for slot, one in self.written()}


NO_TEMPLATES = Templates()


def spell_slot(place: str, slot: Slot) -> str:
    sort, part = slot
    return f"{place}.{sort}.{part}" if sort else f"{place}.{part}"
