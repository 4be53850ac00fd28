"""Which items belong together: the places of one secret, and what has taken the place of what.

An index kept up change by change; no question looks through all items.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from expiryd.core.generations import earlier, is_flapping, since
from expiryd.core.model import Basis, Finding, ItemId, ItemState, Observation, Served, Severity
from expiryd.core.wording import say_time

STALE_COPY = "stale-copy"
SERVED_NOT_STORED = "served-not-stored"
SUPERSEDED = "superseded"
KIN = frozenset({STALE_COPY, SERVED_NOT_STORED, SUPERSEDED})
MOST_PLACES = 100
_MOST_ASKED = 100
"""Of a larger group no more are asked, so that a question stays cheap when thousands share one certificate."""
TOGETHER = timedelta(minutes=1)
"""What was seen of two sources within this time was so at the same time."""
_SHOWN = 3
_NEVER = datetime.max.replace(tzinfo=UTC)

Regard = Callable[[Observation, datetime], Observation]
"""An observation, and since when that generation is the present one, to the same with what its kin say of it."""


def is_superseded(seen: Observation) -> bool:
    return bool(seen.findings) and any(finding.code == SUPERSEDED for finding in seen.findings)


def say_successor(seen: Observation) -> str:
    return next((finding.detail for finding in seen.findings if finding.code == SUPERSEDED), "")


class Groups:
    """Items by a key, in the order in which they came. Most groups are one item, and cost no more than that."""

    def __init__(self) -> None:
        self._groups: dict[str, ItemId | dict[ItemId, None]] = {}

    def add(self, key: str, item: ItemId) -> None:
        group = self._groups.setdefault(key, item)
        if isinstance(group, dict):
            group[item] = None
        elif group != item:
            self._groups[key] = {group: None, item: None}

    def discard(self, key: str, item: ItemId) -> None:
        group = self._groups.get(key)
        if isinstance(group, dict):
            group.pop(item, None)
            if not group:
                del self._groups[key]
        elif group == item:
            del self._groups[key]

    def of(self, key: str) -> Collection[ItemId]:
        group = self._groups.get(key)
        return () if group is None else group if isinstance(group, dict) else (group,)


class Kinship:
    """`get` gives what is known of an item, `looked` when the source of an item was last looked at to its end."""

    def __init__(
        self, get: Callable[[ItemId], ItemState | None], looked: Callable[[ItemState], datetime | None]
    ) -> None:
        self._get = get
        self._looked = looked
        self._stored, self._served, self._once = Groups(), Groups(), Groups()  # by fingerprint; once: in the past
        self._kin, self._faces = Groups(), Groups()  # by identity: what is stored, what is served
        self._latest: dict[str, ItemId | None] = {}
        self._stirred: dict[tuple[Groups, str], ItemId | None] = {}  # and by whom, if by one alone

    def update(self, before: ItemState | None, after: ItemState | None) -> None:
        """An item changed, came (no `before`) or went (no `after`)."""
        if before and after and before.observation is after.observation and before.past is after.past:
            return  # only its judgement is another
        was, will = _ties(before), _ties(after)
        if was == will and (was is None or _dates(before) == _dates(after)):
            return
        for state, ties in ((before, was), (after, will)):
            if state is None or ties is None:
                continue
            served, fingerprints, past, identity = ties
            for groups, keys in (
                (self._served if served else self._stored, fingerprints),
                (self._once, () if served else past),
                (self._faces if served else self._kin, (identity,) if identity else ()),
            ):
                for key in keys:
                    (groups.add if state is after else groups.discard)(key, state.id)
            if not served:
                self._stir(state.id, {*fingerprints, *past}, identity)
                self._rank(identity, before, after)

    def stirred(self) -> list[ItemId]:
        """The items of which more or less may be to be said since this was last asked."""
        stirred, self._stirred = self._stirred, {}
        return list(
            dict.fromkeys(item for (groups, key), by in stirred.items() for item in groups.of(key) if item != by)
        )

    def places(self, fingerprint: str) -> list[ItemId]:
        """Where this secret or certificate is, served or stored: at most MOST_PLACES, in the order of their names."""
        if not fingerprint:
            return []
        found = (*islice(self._stored.of(fingerprint), MOST_PLACES), *islice(self._served.of(fingerprint), MOST_PLACES))
        return sorted(found[:MOST_PLACES])

    def regard(self, item: ItemId, seen: Observation, begun: datetime, looked: datetime | None) -> Observation:
        """With what is to be said of it beside the others. `begun`: since when it is this one; `looked`: last seen so.

        Nothing is said of a place on the strength of what was seen there before the other one changed.
        """
        kept = tuple(finding for finding in seen.findings if finding.code not in KIN)
        found: Finding | None = None
        if seen.served:
            found = self._not_stored(seen, begun, looked)
        elif seen.fingerprint or seen.identity:
            found = self._stale_copy(item, seen, begun, looked) or self._superseded(item, seen)
        findings = (*kept, found) if found else kept
        return seen if findings == seen.findings else replace(seen, findings=findings)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    def _stir(self, item: ItemId, fingerprints: Collection[str], identity: str) -> None:
        touched = [(groups, fingerprint) for fingerprint in fingerprints for groups in (self._stored, self._served)]
        touched += [(groups, identity) for groups in (self._kin, self._faces) if identity]
        for key in touched:
            self._stirred[key] = item if self._stirred.get(key, item) == item else None

    def _rank(self, identity: str, before: ItemState | None, after: ItemState | None) -> None:
        """Another one may end last of its identity now."""
        if identity not in self._latest:
            return
        latest = self._latest[identity]
        counts = after is not None and after.observation.identity == identity and _is_dated(after.observation)
        changed = after or before
        if changed is not None and changed.id == latest:
            if after is None or before is None or not counts or _order(after) < _order(before):
                del self._latest[identity]
        elif after is not None and counts:
            known = self._get(latest) if latest is not None else None
            if known is None or _order(after) > _order(known):
                self._latest[identity] = after.id

    def _states(self, items: Iterable[ItemId], but: ItemId | None = None) -> Iterator[ItemState]:
        for item in items:
            state = self._get(item) if item != but else None
            if state is not None:
                yield state

    def _stale_copy(self, item: ItemId, seen: Observation, begun: datetime, looked: datetime | None) -> Finding | None:
        """It holds what another place, that held the same at the same time, has given up since for a newer one."""
        if not seen.fingerprint or looked is None or is_flapping(seen):
            return None
        for other in self._states(islice(self._once.of(seen.fingerprint), _MOST_ASKED), but=item):
            present = other.observation
            if (
                present.fingerprint in ("", seen.fingerprint)
                or is_flapping(present)
                or since(other) - TOGETHER > looked
            ):
                continue
            was = next(past for past in other.past if past.fingerprint == seen.fingerprint)
            back = earlier(other, present.generation)
            newer = (back.first_seen if back else since(other)) > was.first_seen
            if newer and begun < was.last_seen:
                if self._keeps_versions(item, seen.fingerprint, present.fingerprint):
                    return None
                detail = f"still holds what {other.id} replaced ({say_time(was.last_seen)}): put the new one here too"
                return Finding(STALE_COPY, Severity.WARNING, detail)
        return None

    def _keeps_versions(self, item: ItemId, old: str, new: str) -> bool:
        """Whether the new one has got a place of its own beside this one, as in an archive."""
        had, folder = self._once.of(old), item.rpartition("/")[0]
        beside = islice(self._stored.of(new), _MOST_ASKED)
        return any(place not in had and place.rpartition("/")[0] == folder for place in beside)

    def _superseded(self, item: ItemId, seen: Observation) -> Finding | None:
        """Another of the same identity was issued later and ends later."""
        latest = self._last(seen.identity)
        if latest is None or latest.id == item:
            return None
        other = latest.observation
        is_copy = other.fingerprint == seen.fingerprint != ""
        if is_copy or other.kind != seen.kind or _issued(other) < _issued(seen) or _end(other) <= _end(seen):
            return None
        return Finding(SUPERSEDED, Severity.INFO, f"replaced by {latest.id}, which {_say_end(_end(other))}")

    def _not_stored(self, seen: Observation, begun: datetime, looked: datetime | None) -> Finding | None:
        """An address serves a certificate that is none of those kept for these names."""
        strays = [one for one in seen.served if not self._stored.of(one.fingerprint)]
        newest = self._last(seen.identity) if strays else None
        if newest is None or looked is None:
            return None
        kept = _end(newest.observation)
        older = [one for one in strays if (one.expires_at or _NEVER) < kept]
        if older:
            if since(newest) - TOGETHER > looked:  # the server may serve it by now
                return None
            detail = (
                f"{_say_served(older, seen.served)}; newer is that in {newest.id}, which {_say_end(kept)}: reload it"
            )
            return Finding(SERVED_NOT_STORED, Severity.WARNING, detail)
        stored_at = self._looked(newest)
        if len(strays) < len(seen.served) or stored_at is None or stored_at < begun - TOGETHER:
            return None
        detail = f"{_say_served(strays, seen.served)}; older is that in {newest.id}, which {_say_end(kept)}: "
        detail += "keep the served one there too"
        return Finding(SERVED_NOT_STORED, Severity.INFO, detail)

    def _last(self, identity: str) -> ItemState | None:
        """What is stored of this identity and ends last."""
        if not identity:
            return None
        if identity not in self._latest:
            dated = [state for state in self._states(self._kin.of(identity)) if _is_dated(state.observation)]
            latest = max(dated, key=_order, default=None)
            self._latest[identity] = latest.id if latest else None
        last = self._latest[identity]
        return self._get(last) if last is not None else None


Ties = tuple[bool, tuple[str, ...], tuple[str, ...], str]


def _ties(state: ItemState | None) -> Ties | None:
    """Whether it is served, its fingerprints, those of its past, its identity; None for what has no kin."""
    if state is None:
        return None
    seen = state.observation
    if not (seen.fingerprint or seen.identity):
        return None
    if seen.served:
        return True, tuple(one.fingerprint for one in seen.served), (), seen.identity
    past = tuple(was.fingerprint for was in state.past if was.fingerprint)
    return False, (seen.fingerprint,) if seen.fingerprint else (), past, seen.identity


def _dates(state: ItemState | None) -> object:
    return None if state is None else (state.observation.lifetime, state.observation.generation)


def _order(state: ItemState) -> tuple[datetime, ItemId]:
    return _end(state.observation), state.id


def _is_dated(seen: Observation) -> bool:
    lifetime = seen.lifetime
    return lifetime is not None and (lifetime.expires_at is not None or lifetime.basis is Basis.NONE)


def _end(seen: Observation) -> datetime:
    return (seen.lifetime.expires_at if seen.lifetime else None) or _NEVER


def _issued(seen: Observation) -> datetime:
    lifetime = seen.lifetime
    return (lifetime.issued_at or lifetime.not_before if lifetime else None) or datetime.min.replace(tzinfo=UTC)


def _say_end(end: datetime) -> str:
    return "never ends" if end == _NEVER else f"ends {say_time(end)}"


def _say_served(some: Sequence[Served], every: Sequence[Served]) -> str:
    """`2 of 3 addresses (192.0.2.1, 192.0.2.2) serve one that ends 2026-11-24 09:00 UTC`."""
    addresses = [address for one in some for address in one.addresses]
    count = sum(len(one.addresses) for one in every)
    more = f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else ""
    named = ", ".join(addresses[:_SHOWN]) + more
    who = f"{len(addresses)} of {count} addresses ({named}) serve" if count > 1 else f"{named} serves"
    return f"{who} a certificate that {_say_end(min(one.expires_at or _NEVER for one in some))}"
