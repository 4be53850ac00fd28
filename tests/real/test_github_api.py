"""What the github-issue notifier asks of GitHub, judged by GitHub's own OpenAPI description of its API.

`prism` is the judge. As a proxy before our stateful double it refuses what GitHub does not document; as a mock it
answers what GitHub documents.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from tests.fakes.github import REPOSITORY, TOKEN, FakeGithub
from tests.fakes.http import Trouble
from tests.fakes.messages import event, threaded
from yarl import URL

from expiryd.api import (
    AuthError,
    DeliveryError,
    Event,
    EventKind,
    PermanentError,
    Receipt,
    Severity,
    TransientError,
)
from expiryd.notifiers.github_issue import GithubIssueConfig
from expiryd.testing import tools

from .openapi import Document, answering_with, cut, judging_requests, mend_nullable
from .processes import Processes, free_port, node_file

pytestmark = pytest.mark.real

ISSUES = "/repos/{owner}/{repo}/issues"
PATHS = (ISSUES, f"{ISSUES}/{{issue_number}}", f"{ISSUES}/{{issue_number}}/comments")
MEDIA_TYPE = "application/vnd.github+json"
"""GitHub's guide recommends to accept it; its description knows the answers as `application/json` only."""
RENEWED, WORSENED = EventKind.RENEWED, EventKind.WORSENED


class Desk:
    """A notifier that speaks to `url`. `violations`: what prism found wrong with its requests.

    `prefer` maps a method to the status that prism is asked to answer it with.
    """

    def __init__(self, url: str, prefer: dict[str, int] | None = None, **config: Any) -> None:
        self.violations: list[str] = []
        self.asked: list[tuple[str, URL]] = []
        self._prefer = prefer or {}
        known = {"type": "github-issue", "repository": REPOSITORY, "token": {"env": "TOKEN"}, "api_url": url}
        self._config = GithubIssueConfig.model_validate({**known, **config})

    async def tell(self, *events: Event, reference: str | None = None, key: str = "k1") -> Receipt:
        watch = aiohttp.TraceConfig()
        watch.on_request_start.append(self._choose)
        watch.on_request_end.append(self._note)
        async with aiohttp.ClientSession(trace_configs=[watch]) as http:
            notifier = self._config.build(tools(http, secrets={"TOKEN": TOKEN}))
            return await notifier.send(threaded(*events, reference=reference, key=key))

    async def _choose(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, start: aiohttp.TraceRequestStartParams
    ) -> None:
        if (code := self._prefer.get(start.method)) is not None:
            start.headers["Prefer"] = f"code={code}"

    async def _note(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        self.asked.append((end.method, end.url))
        found = json.loads(end.response.headers.get("sl-violations", "[]"))
        # Some examples of answers are not as their own schema says: that is not ours.
        self.violations += [one["message"] for one in found if one["location"][0] == "request"]


@pytest.fixture(scope="module")
def described() -> Document:
    path = node_file("@octokit/openapi/generated/api.github.com.json")
    mended: Document = mend_nullable(cut(json.loads(path.read_bytes()), PATHS))
    return mended


@pytest.fixture(scope="module")
def mock(described: Document, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Answers with GitHub's own examples; `Prefer: code=…` chooses which."""
    directory = tmp_path_factory.mktemp("mock")
    with Processes(directory) as processes:
        yield _prism(processes, "mock", _saved(directory, answering_with(MEDIA_TYPE, described)))


@pytest.fixture
def judge(described: Document, processes: Processes, tmp_path: Path) -> Judge:
    return Judge(processes, _saved(tmp_path, judging_requests(described)))


class Judge:
    """Stands before a server and lets only those requests through that GitHub describes."""

    def __init__(self, processes: Processes, document: Path) -> None:
        self._processes = processes
        self._document = document

    async def before(self, server: FakeGithub) -> str:
        return await asyncio.to_thread(_prism, self._processes, "proxy", "--errors", self._document, server.url)


def _saved(directory: Path, document: Document) -> Path:
    path = directory / "github.json"
    path.write_text(json.dumps(document))
    return path


def _prism(processes: Processes, *command: str | Path) -> str:
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port))
    processes.start(node_file(".bin/prism"), *command, *options, port=port, within=60)
    return f"http://127.0.0.1:{port}"


