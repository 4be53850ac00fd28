"""Every installed notifier meets the same real, misbehaving receivers: one meaning a fault, and no secret leaks."""

from __future__ import annotations

import asyncio
import base64
import resource
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from tests.fakes import github, slack, smtp
from tests.fakes.github import FakeGithub
from tests.fakes.http import FakeHttp, Reply, Trouble
from tests.fakes.messages import message, threaded
from tests.fakes.slack import FakeSlack
from tests.fakes.smtp import FakeSmtp, Pki

from expiryd.api import (
    AuthError,
    Message,
    Notifier,
    NotifierConfig,
    PermanentError,
    Receipt,
    Secret,
    SecretError,
    SecretRef,
    TransientError,
)
from expiryd.testing import EPOCH, SilentLog, tools

PLUGINS = {point.name: point for point in entry_points(group="expiryd.notifiers")}
HOOK_PATH = "/hook/webhook-canary-path-77ab?key=webhook-canary-query-12cd"
HOOK_SECRET, HOOK_HEADER = "webhook-canary-hmac-90ef", "webhook-canary-header-34aa"
CANARIES = (slack.PATH, "slack-canary", github.TOKEN, smtp.PASSWORD, HOOK_SECRET, HOOK_HEADER, "webhook-canary")
SPELLINGS = (*CANARIES, *(base64.b64encode(canary.encode()).decode()[:16] for canary in CANARIES))


@dataclass(frozen=True, slots=True)
class Delivered:
    """The notifier answers with a receipt all the same."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """The caller's own time-out ends it, and nothing else does."""


@dataclass(frozen=True, slots=True)
class Raises:
    kind: type[Exception]
    says: str = ""
    retry_after: timedelta | None = None
    ambiguous: bool = False


Outcome = Delivered | Overdue | Raises
PERMANENT, REFUSED = Raises(PermanentError), Raises(AuthError)
LATER, PERHAPS = Raises(TransientError), Raises(TransientError, ambiguous=True)


def later(**span: float) -> Raises:
    return Raises(TransientError, retry_after=timedelta(**span))


def echo(status: int, **headers: str) -> Reply:
    """An answer that repeats the request, secrets and all."""
    return Reply(status, "no", {name.replace("_", "-"): value for name, value in headers.items()}, echo=True)


HTML = "<!DOCTYPE html><html><body>Sign in to the network</body></html>"
IN_FIVE_MINUTES = format_datetime(EPOCH + timedelta(minutes=5), usegmt=True)
HTTP: dict[str, tuple[Reply | Trouble, Outcome]] = {
    "400": (echo(400), PERMANENT),
    "401": (echo(401), REFUSED),
    "403": (echo(403), REFUSED),
    "404": (echo(404), REFUSED),
    "405": (echo(405), PERMANENT),
    "408": (echo(408), LATER),
    "410": (echo(410), REFUSED),
    "422": (echo(422), PERMANENT),
    "429": (echo(429), LATER),
    "429 in seconds": (echo(429, Retry_After="120"), later(seconds=120)),
    "429 at a date": (echo(429, Retry_After=IN_FIVE_MINUTES), later(minutes=5)),
    "429 at a date gone by": (echo(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), later(seconds=0)),
    "429 in a million years": (echo(429, Retry_After="9" * 4000), later(hours=24)),
    "429 with nonsense": (echo(429, Retry_After="soon, -1"), LATER),
    "500": (echo(500), LATER),
    "503 in seconds": (echo(503, Retry_After="30"), later(seconds=30)),
    "504": (echo(504), PERHAPS),
    "html with 500": (Reply(500, HTML, content_type="text/html"), Raises(TransientError, "an HTML page")),
    "html with 200": (Reply(200, HTML, content_type="text/html"), Raises(TransientError, "an HTML page")),
    "redirect elsewhere": (echo(302, Location="https://elsewhere.example/x"), Raises(PermanentError, "redirect")),
    "hang": (Trouble.HANG, Overdue()),
    "reset before it reads": (Trouble.RESET_UNREAD, PERHAPS),
    "reset after it has read": (Trouble.RESET_READ, PERHAPS),
    "slow drip": (Trouble.DRIP, Overdue()),
    "huge answer": (Trouble.HUGE, LATER),
}


