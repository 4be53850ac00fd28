"""One Jinja2 template that can neither reach into Python nor run, grow or wait without an end.

Who writes a template writes the configuration too, so this guards against accidents more than against attacks: a loop
over loops, a width with three digits too many. Steps are counted and not seconds, so that what passes the check of the
configuration passes everywhere. https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import wraps
from types import FrameType
from typing import Any

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
    UndefinedError,
    nodes,
    pass_eval_context,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import FILTERS, do_indent, do_join, do_replace
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import EvalContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from expiryd.core.wording import say_time
from expiryd.templates.written import TemplateFailure

MOST_CHARACTERS = 262_144
"""Of a template, of any value in it and of what it makes."""
MOST_STEPS = 1_000_000
"""Lines of Python that one rendering may take: some tenths of a second. A digest of a hundred events takes 20,000."""
_MOST_NUMBER = 10**18
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
_GLOBALS = ("range", "dict", "namespace", "cycler", "joiner")
_OBJECT = re.compile(r"'(?:\S+\.)?(\w+) object' has no (?:attribute|element)")
_NAMES = {"mappingproxy": "not every item has the label", "Told": "an event has no"}
# What a wrong template may raise while it is rendered.
_WRONG = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


class _LimitError(TemplateError):
    """The template asks for more than there is."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A compiled template. `place` says where it stands, in words for people."""

    place: str
    _template: Template

    def render(self, variables: Mapping[str, Any]) -> str:
        """Blocks for some tenths of a second at worst: not for the event loop. Raises TemplateFailure."""
        try:
            with _counted(MOST_STEPS):
                return _joined(self._template.generate(variables))
        except _WRONG as error:
            raise TemplateFailure(self.place, self._line(error), _said(error)) from None

    def _line(self, error: BaseException) -> int:
        """Jinja2 gives the frames of a template the template's own lines."""
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.place:
                line = trace.tb_lineno
            trace = trace.tb_next
        return line


def compiled(text: str, place: str, known: Iterable[str], *, html: bool = False) -> Sheet:
    """The template, which may use the variables `known`; in `html` every value is escaped. Raises TemplateFailure."""
    environment = _HTML if html else _TEXT
    if len(text) > MOST_CHARACTERS:
        raise TemplateFailure(place, 0, f"is longer than {MOST_CHARACTERS} characters")
    try:
        tree = environment.parse(text, place, place)
        _refuse_unknown(tree, place, frozenset(known) | environment.globals.keys())
        code = environment.compile(text, place, place)
    except TemplateSyntaxError as error:
        raise TemplateFailure(place, error.lineno, _said(error)) from None
    except (TemplateError, RecursionError) as error:
        raise TemplateFailure(place, 0, _said(error)) from None
    return Sheet(place, Template.from_code(environment, code, environment.globals))


def _refuse_unknown(tree: nodes.Template, place: str, known: frozenset[str]) -> None:
    """Also in a branch that no sample takes."""
    unknown = find_undeclared_variables(tree) - known
    for name in tree.find_all(nodes.Name):
        if name.ctx == "load" and name.name in unknown:
            near = get_close_matches(name.name, sorted(known), n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else "docs/templates.md lists them"
            raise TemplateFailure(place, name.lineno, f"there is no variable {name.name!r}; {hint}")
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise TemplateFailure(place, node.lineno, "a template stands alone: it cannot take in another one")


def _said(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it calls itself without an end"
    text = str(error).rstrip(".")
    if isinstance(error, UndefinedError):
        text = _OBJECT.sub(lambda found: _NAMES.get(found[1], found[0]), text)
        return f"{text}; what may be missing is written {{{{ … | default('') }}}}"
    return text if text and isinstance(error, TemplateError) else f"{type(error).__name__}: {text}".rstrip(": ")


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Count every line of Python that this thread executes. Nothing else ends a loop from within its own thread."""
    left = most

    def step(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _LimitError(f"it takes more than {most} steps: it loops too often")
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        yield
    finally:
        sys.settrace(before)


def _joined(parts: Iterable[Any]) -> str:
    pieces, size = [], 0
    for part in parts:
        pieces.append(part)
        size += len(part)
        _bounded(size)
    return "".join(pieces)


def _bounded(size: int) -> None:
    if size > MOST_CHARACTERS:
        raise _LimitError(f"it makes more than {MOST_CHARACTERS} characters")


def _sized(value: Any) -> Any:
    if isinstance(value, str | bytes | list | tuple):
        _bounded(len(value))
    return value


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        return _sized(function(*args, **options))

    return call


@pass_eval_context
def _join(context: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    parts = list(value)
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


class _Code(CodeGenerator):
    """`~` joins without asking anybody; here it asks."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        join = "markup_join" if frame.eval_ctx.autoescape else "str_join"
        self.write(f"environment.sized({join}((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Code
    concat = staticmethod(_joined)  # what `{% set %}` blocks and macros are put together by
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
        filters |= {"join": _join, "replace": _replace, "indent": _indent}
        self.filters = {name: _checked(function) for name, function in filters.items()}
        self.globals = {name: self.globals[name] for name in _GLOBALS}

    def call(self, *args: Any, **options: Any) -> Any:
        return _sized(super().call(*args, **options))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise _LimitError("text % values is not for templates: put `{{ value }}` into the text, or join with ~")
        if operator == "**":
            raise _LimitError("** is not for templates")
        if operator == "*":
            sizes = [len(side) if hasattr(side, "__len__") else side for side in (left, right)]
            if abs(sizes[0]) * abs(sizes[1]) > (_MOST_NUMBER if sizes == [left, right] else MOST_CHARACTERS):
                raise _LimitError("this product is too large")
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
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else value


_TEXT, _HTML = _Environment(html=False), _Environment(html=True)
