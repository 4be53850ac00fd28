"""Cuts a big OpenAPI 3.0 description down to what a test needs, and mends what makes its judge fall silent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]
_COMPONENTS = "#/components/"


def cut(document: Document, paths: Iterable[str]) -> Document:
    """The document with these paths only, and those components they refer to, near or far."""
    kept: Document = {key: document[key] for key in ("openapi", "info", "servers")}
    kept["paths"] = {path: document["paths"][path] for path in paths}
    kept["components"] = {}
    waiting: list[Any] = [kept["paths"]]
    while waiting:
        for reference in _references(waiting.pop()):
            kind, name = reference.removeprefix(_COMPONENTS).split("/")
            section = kept["components"].setdefault(kind, {})
            if name not in section:
                section[name] = document["components"][kind][name]
                waiting.append(section[name])
    return kept


def mend_nullable(node: Any) -> Any:
    """`nullable` beside no `type` as a choice of null.

    OpenAPI 3.0.3 gives it no meaning there, and prism's validator then fails to compile the schema and takes any body.
    """
    if isinstance(node, list):
        return [mend_nullable(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    mended = {key: mend_nullable(value) for key, value in node.items()}
    if mended.get("nullable") is True and "type" not in mended:
        del mended["nullable"]
        return {"anyOf": [mended, {"enum": [None]}]}
    return mended


def judging_requests(document: Document) -> Document:
    """Without what answers look like, and with every field of a body that the document does not name forbidden."""
    return {**document, "paths": {path: _strict(operations) for path, operations in document["paths"].items()}}


def answering_with(media_type: str, document: Document) -> Document:
    """With answers of this type where the description says `application/json` only: servers often take both names."""
    renamed: Document = _renamed(document, "application/json", media_type)
    return renamed


def _renamed(node: Any, old: str, new: str) -> Any:
    if isinstance(node, list):
        return [_renamed(entry, old, new) for entry in node]
    if not isinstance(node, dict):
        return node
    return {
        new if key == old else key: value if key == "requestBody" else _renamed(value, old, new)
        for key, value in node.items()
    }


def _strict(operations: Document) -> Document:
    return {method: _strict_operation(operation) for method, operation in operations.items()}


def _strict_operation(operation: Document) -> Document:
    strict = {**operation, "responses": {"default": {"description": "whatever it answers"}}}
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        closed = {"schema": {**schema, "additionalProperties": False}}
        strict["requestBody"] = {**operation["requestBody"], "content": {"application/json": closed}}
    return strict


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, list):
        for entry in node:
            yield from _references(entry)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
