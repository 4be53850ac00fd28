"""One issue per item generation, whatever crashes in between; people's hands and words are respected."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.fakes.github import REPOSITORY, TOKEN, FakeGithub
from tests.fakes.http import Reply, Trouble
from tests.fakes.messages import event, threaded

from expiryd.api import AuthError, Event, EventKind, Message, PermanentError, Receipt, Severity, Traits, TransientError
from expiryd.notifiers._issue import Marks, comment, opening_body, renewed_body, title
from expiryd.notifiers.github_issue import GithubIssueConfig
from expiryd.testing import EPOCH, SilentLog, tools

WORSENED, RENEWED, REPEATED = EventKind.WORSENED, EventKind.RENEWED, EventKind.REPEATED
UNSAFE = {"aspect": "unsafe-permissions", "severity": Severity.WARNING, "detail": "mode 0644"}


class Desk:
    """A notifier at its desk: sends messages and keeps its log."""

    def __init__(self, server: FakeGithub, **config: Any) -> None:
        self.server = server
        self.log = SilentLog()
        known = {"repository": REPOSITORY, "token": {"env": "TOKEN"}, "api_url": server.url}
        self._config = GithubIssueConfig.model_validate({"type": "github-issue", **known, **config})

    async def send(self, what: Message, token: str = TOKEN) -> Receipt:
        async with aiohttp.ClientSession() as http:
            lent = tools(http, secrets={"TOKEN": token})
            receipt = await self._config.build(lent).send(what)
            assert isinstance(lent.log, SilentLog)
            self.log.lines += lent.log.lines
            return receipt

    async def tell(self, *events: Event, reference: str | None = None, key: str = "k1") -> Receipt:
        return await self.send(threaded(*events, reference=reference, key=key))


async def test_the_first_news_opens_an_issue_that_says_all() -> None:
    async with FakeGithub() as server:
        desk = Desk(
            server, labels=["infrastructure", "token-expiry"], assignees="octocat", mention=["acme/infra", "@octocat"]
        )
        receipt = await desk.tell()
        issue = server.issues[1]
        (post,) = [seen for seen in server.seen if seen.method == "POST"]
    assert receipt == Receipt(f"https://github.com/{REPOSITORY}/issues/1", thread="1")
    assert issue["title"] == "🚨 CRITICAL: Token Expiry Alert - AAR_TOKEN"
    assert [label["name"] for label in issue["labels"]] == ["infrastructure", "token-expiry"]
    assert issue["assignees"] == [{"login": "octocat"}]
    for fact in (
        "expires 2030-01-04 00:00 UTC, 3 days left",
        "- **Owner:** web team",
        "- **Used by:** deploy, release",
        "- **Labels:** env=prod",
        "- **Runbook:** <https://wiki.example.org/rotate?item=aar>",
        "- [ ] expiry: Rotate it now.",
    ):
        assert fact in issue["body"]
    assert issue["body"].endswith("@acme/infra @octocat")
    assert post.headers["Accept"] == "application/vnd.github+json"
    assert post.headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert post.headers["User-Agent"] == "expiryd"


async def test_news_of_a_known_issue_is_a_comment_and_the_body_is_brought_up_to_date() -> None:
    async with FakeGithub() as server:
        desk = Desk(server, mention="acme/infra")
        await desk.tell(event(severity=Severity.WARNING))
        worse = event(kind=WORSENED, severity=Severity.EXPIRED, expires_at=EPOCH - timedelta(hours=1))
        receipt = await desk.tell(worse, reference="1", key="k2")
        (said,) = server.comments(1)
        issue = server.issues[1]
    assert receipt.thread == "1"
    assert "**EXPIRED** (worsened) AAR\\_TOKEN expired 2029-12-31 23:00 UTC, 60 minutes ago" in said
    assert "Replace it now: it has stopped working." in said
    assert "Runbook: <https://wiki.example.org/rotate?item=aar>" in said
    assert said.endswith("@acme/infra")
    assert issue["title"] == "🚨 EXPIRED: Token Expiry Alert - AAR_TOKEN"
    assert issue["body"].count("<!-- row") == 1
    assert issue["state"] == "open"


async def test_a_repetition_calls_nobody() -> None:
    async with FakeGithub() as server:
        desk = Desk(server, mention="acme/infra")
        await desk.tell()
        await desk.tell(event(kind=REPEATED), reference="1", key="k2")
        assert "@" not in server.comments(1)[0]


async def test_the_end_of_the_matter_is_told_and_closes_the_issue() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        over = event(kind=RENEWED, severity=Severity.HEALTHY, expires_at=EPOCH + timedelta(days=90))
        receipt = await desk.tell(over, reference="1", key="k2")
        issue = server.issues[1]
        assert "is renewed, expires 2030-04-01" in server.comments(1)[0]
    assert (issue["state"], issue["state_reason"], receipt.thread) == ("closed", "completed", "1")


async def test_one_matter_over_leaves_the_issue_open_while_another_is_not() -> None:
    """News of one matter neither erases the row of another nor closes the issue under it."""
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell(event(), event(**UNSAFE))
        await desk.tell(event(kind=EventKind.RESOLVED, **UNSAFE), reference="1", key="k2")
        assert server.issues[1]["state"] == "open"
        assert server.issues[1]["body"].count("<!-- row") == 2
        await desk.tell(event(kind=EventKind.RESOLVED), reference="1", key="k3")
        assert server.issues[1]["state"] == "closed"


async def test_a_renewal_ends_every_matter_of_the_old_generation() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell(event(), event(**UNSAFE))
        await desk.tell(event(kind=RENEWED), reference="1", key="k2")
        issue = server.issues[1]
    assert issue["state"] == "closed"
    assert "| OVER |" in issue["body"]
    assert " open -->" not in issue["body"]


async def test_what_people_write_around_our_part_and_their_title_stay() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        issue = server.issues[1]
        issue["body"] = f"Note above\r\n\r\n{issue['body']}\r\n\r\nNote below"
        issue["title"] = "Ask Ann about AAR"
        await desk.tell(event(kind=WORSENED, severity=Severity.EXPIRED), reference="1", key="k2")
    assert issue["body"].startswith("Note above\n\n<!-- expiryd")
    assert issue["body"].endswith("Note below")
    assert "EXPIRED" in issue["body"]
    assert issue["title"] == "Ask Ann about AAR"


@pytest.mark.parametrize("lost", [Trouble.RESET_READ, Reply(502, "Bad Gateway")])
async def test_an_issue_whose_opening_was_never_confirmed_is_found_again_and_not_repeated(lost: Any) -> None:
    """The list is read; nothing is searched."""
    async with FakeGithub() as server:
        desk = Desk(server)
        server.afflicts = lambda request: request.method == "POST"
        server.fail_next(lost)
        with pytest.raises(TransientError) as caught:
            await desk.tell()
        assert caught.value.ambiguous
        receipt = await desk.tell()
        assert len(server.issues) == 1
        assert server.comments(1) == []
        assert receipt.thread == "1"
        assert not any("search" in seen.path for seen in server.seen)


async def test_a_comment_that_was_never_confirmed_is_not_repeated() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.said[1] = [{"id": n, "body": f"chat {n}"} for n in range(150)]
        server.afflicts = lambda request: request.path.endswith("/comments") and request.method == "POST"
        server.fail_next(Trouble.RESET_READ)
        with pytest.raises(TransientError):
            await desk.tell(event(kind=WORSENED), reference="1", key="k2")
        server.said[1] += [{"id": n, "body": f"chat {n}"} for n in range(60)]
        await desk.tell(event(kind=WORSENED), reference="1", key="k2")
        assert sum("worsened" in said for said in server.comments(1)) == 1


async def test_another_generation_or_another_key_is_another_matter() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        receipt = await desk.tell(event(generation="g2"), key="k2")
        assert receipt.thread == "2"
        again = await desk.tell(event(kind=REPEATED), key="k3")
        assert again.thread == "1"
        assert len(server.comments(1)) == 1


async def test_it_is_found_behind_hundreds_of_other_issues_but_no_pull_request_is_taken() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        labels = [{"name": "token-expiry"}]
        for n in range(120):
            server.add(f"other {n}", "", labels=labels)
        server.add("pull", server.issues[1]["body"], labels=labels, pull_request={"url": "x"})
        receipt = await desk.tell(event(kind=REPEATED), key="k2")
        assert receipt.thread == "1"


async def test_a_quotation_of_our_mark_in_another_repositorys_issue_is_never_touched() -> None:
    """The remembered number is checked: after a change of repository it is somebody else's issue."""
    async with FakeGithub() as server:
        foreign = server.add("somebody else's", "their words")
        receipt = await Desk(server).tell(reference="1")
        assert foreign["body"] == "their words"
        assert server.comments(1) == []
        assert receipt.thread == "2"