async def _ask(url: str, method: str, path: str, **request: Any) -> int:
    async with aiohttp.ClientSession() as http, http.request(method, url + path, **request) as response:
        return response.status


WRONG: list[Any] = [
    pytest.param("POST", "/issues", {"body": "no title"}, id="required field missing"),
    pytest.param("POST", "/issues", {"title": "t", "labels": 7}, id="labels of the wrong type"),
    pytest.param("POST", "/issues", {"title": "t", "assignees": [{"login": "x"}]}, id="assignees of the wrong type"),
    pytest.param("PATCH", "/issues/1", {"state": "shut"}, id="unknown state"),
    pytest.param("PATCH", "/issues/1", {"state_reason": "done"}, id="unknown reason"),
    pytest.param("POST", "/issues/1/comments", {"text": "no body"}, id="comment without a body"),
]


@pytest.mark.parametrize(("method", "path", "body"), WRONG)
async def test_the_mock_refuses_a_wrong_body(mock: str, method: str, path: str, body: dict[str, Any]) -> None:
    """The judge itself: as GitHub publishes its description, prism would take any of these."""
    assert await _ask(mock, method, f"/repos/{REPOSITORY}{path}", json=body) == 422


async def test_the_proxy_refuses_what_is_not_described(judge: Judge) -> None:
    """The judge itself: and nothing of it reaches the server behind."""
    async with FakeGithub() as server:
        url = await judge.before(server)
        for method, path, body in (case.values for case in WRONG):
            assert await _ask(url, method, f"/repos/{REPOSITORY}{path}", json=body) == 422
        misspelt = {"title": "t", "assignes": ["octocat"]}
        assert await _ask(url, "POST", f"/repos/{REPOSITORY}/issues", json=misspelt) == 422
        assert await _ask(url, "GET", f"/repos/{REPOSITORY}/issues?state=bogus") == 422
        assert await _ask(url, "PUT", f"/repos/{REPOSITORY}/issues", json={"title": "t"}) == 405
        assert server.seen == []
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert await _ask(url, "GET", f"/repos/{REPOSITORY}/issues?state=all", headers=headers) == 200
        assert len(server.seen) == 1


async def test_a_whole_life_of_an_issue_is_as_github_describes_it(judge: Judge, described: Document) -> None:
    """Opened, commented, brought up to date, closed, reopened and closed again."""
    async with FakeGithub() as server:
        desk = Desk(
            await judge.before(server), labels=["token-expiry", "infra"], assignees="octocat", mention="acme/infra"
        )
        receipt = await desk.tell(event(severity=Severity.WARNING))
        assert receipt.thread == "1"
        issue = server.issues[1]
        assert [label["name"] for label in issue["labels"]] == ["token-expiry", "infra"]
        assert issue["assignees"] == [{"login": "octocat"}]
        await desk.tell(event(kind=WORSENED), reference="1", key="k2")
        assert len(server.comments(1)) == 1
        assert "CRITICAL" in issue["title"]
        await desk.tell(event(kind=RENEWED, severity=Severity.HEALTHY), reference="1", key="k3")
        assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
        await desk.tell(event(kind=WORSENED, severity=Severity.EXPIRED), reference="1", key="k4")
        assert issue["state"] == "open"
        await desk.tell(event(kind=RENEWED, severity=Severity.HEALTHY), reference="1", key="k5")
        assert issue["state"] == "closed"
        assert len(server.comments(1)) == 4
    assert desk.violations == []
    did = {(seen.method, seen.path.partition("?")[0].removeprefix(f"/repos/{REPOSITORY}")) for seen in server.seen}
    assert did == {
        ("GET", "/issues"),
        ("POST", "/issues"),
        ("GET", "/issues/1"),
        ("GET", "/issues/1/comments"),
        ("POST", "/issues/1/comments"),
        ("PATCH", "/issues/1"),
    }
    for method, url in desk.asked:
        assert set(url.query) <= _documented_queries(described, method, url), url


