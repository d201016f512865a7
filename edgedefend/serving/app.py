"""The routes: what is asked, handed to the pool, and answered.

``POST /v1/classify`` answers what ``edgedefend classify --json`` prints; ``POST /v1/stages`` adds the pictures on the
way; ``GET /v1/model`` and ``/v1/status`` say what runs and how; ``/healthz``, ``/readyz`` and ``/metrics`` are for
machines, ``/openapi.json`` describes them all, and ``/`` is the page. What goes wrong is raised: `guard` answers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

import edgedefend
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.serving.answers import MAX_DRAWS, MAX_PICTURES, Options, classify_picture, show_stages
from edgedefend.serving.guard import Guard
from edgedefend.serving.metrics import Metrics
from edgedefend.serving.openapi import describe
from edgedefend.serving.pool import DroppedError, FullError, Pool
from edgedefend.serving.requests import BodyBudget, busy, parse_options, read_picture
from edgedefend.serving.sensors import Sensors

__all__ = ["Service", "make_app"]

PAGE = Path(__file__).with_name("page")
_PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# A client that goes away is noticed from here on; most answers are there before.
_IMPATIENCE = 0.1

Answer = Callable[[Classifier, bytes, Options], dict[str, Any]]


async def _until_gone(request: Request) -> dict[str, Any]:
    """Return once the client has gone; its body has been read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return {}


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return (json.dumps(content, ensure_ascii=False) + "\n").encode()


