"""What is wrong with a configuration, said in words for people and never with a value that was typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from expiryd.api import ExpirydError, format_duration

Key = str | int

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_*-]+")
_SEPARATORS = re.compile(r"[\s:/@?&=,;'\"]+")
_SHORTEST_PIECE = 8

_DATE = "write a date such as 2026-09-01 or a time such as 2026-09-01T12:00:00Z"
_TABLE = "must be a table of keys"
_LIST = 'must be a list such as ["a", "b"]'
_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_BOOLEAN = "must be true or false"
_PLAIN_WORDS = {
    "missing": "is required",
    "string_type": 'must be text in quotes, such as "text"',
    "path_type": 'must be a path in quotes, such as "/srv/app/.tokens"',
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _TABLE,
    "mapping_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "dataclass_type": _TABLE,
    "time_delta_type": "write a duration such as 90s, 15m, 2h, 7d or 2w",
    "time_delta_parsing": "write a duration such as 90s, 15m, 2h, 7d or 2w",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "datetime_type": _DATE,
    "datetime_parsing": _DATE,
    "datetime_from_date_parsing": _DATE,
    "datetime_object_invalid": _DATE,
    "zoneinfo_str": 'must be a time zone of the IANA list, such as "UTC" or "Europe/Berlin"',
    "none_required": "must be left out",
}
_WITH_LIMIT = {
    "literal_error": ("must be {}", "expected"),
    "enum": ("must be {}", "expected"),
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "multiple_of": ("must be a multiple of {}", "multiple_of"),
    "string_pattern_mismatch": ("does not have the accepted form: {}", "pattern"),
    "string_too_short": ("must have at least {} characters", "min_length"),
    "string_too_long": ("must have at most {} characters", "max_length"),
    "too_short": ("must have at least {} entries", "min_length"),
    "too_long": ("must have at most {} entries", "max_length"),
}

_ZERO = "datetime.timedelta(0)"
"""How pydantic tells of a limit inside a union."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing to mend: where (`collectors.ci-tokens.schedule`, or `file:line:column`) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(ExpirydError):
    """The configuration cannot be used. `errors` holds every problem at once; str has one on each line."""

    def __init__(self, errors: Iterable[ConfigProblem]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


def spell(path: Iterable[Key]) -> str:
    """`("collectors", "a", "path", 1)` → `collectors.a.path[1]`; a key with odd characters is quoted."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            plain = key if _PLAIN_KEY.fullmatch(key) else '"' + key.encode("unicode_escape").decode() + '"'
            text += f".{plain}" if text else plain
    return text


def unknown_key(key: str, known: Iterable[str], noun: str = "key") -> str:
    """Says that `key` is not known and which one was probably meant."""
    choices = sorted(known)
    near = get_close_matches(key, choices, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(choices) or 'none'}"
    return f"there is no such {noun}; {hint}"


def explain(error: ValidationError, raw: object, model: type[BaseModel], at: Sequence[Key]) -> Iterator[ConfigProblem]:
    """Pydantic's errors about `raw` as problems, one for each place below `at`.

    A union makes several errors about one place, told apart by tags in the location; they become one message.
    """
    messages: dict[tuple[Key, ...], dict[str, None]] = {}
    for details in error.errors(include_url=False):
        place = _place(details, raw)
        messages.setdefault(place, {})[_words(details, model, place)] = None
    for place, words in messages.items():
        yield ConfigProblem(spell((*at, *place)), "; or ".join(words))


def _place(details: ErrorDetails, raw: object) -> tuple[Key, ...]:
    """The location without the tags of unions: only what can be found in the raw tables, or is missing there."""
    place: list[Key] = []
    here = raw
    for key in details["loc"]:
        if _holds(here, key):
            here = here[key]  # type: ignore[index]  # _holds has just looked
        elif not (details["type"] == "missing" and key == details["loc"][-1]):
            continue
        place.append(key)
    return tuple(place)


def _holds(table: object, key: Key) -> bool:
    if isinstance(table, Mapping):
        return key in table
    return isinstance(table, list | tuple) and isinstance(key, int) and key < len(table)


def _words(details: ErrorDetails, model: type[BaseModel], place: Sequence[Key]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(str(place[-1]), _fields_at(model, place[:-1]))
    if kind in _PLAIN_WORDS:
        return _PLAIN_WORDS[kind]
    if kind in _WITH_LIMIT:
        template, name = _WITH_LIMIT[kind]
        return template.format(_limit(context.get(name, "")))
    text = (
        str(context["error"]) if kind in {"value_error", "assertion_error"} and "error" in context else details["msg"]
    )
    return _without(details.get("input"), text)


def _limit(limit: object) -> str:
    if isinstance(limit, timedelta):
        return format_duration(limit)
    return "0s" if limit == _ZERO else str(limit)


def _without(value: object, text: str) -> str:
    """The text of a validator that may quote what was typed, with every piece of that blotted out."""
    pieces = {piece for leaf in _leaves(value) for piece in (leaf, *_SEPARATORS.split(leaf))}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= _SHORTEST_PIECE:
            text = text.replace(piece, "…")
    return text


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _fields_at(model: type[BaseModel], place: Sequence[Key]) -> set[str]:
    """The keys that the table at `place` may have."""
    models = {model}
    for key in place:
        fields = [m.model_fields[key].annotation for m in models if isinstance(key, str) and key in m.model_fields]
        if fields:  # else the key of a mapping or a place in a list: still the models of its values
            models = {found for annotation in fields for found in _models_in(annotation)}
    return {field.alias or name for found in models for name, field in found.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
