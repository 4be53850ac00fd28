"""What an endpoint is: where it is, who may use it, what may be asked, and the values a handler gets and answers."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from pydantic import BaseModel, ValidationError

from expiryd.config.errors import explain


class Right(Enum):
    """What a role may be allowed."""

    READ = "read"
    ACT = "act"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in words for the log, and what he may do."""

    name: str
    rights: frozenset[Right] = frozenset()

    def may(self, right: Right) -> bool:
        return right in self.rights


@dataclass(frozen=True, slots=True)
class Param:
    """One key of the query. `values` are the words it takes; `many`: it may be repeated, any of them holds."""

    name: str
    text: str
    values: Sequence[str] = ()
    many: bool = False
    most: int = 0
    """Above 0 for a number: the largest."""

    def read(self, given: Sequence[str]) -> Any:
        """Raises ValueError."""
        if len(given) > 1 and not self.many:
            raise ValueError("give it once")
        if self.most:
            number = int(given[0]) if given[0].isascii() and given[0].isdigit() and len(given[0]) < 20 else 0
            if not 1 <= number <= self.most:
                raise ValueError(f"must be a whole number from 1 to {self.most}")
            return number
        if wrong := [word for word in given if self.values and word not in self.values]:
            raise ValueError(f"{_short(wrong[0])} is not one of {', '.join(self.values)}")
        return frozenset(given) if self.many else given[0]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, understood: `query` holds only what was given and is valid, `body` is of the route's model."""

    request: web.Request
    caller: Caller
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def named(self, before: str, after: str = "") -> str:
        """The id between two pieces of the path, whatever characters it holds."""
        path = self.request.rel_url.raw_path
        return unquote(path.removeprefix(before).removesuffix(after), errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is an OpenAPI template. `right` is what the caller needs, None for everybody.

    `named` tells whether an open endpoint still wants to know who asks. `query` of None takes whatever is given.
    """

    method: str
    path: str
    handler: Callable[[Ask], Awaitable[web.StreamResponse]]
    summary: str
    right: Right | None = Right.READ
    query: Sequence[Param] | None = None
    answers: Mapping[int, str] = field(default_factory=dict)
    media: str = "application/json"
    schema: str = ""
    """The name of a schema in the API's description."""
    named: bool = True
    body: type[BaseModel] | None = None
    """What the request's JSON must be; None: there is nothing to say."""

    async def read_body(self, request: web.Request) -> BaseModel | None:
        """Raises Problem with everything that is wrong with it."""
        if self.body is None:
            return None
        try:
            said = json.loads(await request.read() or b"{}")
        except (ValueError, RecursionError):
            raise Problem(400, "the body is not JSON") from None
        try:
            return self.body.model_validate(said)
        except ValidationError as error:
            wrong = [f"{one.path}: {one.message}".removeprefix(": ") for one in explain(error, said, self.body, ())]
            raise Problem(400, "; ".join(wrong)) from None

    def read(self, request: web.Request) -> Mapping[str, Any]:
        """Raises Problem with everything that is wrong with the query."""
        if self.query is None:
            return {}
        known = {param.name: param for param in self.query}
        read, wrong = {}, []
        for name in dict.fromkeys(request.query):
            try:
                read[name] = known[name].read(request.query.getall(name))
            except KeyError:
                takes = f"known are {', '.join(known)}" if known else "it takes none"
                wrong.append(f"{_short(name)}: no such query key; {takes}")
            except ValueError as problem:
                wrong.append(f"{name}: {problem}")
        if wrong:
            raise Problem(400, "; ".join(wrong))
        return read


class Problem(Exception):
    """What is told instead of an answer: a status, what is wrong and what to do."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = dict(headers or {})


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON. Numbers that JSON does not know (NaN, infinities) are null."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value))
    return web.Response(text=text + "\n", status=status, content_type="application/json", headers=headers)


def plain(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text + "\n", status=status)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
