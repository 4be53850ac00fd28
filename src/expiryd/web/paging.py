"""Pages out of many entries, in order, without ever holding up the loop for long."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import TypeVar

from expiryd.core.view import Rank
from expiryd.web.route import Problem

S = TypeVar("S")
T = TypeVar("T")
STEP = 1000


async def steps(entries: Iterable[T]) -> AsyncIterator[list[T]]:
    """All entries, so many at a time; others run in between."""
    rest = iter(entries)
    while chunk := list(islice(rest, STEP)):
        yield chunk
        await asyncio.sleep(0)


async def page(
    source: Iterable[S], pick: Callable[[S], Iterable[tuple[Rank, T]]], limit: int, after: Rank | None = None
) -> tuple[list[T], Rank | None]:
    """The first `limit` entries behind `after`, and the rank to go on from when there are more.

    `pick` says what is wanted of each of the source's. Only as many are kept and sorted as are wanted: a hundred
    thousand take a fraction of a second, in steps of milliseconds. Each page is as of now; an entry whose rank changes
    meanwhile may come twice or not at all.
    """
    best: list[tuple[Rank, T]] = []
    async for chunk in steps(source):
        last = best[-1][0] if len(best) > limit else None
        picked = (pair for each in chunk for pair in pick(each))
        fresh = [pair for pair in picked if (after is None or pair[0] > after) and (last is None or pair[0] < last)]
        if fresh:
            best = sorted(best + fresh, key=itemgetter(0))[: limit + 1]
    shown = best[:limit]
    return [entry for _, entry in shown], shown[-1][0] if len(best) > limit else None


def write_cursor(rank: Rank | None) -> str | None:
    """Opaque to whoever carries it."""
    if rank is None:
        return None
    weight, undated, at, name = rank
    return base64.urlsafe_b64encode(json.dumps([weight, undated, at.isoformat(), name]).encode()).decode().rstrip("=")


def read_cursor(text: str) -> Rank:
    """Raises Problem for one that `write_cursor` did not write."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        weight, undated, at, name = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        moment = datetime.fromisoformat(at)
        if not isinstance(name, str) or moment.tzinfo is None:
            raise TypeError(name)
        return float(weight), bool(undated), moment, name
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Problem(400, "cursor: send back the `next` of the page before, unchanged") from None