@dataclass
class Stage:
    """A notifier pointed at a real receiver. `mend` makes the receiver well; `taken` are the messages it holds."""

    notifier: Notifier
    log: SilentLog
    mend: Callable[[], None]
    taken: Callable[[], int]
    message: Message = field(default_factory=message)


Built = tuple[Notifier, SilentLog]


class Case:
    """What a notifier needs for the suite: its faults with their meanings, and a stage for each."""

    faults: ClassVar[Mapping[str, tuple[Any, Outcome]]]
    keeps_one = False
    """Whether the receiver itself holds a message once however often it is sent under one key."""

    @asynccontextmanager
    async def stage(self, fault: Any, tmp_path: Path) -> AsyncIterator[Stage]:
        raise NotImplementedError
        yield

    @asynccontextmanager
    async def built(self, name: str, secrets: dict[str, str], **config: Any) -> AsyncIterator[Built]:
        plugin: type[NotifierConfig] = PLUGINS[name].load()
        async with aiohttp.ClientSession() as session:
            lent = tools(session, name=name, secrets=secrets)
            notifier = plugin.model_validate({"type": name, **config}).build(lent)
            assert isinstance(lent.log, SilentLog)
            yield notifier, lent.log
            await notifier.aclose()


class Hook(FakeHttp):
    def taken(self) -> int:
        return len({seen.headers["Idempotency-Key"] for seen in self.seen})


class WebhookCase(Case):
    """Only the status matters: once it says 2xx, nothing that follows can undo the delivery."""

    faults: ClassVar = HTTP | {
        "html with 200": (HTTP["html with 200"][0], Delivered()),
        "slow drip": (Trouble.DRIP, Delivered()),
        "huge answer": (Trouble.HUGE, Delivered()),
    }
    keeps_one = True

    @asynccontextmanager
    async def stage(self, fault: Any, tmp_path: Path) -> AsyncIterator[Stage]:
        secrets = {"SECRET": HOOK_SECRET, "HEADER": HOOK_HEADER}
        async with Hook() as server:
            server.faulty = fault
            config = {"url": {"env": "URL"}, "secret": {"env": "SECRET"}, "headers": {"X-Key": {"env": "HEADER"}}}
            secrets["URL"] = server.url + HOOK_PATH
            async with self.built("webhook", secrets, **config) as (notifier, log):
                yield Stage(notifier, log, lambda: setattr(server, "faulty", None), server.taken)


class SlackCase(Case):
    faults: ClassVar = HTTP

    @asynccontextmanager
    async def stage(self, fault: Any, tmp_path: Path) -> AsyncIterator[Stage]:
        async with FakeSlack() as server:
            server.faulty = fault
            secrets = {"URL": server.webhook_url}
            async with self.built("slack", secrets, webhook_url={"env": "URL"}) as (notifier, log):
                mend = lambda: setattr(server, "faulty", None)  # noqa: E731 - one line reads better here
                yield Stage(notifier, log, mend, lambda: len(server.posted))


class GithubCase(Case):
    """The fault meets the request that opens the issue."""

    faults: ClassVar = HTTP | {
        "429": (echo(429), later(seconds=60)),
        "429 with nonsense": (echo(429, Retry_After="soon, -1"), later(seconds=60)),
        "html with 200": (HTTP["html with 200"][0], PERHAPS),
        "huge answer": (Trouble.HUGE, PERHAPS),
        "rate limit used up": (
            echo(403, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(EPOCH.timestamp()) + 599)),
            later(minutes=10),
        ),
        "secondary rate limit": (
            Reply(403, "You have exceeded a secondary rate limit"),
            later(minutes=1),
        ),
    }
    keeps_one = True

    @asynccontextmanager
    async def stage(self, fault: Any, tmp_path: Path) -> AsyncIterator[Stage]:
        async with FakeGithub() as server:
            server.faulty = fault
            server.afflicts = lambda request: request.method == "POST"
            config = {"repository": github.REPOSITORY, "token": {"env": "TOKEN"}, "api_url": server.url}
            async with self.built("github-issue", {"TOKEN": github.TOKEN}, **config) as (notifier, log):
                mend = lambda: setattr(server, "faulty", None)  # noqa: E731 - one line reads better here
                yield Stage(notifier, log, mend, lambda: len(server.issues), threaded())


