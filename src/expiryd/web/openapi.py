"""The API's description (OpenAPI 3.1), made of the routes themselves so that it cannot name what does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from expiryd import __version__
from expiryd.core.model import Severity
from expiryd.web.route import Param, Right, Route

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Schema = {"type": "integer"}
_COUNT_OR_NULL: Schema = {"type": ["integer", "null"]}
_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_FLAG: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_SEVERITY: Schema = {"type": "string", "enum": [severity.word for severity in Severity]}
_STATUS: Schema = {"type": "string", "enum": ["healthy", "warning", "critical", "unavailable"]}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(name: str) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


_COUNTS = _object(total=_COUNT, **{severity.word: _COUNT for severity in reversed(Severity)})
_ITEM: dict[str, Schema] = {
    **dict.fromkeys(("item", "collector", "category", "kind", "title", "owner", "runbook", "action"), _TEXT),
    "severity": _SEVERITY,
    "days_left": _COUNT_OR_NULL,
    **dict.fromkeys(("expires_at", "issued_at", "observed_at", "first_seen"), _TIME),
    "basis": _TEXT_OR_NULL,
    "generation": _TEXT,
    "findings": {"type": "array", "items": _object(code=_TEXT, severity=_SEVERITY, detail=_TEXT)},
    "measures": {
        "type": "array",
        "items": _object(
            name=_TEXT, value=_NUMBER_OR_NULL, unit=_TEXT, warning=_NUMBER_OR_NULL, critical=_NUMBER_OR_NULL
        ),
    },
    "used_by": _TEXTS,
    "places": _TEXTS,
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "past": {
        "type": "array",
        "items": _object(generation=_TEXT, **dict.fromkeys(("first_seen", "last_seen", "expires_at"), _TIME)),
    },
    "took": {"type": "array", "items": {"type": "number"}},
}
SCHEMAS: dict[str, Schema] = {
    "Error": _object(error=_TEXT),
    "Item": _object(**_ITEM),
    "Items": _object(items=_list("Item"), next=_TEXT_OR_NULL),
    "ItemWithAlerts": _object(**_ITEM, alerts=_list("Alert")),
    "Alert": _object(
        **dict.fromkeys(("id", "item", "aspect", "generation", "title", "detail", "category"), _TEXT),
        **dict.fromkeys(("owner", "runbook", "action"), _TEXT),
        severity=_SEVERITY,
        state={"type": "string", "enum": ["owed", "told"]},
        days_left=_COUNT_OR_NULL,
        **dict.fromkeys(("expires_at", "opened_at", "asked_at", "told_at", "silenced_until"), _TIME),
        acknowledged={
            **_object(actor=_TEXT, at=_TIME, reason=_TEXT, until=_TIME, until_renewed=_FLAG),
            "type": ["object", "null"],
        },
    ),
    "Alerts": _object(alerts=_list("Alert"), next=_TEXT_OR_NULL),
    "Silence": _object(
        **dict.fromkeys(("id", "matches", "actor", "reason"), _TEXT),
        matchers=_OBJECT,
        state={"type": "string", "enum": ["pending", "active", "over"]},
        **dict.fromkeys(("starts_at", "ends_at", "created_at"), _TIME),
    ),
    "TrailLine": _object(
        **dict.fromkeys(("seq", "entry"), _COUNT),
        at=_TIME,
        **dict.fromkeys(("actor", "action", "item", "prev", "hash"), _TEXT),
        detail=_OBJECT,
    ),
    "Trail": _object(lines=_list("TrailLine"), next=_COUNT_OR_NULL),
    "Notification": _object(
        at=_TIME,
        **dict.fromkeys(("notifier", "subject"), _TEXT),
        severity=_SEVERITY,
        events=_COUNT,
        about={
            "type": "array",
            "items": _object(**dict.fromkeys(("kind", "item", "aspect", "rung"), _TEXT), severity=_SEVERITY),
        },
    ),
    "Forecast": _object(notifications=_list("Notification"), days=_COUNT),
    "Silences": _object(silences=_list("Silence")),
    "Event": _object(
        id=_COUNT,
        **dict.fromkeys(("kind", "item", "aspect", "generation", "title", "detail", "owner", "category"), _TEXT),
        **dict.fromkeys(("severity", "before"), _SEVERITY),
        **dict.fromkeys(("at", "expires_at"), _TIME),
        places=_TEXTS,
        deliveries={"type": "array", "items": _object(notifier=_TEXT, fate=_TEXT, note=_TEXT)},
    ),
    "Events": _object(events=_list("Event"), next=_COUNT_OR_NULL),
    "Collector": _object(
        **dict.fromkeys(("name", "type", "category", "reason"), _TEXT),
        **dict.fromkeys(("schedule", "outcome"), _TEXT_OR_NULL),
        **dict.fromkeys(("every_seconds", "took_seconds"), _NUMBER_OR_NULL),
        **dict.fromkeys(("last_look", "last_complete", "next_look", "overdue_since"), _TIME),
        looking=_FLAG,
        items=_COUNT_OR_NULL,
    ),
    "Collectors": _object(collectors=_list("Collector")),
    "Notifier": _object(
        **dict.fromkeys(("name", "type", "reason"), _TEXT),
        trouble=_TEXT_OR_NULL,
        failures=_COUNT,
        **dict.fromkeys(("resume_at", "last_delivery"), _TIME),
        parcels={"type": ["object", "null"], "additionalProperties": _COUNT},
    ),
    "Notifiers": _object(notifiers=_list("Notifier")),
    "Status": _object(
        **dict.fromkeys(("version", "config", "reload_error", "store_error"), _TEXT),
        status=_STATUS,
        started_at=_TIME,
        uptime=_COUNT,
        items=_COUNTS,
        alerts={"type": "object", "additionalProperties": _COUNT},
        collectors=_list("Collector"),
        notifiers=_list("Notifier"),
    ),
    "Health": _object(
        overall=_STATUS,
        timestamp=_COUNT,
        uptime=_COUNT,
        checks={
            "type": "array",
            "items": _object(
                name=_TEXT,
                status=_STATUS,
                message=_TEXT,
                timestamp=_COUNT,
                duration={"type": "number"},
                details=_OBJECT,
            ),
        },
        performance=_object(executionMetrics=_OBJECT, resourceMetrics=_OBJECT, reliabilityMetrics=_OBJECT),
        alerts=_list("Alert"),
        recommendations=_TEXTS,
        items=_COUNTS,
    ),
}


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "expiryd", "version": __version__, "description": "What can stop working, and when."},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    refused = {400: "What is asked is wrong, and how."} if route.query is not None or route.body else {}
    if route.right is not None:
        refused |= {401: "A token is needed, or this one is not known.", 403: "The caller may not."}
    fine = {"description": "The answer.", "content": {route.media: {"schema": _schema(route)}}}
    others = {**refused, **route.answers}
    return {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "description": _who(route.right),
        "parameters": [*_in_path(route.path), *_in_query(route.query or ())],
        "security": [{"token": []}, {}] if route.right in (None, Right.READ) else [{"token": []}],
        **({"requestBody": _body(route.body)} if route.body else {}),
        "responses": {"200": fine, **{str(code): _other(text, code, route) for code, text in others.items()}},
    }


def _body(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema()
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _schema(route: Route) -> Schema:
    if route.schema:
        return {"$ref": f"#/components/schemas/{route.schema}"}
    return _TEXT if route.media.startswith("text/") else _OBJECT


def _other(text: str, code: int, route: Route) -> dict[str, Any]:
    own = code in route.answers and route.media.startswith("text/")
    media, schema = ("text/plain", _TEXT) if own else ("application/json", {"$ref": "#/components/schemas/Error"})
    return {"description": text, "content": {media: {"schema": schema}}}


def _in_path(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]


def _in_query(params: Sequence[Param]) -> list[dict[str, Any]]:
    return [{"name": p.name, "in": "query", "description": p.text, "schema": _values(p)} for p in params]


def _values(param: Param) -> Schema:
    if param.most:
        return {"type": "integer", "minimum": 1, "maximum": param.most}
    one: Schema = {"type": "string", "enum": list(param.values)} if param.values else _TEXT
    return {"type": "array", "items": one} if param.many else one


def _who(right: Right | None) -> str:
    return "For everybody." if right is None else f"Needs the right to {right.value}."
