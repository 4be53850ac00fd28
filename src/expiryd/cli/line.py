"""The line to the running daemon: HTTP over the unix socket in its state directory."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from expiryd.cli.exits import Exit, Stop

PATIENCE = 30.0
"""Seconds that an answer may take; a verb that waits for work to end gives its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and the body: of JSON as values, else as text."""

    status: int
    body: Any

    @property
    def problem(self) -> str:
        """What the daemon says is wrong."""
        said = self.body.get("error") if isinstance(self.body, dict) else self.body
        return str(said or f"it answered with status {self.status}")


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, patience: float | None) -> None:
        super().__init__("localhost", timeout=patience)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Line:
    """Asks the daemon that listens on `path`."""

    path: Path

    def ask(
        self,
        method: str,
        target: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        patience: float | None = PATIENCE,
    ) -> Answer:
        """Whatever it answers. Raises Stop when it cannot be asked: no daemon (1), or not allowed to (3)."""
        given = {key: value for key, value in (query or {}).items() if value is not None and value != ()}
        connection = _UnixConnection(self.path, patience)
        try:
            connection.request(
                method,
                target + (f"?{urlencode(given, doseq=True)}" if given else ""),
                None if body is None else json.dumps(body),
                {} if body is None else {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return Answer(response.status, _read(response.read(), response.headers.get_content_type()))
        except PermissionError:
            hint = "run it with sudo, or join the group that may operate the daemon (docs/operations.md)"
            raise Stop(Exit.DENIED, f"{self.path}: permission denied; {hint}") from None
        except TimeoutError:
            raise Stop(Exit.ERROR, f"the daemon behind {self.path} did not answer within {patience:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            hint = "start it with `expiryd run`, or name its config with -c"
            raise Stop(Exit.ERROR, f"no daemon answers on {self.path}: {hint}") from None
        except (OSError, HTTPException, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            raise Stop(Exit.ERROR, f"the daemon behind {self.path} broke off: {why}") from None
        finally:
            connection.close()

    def get(self, target: str, query: Mapping[str, Any] | None = None) -> Any:
        """The body of a good answer. Raises Stop with the daemon's own words for any other."""
        return self.expect(self.ask("GET", target, query))

    def expect(self, answer: Answer) -> Any:
        if answer.status == 200:
            return answer.body
        code = {401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND}.get(answer.status, Exit.ERROR)
        raise Stop(code, answer.problem)

    def pages(self, target: str, query: Mapping[str, Any], *, turn: str = "cursor") -> Iterator[Any]:
        """Every entry of a list, which comes in pages; `turn` is the key of the query that asks for the next one."""
        onward = None
        while True:
            page = self.get(target, {"limit": 1000, **query, turn: onward})
            yield from page[target.rpartition("/")[2]]
            onward = page.get("next")
            if onward is None:
                return


def _read(body: bytes, kind: str) -> Any:
    text = body.decode(errors="replace")
    return json.loads(text) if kind == "application/json" and text.strip() else text.strip()
