"""The OpenAPI description of the service, as data."""

from __future__ import annotations

from typing import Any

import edgedefend
from edgedefend.serving.answers import MAX_DRAWS, MAX_PICTURES
from edgedefend.suspicion import DRAWS

__all__ = ["describe"]

Schema = dict[str, Any]

_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TEXT: Schema = {"type": "string"}
_YES: Schema = {"type": "boolean"}
_MAYBE: Schema = {"type": ["number", "null"]}
_BINARY: Schema = {"type": "string", "format": "binary", "minLength": 1}
_IMAGES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "application/octet-stream")


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _list(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_ANSWER = _object({"index": _COUNT, "label": _TEXT, "score": {"type": "number", "minimum": 0, "maximum": 1}})
_PREDICTION = {
    "image": _TEXT,
    "label": _TEXT,
    "score": {"type": "number", "minimum": 0, "maximum": 1},
    "top": _list(_ANSWER, minItems=1),
    "draws": _COUNT,
    "agreement": {"type": "number", "minimum": 0, "maximum": 1, "description": "Draws that say the same."},
    "stage_ms": {"type": "object", "additionalProperties": _NUMBER, "description": "Milliseconds by stage."},
    "bundle": {"type": "string", "description": "SHA-256 of the bundle."},
}
_SUSPICION: dict[str, Schema] = {
    "suspicion": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1,
        "description": "How far the draws and the undefended answer disagree; null: there was nothing to compare.",
    },
    "suspicious": {
        "type": ["boolean", "null"],
        "description": "Whether that is more than clean pictures rarely reach; null: this bundle knows no threshold.",
    },
}
_PAIR = _list({"type": "integer"}, minItems=2, maxItems=2)
_STAGES = {
    **_PREDICTION,
    "undefended": _list(_ANSWER, minItems=1),
    "pictures": _object({"original": _TEXT, "quantised": _TEXT}),
    "each": _list(
        _object(
            {
                "picture": {"type": "string", "description": "Base64 PNG."},
                "cells": _object({"rows": _list(_PAIR), "columns": _list(_PAIR)}),
                "top": _list(_ANSWER, minItems=1),
            }
        ),
        minItems=1,
    ),
}
_MODEL = {
    "model": _TEXT,
    "precision": _TEXT,
    "weights": _TEXT,
    "bundle": _TEXT,
    "input": _object({"height": _COUNT, "width": _COUNT, "resize": _TEXT}),
    "classes": _COUNT,
    "labels": _list(_TEXT),
    "defense": _object(
        {
            "quant_table": _list(_list(_NUMBER)),
            "num_steps": _COUNT,
            "distort_limit": _NUMBER,
            "passes": _COUNT,
            "noise_std": _NUMBER,
            "draws": _COUNT,
            "undefended_vote": _NUMBER,
            "milder_vote": {
                "type": ["object", "null"],
                "description": "Draws with less noise that vote beside the others: share, noise_std, draws.",
            },
        }
    ),
    "suspicion": {"type": ["object", "null"], "description": "The threshold, and how it was learned."},
    "backend": _TEXT,
    "workers": _COUNT,
    "threads": _COUNT,
    "limits": _object({"draws": _COUNT, "pictures": _COUNT, "top": _COUNT}),
    "version": _TEXT,
}
_STATUS = {
    "uptime_s": _NUMBER,
    "answers": _COUNT,
    "answers_last_minute": _COUNT,
    "p50_ms": _MAYBE,
    "p95_ms": _MAYBE,
    "refused": _COUNT,
    "bad_requests": _COUNT,
    "queue": _COUNT,
    "queue_places": _COUNT,
    "workers": _COUNT,
    "busy": _COUNT,
    "dropped": _COUNT,
    "temperature_c": _MAYBE,
    "temperatures": _list(_list(_NUMBER, minItems=2, maxItems=2)),
    "throttled": {"type": ["array", "null"], "items": _TEXT},
}
_HEALTH = {
    "ok": _YES,
    "bundle": _TEXT,
    "model": _TEXT,
    "precision": _TEXT,
    "version": _TEXT,
    "backend": _TEXT,
    "uptime_s": _NUMBER,
    "answers": _COUNT,
    "last_answer_ms": _MAYBE,
}
_READY = {"ready": _YES, "reason": {"type": ["string", "null"]}}


