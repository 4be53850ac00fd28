"""Templates are read with the configuration, and each must be able to word what it will have to."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from expiryd.config import Config, ConfigError, load
from expiryd.core.model import EventKind
from expiryd.registry import discover
from expiryd.templates.written import GENERAL, SORTS, Templates


def loaded(tmp_path: Path, templates: str) -> Config:
    config = tmp_path / "expiryd.toml"
    config.write_text(f'[notifiers.mail]\ntype = "file"\ndirectory = "out"\n{templates}')
    collectors, notifiers = discover()
    return load([config], environ={}, collectors=collectors, notifiers=notifiers)


def problems(tmp_path: Path, templates: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, templates)
    return [str(problem) for problem in error.value.errors]


def test_every_kind_of_event_may_have_words_of_its_own() -> None:
    assert set(Templates.model_fields) - {"subject", "text", "html"} == {*(kind.value for kind in EventKind), "digest"}
    assert GENERAL not in SORTS


def test_a_template_stands_in_the_configuration_or_in_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "raised.j2").write_text("New: {{ title }}\n")
    config = loaded(
        tmp_path,
        """
        [notifiers.mail.templates]
        subject = "{{ title }}"
        [notifiers.mail.templates.raised]
        text = { file = "raised.j2" }
        """,
    )
    sources = config.notifiers["mail"].templates.sources("t")
    assert {slot: (source.text, source.place) for slot, source in sources.items()} == {
        ("", "subject"): ("{{ title }}", "t.subject"),
        ("raised", "text"): ("New: {{ title }}\n", "t.raised.text"),
    }


def test_an_edited_file_is_another_configuration(tmp_path: Path) -> None:
    hashes = set()
    for text in ("one", "two", "two"):
        (tmp_path / "mail.j2").write_text(text)
        hashes.add(loaded(tmp_path, 'templates.text = { file = "mail.j2" }').hash)
    assert len(hashes) == 2


def test_everything_that_is_wrong_is_told_at_once_with_place_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.j2").write_text("fine\n{{ titel }}\n")
    (tmp_path / "latin.j2").write_bytes(b"caf\xe9")
    found = problems(
        tmp_path,
        """
        colour = "red"
        [notifiers.mail.templates]
        subject = "{{ days_left"
        text = { file = "bad.j2" }
        html = { file = "missing.j2" }
        [notifiers.mail.templates.raised]
        text = "{{ labels.team }}"
        html = { file = "latin.j2" }
        [notifiers.other]
        type = "nothing"
        """.replace('colour = "red"', ""),
    )
    assert [problem for problem in found if not problem.startswith("notifiers.other")] == [
        f"notifiers.mail.templates.html: {tmp_path}/missing.j2: cannot be read: No such file or directory",
        f"notifiers.mail.templates.raised.html: {tmp_path}/latin.j2: is not UTF-8 text (byte 3)",
        "notifiers.mail.templates.subject: line 1: unexpected end of template, expected 'end of print statement'",
        f"notifiers.mail.templates.text: {tmp_path}/bad.j2: line 2: there is no variable 'titel'; did you mean title?",
        "notifiers.mail.templates.raised.text: line 1: not every item has the label 'team'; "
        "what may be missing is written {{ … | default('') }}",
    ]
    assert any(problem.startswith("notifiers.other.type") for problem in found)


@pytest.mark.parametrize(
    ("templates", "problem"),
    [
        ("templates.text = 5", 'notifiers.mail.templates.text: write the text itself, or { file = "path" }'),
        (
            'templates.text = { env = "X" }',
            'notifiers.mail.templates.text: write the text itself, or { file = "path" }',
        ),
        ('templates.rased.text = "x"', "notifiers.mail.templates.rased: there is no such key; did you mean raised?"),
        ('templates.raised.body = "x"', "notifiers.mail.templates.raised.body: there is no such key"),
        ('templates.text = ""', "notifiers.mail.templates.text: it says nothing"),
    ],
)
def test_what_is_no_template_is_explained(tmp_path: Path, templates: str, problem: str) -> None:
    tomllib.loads(templates)
    found = problems(tmp_path, templates)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_file_that_is_no_template_is_not_read_to_its_end(tmp_path: Path) -> None:
    found = problems(tmp_path, 'templates.text = { file = "/dev/zero" }')
    assert found == ["notifiers.mail.templates.text: /dev/zero: is larger than 262144 bytes: is this the template?"]