async def test_an_issue_and_a_comment_whose_answers_were_lost_are_found_again_and_not_repeated(judge: Judge) -> None:
    async with FakeGithub() as server:
        desk = Desk(await judge.before(server))
        server.afflicts = lambda request: request.method == "POST"
        server.fail_next(Trouble.RESET_READ)
        with pytest.raises(TransientError):
            await desk.tell()
        assert (await desk.tell()).thread == "1"
        server.fail_next(Trouble.RESET_READ)
        with pytest.raises(TransientError):
            await desk.tell(event(kind=WORSENED), reference="1", key="k2")
        await desk.tell(event(kind=WORSENED), reference="1", key="k2")
        assert len(server.issues) == 1
        assert len(server.comments(1)) == 1


async def test_the_second_try_without_assignees_is_as_github_describes_it(judge: Judge) -> None:
    async with FakeGithub() as server:
        desk = Desk(await judge.before(server), assignees=["octocat", "stranger"])
        receipt = await desk.tell()
        assert "nobody assigned: octocat, stranger" in receipt.proof
        assert server.issues[1]["assignees"] == []
    assert desk.violations == []
    assert [method for method, _ in desk.asked] == ["GET", "POST", "POST"]


async def test_the_longest_message_is_within_what_github_takes(judge: Judge) -> None:
    async with FakeGithub() as server:
        desk = Desk(await judge.before(server))
        await desk.tell(*(event(aspect=f"finding-{number}", detail="long " * 200) for number in range(100)))
        assert len(server.issues[1]["body"]) <= 65_536
    assert desk.violations == []


async def test_githubs_own_examples_of_a_list_and_of_an_issue_are_understood(mock: str) -> None:
    """No body in the list bears a mark of ours: those issues are somebody else's, so a new one is opened."""
    desk = Desk(mock)
    receipt = await desk.tell()
    assert receipt.thread == "1347"
    assert receipt.proof.startswith("https://github.com/octocat/Hello-World/issues/1347")
    assert [method for method, _ in desk.asked] == ["GET", "POST"]
    assert desk.violations == []


@pytest.mark.parametrize(
    ("method", "code", "outcome", "says"),
    [
        pytest.param("GET", 404, AuthError, "does not exist, or the token may not see"),
        pytest.param("GET", 422, PermanentError, "answered 422"),
        pytest.param("POST", 403, AuthError, "answered 403.*It refused this notifier's credential"),
        pytest.param("POST", 404, AuthError, "does not exist, or the token may not see"),
        pytest.param("POST", 410, AuthError, "does not exist, or the token may not see or change it"),
        pytest.param("POST", 422, PermanentError, "answered 422"),
        pytest.param("POST", 503, TransientError, "answered 503"),
    ],
)
async def test_a_refusal_as_github_describes_it_is_told_for_what_it_is(
    mock: str, method: str, code: int, outcome: type[DeliveryError], says: str
) -> None:
    desk = Desk(mock, {method: code})
    with pytest.raises(outcome, match=says):
        await desk.tell()
    assert desk.violations == []
    assert desk.asked[-1][0] == method


@pytest.mark.parametrize("code", [404, 410])
async def test_an_issue_that_is_gone_is_opened_anew(mock: str, code: int) -> None:
    """The answer to the remembered number is as GitHub describes it; so is that to the list, which fails as well."""
    desk = Desk(mock, {"GET": code})
    with pytest.raises(DeliveryError):
        await desk.tell(reference="42")
    assert [url.path.rpartition("/")[2] for _, url in desk.asked] == ["42", "issues"]


def _documented_queries(document: Document, method: str, url: URL) -> set[str]:
    template = next(path for path in PATHS if path.count("/") == url.path.count("/"))
    found = set()
    for parameter in document["paths"][template][method.lower()]["parameters"]:
        name = parameter.get("$ref", "").rpartition("/")[2]
        told = document["components"]["parameters"][name] if name else parameter
        if told["in"] == "query":
            found.add(told["name"])
    return found