async def test_nothing_to_close_is_no_failure_and_opens_nothing() -> None:
    async with FakeGithub() as server:
        receipt = await Desk(server).tell(event(kind=RENEWED))
        assert receipt == Receipt(f"no issue was open in {REPOSITORY}: nothing to close")
        assert server.issues == {}


async def test_a_deleted_issue_is_opened_anew_while_the_matter_lasts() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.delete(1)
        assert (await desk.tell(event(kind=REPEATED), reference="1", key="k2")).thread == "2"
        server.delete(2)
        assert "nothing to close" in (await desk.tell(event(kind=RENEWED), reference="2", key="k3")).proof


async def test_a_transferred_issue_is_followed_and_remembered_by_its_old_number() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.add("moved here", server.issues[1]["body"])
        server.moved[1] = 2
        receipt = await desk.tell(event(kind=RENEWED), reference="1", key="k2")
        assert receipt.thread == "1"
        assert server.issues[2]["state"] == "closed"
        assert len(server.comments(2)) == 1


async def test_a_repository_that_was_renamed_keeps_its_issue_and_gets_its_new_ones() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.renamed = True
        assert (await desk.tell(event(kind=WORSENED), reference="1", key="k2")).thread == "1"
        assert (await desk.tell(event(generation="g2"), key="k3")).thread == "2"
        assert (await desk.tell(event(kind=RENEWED), reference="1", key="k4")).thread == "1"
        assert [issue["state"] for issue in server.issues.values()] == ["closed", "open"]
        assert len(server.comments(1)) == 2


