"""Which items are meant: those named on the command line, of a category, of a collector."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from expiryd.core.model import ItemState


@dataclass(frozen=True, slots=True)
class Choice:
    """Empty means all. `items` are full ids, ids within their collector, titles, or globs of any of them."""

    items: tuple[str, ...] = ()
    category: str = ""
    collectors: tuple[str, ...] = ()

    def sources(self, known: Collection[str]) -> list[str]:
        """The collectors that need to look. One named in every item's full id is enough."""
        wanted = [name for name in known if not self.collectors or name in self.collectors]
        heads = {item.partition("/")[0] for item in self.items if "/" in item}
        whole = bool(self.items) and all(item.partition("/")[0] in known and "/" in item for item in self.items)
        return [name for name in wanted if name in heads] if whole else wanted

    def of(self, states: Sequence[ItemState]) -> list[ItemState]:
        return [state for state in states if self._has_category(state) and self._is_named(state)]

    def missing(self, states: Sequence[ItemState]) -> list[str]:
        """What was named and is none of these."""
        return [item for item in self.items if not any(matches(item, state) for state in states)]

    def _has_category(self, state: ItemState) -> bool:
        category = state.observation.traits.category
        # a source that shows nothing may hold items of any category, unless its settings say which
        return not self.category or category == self.category or (state.id == state.collector and not category)

    def _is_named(self, state: ItemState) -> bool:
        return not self.items or any(matches(item, state) for item in self.items)


ALL = Choice()


def matches(wanted: str, state: ItemState) -> bool:
    names = {state.id, state.observation.id, state.observation.title} - {""}
    return wanted in names or any(fnmatchcase(name, wanted) for name in names)


def resembling(wanted: str, states: Sequence[ItemState]) -> str:
    """A hint at what may have been meant, or nothing."""
    names = {name for state in states for name in (state.id, state.observation.id) if name}
    near = get_close_matches(wanted, sorted(names), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
