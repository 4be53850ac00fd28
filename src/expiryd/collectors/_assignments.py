"""The grammar of `.tokens` and `.env` files: what a line sets, and whether name and value are a credential's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}"
_EXPORT = re.compile(r"export\s+")
_CREDENTIAL = re.compile(r"(?:^|_)(?:TOKEN|SECRET|KEY|PASSWORD|JWT|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_SETTING = re.compile(  # by its last word a setting about a credential, such as TOKEN_EXPIRE_SECONDS
    r"_(?:ALG|ALGORITHM|AUDIENCE|COUNT|DAYS|DIR|DISABLED|ENABLED|ENDPOINT|EXPIRES?|EXPIRATION|EXPIRY|FILE|HEADER|HOST|"
    r"HOURS|ID|IN|ISSUER|LENGTH|LIFETIME|LIMIT|MAX|MIN|MINUTES|MS|NAME|PATH|POLICY|PORT|PREFIX|REQUIRED|ROUNDS|"
    r"SECONDS|SIZE|TIMEOUT|TTL|TYPE|URI|URL|USER|USERNAME)$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Assignment:
    """What a name is set to, at last, and the numbers of all lines that set it."""

    name: str
    value: str = field(default="", repr=False)
    lines: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Parsed:
    """A file's assignments by name, and the numbers of lines that are none or are not UTF-8 text."""

    assignments: dict[str, Assignment] = field(default_factory=dict)
    malformed: list[int] = field(default_factory=list)
    undecodable: list[int] = field(default_factory=list)


def parse(content: bytes) -> Parsed:
    """`NAME=value` a line: `#` comments, an `export ` before, one pair of quotes around; nothing is interpolated.

    The grammar of DevOnboarder's token loader, and `export ` because shells source these files. The last of
    several wins. A line that is not UTF-8 is read as Latin-1; no line keeps another from being read.
    """
    parsed = Parsed()
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        text = _decode(raw)
        if text is None or "\0" in text:
            parsed.undecodable.append(number)
        line = (raw.decode("latin-1") if text is None else text).strip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = (part.strip() for part in _EXPORT.sub("", line, count=1).partition("="))
        if not separator or not re.fullmatch(NAME, name) or _ends_base64(name, value):
            parsed.malformed.append(number)
            continue
        assignment = parsed.assignments.setdefault(name, Assignment(name))
        assignment.value = _unquote(value)
        assignment.lines.append(number)
    return parsed


def explain_placeholder(value: str) -> str | None:
    """Why a value is no credential, by the rules of DevOnboarder's token loader; None when it may be one."""
    if not value.strip():
        return "the value is empty"
    for prefix in ("CHANGE_ME", "ci_test_"):
        if value.startswith(prefix):
            return f"the value starts with {prefix}"
    for suffix in ("_here", "_placeholder"):
        if value.endswith(suffix):
            return f"the value ends with {suffix}"
    return None


def names_credential(name: str) -> bool:
    """Whether a name says that its value is a credential: `OPENAI_API_KEY` does, `TOKEN_EXPIRE_SECONDS` does not."""
    return bool(_CREDENTIAL.search(name)) and not _SETTING.search(name)


def _decode(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _unquote(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _ends_base64(name: str, value: str) -> bool:
    """Whether `name=` is the last line of a key pasted over several lines, which must not become an item's id."""
    mixed = "_" not in name and not name.isupper() and not name.islower()
    return value == "=" or (not value and mixed)