@pytest.mark.parametrize(
    ("kind", "reason", "state"),
    [
        (REPEATED, "completed", "closed"),
        (WORSENED, "completed", "open"),
        (EventKind.RAISED, "completed", "open"),
        (WORSENED, "not_planned", "closed"),
    ],
)
async def test_who_closed_it_by_hand_is_heard_until_it_gets_worse(kind: EventKind, reason: str, state: str) -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.close(1, reason)
        await desk.tell(event(kind=kind), reference="1", key="k2")
        assert server.issues[1]["state"] == state
        assert len(server.comments(1)) == 1


async def test_a_locked_issue_is_kept_up_to_date_and_closed_without_a_comment() -> None:
    """The refusal is of this issue, not of the token: whatever else there is to tell must not wait for it."""
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.lock(1)
        receipt = await desk.tell(event(kind=REPEATED), reference="1", key="k2")
        assert receipt.proof.endswith("/issues/1 (it is locked: brought up to date without a comment)")
        over = event(kind=RENEWED, severity=Severity.HEALTHY, expires_at=EPOCH + timedelta(days=90))
        assert (await desk.tell(over, reference="1", key="k3")).thread == "1"
        assert server.issues[1]["state"] == "closed"
        assert server.comments(1) == []


async def test_what_grows_worse_in_a_locked_issue_is_given_up_there_so_that_others_tell_it() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        await desk.tell()
        server.lock(1)
        with pytest.raises(PermanentError, match=r"issue 1 is locked, unlock it: .*because issue is locked") as caught:
            await desk.tell(event(kind=WORSENED, severity=Severity.EXPIRED), reference="1", key="k2")
        assert not isinstance(caught.value, AuthError)
        assert server.issues[1]["title"].startswith("🚨 EXPIRED")


async def test_assignees_who_may_not_be_assigned_do_not_cost_the_issue() -> None:
    async with FakeGithub() as server:
        desk = Desk(server, assignees=["octocat", "nobody"])
        receipt = await desk.tell()
        assert server.issues[1]["assignees"] == []
    assert "nobody assigned: octocat, nobody may not be assigned there" in receipt.proof
    assert [line[1] for line in desk.log.lines] == ["github.assignees_refused"]


async def test_labels_that_were_dropped_are_told() -> None:
    async with FakeGithub() as server:
        server.labels_settable = False
        desk = Desk(server)
        assert "without its label 'token-expiry'" in (await desk.tell()).proof
    assert [line[1] for line in desk.log.lines] == ["github.label_refused"]


