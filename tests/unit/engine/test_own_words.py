"""Messages leave in a person's own words; when these fail, in the usual ones, and everybody else hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.rig import DAY, MINUTE, ReceiverConfig, Rig, expiring

from expiryd.core.model import Observation, Traits
from expiryd.engine.lettering import stationery_of
from expiryd.testing import EPOCH
from expiryd.web import checks

OWN = {"templates": {"subject": "{{ title }} needs you", "text": "{{ left }}, {{ labels.team if detail else owner }}"}}


def token(name: str, **more: Any) -> Observation:
    return expiring(name, EPOCH + 3 * DAY, **more)


async def test_a_notifier_with_templates_uses_them_and_the_others_do_not(tmp_path: Path) -> None:
    async with Rig(tmp_path, receivers=("slack", "mail"), settings={"mail": OWN}) as rig:
        rig.sources["tokens"].shows(token("a", traits=Traits(owner="ann")))
        await rig.look()
        await rig.wait(MINUTE)
        (mail,), (slack,) = rig.receivers["mail"].sent, rig.receivers["slack"].sent
        assert (mail.subject, mail.text, mail.own) == (
            "a needs you",
            "2 days left, ann\n",
            frozenset({"subject", "text"}),
        )
        assert slack.subject.startswith("CRITICAL: a expires")
        assert slack.own == frozenset()


async def test_a_failing_template_costs_its_words_and_not_the_message(tmp_path: Path) -> None:
    settings = {"mail": {"templates": {"text": "{% if title == 'odd' %}{{ labels.team }}{% endif %}{{ title }}"}}}
    async with Rig(tmp_path, receivers=("slack", "mail"), settings=settings) as rig:
        rig.sources["tokens"].shows(token("odd"))
        await rig.look()
        await rig.wait(MINUTE)
        assert [m.text.startswith("CRITICAL  odd expires") for m in rig.receivers["mail"].sent] == [True]
        assert "template.failed" in str(rig.log.lines)
        await rig.wait(MINUTE)
        assert rig.news("slack") == ["raised tokens/odd", "raised expiryd/notifier/mail"]
        (event,) = rig.receivers["slack"].sent[-1].events
        assert (event.aspect, event.severity.word) == ("template-failed", "warning")
        assert "notifiers.mail.templates.text: line 1: not every item has the label 'team'" in event.detail
        assert rig.news("mail") == ["raised tokens/odd"]
        assert not checks.notifier(rig.daemon, "mail", None).failing, "it delivers"

        # the templates are what they were, so a message that they happen to word is no recovery
        rig.sources["tokens"].shows(token("odd"), token("plain"))
        await rig.look()
        await rig.wait(2 * MINUTE, step=MINUTE)
        assert (rig.receivers["mail"].sent[-1].text, rig.news("slack")) == ("plain\n", ["raised tokens/plain"])

        # mended ones are known to be well by the first message that they word
        await rig.reload(mail={"templates": {"text": "{{ title }}"}})
        rig.sources["tokens"].shows(token("odd"), token("plain"), token("new"))
        await rig.look()
        await rig.wait(2 * MINUTE, step=MINUTE)
        assert rig.news("slack") == ["raised tokens/new", "resolved expiryd/notifier/mail"]


async def test_a_template_without_an_end_delays_nobody(tmp_path: Path) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    async with Rig(tmp_path, receivers=("mail",), settings={"mail": {"templates": {"text": endless}}}) as rig:
        rig.sources["tokens"].shows(token("a"))
        await rig.look()
        await rig.wait(MINUTE)
        assert rig.news("mail") == ["raised tokens/a"]


def test_a_template_that_cannot_be_understood_brings_no_graph_to_life() -> None:
    with pytest.raises(ValueError, match=r"notifiers\.mail\.templates\.text: line 1"):
        stationery_of({"mail": ReceiverConfig.model_validate({"templates": {"text": "{{"}})})