class EmailCase(Case):
    faults: ClassVar = {
        "greeting 421": (smtp.Fault("GREETING", "421 busy"), LATER),
        "greeting 554": (smtp.Fault("GREETING", "554 go away"), REFUSED),
        "greeting that is no SMTP": (smtp.Fault("GREETING", "HTTP/1.1 400 Bad Request"), LATER),
        "greeting without end": (smtp.Fault("GREETING", "220-" + "x" * 600_000), LATER),
        "greeting hangs": (smtp.Fault("GREETING", smtp.HANG), Overdue()),
        "greeting drips": (smtp.Fault("GREETING", smtp.DRIP), Overdue()),
        "greeting reset": (smtp.Fault("GREETING", smtp.RESET), LATER),
        "sender 451": (smtp.Fault("MAIL", "451 try later"), LATER),
        "sender 550": (smtp.Fault("MAIL", f"550 not you, {smtp.PASSWORD}"), REFUSED),
        "sender hangs": (smtp.Fault("MAIL", smtp.HANG), Overdue()),
        "recipients 450": (smtp.Fault("RCPT", "450 greylisted"), LATER),
        "recipients 550": (smtp.Fault("RCPT", "550 no such user"), PERMANENT),
        "recipients 530": (smtp.Fault("RCPT", "530 sign in first"), REFUSED),
        "recipients reset": (smtp.Fault("RCPT", smtp.RESET), LATER),
        "data 452": (smtp.Fault("DATA", "452 disk full"), LATER),
        "data 554": (smtp.Fault("DATA", "554 looks like spam"), PERMANENT),
        "hangs after it took it": (smtp.Fault("TAKEN", smtp.HANG), Overdue()),
        "reset after it took it": (smtp.Fault("TAKEN", smtp.RESET), PERHAPS),
        "farewell hangs": (smtp.Fault("QUIT", smtp.HANG), Delivered()),
        "farewell reset": (smtp.Fault("QUIT", smtp.RESET), Delivered()),
    }

    @asynccontextmanager
    async def stage(self, fault: Any, tmp_path: Path) -> AsyncIterator[Stage]:
        pki = Pki.make(tmp_path)
        async with FakeSmtp(security="starttls", context=pki.context(), login=True) as server:
            server.handler.fault = fault
            config = {
                "host": "127.0.0.1",
                "port": server.port,
                "username": smtp.USERNAME,
                "password": {"env": "PASSWORD"},
                "sender": "expiryd@example.org",
                "recipients": "team@example.org",
                "ca_file": pki.ca_file,
            }
            async with self.built("email", {"PASSWORD": smtp.PASSWORD}, **config) as (notifier, log):
                mend = lambda: setattr(server.handler, "fault", None)  # noqa: E731 - one line reads better here
                yield Stage(notifier, log, mend, lambda: len({mail["Message-ID"] for mail in server.mails}))

    keeps_one = True


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 100 bytes: the write fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FileCase(Case):
    faults: ClassVar = {
        "a file in the place of the directory": ("file", Raises(AuthError, "the daemon's user may write to")),
        "a loop of links": ("loop", REFUSED),
        "a directory that takes no files": ("/sys/kernel", REFUSED),
        "a parent that is missing": ("missing/below", Raises(TransientError, "mount it or make it")),
        "a disk that fills up": ("full", LATER),
        "a directory that is missing": ("new", Delivered()),
    }
    keeps_one = True

    @asynccontextmanager
    async def stage(self, fault: Any, tmp_path: Path) -> AsyncIterator[Stage]:
        directory = tmp_path / fault
        if fault == "file":
            directory.write_text("I was here first")
        elif fault == "loop":
            directory.symlink_to(directory)
        limit = small_files() if fault == "full" else None
        if limit:
            limit.__enter__()

        def mend() -> None:
            nonlocal limit
            if limit:
                limit.__exit__(None, None, None)
                limit = None
            directory.parent.mkdir(exist_ok=True)

        async with self.built("file", {}, directory=directory) as (notifier, log):
            yield Stage(notifier, log, mend, lambda: len(list(directory.iterdir())))
        mend()


