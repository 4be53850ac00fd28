"""One template, compiled: rendered within a number of steps, and what is wrong with it told by its line.

Who writes a template writes the configuration too, so this guards against accidents more than against attacks: a loop
over loops, a width with three digits too many. Steps are counted and not seconds, so that what passes the check of the
configuration passes everywhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from types import FrameType
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables

from expiryd.templates.sandbox import MOST_CHARACTERS, Environment, LimitError, joined
from expiryd.templates.written import TemplateFailure

MOST_STEPS = 1_000_000
"""Lines of Python that one rendering may take: some tenths of a second. A digest of a hundred events takes 20,000."""
_OBJECT = re.compile(r"'(?:\S+\.)?(\w+) object' has no (?:attribute|element)")
_NAMES = {"mappingproxy": "not every item has the label", "Told": "an event has no"}
# What a wrong template may raise while it is compiled or rendered.
_WRONG = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,  # Python's own: it allows no more than twenty loops inside of each other
    TypeError,
    ValueError,
)
_TEXT, _HTML = Environment(html=False), Environment(html=True)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A compiled template. `place` says where it stands, in words for people; `uses` are the variables in it."""

    place: str
    uses: frozenset[str]
    _template: Template

    def render(self, variables: Mapping[str, Any]) -> str:
        """Blocks for some tenths of a second at worst: not for the event loop. Raises TemplateFailure."""
        try:
            with _counted(MOST_STEPS):
                return joined(self._template.generate(variables))
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
    except _WRONG as error:
        raise TemplateFailure(place, 0, _said(error)) from None
    template = Template.from_code(environment, code, environment.globals)
    return Sheet(place, frozenset(find_undeclared_variables(tree)), template)


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
    text = (error.msg if isinstance(error, SyntaxError) else str(error)).rstrip(".")
    if isinstance(error, UndefinedError):
        text = _OBJECT.sub(lambda found: _NAMES.get(found[1], found[0]), text)
        return f"{text}; what may be missing is written {{{{ … | default('') }}}}"
    return text if text and isinstance(error, TemplateError) else f"{type(error).__name__}: {text}".rstrip(": ")


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Count every line of Python that this thread executes. Nothing else ends a loop from within its own thread."""
    left = most

    def step(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise LimitError(f"it takes more than {most} steps: it loops too often")
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        yield
    finally:
        sys.settrace(before)
