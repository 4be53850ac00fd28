"""The items as Prometheus series, rendered once per change: they hold absolute times, which do not move.

For every shard of the ledger and every family the lines are kept deflated; only what changed is rendered again. The
lines of a gauge are the same in the text format 0.0.4 and in OpenMetrics 1.0.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from expiryd.core.model import Basis, ItemState, Measure, Severity
from expiryd.engine.deflated import Piece, deflate, join
from expiryd.engine.ledger import Ledger, Shard

EXPIRY = "expiryd_item_expiry_timestamp_seconds"
ISSUED = "expiryd_item_issued_timestamp_seconds"
SEVERITY = "expiryd_item_severity"
MEASURE = "expiryd_item_measure"
FAMILIES = {
    EXPIRY: "When the item stops working; +Inf when it never does. Absent while unknown, never dropped once past.",
    ISSUED: "When the item was issued. Absent while unknown.",
    SEVERITY: "How bad it is: 0 healthy, 1 info, 2 warning, 3 critical, 4 expired, -1 unknown.",
    MEASURE: "A number that a collector measured, in its unit.",
}
_UNFIT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NOTHING = deflate(b"")


@dataclass(frozen=True, slots=True)
class Rendered:
    """One shard: the lines of each family, in the order of FAMILIES, and its open alerts by (severity, told)."""

    lines: tuple[Piece, ...]
    alerts: Counter[tuple[Severity, bool]]


class Exposition:
    """Ready texts of all items. Whoever asks for them renders what has changed since."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shards: dict[Shard, Rendered] = {}
        self._rendering = asyncio.Lock()
        self._heads = [deflate(_head(family, text)) for family, text in FAMILIES.items()]
        self._pieces: list[Piece] = []
        self._current = False
        self._alerts: Counter[tuple[Severity, bool]] = Counter()

    async def refresh(self) -> None:
        """Render what has changed, a shard at a time: others run in between."""
        async with self._rendering:
            for key in sorted(self._ledger.changed):
                self._ledger.changed.discard(key)
                self._current = False
                self._render(key)
                await asyncio.sleep(0)
            if not self._current:
                await self._gather()

    @property
    def pieces(self) -> list[Piece]:
        """HELP, TYPE and lines, a piece per family. As of the last refresh."""
        return self._pieces

    @property
    def alerts(self) -> Counter[tuple[Severity, bool]]:
        """Open alerts by severity and whether what was last asked has been told. As of the last refresh."""
        return self._alerts

    def _render(self, key: Shard) -> None:
        states = list(self._ledger.shard(key))
        if states:
            self._shards[key] = render(states)
        else:
            self._shards.pop(key, None)

    async def _gather(self) -> None:
        shards = [self._shards[key] for key in sorted(self._shards)]
        pieces = []
        for number, head in enumerate(self._heads):
            lines = (shard.lines[number] for shard in shards)
            pieces.append(join([head, *(piece for piece in lines if piece.size)]))
            await asyncio.sleep(0)
        self._pieces, self._current = pieces, True
        self._alerts = sum((shard.alerts for shard in shards), Counter())


def render(states: Iterable[ItemState]) -> Rendered:
    texts: list[list[str]] = [[] for _ in FAMILIES]
    alerts: Counter[tuple[Severity, bool]] = Counter()
    for state in states:
        for alert in state.alerts:
            alerts[alert.severity, alert.is_told] += 1
        if not state.is_own:
            for lines, fresh in zip(texts, _lines(state), strict=True):
                lines.extend(fresh)
    pieces = (deflate("".join(lines).encode()) if lines else _NOTHING for lines in texts)
    return Rendered(tuple(pieces), alerts)


def _lines(state: ItemState) -> Iterator[Iterable[str]]:
    """The item's lines of each family. Label sets are constant: what is not known is empty."""
    seen, traits, lifetime = state.observation, state.observation.traits, state.observation.lifetime
    who = f'{{collector="{state.collector}",item="{quote(state.id.removeprefix(f"{state.collector}/"))}"'
    dated = expires = issued = None
    if lifetime is not None:
        dated = (
            f'{who},category="{quote(traits.category)}",kind="{quote(seen.kind)}",owner="{quote(traits.owner)}"'
            f',basis="{lifetime.basis}"}}'
        )
        expires = lifetime.expires_at.timestamp() if lifetime.expires_at else None
        if expires is None and lifetime.basis is Basis.NONE:
            expires = math.inf
        issued = lifetime.issued_at.timestamp() if lifetime.issued_at else None
    yield () if expires is None else (f"{EXPIRY}{dated} {number(expires)}\n",)
    yield () if issued is None else (f"{ISSUED}{dated} {number(issued)}\n",)
    yield (f'{SEVERITY}{who},category="{quote(traits.category)}"}} {int(state.severity)}\n',)
    yield _measures(who, seen.measures)


def _measures(who: str, measures: tuple[Measure, ...]) -> Iterable[str]:
    # a measure named twice must not make two series of one name: the last one stands
    named = {f'{MEASURE}{who},measure="{quote(m.name)}",unit="{quote(m.unit)}"}}': m.value for m in measures}
    return [f"{series} {number(value)}\n" for series, value in named.items()]


def clean(text: str) -> str:
    """What no scraper takes (NUL, half a surrogate pair) or a terminal obeys (controls) is spelt out."""
    if text.isprintable():
        return text
    return _UNFIT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quote(text: str) -> str:
    """As it may stand in a label's quotes."""
    return clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """As both formats write it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _head(family: str, text: str) -> bytes:
    return f"# HELP {family} {text}\n# TYPE {family} gauge\n".encode()
