"""What every section of the configuration is made of: frozen, without unknown keys, with names of one form."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from expiryd.core.model import SELF

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

MEBIBYTE = 1024 * 1024
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"(\d{1,12})\s*(" + "|".join(_UNITS) + ")")


def parse_size(value: object) -> object:
    """`500MB`, `1GiB` as bytes. Raises ValueError for other text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'write a size such as "500MB"; the units are {", ".join(_UNITS)}')
    return int(match[1]) * _UNITS[match[2]]


def check_name(text: str) -> str:
    """Raises ValueError unless it may name a collector, notifier, category or token."""
    if text == SELF:
        raise ValueError("this name is the daemon's own; choose another one")
    if not NAME.fullmatch(text):
        raise ValueError(
            "a name has small letters, digits, - and _, starts with a letter or digit and is no longer "
            "than 63 characters, such as ci-tokens"
        )
    return text


Name = Annotated[str, AfterValidator(check_name)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
