"""What would be told in the days to come, over HTTP: the verb `forecast` in a process of its own.

A forecast keeps a core busy for seconds; done in here it would hold up the daemon.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from expiryd import child
from expiryd.web.route import Ask, Param, Problem, Right, Route, answer

DAYS = 30
MOST_DAYS = 400
PATIENCE = 120.0
"""Seconds that a forecast may take."""
MOST_BYTES = 64 * 1024 * 1024
CONFIG_IS_WRONG = 4
_KEPT = ("PATH", "HOME", "CREDENTIALS_DIRECTORY")


@dataclass(frozen=True, slots=True)
class Outlook:
    """How the verb is called: the command without its verb, and all of its environment."""

    command: Sequence[str]
    environ: Mapping[str, str]
    patience: float = PATIENCE


def outlook(paths: Sequence[Path], environ: Mapping[str, str]) -> Outlook:
    """For these config files. Of the environment the child gets no more than the configuration is read from."""
    files = [word for path in paths for word in ("-c", str(path))]
    kept = {key: value for key, value in environ.items() if key in _KEPT or key.upper().startswith("EXPIRYD_")}
    return Outlook((sys.executable, "-m", "expiryd", *files), kept)


class Foresight:
    """One forecast at a time."""

    def __init__(self, outlook: Outlook | None) -> None:
        self._outlook = outlook
        self._busy = False

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET",
                "/api/v1/forecast",
                self.forecast,
                "Every message that would be sent, when and to whom, if nothing is renewed.",
                right=Right.READ,
                query=(Param("days", f"How far ahead, {DAYS} unless said.", most=MOST_DAYS),),
                answers={
                    404: "This daemon was started without config files.",
                    409: "Another forecast is under way.",
                    422: "The config files are wrong now, and how.",
                    500: "The forecast failed, and how.",
                    504: "It took too long; ask for fewer days.",
                },
                schema="Forecast",
            )
        ]

    async def forecast(self, ask: Ask) -> web.StreamResponse:
        if self._outlook is None:
            raise Problem(404, "this daemon was started without config files: it cannot forecast")
        if self._busy:
            raise Problem(409, "another forecast is under way: ask again when it is done")
        days = ask.query.get("days", DAYS)
        self._busy = True
        try:
            told = await _foresee(self._outlook, days)
        finally:
            self._busy = False
        return answer({"notifications": await asyncio.to_thread(json.loads, told), "days": days})


async def _foresee(outlook: Outlook, days: int) -> bytes:
    """What the verb prints. Raises Problem."""
    with TemporaryDirectory(prefix="expiryd-foresight-") as directory:  # a child that is killed tidies nothing away
        try:
            ended = await child.run(
                *outlook.command,
                *("forecast", "--days", str(days), "--format", "json"),
                environment={**outlook.environ, "TMPDIR": directory},
                patience=outlook.patience,
                most=MOST_BYTES,
            )
        except TimeoutError:
            limit = f"{outlook.patience:g} seconds"
            raise Problem(504, f"a forecast of {days} days was not done in {limit}: ask for fewer days") from None
        except child.FloodError:
            raise Problem(500, f"a forecast of {days} days is larger than {MOST_BYTES} bytes: ask for fewer") from None
    if ended.status:
        why = ended.complaint.decode(errors="replace").strip() or f"exit code {ended.status}"
        raise Problem(422 if ended.status == CONFIG_IS_WRONG else 500, f"the forecast failed: {why}")
    return ended.output
