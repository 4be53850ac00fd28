"""The issues API of one GitHub repository, with state: what it took is what it lists, also when it never answered."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web
from tests.fakes.http import FakeHttp

REPOSITORY = "acme/infra"
TOKEN = "ghp_canary7f3a91c2d4e5f60718293a4b5c6d7e8f"


class FakeGithub(FakeHttp):
    """`issues` by number, each with its `comments` list. People's hands: `close`, `delete`, `lock`."""

    def __init__(self) -> None:
        super().__init__()
        self.issues: dict[int, dict[str, Any]] = {}
        self.said: dict[int, list[dict[str, Any]]] = {}
        self.assignable: set[str] = {"octocat"}
        self.labels_settable = True
        self.issues_enabled = True
        self.moved: dict[int, int] = {}
        """Old number to the number in the repository `/repositories/2`."""
        self.renamed = False
        """The repository answers under `/repositories/2` alone, and elsewhere says so."""
        self._next = 1

    def add(self, title: str, body: str, **fields: Any) -> dict[str, Any]:
        """An issue of somebody else's."""
        number = self._next
        self._next += 1
        self.said[number] = []
        self.issues[number] = {
            "number": number,
            "title": title,
            "body": body,
            "state": "open",
            "state_reason": None,
            "labels": [],
            "assignees": [],
            "html_url": f"https://github.com/{REPOSITORY}/issues/{number}",
            **fields,
        }
        return self.issues[number]

    def close(self, number: int, reason: str = "completed") -> None:
        self.issues[number] |= {"state": "closed", "state_reason": reason}

    def lock(self, number: int) -> None:
        self.issues[number]["locked"] = True

    def delete(self, number: int) -> None:
        del self.issues[number]

    def comments(self, number: int) -> list[str]:
        return [entry["body"] for entry in self.said[number]]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _problem(401, "Bad credentials")
        if not self.issues_enabled:
            return _problem(410, "Issues are disabled for this repo")
        found = re.fullmatch(rf"/(?:repos/{REPOSITORY}|repositories/2)/issues(?:/(\d+))?(/comments)?", request.path)
        if not found:
            return _problem(404, "Not Found")
        if self.renamed and request.path.startswith("/repos/"):
            target = request.path_qs.replace(f"/repos/{REPOSITORY}", "/repositories/2", 1)
            return web.Response(status=301 if request.method == "GET" else 307, headers={"Location": self.url + target})
        if found[1] is None:
            return self._list(request) if request.method == "GET" else self._create(json.loads(await request.read()))
        number = int(found[1])
        if number in self.moved and request.path.startswith("/repos/"):
            target = request.path_qs.replace(
                f"/repos/{REPOSITORY}/issues/{number}", f"/repositories/2/issues/{self.moved[number]}"
            )
            return web.Response(status=301, headers={"Location": self.url + target})
        if number not in self.issues:
            return _problem(410 if number < self._next else 404, "This issue was deleted")
        if found[2]:
            return await self._comments(request, number)
        return await self._issue(request, number)

    def _list(self, request: web.Request) -> web.Response:
        label = request.query.get("labels", "").casefold()
        found = [
            issue
            for issue in self.issues.values()
            if not label or label in {entry["name"].casefold() for entry in issue["labels"]}
        ]
        found.sort(key=lambda issue: issue["number"], reverse=request.query.get("direction") != "asc")
        return web.json_response(_paged(request, [self._shown(issue) for issue in found]))

    def _create(self, wanted: dict[str, Any]) -> web.Response:
        strangers = set(wanted.get("assignees", ())) - self.assignable
        if strangers:
            errors = [{"value": sorted(strangers), "resource": "Issue", "field": "assignees", "code": "invalid"}]
            return _problem(422, "Validation Failed", errors)
        if len(wanted["title"]) > 256 or len(wanted["body"]) > 65536:
            return _problem(422, "Validation Failed", [{"resource": "Issue", "field": "body", "code": "custom"}])
        labels = [{"name": name} for name in wanted.get("labels", ())] if self.labels_settable else []
        assignees = [{"login": name} for name in wanted.get("assignees", ())]
        issue = self.add(wanted["title"], wanted["body"], labels=labels, assignees=assignees)
        return web.json_response(self._shown(issue), status=201)

    async def _issue(self, request: web.Request, number: int) -> web.Response:
        if request.method == "PATCH":
            wanted = json.loads(await request.read())
            assert set(wanted) <= {"title", "body", "state", "state_reason"}, wanted
            if wanted.get("state") == "open":
                wanted["state_reason"] = "reopened"
            self.issues[number] |= wanted
        return web.json_response(self._shown(self.issues[number]))

    async def _comments(self, request: web.Request, number: int) -> web.Response:
        if request.method == "GET":
            return web.json_response(_paged(request, self.said[number]))
        if self.issues[number].get("locked"):
            return _problem(403, "Unable to create comment because issue is locked.")
        wanted = json.loads(await request.read())
        entry = {"id": len(self.said[number]) + 1, "body": wanted["body"]}
        self.said[number].append(entry)
        return web.json_response(entry, status=201)

    def _shown(self, issue: dict[str, Any]) -> dict[str, Any]:
        return {**issue, "comments": len(self.said[issue["number"]])}


def _paged(request: web.Request, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size, page = int(request.query.get("per_page", 30)), int(request.query.get("page", 1))
    assert size <= 100
    return entries[(page - 1) * size : page * size]


def _problem(status: int, words: str, errors: list[dict[str, Any]] | None = None) -> web.Response:
    return web.json_response({"message": words, **({"errors": errors} if errors else {})}, status=status)