def _answers_of(description: str, answer: Schema, errors: dict[int, str]) -> dict[str, Schema]:
    error = {"$ref": "#/components/schemas/Error"}
    retry = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
    answers = {"200": answer | {"description": description}}
    for status, reason in errors.items():
        answers[str(status)] = _json(error, reason) | ({"headers": retry} if status == 503 else {})
    return answers


def _switch(name: str, default: str, description: str) -> Schema:
    schema = {"type": "string", "enum": ["on", "off", "true", "false", "1", "0"], "default": default}
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _options(classes: int, max_draws: int, *, switches: bool) -> list[Schema]:
    options: list[Schema] = [
        {
            "name": "draws",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": max_draws},
            "description": "Random draws of the defence whose probabilities are averaged; by default as many as the "
            "bundle says (`defense.draws` of /v1/model).",
        },
        {
            "name": "top",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": classes, "default": min(5, classes)},
            "description": "How many classes to return.",
        },
    ]
    if switches:
        options += [
            _switch("defense", "on", "Off shows what the bare model says; there are no draws then."),
            _switch(
                "suspicion",
                "off",
                "On tells how far the draws and the undefended answer disagree: one more run of the model. "
                f"Without `draws` there are then at least {DRAWS}; a single draw, or no defence, leaves nothing to "
                "compare.",
            ),
        ]
    return options


def _picture_of(options: list[Schema]) -> Schema:
    fields: Schema = {"image": _BINARY, **{option["name"]: option["schema"] for option in options}}
    form = {"type": "object", "required": ["image"], "properties": fields, "additionalProperties": False}
    return {
        "required": True,
        "description": "JPEG, PNG, WebP or BMP, at most 16 MB and 32 million pixels: as it is, or as a file of a form.",
        "content": {
            **{kind: {"schema": _BINARY} for kind in _IMAGES},
            "multipart/form-data": {"schema": form},
        },
    }


def describe(classes: int, *, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    Parameters
    ----------
    classes : int
        How many the model has.
    secured : bool
        Whether the service asks for a token.
    """
    secret = {401: "The token is missing or wrong."} if secured else {}
    stranger = {403: "Asked under another host's name, or by another site's page."}
    asking = {
        400: "The image or an option cannot be used.",
        408: "The body has not arrived in time.",
        413: "More than 16 MB.",
        431: "The head is too long.",
        503: "All places are taken.",
        **stranger,
        **secret,
    }
    reading = {**stranger, **secret}
    public: Schema = {"security": []} if secured else {}

    def get(name: str, summary: str, answer: Schema, errors: dict[int, str], more: Schema | None = None) -> Schema:
        responses = _answers_of(summary, answer, errors)
        return {"get": {"operationId": name, "summary": summary, "responses": responses, **(more or {})}}

    def post(name: str, summary: str, answer: Schema, max_draws: int) -> Schema:
        options = _options(classes, max_draws, switches=name == "classify")
        return {
            "post": {
                "operationId": name,
                "summary": summary,
                "parameters": options,
                "requestBody": _picture_of(options),
                "responses": _answers_of(summary, _json(_object(answer, _SUSPICION), ""), asking),
            }
        }

    def plain(*kinds: str) -> Schema:
        return {"description": "", "content": {kind: {"schema": _TEXT} for kind in kinds}}

    health, ready = _json(_object(_HEALTH), ""), _json(_object(_READY), "")
    paths = {
        "/v1/classify": post("classify", "Classify one image behind the defence.", _PREDICTION, MAX_DRAWS),
        "/v1/stages": post("stages", "Classify one image, and return the pictures on the way.", _STAGES, MAX_PICTURES),
        "/v1/model": get("model", "What runs.", _json(_object(_MODEL), ""), reading),
        "/v1/status": get("status", "How the service is doing.", _json(_object(_STATUS), ""), reading),
        "/healthz": get("healthz", "Whether the service lives.", health, stranger, public),
        "/readyz": get("readyz", "Whether a picture would be taken now.", ready, stranger, public),
        "/metrics": get("metrics", "Counters in Prometheus' text format.", plain("text/plain"), reading),
        "/openapi.json": get("openapi", "This document.", _json({"type": "object"}, ""), stranger, public),
        "/": get("page", "The page.", plain("text/html"), stranger, public),
    }
    for path, answer in (("/healthz", health), ("/readyz", ready)):
        paths[path]["get"]["responses"]["503"] = answer | {"description": "No."}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "edgedefend",
            "version": edgedefend.__version__,
            "description": "An image classifier behind a preprocessing defence against adversarial examples.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _object({"error": _TEXT})}},
    }
    if secured:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document
