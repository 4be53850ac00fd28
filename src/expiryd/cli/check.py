"""`check`: one look now, without a daemon."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from expiryd.cli.choice import ALL, Choice, resembling
from expiryd.cli.columns import Row, details, of_items, tally
from expiryd.cli.exits import Exit, Stop, expected, explain, say
from expiryd.cli.lean import import_structlog_alone
from expiryd.cli.place import Outset
from expiryd.cli.screen import Format, Progress, Screen
from expiryd.core.duration import say_left
from expiryd.core.model import Event, ItemState, Severity
from expiryd.core.view import item_row
from expiryd.core.wording import count_of, plain

if TYPE_CHECKING:
    from expiryd.api import DeliveryError
    from expiryd.config.model import Config
    from expiryd.engine.survey import Survey
    from expiryd.store.port import Look

_NAGIOS = {Severity.EXPIRED: 2, Severity.CRITICAL: 2, Severity.WARNING: 1}
_NAGIOS_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What the flags ask for."""

    choice: Choice = ALL
    only: frozenset[Severity] = frozenset()
    fail_on: Severity | None = None
    notify: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of what was asked."""

    survey: Survey
    chosen: Sequence[ItemState]
    unseen: Sequence[ItemState]
    worth_telling: Sequence[Event] = ()
    sent: Mapping[str, Sequence[str | DeliveryError]] | None = None
    """None: nobody was to be told."""

    def row(self, state: ItemState) -> dict[str, Any]:
        """As it was judged: by the time of its look."""
        at = self.survey.looks[state.collector].started_at
        return item_row(state, at, None if state.blind_looks else at, places=self.survey.ledger.places(state))

    def left(self, state: ItemState) -> str:
        lifetime = state.observation.lifetime
        end = lifetime.expires_at if lifetime else None
        codes = ", ".join(finding.code for finding in state.observation.findings)
        return f"{state.id} {say_left(end, self.survey.looks[state.collector].started_at) if end else codes}"


def run(outset: Outset, wish: Wish, screen: Screen) -> int:
    """The exit code. Raises Stop, ConfigError or OSError when there is nothing to show."""
    found = look(outset, wish, ci=screen.ci)
    _show(found, wish, screen)
    undelivered = _report_delivery(found)
    if found.unseen:
        say(f"could not look at {_few([state.id for state in found.unseen])}")
    absent = wish.choice.missing(found.survey.states)
    for item in absent:
        if found.unseen:
            say(f"{item}: not seen, but not everything could be looked at")
        else:
            say(f"{item}: there is no such item{resembling(item, found.survey.states)}")
    if absent and not found.unseen:
        return Exit.NOT_FOUND
    if wish.fail_on is not None and any(state.severity >= wish.fail_on for state in found.chosen):
        return Exit.FAILED_ON
    return Exit.ERROR if found.unseen or undelivered else Exit.OK


def run_as_plugin(outset: Outset, wish: Wish, screen: Screen) -> int:
    """As a plug-in of Nagios, Icinga and the like: one line with performance data, and 0, 1, 2 or 3.

    Source: Monitoring Plugins Development Guidelines, https://www.monitoring-plugins.org/doc/guidelines.html.
    Critical comes before warning, that before unknown, that before ok; whatever keeps us from looking is unknown.
    """
    try:
        found = look(outset, wish, ci=True)
    except expected() as error:
        screen.print(_plugin_line(3, "; ".join(explain(error).lines)))
        return 3
    undelivered = _report_delivery(found)
    code = max((_NAGIOS.get(state.severity, 0) for state in found.chosen), default=0)
    absent = wish.choice.missing(found.survey.states)
    if code == 0 and (absent or found.unseen or undelivered):
        code = 3
    counts = Counter(state.severity for state in found.chosen)
    text = f"{tally(state.severity.word for state in found.chosen)} of {len(found.chosen)} items"
    if bad := [found.left(state) for state in found.chosen if state.severity >= Severity.WARNING]:
        text += f": {_few(bad)}"
    if hidden := [*(state.id for state in found.unseen), *absent]:
        text += f"; not seen: {_few(hidden)}"
    data = " ".join(f"{severity.word}={counts[severity]}" for severity in sorted(Severity, reverse=True))
    screen.print(f"{_plugin_line(code, text)} | {data}")
    return code


def look(outset: Outset, wish: Wish, *, ci: bool) -> Found:
    """Look at what is wished, and tell the notifiers when that is wished too."""
    config = outset.config()
    for name in wish.choice.collectors:
        if name not in config.collectors:
            there = ", ".join(config.collectors) or "none"
            raise Stop(Exit.NOT_FOUND, f"no collector is called {name}; there are: {there}")
    if wish.notify and not config.notifiers:
        raise Stop(Exit.CONFIG, "notifiers: there are none, so nobody can be told")
    return asyncio.run(_look(outset, config, wish, Progress(ci=ci)))


async def _look(outset: Outset, config: Config, wish: Wish, progress: Progress) -> Found:
    import_structlog_alone()
    from expiryd.api import ExpirydError
    from expiryd.cli.outfit import outfit
    from expiryd.engine.graph import build
    from expiryd.engine.survey import for_one_look, survey, tell

    choice, waiting = wish.choice, wish.choice.sources(config.collectors)
    sources = len(waiting)

    def looked(ended: Look) -> None:
        waiting.remove(ended.collector)
        progress.tell(f"looked at {sources - len(waiting)} of {sources}; left: {', '.join(waiting) or 'none'}")

    async with outfit(config, outset.environ, verbose=wish.verbose) as lent:
        try:
            graph = await build(for_one_look(config, waiting, notifiers=wish.notify), lent.tools_for)
        except (ExpirydError, ValueError) as problem:
            raise Stop(Exit.CONFIG, str(problem)) from None
        try:
            progress.tell(f"looking at {', '.join(waiting)}")
            seen = await survey(graph, lent.clock, lent.log, looked)
            _refuse_unknown_category(choice.category, config.categories, seen)
            chosen, unseen = choice.of(seen.states), _in_question(choice, seen)
            if not wish.notify:
                return Found(seen, chosen, unseen)
            ids = {state.id for state in (*chosen, *unseen)}
            worth = [event for event in seen.events if event.item in ids and event.severity >= Severity.WARNING]
            progress.tell(f"telling {', '.join(config.notifiers)}")
            return Found(seen, chosen, unseen, worth, await tell(graph, seen, worth, lent.clock, lent.log))
        finally:
            progress.end()
            await graph.close(timedelta(0))


def _refuse_unknown_category(category: str, configured: Mapping[str, Any], seen: Survey) -> None:
    """A mistyped category would else be a check that is always content."""
    known = {state.observation.traits.category for state in seen.states} | set(configured)
    if category and category not in known:
        there = ", ".join(sorted(known - {""})) or "none"
        raise Stop(Exit.NOT_FOUND, f"nothing is of the category {category}; there are: {there}")


def _in_question(choice: Choice, seen: Survey) -> list[ItemState]:
    """What could not be looked at of what was asked for. A blind source may hide an item that was named."""
    unseen = choice.of(seen.unseen())
    if choice.items and choice.missing(seen.states):
        hiding = Choice(category=choice.category).of([state for state in seen.unseen() if state.id == state.collector])
        unseen += [state for state in hiding if state not in unseen]
    return unseen


# ── what is printed ───────────────────────────────────────────────────────────────────────────────────


def _show(found: Found, wish: Wish, screen: Screen) -> None:
    states = [state for state in found.chosen if not wish.only or state.severity in wish.only]
    extra = [state for state in found.unseen if state not in found.chosen]
    rows = [found.row(state) for state in (*states, *extra)]
    now = max((look.started_at for look in found.survey.looks.values()), default=datetime.min.replace(tzinfo=UTC))
    columns, shown = of_items(now), rows
    if screen.format is not Format.TABLE:
        screen.rows(rows, columns)
        return
    if screen.is_terminal and not wish.verbose and not wish.choice.items and len(rows) > screen.height - 4:
        shown = [row for row in rows if row["severity"] != Severity.HEALTHY.word]
    screen.rows(shown, columns)
    if wish.verbose:
        _show_details(shown, screen)
    _show_summary(found, rows, shown, screen)


def _show_details(rows: Sequence[Row], screen: Screen) -> None:
    for row in rows:
        if lines := details(row) if row["severity"] != Severity.HEALTHY.word or row["findings"] else ():
            screen.print(f"\n{row['severity'].upper()} {plain(row['item'])}")
            for line in lines:
                screen.print(f"    {plain(line)}")


def _show_summary(found: Found, rows: Sequence[Row], shown: Sequence[Row], screen: Screen) -> None:
    if shown:
        screen.print("")
    counts = f": {tally(state.severity.word for state in found.chosen)}" if found.chosen else ""
    screen.print(f"{count_of(len(found.chosen), 'item')}{counts}")
    if shown != rows:
        screen.print(f"{len(rows) - len(shown)} healthy ones are not listed; --verbose lists them")


def _report_delivery(found: Found) -> bool:
    """Whether a delivery failed."""
    if found.sent is None:
        return False
    if not found.worth_telling:
        say("nothing is at or above warning, so nobody was told")
    elif not found.sent:
        say("no notifier takes events of these kinds (`events`), so nobody was told")
    failed = False
    for name, outcomes in found.sent.items():
        proofs = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if proofs:
            more = f" and {len(proofs) - 1} more" if len(proofs) > 1 else ""
            say(f"{name}: told ({proofs[0]}{more})")
        for outcome in dict.fromkeys(str(one) for one in outcomes if not isinstance(one, str)):
            say(f"{name}: NOT told: {outcome}")
            failed = True
    return failed


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _plugin_line(code: int, text: str) -> str:
    return f"EXPIRYD {_NAGIOS_WORDS[code]} - {plain(text).replace('|', '/')}"
