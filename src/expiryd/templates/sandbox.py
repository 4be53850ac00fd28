"""The Jinja2 environment of templates: no way into Python's insides, and nothing that makes much out of little.

https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from types import MappingProxyType
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes, pass_environment, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS, do_indent, do_join, do_replace, do_sum, do_urlize, do_wordwrap
from jinja2.nodes import EvalContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from expiryd.core.wording import say_time

MOST_CHARACTERS = 262_144
"""Of a template, of any value in it and of what it makes."""
_MOST_NUMBER = 10**18
_MOST_DIGITS = 30
# What text can do, and the filters, without those that make much out of little (center, format, …).
_METHODS = frozenset({"capitalize", "count", "endswith", "find", "isdigit", "lower", "lstrip", "partition"}) | {
    *("removeprefix", "removesuffix", "rpartition", "rstrip", "split", "splitlines", "startswith", "strip"),
    *("title", "upper"),
}
_FILTERS = frozenset({"abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float"}) | {
    *("forceescape", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max"),
    *("min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "sort", "string"),
    *("striptags", "sum", "title", "trim", "truncate", "unique", "upper", "urlencode", "urlize", "wordcount"),
    "wordwrap",
}
_GLOBALS = ("range", "dict", "cycler", "joiner")


class LimitError(TemplateError):
    """The template asks for more than there is."""


def joined(parts: Iterable[Any]) -> str:
    pieces, size = [], 0
    for part in parts:
        pieces.append(part)
        size += len(part)
        _bounded(size)
    return "".join(pieces)


def _bounded(size: int) -> None:
    if size > MOST_CHARACTERS:
        raise LimitError(f"it makes more than {MOST_CHARACTERS} characters")


def _sized(value: Any) -> Any:
    """The value, whose text with all that it holds is no longer than it may be.

    A list may hold the same long text many times: that costs nothing until something makes a text of it.
    """
    size, inside = 0, [value]
    while inside:
        one = inside.pop()
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, list | tuple):
            size += len(one)
            inside += one
        elif isinstance(one, dict | MappingProxyType):
            size += len(one)
            inside += [*one.keys(), *one.values()]
        _bounded(size)
    return value


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        _sized((args, options))
        return _sized(function(*args, **options))

    return call


@pass_eval_context
def _join(context: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    parts = _sized(list(value))
    _bounded(sum(len(part) for part in parts if isinstance(part, str)) + len(d) * len(parts))
    joined: str = do_join(context, parts, d, attribute)
    return joined


@pass_eval_context
def _replace(context: EvalContext, s: str, old: str, new: str, count: int | None = None) -> str:
    _bounded(len(s) + str(s).count(str(old)) * len(new))
    return do_replace(context, s, old, new, count)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    each = len(width) if isinstance(width, str) else width
    _bounded(len(s) + (s.count("\n") + 1) * each)
    return do_indent(s, width, first, blank)


def _round(value: float, precision: int | None = None) -> float:
    """A whole number is rounded by means of a power of ten, which is computed in full."""
    if precision is not None and abs(precision) > _MOST_DIGITS:
        raise LimitError(f"it rounds to more than {_MOST_DIGITS} digits")
    return round(value, precision)


@pass_environment
def _sum(
    environment: Environment, iterable: Iterable[Any], attribute: str | int | None = None, start: float = 0
) -> Any:
    """Of numbers: of lists all those before would be copied at each."""
    if not isinstance(start, int | float):
        raise LimitError("sum adds numbers only")
    return do_sum(environment, iterable, attribute, start)


@pass_environment
def _wordwrap(environment: Environment, s: str, width: int = 79) -> str:
    return do_wordwrap(environment, s, width)


@pass_eval_context
def _urlize(context: EvalContext, value: str) -> str:
    return do_urlize(context, value)


class _Names(Namespace):
    def __repr__(self) -> str:
        """Not all that it holds, whatever that is."""
        return "a namespace"


class _Code(CodeGenerator):
    """`~` joins without asking anybody; here it asks."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        join = "markup_join" if frame.eval_ctx.autoescape else "str_join"
        self.write(f"environment.sized({join}(environment.sized((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))))")


class Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Code
    concat = staticmethod(joined)  # what `{% set %}` blocks and macros are put together by
    sized = staticmethod(_sized)

    def __init__(self, *, html: bool) -> None:
        super().__init__(
            autoescape=html,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        filters = {name: FILTERS[name] for name in _FILTERS}
        filters |= {"join": _join, "replace": _replace, "indent": _indent, "round": _round}
        filters |= {"sum": _sum, "wordwrap": _wordwrap, "urlize": _urlize}
        self.filters = {name: _checked(function) for name, function in filters.items()}
        self.globals = {name: self.globals[name] for name in _GLOBALS} | {"namespace": _Names}

    def call(self, *args: Any, **options: Any) -> Any:
        return _sized(super().call(*args, **options))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise LimitError("text % values is not for templates: put `{{ value }}` into the text, or join with ~")
        if operator == "**":
            raise LimitError("** is not for templates")
        if operator == "*":
            sizes = [len(side) if hasattr(side, "__len__") else side for side in (left, right)]
            if abs(sizes[0]) * abs(sizes[1]) > (_MOST_NUMBER if sizes == [left, right] else MOST_CHARACTERS):
                raise LimitError("this product is too large")
        return _sized(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> None:
        """No `str.format` at all: a width in it has no limit."""
        return

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        plain = isinstance(obj, str | bytes | int | float)
        return super().is_safe_attribute(obj, attr, value) and (not plain or attr in _METHODS)


def _shown(value: Any) -> Any:
    """How a value looks that is not text: nothing for None, a time to the minute, a list with commas."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return say_time(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={inner}" for key, inner in _sized(value).items())
    return ", ".join(map(str, _sized(value))) if isinstance(value, tuple | list) else _sized(value)