CASES: dict[str, Case] = {
    "email": EmailCase(),
    "file": FileCase(),
    "github-issue": GithubCase(),
    "slack": SlackCase(),
    "webhook": WebhookCase(),
}


def test_every_installed_notifier_has_its_case_here() -> None:
    assert sorted(PLUGINS) == sorted(CASES)


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, case in CASES.items() for fault in case.faults])
async def test_a_fault_has_one_meaning_and_gives_no_secret_away(
    name: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also: whatever was retried is delivered once the receiver is well, and is there once."""
    caplog.set_level("DEBUG")
    case = CASES[name]
    injected, expected = case.faults[fault]
    async with case.stage(injected, tmp_path) as stage:
        outcome = await attempt(stage, seconds=0.4 if isinstance(expected, Overdue) else 10)
        assert_meaning(outcome, expected)
        assert_discreet(outcome, caplog, stage.log)
        if isinstance(expected, Overdue) or (isinstance(expected, Raises) and expected.kind is TransientError):
            stage.mend()
            again = await attempt(stage, seconds=10)
            assert isinstance(again, Receipt), again
            assert_discreet(again, caplog, stage.log)
            assert not case.keeps_one or stage.taken() == 1


@pytest.mark.parametrize("name", ["email", "github-issue", "slack", "webhook"])
async def test_a_secret_that_cannot_be_read_is_tried_again_and_nothing_is_sent(name: str, tmp_path: Path) -> None:
    async def lost(ref: SecretRef) -> Secret:
        raise SecretError(f"{ref}: no such variable")

    case = CASES[name]
    async with case.stage(None, tmp_path) as stage:
        stage.notifier._tools = replace(stage.notifier._tools, secret=lost)  # type: ignore[attr-defined]
        outcome = await attempt(stage, seconds=10)
        assert isinstance(outcome, TransientError), outcome
        assert "no such variable" in str(outcome)
        assert not outcome.ambiguous
        assert stage.taken() == 0


async def attempt(stage: Stage, seconds: float) -> Receipt | BaseException:
    """As the engine does: one send within its time-out."""
    try:
        async with asyncio.timeout(seconds):
            return await stage.notifier.send(stage.message)
    except Exception as error:
        return error


def assert_meaning(outcome: Receipt | BaseException, expected: Outcome) -> None:
    if isinstance(expected, Delivered):
        assert isinstance(outcome, Receipt), outcome
        assert outcome.proof
    elif isinstance(expected, Overdue):
        assert type(outcome) is TimeoutError, outcome
    else:
        assert isinstance(outcome, expected.kind), outcome
        assert isinstance(outcome, AuthError) == (expected.kind is AuthError), outcome
        assert expected.says in str(outcome)
        if isinstance(outcome, TransientError):
            assert (outcome.retry_after, outcome.ambiguous) == (expected.retry_after, expected.ambiguous), outcome
        assert len(str(outcome)) < 600


def assert_discreet(outcome: Receipt | BaseException, caplog: pytest.LogCaptureFixture, log: SilentLog) -> None:
    logged = [record.getMessage() for record in caplog.records if record.name != "mail.log"]  # the fake server's own
    told = [repr(outcome), str(outcome), repr(log.lines), *logged]
    error = outcome if isinstance(outcome, BaseException) else None
    if error:
        told.append("".join(traceback.format_exception(error)))
    while error and not isinstance(error, TimeoutError):
        told.append(f"{error!r} {error.args!r}")
        error = error.__cause__ or error.__context__
    for text in told:
        for canary in SPELLINGS:
            assert canary not in text, text
