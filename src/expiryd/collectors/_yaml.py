"""YAML as plain values, every scalar as text, from a parser's events: nothing is constructed, nothing can explode."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_TABLES = 1_000_000
_DEEPEST = 20
_EMPTY_WORDS = frozenset({"", "~", "null", "Null", "NULL"})


def parse(text: str, repeated: list[str]) -> object:
    """Tables, lists and text; an empty or null scalar is "". Names given twice in a table are added to `repeated`.

    libyaml's own loader overflows the C stack on deep nesting, is fifteen times slower and gives up a whole file for
    one impossible date. An alias shares what it refers to. Raises ValueError `line 3: reason`, and RecursionError for
    what is nested too deeply.
    """
    builder = _Builder(repeated)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else "?"
        raise ValueError(f"line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return builder.document


class _Builder:
    def __init__(self, repeated: list[str]) -> None:
        self.document: object = None
        self._repeated = repeated
        self._open: list[tuple[dict[str, object] | list[object], list[str]]] = []
        self._anchors: dict[str, object] = {}
        self._tables = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent) and self.document is not None:
            raise ValueError(f"line {_line(event)}: a second document begins; keep one")
        if isinstance(event, yaml.ScalarEvent):
            says_nothing = event.implicit[0] and event.value in _EMPTY_WORDS  # plain, so `"null"` is a word
            self._put(event, "" if says_nothing else event.value)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise ValueError(f"line {_line(event)}: nothing is called *{event.anchor}")
            self._put(None, self._anchors[event.anchor])
        elif isinstance(event, yaml.CollectionStartEvent):
            self._tables += 1
            if len(self._open) >= _DEEPEST:
                raise RecursionError
            if self._tables > _MOST_TABLES:
                raise ValueError(f"line {_line(event)}: more than {_MOST_TABLES:,} tables")
            made: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._put(event, made)
            self._open.append((made, []))
        elif isinstance(event, yaml.CollectionEndEvent):
            made, _ = self._open.pop()
            if isinstance(made, dict) and "<<" in made:
                _merge(made)

    def _put(self, event: Any, value: object) -> None:
        if event is not None and event.anchor:
            self._anchors[event.anchor] = value
        if not self._open:
            self.document = value
            return
        holder, key = self._open[-1]
        if isinstance(holder, list):
            holder.append(value)
        elif key:
            holder[key.pop()] = value
        else:
            name = value if isinstance(value, str) else "?"
            if name in holder:
                self._repeated.append(name)
            key.append(name)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _merge(table: dict[str, object]) -> None:
    """The merge key of YAML 1.1: what the table says itself wins over what it takes in."""
    taken = table.pop("<<")
    for other in taken if isinstance(taken, list) else [taken]:
        if isinstance(other, dict):
            for key, value in other.items():
                table.setdefault(key, value)
