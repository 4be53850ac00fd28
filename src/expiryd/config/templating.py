"""Reads the templates that a configuration names, and proves that each of them can word what it will have to."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from expiryd.api import NotifierConfig
from expiryd.config.errors import ConfigProblem
from expiryd.config.walk import anchor
from expiryd.templates.written import NO_TEMPLATES, Slot, Templates, Written, spell_slot

MOST_BYTES = 262_144


def with_templates(
    notifier: NotifierConfig, name: str, directory: Path, problems: list[ConfigProblem]
) -> NotifierConfig:
    """The notifier with the text of each of its templates; the path of a file is meant beside `directory`."""
    if notifier.templates == NO_TEMPLATES:
        return notifier
    place = f"notifiers.{name}.templates"
    templates: Templates = anchor(notifier.templates, directory)
    unread = []
    for slot, written in templates.written():
        try:
            templates = templates.holding(slot, _text_of(written))
        except ValueError as problem:
            problems.append(ConfigProblem(spell_slot(place, slot), f"{written.file}: {problem}"))
            unread.append(slot)
    problems += _wrong(templates, name, place, unread)
    return notifier.model_copy(update={"templates": templates})


def _text_of(written: Written) -> str:
    """Raises ValueError."""
    if written.file is None:
        return written.text or ""
    try:
        with written.file.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES} bytes: is this the template?")
    return text


def _wrong(templates: Templates, name: str, place: str, unread: Container[Slot]) -> Iterator[ConfigProblem]:
    from expiryd.templates.stationery import print_stationery, prove  # noqa: PLC0415  # Jinja2 only for who uses it

    files = {spell_slot(place, slot): f"{written.file}: " for slot, written in templates.written() if written.file}
    sources = {slot: source for slot, source in templates.sources(place).items() if slot not in unread}
    stationery, failures = print_stationery(name, sources)
    for failure in (*failures, *prove(stationery)):
        yield ConfigProblem(failure.place, f"{files.get(failure.place, '')}{failure}")