@dataclass
class Service:
    """What the routes share.

    `runtime` names backend and version of the interpreters. `stopping` is set before the pool closes.
    """

    bundle: Bundle
    pool: Pool
    sensors: Sensors
    metrics: Metrics
    runtime: str
    threads: int
    secured: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self.bodies = BodyBudget()

    async def _in_the_pool(self, request: Request, answer: Answer, body: bytes, options: Options) -> dict[str, Any]:
        """Let a worker do it; a client that goes away meanwhile takes its place in the queue with it."""
        try:
            future = asyncio.wrap_future(self.pool.submit(lambda classifier: answer(classifier, body, options)))
        except FullError:
            raise busy() from None
        done, _ = await asyncio.wait({future}, timeout=_IMPATIENCE)
        if not done:
            gone = asyncio.ensure_future(_until_gone(request))
            try:
                await asyncio.wait({future, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
            if not future.done():
                future.cancel()
                raise ClientDisconnect
        try:
            return future.result()
        except DroppedError:
            raise busy("the image has waited too long for its turn: try again") from None

    async def answer(self, request: Request, answer: Answer, max_draws: int, *names: str) -> Response:
        """Read a picture and its options, a form's before those of the query, and answer what a worker says."""
        parse = partial(
            parse_options,
            classes=len(self.bundle.labels),
            default_draws=self.bundle.draws,
            max_draws=max_draws,
            names=names,
        )
        # Options and queue first: who is refused anyway need not send a picture.
        pairs = request.query_params.multi_items()
        options = parse(pairs)
        if self.pool.full:
            raise busy()
        body = await self.bodies.read(request)
        try:
            picture, fields = await read_picture(request, body)
            if fields:
                given = {name for name, _ in fields}
                options = parse([*(pair for pair in pairs if pair[0] not in given), *fields])
            record = await self._in_the_pool(request, answer, picture, options)
        finally:
            self.bodies.release(len(body))
        self.metrics.note_answer(record["stage_ms"])
        return _Json(record)

    async def classify(self, request: Request) -> Response:
        """``POST /v1/classify``."""
        return await self.answer(request, classify_picture, MAX_DRAWS, "draws", "top", "defense", "suspicion")

    async def stages(self, request: Request) -> Response:
        """``POST /v1/stages``: as classify, with the pictures."""
        return await self.answer(request, show_stages, MAX_PICTURES, "draws", "top")

    async def model(self, request: Request) -> Response:
        """``GET /v1/model``: what runs."""
        bundle = self.bundle
        return _Json(
            {
                "model": bundle.model_name,
                "precision": bundle.precision,
                "weights": bundle.weights,
                "bundle": bundle.sha256,
                "input": {
                    "height": bundle.input.height,
                    "width": bundle.input.width,
                    "resize": bundle.input.resize,
                },
                "classes": len(bundle.labels),
                "labels": list(bundle.labels),
                "defense": {
                    "quant_table": bundle.quant_table.tolist(),
                    "num_steps": bundle.num_steps,
                    "distort_limit": bundle.distort_limit,
                    "passes": bundle.passes,
                    "noise_std": bundle.noise_std,
                    "draws": bundle.draws,
                    "undefended_vote": bundle.vote.share if bundle.vote.undefended else 0.0,
                    "milder_vote": asdict(bundle.vote) if bundle.vote.milder else None,
                },
                "suspicion": None if bundle.suspicion is None else bundle.suspicion.as_json(),
                "backend": self.runtime,
                "workers": self.pool.size,
                "threads": self.threads,
                "limits": {"draws": MAX_DRAWS, "pictures": MAX_PICTURES, "top": len(bundle.labels)},
                "version": edgedefend.__version__,
            }
        )

    async def status(self, request: Request) -> Response:
        """``GET /v1/status``: how it is doing, for the page."""
        sensors = self.sensors
        return _Json(
            {
                **self.metrics.summary(),
                "queue": self.pool.waiting,
                "queue_places": self.pool.places - self.pool.size,
                "workers": self.pool.size,
                "busy": self.pool.busy,
                "dropped": self.pool.dropped,
                "temperature_c": sensors.temperature,
                "temperatures": sensors.history(),
                "throttled": sensors.throttled,
            }
        )

    def health(self) -> dict[str, Any]:
        """Return what ``/healthz`` answers; ``ok`` is false when an interpreter does not come back."""
        bundle, last = self.bundle, self.metrics.last_ms
        return {
            "ok": not self.pool.stuck(),
            "bundle": bundle.sha256,
            "model": bundle.model_name,
            "precision": bundle.precision,
            "version": edgedefend.__version__,
            "backend": self.runtime,
            "uptime_s": self.metrics.summary()["uptime_s"],
            "answers": self.metrics.answers,
            "last_answer_ms": None if last is None else round(last, 3),
        }

    async def healthz(self, request: Request) -> Response:
        """``GET /healthz``: does it live?"""
        health = self.health()
        return _Json(health, HTTPStatus.OK if health["ok"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def readyz(self, request: Request) -> Response:
        """``GET /readyz``: would a picture be taken now?"""
        reasons = {
            "stopping": self.stopping,
            "an interpreter does not come back": self.pool.stuck(),
            "all places are taken": self.pool.full,
        }
        for reason, holds in reasons.items():
            if holds:
                return _Json({"ready": False, "reason": reason}, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        return _Json({"ready": True, "reason": None})

    async def prometheus(self, request: Request) -> Response:
        """``GET /metrics``."""
        # A scrape reads /proc and every counter: not in the thread that everybody waits for.
        text = await asyncio.to_thread(self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """``GET /openapi.json``."""
        return _Json(describe(len(self.bundle.labels), secured=self.secured))


async def _page_file(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, media_type=f"{kind}; charset=utf-8", headers={"Cache-Control": "no-cache"})


def _page_routes() -> list[Route]:
    """Return a route for each file of the page, read once: no path of a request ever becomes a path of a file."""
    routes = []
    for file in sorted(PAGE.iterdir()):
        if (kind := _PAGE_TYPES.get(file.suffix)) is None:
            continue
        path = "/" if file.name == "index.html" else f"/page/{file.name}"
        routes.append(Route(path, partial(_page_file, file.read_bytes(), kind), methods=["GET"]))
    return routes


def make_app(service: Service, *, loopback: bool, token: str | None, report: Callable[[str], object]) -> ASGIApp:
    """Return the ASGI application.

    Parameters
    ----------
    service : Service
    loopback, token, report
        See `edgedefend.serving.guard.Guard`.
    """
    service.secured = token is not None
    routes = [
        Route("/v1/classify", service.classify, methods=["POST"]),
        Route("/v1/stages", service.stages, methods=["POST"]),
        Route("/v1/model", service.model, methods=["GET"]),
        Route("/v1/status", service.status, methods=["GET"]),
        Route("/healthz", service.healthz, methods=["GET"]),
        Route("/readyz", service.readyz, methods=["GET"]),
        Route("/metrics", service.prometheus, methods=["GET"]),
        Route("/openapi.json", service.openapi, methods=["GET"]),
        *_page_routes(),
    ]
    service.metrics.know_paths(frozenset(route.path for route in routes))

    @contextlib.asynccontextmanager
    async def lifespan(app: Router) -> Any:
        yield
        service.stopping = True
        await asyncio.to_thread(service.pool.close)
        service.sensors.close()

    # Without Starlette's own handling of errors around it: that of `guard` leaves nothing over.
    app = Router(routes, redirect_slashes=False, lifespan=lifespan)
    return Guard(app, service.metrics, loopback=loopback, token=token, report=report)
