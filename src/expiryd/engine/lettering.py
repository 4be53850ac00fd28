"""Put a message into a person's own words, or leave it in the usual ones and say why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from expiryd.api import Finding, Log, Message, NotifierConfig, Severity
from expiryd.core.render import Wording
from expiryd.templates.written import NO_TEMPLATES, TemplateFailure

if TYPE_CHECKING:
    from expiryd.templates.stationery import Stationery

PATIENCE = 30
"""Seconds. A template ends by the number of its steps, long before."""


def stationery_of(notifiers: Mapping[str, NotifierConfig]) -> dict[str, Stationery]:
    """By notifier, for those that have templates. Raises ValueError for one that cannot be understood."""
    with_templates = {name: one.templates for name, one in notifiers.items() if one.templates != NO_TEMPLATES}
    if not with_templates:
        return {}
    from expiryd.templates.stationery import print_stationery  # noqa: PLC0415  # Jinja2 only for who uses it

    printed = {}
    for name, templates in with_templates.items():
        printed[name], failures = print_stationery(name, templates.sources(f"notifiers.{name}.templates"))
        for failure in failures:
            raise ValueError(f"{failure.place}: {failure}")
    return printed


async def reword(message: Message, stationery: Stationery | None, log: Log) -> tuple[Message, Finding | None]:
    """The message as it is to leave, and what is wrong with the templates when it keeps its usual words."""
    if stationery is None or not message.events:
        return message, None
    usual = Wording(message.subject, message.text, message.html)
    place = f"notifiers.{stationery.notifier}.templates"
    try:
        async with asyncio.timeout(PATIENCE):
            said, own = await asyncio.to_thread(stationery.word, message.events, message.at, usual, message.beyond)
    except TemplateFailure as failure:
        return message, _misworded(failure, stationery.notifier, log)
    except TimeoutError:  # steps that are large: the message does not wait for them
        return message, _misworded(TemplateFailure(place, 0, f"not done in {PATIENCE} s"), stationery.notifier, log)
    return replace(message, subject=said.subject, text=said.text, html=said.html, own=own), None


def _misworded(failure: TemplateFailure, notifier: str, log: Log) -> Finding:
    log.warning("template.failed", notifier=notifier, template=failure.place, problem=str(failure))
    detail = f"{failure.place}: {failure}; the message left in the usual words"
    return Finding("template-failed", Severity.WARNING, detail)