async def test_a_refused_token_is_told_and_not_quoted() -> None:
    async with FakeGithub() as server:
        with pytest.raises(AuthError, match=r"answered 401: .*Bad credentials") as caught:
            await Desk(server).send(threaded(), token="ghp_canary_wrong_token_000000000000")
        with pytest.raises(AuthError, match="the token in env TOKEN is not a token"):
            await Desk(server).send(threaded(), token="two\nlines")
    assert "canary" not in repr(caught.value)


async def test_a_repository_that_is_not_there_and_issues_that_are_off_are_for_a_person_to_mend() -> None:
    async with FakeGithub() as server:
        with pytest.raises(AuthError, match="acme/other: it does not exist, or the token may not see"):
            await Desk(server, repository="acme/other").tell()
        server.issues_enabled = False
        with pytest.raises(AuthError, match="issues are switched off"):
            await Desk(server).tell()


async def test_a_plain_403_is_a_refusal_and_not_a_rate_limit() -> None:
    async with FakeGithub() as server:
        server.faulty = Reply(403, '{"message": "Resource not accessible by personal access token"}')
        with pytest.raises(AuthError, match="Resource not accessible"):
            await Desk(server).tell()


async def test_other_refused_fields_are_permanent() -> None:
    async with FakeGithub() as server:
        server.faulty = Reply(422, '{"message": "Validation Failed", "errors": [{"field": "title"}]}')
        server.afflicts = lambda request: request.method == "POST"
        with pytest.raises(PermanentError) as caught:
            await Desk(server, assignees="octocat").tell()
    assert not isinstance(caught.value, AuthError)


@pytest.mark.parametrize("body", ["[]", "{}", '{"number": "1"}', "[" * 100_000, "null"])
async def test_json_of_another_shape_is_no_issue(body: str) -> None:
    async with FakeGithub() as server:
        server.faulty = Reply(201, body, content_type="application/json")
        server.afflicts = lambda request: request.method == "POST"
        with pytest.raises(TransientError):
            await Desk(server).tell()


async def test_a_message_without_thread_is_an_issue_of_its_own() -> None:
    async with FakeGithub() as server:
        desk = Desk(server)
        test = Message("key", "a test", "a test of this channel", "", Severity.INFO, True, EPOCH)
        assert (await desk.send(test)).thread == "1"
        assert (await desk.send(test)).thread == "1"
        assert "a test of this channel" in server.issues[1]["body"]


HOSTILE = st.one_of(st.text(max_size=300), st.sampled_from(["<!-- /expiryd -->", "@acme/all", "| x |\n| y |"]))


@settings(deadline=None, max_examples=80)
@given(HOSTILE, HOSTILE, st.integers(min_value=1, max_value=80))
def test_whatever_the_names_the_marks_stand_and_the_limits_hold(name: str, detail: str, many: int) -> None:
    traits = Traits(owner=detail, runbook=name, used_by=(name,) * 5, labels={name: detail})
    events = [event(name * 9, aspect=f"{name}{n}", detail=detail * 20, traits=traits) for n in range(many)]
    first = threaded(*events)
    marks = Marks.of(first)
    body = opening_body(first, marks, "@acme/infra")
    again = renewed_body(threaded(event(name, kind=WORSENED), key="k2"), marks, body)
    for text in (body, again):
        assert marks.own(text)
        assert marks.opened(text)
        assert text.count("<!-- /expiryd -->") == 1
        assert len(text) <= 65_536
        assert "@acme/all" not in text
    assert len(comment(first, marks, "")) <= 65_536
    assert 0 < len(title(first)) <= 256
    assert "\n" not in title(first)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"repository": "acme"}, "repository"),
        ({"repository": "acme/.."}, "repository"),
        ({"repository": "acme/a/b"}, "repository"),
        ({"token": "canary"}, "never written here"),
        ({"api_url": "http://ghe.example.org"}, "must be https"),
        ({"labels": []}, "labels"),
        ({"mention": "a b"}, "mention"),
        ({"assignees": ["a b"]}, "assignees"),
    ],
)
def test_a_wrong_key_is_explained_and_no_secret_is_quoted(config: dict[str, Any], says: str) -> None:
    known = {"type": "github-issue", "repository": REPOSITORY, "token": {"env": "TOKEN"}}
    with pytest.raises(ValidationError, match=says) as caught:
        GithubIssueConfig.model_validate({**known, **config})
    assert "canary" not in str(caught.value)
