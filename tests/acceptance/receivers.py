"""Slack, GitHub and a mail server that note when they heard what, and can kill who speaks to them meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from tests.fakes.github import FakeGithub
from tests.fakes.slack import FakeSlack
from tests.fakes.smtp import FakeSmtp, Handler, Pki
from tests.scenario import Heard

_HOW_LONG = re.compile(r", [0-9]+ [a-z]+ (left|ago)|expiryd, [0-9].*")


@dataclass
class Ears:
    """What each receiver heard, and since the start of time when. `repeats` counts exact repetitions, not heard twice.

    Before and after every request is acted upon, `pass_by` is told the point, such as `slack after`.
    """

    clock: Callable[[], datetime]
    start: datetime
    pass_by: Callable[[str], Awaitable[None]]
    heard: dict[str, list[Heard]] = field(default_factory=lambda: {"slack": [], "mail": [], "github": []})
    repeats: Counter[str] = field(default_factory=Counter)
    _known: set[tuple[str, str]] = field(default_factory=set)

    def hear(self, receiver: str, line: str, identity: str | None = None) -> None:
        """`identity`: by what the receiver's reader knows a repetition."""
        if identity is not None and (receiver, identity) in self._known:
            self.repeats[receiver] += 1
            return
        self._known.add((receiver, identity or ""))
        self.heard[receiver].append((self.clock() - self.start, line))


class Slack(FakeSlack):
    def __init__(self, ears: Ears) -> None:
        super().__init__()
        self._ears = ears

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await self._ears.pass_by("slack before")
        said = await super().answer(request)
        text = str(self.posted[-1]["text"])
        # beside how long is left, the words name the matter, its severity, its date and whether it is a reminder
        self._ears.hear("slack", text.partition("\n")[0], _HOW_LONG.sub("", text))
        await self._ears.pass_by("slack after")
        return said


class Github(FakeGithub):
    def __init__(self, ears: Ears) -> None:
        super().__init__()
        self._ears = ears

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await super().answer(request)
        what = "comment" if request.path.endswith("/comments") else {"POST": "open"}.get(request.method, "update")
        await self._ears.pass_by(f"github {what} before")
        before = {number: issue["state"] for number, issue in self.issues.items()}
        said = await super().answer(request)
        if what == "open":
            number = max(self.issues)
            self._ears.hear("github", f"#{number} opened {self.issues[number]['title']}")
        elif what == "comment":
            number = int(request.path.split("/")[-2])
            self._ears.hear("github", f"#{number} {self.comments(number)[-1].splitlines()[1]}")
        for number, state in before.items():
            if self.issues[number]["state"] != state:
                self._ears.hear("github", f"#{number} {self.issues[number]['state']}")
        await self._ears.pass_by(f"github {what} after")
        return said


class _Postbox(Handler):
    ears: Ears

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await self.ears.pass_by("mail before")
        said = await super().handle_DATA(server, session, envelope)
        mail = message_from_bytes(envelope.content or b"", policy=SMTP_POLICY)
        self.ears.hear("mail", str(mail["Subject"]).strip(), str(mail["Message-ID"]))
        await self.ears.pass_by("mail after")
        return said


@dataclass(frozen=True, slots=True)
class Receivers:
    slack: Slack
    github: Github
    smtp: FakeSmtp
    ca_file: Path


@asynccontextmanager
async def receivers(ears: Ears, directory: Path) -> AsyncIterator[Receivers]:
    async with AsyncExitStack() as stack:
        pki = Pki.make(directory)
        smtp = FakeSmtp(security="starttls", context=pki.context(), login=True)
        smtp.handler = _Postbox()
        smtp.handler.ears = ears
        yield Receivers(
            await stack.enter_async_context(Slack(ears)),
            await stack.enter_async_context(Github(ears)),
            await stack.enter_async_context(smtp),
            pki.ca_file,
        )
