"""`check` and its older names: their flags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

import click

from expiryd.cli.choice import Choice
from expiryd.cli.exits import Exit
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Screen
from expiryd.core.model import Severity
from expiryd.core.wording import plain

_WORDS = [severity.word for severity in sorted(Severity, reverse=True)]
_BAD = [severity.word for severity in sorted(Severity, reverse=True) if severity > Severity.HEALTHY]

_OLD_TYPES = ("cicd", "runtime", "maintainer")


class Severities(click.ParamType[frozenset[Severity]]):
    """`critical,expired`."""

    name = "severities"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        words = [word.strip() for word in value.split(",")]
        for word in words:
            if word not in _WORDS:
                self.fail(f"{word!r} is not one of {', '.join(_WORDS)}", param, context)
        return frozenset(map(Severity.of, words))


def formats(verb: Callable[..., Any], of: Iterable[Format] = Format) -> Callable[..., Any]:
    """`--format`, `--json` and `--ci`, which become the argument `screen`."""

    @wraps(verb)
    def wrapped(*args: Any, format: str, as_json: bool, ci: bool, **rest: Any) -> Any:
        chosen = Format.JSON if as_json else Format(format)
        return verb(*args, screen=Screen(chosen, ci), **rest)

    for option in (
        click.option("--ci", is_flag=True, help="No colour, no progress, no drawn table."),
        click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
        click.option(
            "--format", type=click.Choice([one.value for one in of]), default="table", help="How it is printed."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


table_or_json = partial(formats, of=(Format.TABLE, Format.JSON))
"""The same for what is no list."""


def _flags(verb: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option(
                "--collector", multiple=True, metavar="NAME", help="Look with this collector only (repeatable)."
            ),
            click.option(
                "--only", type=Severities(), metavar="LIST", help="List these severities only: critical,expired."
            ),
            click.option("--fail-on", type=click.Choice(_BAD), help="Exit 5 when an item is this bad or worse."),
            click.option("--fail-on-critical", is_flag=True, help="The same as --fail-on critical."),
            click.option("--notify", is_flag=True, help="Tell the notifiers now what is at or above warning."),
            click.option("-v", "--verbose", is_flag=True, help="Every detail of what is not healthy."),
            click.option("--exit", "exits", type=click.Choice(["nagios"]), help="One line and exit 0, 1, 2 or 3."),
        )
    ):
        verb = option(verb)
    return formats(verb)


def _check(outset: Outset, items: tuple[str, ...], category: str | None, **flags: Any) -> int:
    from expiryd.cli.check import Wish, run, run_as_plugin

    screen: Screen = flags["screen"]
    fail_on = "critical" if flags["fail_on_critical"] and not flags["fail_on"] else flags["fail_on"]
    wish = Wish(
        Choice(items, category or "", flags["collector"]),
        flags["only"] or frozenset(),
        Severity.of(fail_on) if fail_on else None,
        flags["notify"],
        flags["verbose"],
    )
    return run_as_plugin(outset, wish, screen) if flags["exits"] else run(outset, wish, screen)


@click.command()
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--category", metavar="NAME", help="Items of this category only.")
@_flags
@click.pass_obj
def check(outset: Outset, /, items: tuple[str, ...], category: str | None, **flags: Any) -> int:
    """Look once now, without a daemon, and print what was seen, worst first.

    ITEM is a full id (ci-tokens/AAR_TOKEN), the part behind the collector's name, a title, or a glob of these.
    """
    return _check(outset, items, category, **flags)


def _alias(name: str, category: str | None, text: str) -> click.Command:
    @click.command(name, help=text, hidden=True)
    @_flags
    @click.pass_obj
    def verb(outset: Outset, /, **flags: Any) -> int:
        return _check(outset, (), category, **flags)

    return verb


ALIASES = (
    _alias("monitor-all", None, "The same as `check`."),
    _alias("cycle", None, "The same as `check`; with --notify it tells the notifiers."),
    *(_alias(f"{c}-only", c, f"The same as `check --category {c}`.") for c in _OLD_TYPES),
)


@click.command("check-token", hidden=True)
@click.argument("name")
@click.argument("kind", metavar="TYPE", type=click.Choice(_OLD_TYPES))
@click.option("--json", "as_json", is_flag=True, help="The old keys as a JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Every detail.")
@click.option("--ci", is_flag=True, help="No colour, no progress.")
@click.pass_obj
def check_token(outset: Outset, /, name: str, kind: str, *, as_json: bool, verbose: bool, ci: bool) -> int:
    """Look at one token of the category TYPE; the output keeps the old names. Same exit codes as `check`."""
    from expiryd.cli.check import Wish, look
    from expiryd.cli.columns import details
    from expiryd.cli.exits import Stop
    from expiryd.cli.old import token_row

    screen = Screen(ci=ci)
    wish = Wish(Choice((name,)), verbose=verbose)
    found = look(outset, wish, ci=ci)
    exact = [state for state in found.chosen if state.observation.traits.category == kind]
    state = next(iter(exact), None) or next((state for state in found.unseen if state not in exact), None)
    at = max((one.started_at for one in found.survey.looks.values()), default=None)
    if at is None:
        raise Stop(Exit.NOT_FOUND, f"{name}: no collector is configured")
    row = token_row(name, kind, state, at)
    if as_json:
        screen.print(json.dumps(row, indent=2))
    else:
        screen.print(f"{plain(name)}: {row['status']} -> {row['analysis']}")
        for line in details(found.row(state)) if verbose and state else ():
            screen.print(f"    {plain(line)}")
    if state is None:
        elsewhere = {one.observation.traits.category or "none" for one in found.chosen}
        hint = f"; its category is {', '.join(sorted(elsewhere))}" if elsewhere else ""
        raise Stop(Exit.NOT_FOUND, f"{name}: there is no such item of the category {kind}{hint}")
    return Exit.ERROR if state.is_blind or state in found.unseen else Exit.OK
