"""Keeps one GitHub issue per item generation: opens it, tells news as comments, closes it when all is over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from yarl import URL

from expiryd.api import (
    AuthError,
    EventKind,
    Message,
    Notifier,
    NotifierConfig,
    OneOrMore,
    PermanentError,
    Receipt,
    SecretRef,
    Tools,
    TransientError,
)

from ._github import GithubApi, Gone, Invalid, Json, Locked
from ._http import web_address
from ._issue import Marks, comment, is_our_title, is_over, opening_body, renewed_body, title
from ._secrecy import reveal

MOST_PAGES = 10
ISSUES_A_PAGE = 50
COMMENTS_A_PAGE = 100
_REOPENING = frozenset({EventKind.RAISED, EventKind.WORSENED})


def _address(text: str) -> str:
    return str(web_address(text, what="api_url", private=True))


Label = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^,\n]+$")]
Login = Annotated[str, Field(pattern=r"^@?[A-Za-z0-9][A-Za-z0-9_-]*(\[bot\])?$")]
Mention = Annotated[str, Field(pattern=r"^@?[A-Za-z0-9][A-Za-z0-9-]*(/[A-Za-z0-9_.-]+)?$")]


class GithubIssueConfig(NotifierConfig):
    """`[notifiers.NAME] type = "github-issue"`. The first label is also how an issue is found again."""

    type: Literal["github-issue"]
    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
    token: SecretRef
    api_url: Annotated[str, AfterValidator(_address)] = "https://api.github.com"
    labels: Annotated[tuple[Label, ...], OneOrMore, Field(min_length=1)] = ("token-expiry",)
    assignees: Annotated[tuple[Login, ...], OneOrMore] = ()
    mention: Annotated[tuple[Mention, ...], OneOrMore] = ()

    def build(self, tools: Tools) -> GithubIssue:
        return GithubIssue(self, tools)


class GithubIssue(Notifier):
    threaded = True

    def __init__(self, config: GithubIssueConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self._mention = " ".join(f"@{name.removeprefix('@')}" for name in config.mention)

    async def send(self, message: Message) -> Receipt:
        token = await reveal(self._tools, self._config.token)
        if not token.isascii() or not token.isprintable() or not token:
            raise AuthError(f"the token in {self._config.token} is not a token: it is empty or has stray characters")
        api = GithubApi(self._tools, URL(self._config.api_url), self._config.repository, token)
        return await self._send(api, message, Marks.of(message))

    async def _send(self, api: GithubApi, message: Message, marks: Marks) -> Receipt:
        issue = await self._known(api, message, marks) or await self._adopt(api, marks)
        if issue is None and not message.firing:
            return Receipt(f"no issue was open in {self._config.repository}: nothing to close")
        if issue is None:
            return await self._open(api, message, marks)
        if marks.opened(_body(issue)):
            return _receipt(issue)
        try:
            await self._comment(api, message, marks, issue)
        except Locked as refusal:
            issue = await self._update(api, message, marks, issue)
            if _is_news(message):  # of which an edit tells nobody
                raise PermanentError(f"issue {issue['number']} is locked, unlock it: {refusal}") from None
            return _receipt(issue, " (it is locked: brought up to date without a comment)")
        return _receipt(await self._update(api, message, marks, issue))

    async def _known(self, api: GithubApi, message: Message, marks: Marks) -> Json | None:
        """The issue we remember, if it is still there and still ours: the repository may have been exchanged since."""
        number = message.thread.reference if message.thread else None
        if not number or not number.isascii() or not number.isdigit():
            return None
        try:
            issue = _issue(await api.get("issues", number))
        except Gone:
            return None
        # A moved issue answers with its new number; it stays reachable, and remembered, under the old one.
        return {**issue, "number": int(number)} if marks.own(_body(issue)) else None

    async def _adopt(self, api: GithubApi, marks: Marks) -> Json | None:
        """An issue of ours that we do not remember: a crash or a time-out came between its opening and our noting it.

        The list is read, not the search: the search index lags behind, and duplicates come from that.
        """
        for page in range(1, MOST_PAGES + 1):
            found = await self._page(api, page)
            ours = [issue for issue in found if "pull_request" not in issue and marks.own(_body(issue))]
            if ours:
                return min((_issue(issue) for issue in ours), key=lambda issue: int(issue["number"]))
            if len(found) < ISSUES_A_PAGE:
                break
        return None

    async def _page(self, api: GithubApi, page: int) -> list[Json]:
        query = {"state": "all", "labels": self._config.labels[0], "sort": "created", "direction": "desc"}
        return _objects(await api.get("issues", **query, per_page=str(ISSUES_A_PAGE), page=str(page)))

    async def _open(self, api: GithubApi, message: Message, marks: Marks) -> Receipt:
        body = opening_body(message, marks, self._mention)
        assignees = [name.removeprefix("@") for name in self._config.assignees]
        notes = ""
        try:
            issue = await self._create(api, title(message), body, assignees)
        except Invalid as error:
            if not assignees or "assignees" not in error.fields:
                raise
            self._tools.log.warning("github.assignees_refused", repository=self._config.repository, assignees=assignees)
            notes = f" (nobody assigned: {', '.join(assignees)} may not be assigned there)"
            issue = await self._create(api, title(message), body, [])
        if self._config.labels[0].casefold() not in _labels(issue):
            self._tools.log.warning("github.label_refused", repository=self._config.repository, issue=issue["number"])
            notes += f" (without its label {self._config.labels[0]!r}: the token may not set labels there)"
        return _receipt(issue, notes)

    async def _create(self, api: GithubApi, subject: str, body: str, assignees: list[str]) -> Json:
        fields: dict[str, Any] = {"title": subject, "body": body, "labels": list(self._config.labels)}
        if assignees:
            fields["assignees"] = assignees
        return _issue(await api.post("issues", **fields))

    async def _comment(self, api: GithubApi, message: Message, marks: Marks, issue: Json) -> None:
        """Add the news unless an earlier attempt already has: it would be on one of the last two pages."""
        count = issue.get("comments")
        last = -(-count // COMMENTS_A_PAGE) if isinstance(count, int) and count > 0 else 0
        number = str(issue["number"])
        for page in range(last, max(last - 2, 0), -1):
            path = ("issues", number, "comments")
            said = await api.get(*path, per_page=str(COMMENTS_A_PAGE), page=str(page))
            if any(_body(entry).startswith(marks.comment) for entry in _objects(said)):
                return
        await api.post("issues", number, "comments", body=comment(message, marks, self._mention))

    async def _update(self, api: GithubApi, message: Message, marks: Marks, issue: Json) -> Json:
        """Bring body, title and state up to date.

        Who closes an issue by hand has acknowledged it: news is still added, but only something new or worse reopens
        it, and never when it was closed as not planned.
        """
        body = _body(issue)
        fields: dict[str, Any] = {"body": renewed_body(message, marks, body)}
        if message.firing and is_our_title(str(issue.get("title"))):
            fields["title"] = title(message)
        closed = issue.get("state") == "closed"
        if closed and _is_news(message) and issue.get("state_reason") != "not_planned":
            fields["state"] = "open"
        elif not closed and is_over(message, body):
            fields |= {"state": "closed", "state_reason": "completed"}
        number = issue["number"]
        return {**_issue(await api.patch("issues", str(number), **fields)), "number": number}


def _receipt(issue: Json, notes: str = "") -> Receipt:
    return Receipt(f"{issue.get('html_url') or 'issue ' + str(issue['number'])}{notes}", thread=str(issue["number"]))


def _is_news(message: Message) -> bool:
    """Something new or worse, for which whoever has closed or locked the issue is called back."""
    return message.firing and any(event.kind in _REOPENING for event in message.events)


def _body(entry: Json) -> str:
    body = entry.get("body")
    return body.replace("\r\n", "\n") if isinstance(body, str) else ""


def _labels(issue: Json) -> set[str]:
    """Case-folded: GitHub takes `Expiry` for `expiry` and answers with the spelling it already has."""
    return {str(label.get("name")).casefold() for label in issue.get("labels") or () if isinstance(label, dict)}


def _issue(found: Any) -> Json:
    if isinstance(found, dict) and isinstance(found.get("number"), int):
        return found
    raise TransientError("GitHub answered with something that is no issue", ambiguous=True)


def _objects(found: Any) -> list[Json]:
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        return found
    raise PermanentError("GitHub answered with something that is no list")
