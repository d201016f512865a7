"""Listening: sockets, TLS, systemd, and the end.

uvicorn's loop looks round ten times a second (`on_tick`); connections that take too long and systemd's watchdog are
seen to there, in the one thread that answers: if it hangs, the watchdog is not fed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn

from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.device import Device
from edgedefend.errors import DeviceError, InputError
from edgedefend.notify import notify, watchdog_interval
from edgedefend.serving.access import is_loopback
from edgedefend.serving.app import Service, make_app
from edgedefend.serving.metrics import Metrics
from edgedefend.serving.pool import Pool
from edgedefend.serving.protocol import REQUEST_SECONDS, GuardedProtocol
from edgedefend.serving.sensors import Sensors

__all__ = ["Server", "keep_decoders_quiet", "listen", "make_service"]

_BACKLOG = 128


def keep_decoders_quiet() -> None:
    """Let nothing but Python write to standard error from now on.

    libpng, libjpeg and OpenCV write a line or more there about every damaged picture, and nothing but the file
    descriptor can be asked to keep still: any client could fill the journal. What Python has to say still gets there.
    """
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 takes a free one.

    Raises
    ------
    DeviceError
        If the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise DeviceError(
            f"cannot listen on {host} port {port}: {error.strerror or error}: is another service running there?"
        ) from error


def make_service(
    bundle: Bundle,
    *,
    workers: int = 1,
    threads: int | None = None,
    backend: str | None = None,
    waiting: int = 8,
    device: Device | None = None,
) -> Service:
    """Make workers whose interpreters have each answered once, and what belongs to them.

    Parameters
    ----------
    bundle : Bundle
    workers : int
        Interpreters, each with a copy of the weights as its delegate wants them.
    threads : int, optional
        Of each interpreter.
    waiting : int
        How many pictures may wait while all workers are busy.

    Raises
    ------
    BackendError, BundleError
        As of `Classifier`.
    """
    classifiers = [Classifier(bundle, threads=threads, backend=backend) for _ in range(workers)]
    golden = bundle.golden().image
    first = [classifier.classify(golden) for classifier in classifiers]
    interpreter = classifiers[0].interpreter
    runtime = f"{interpreter.backend} {interpreter.version}"
    pool, sensors = Pool(classifiers, waiting=waiting, patience=REQUEST_SECONDS), Sensors(device or Device())
    info = {
        "model": bundle.model_name,
        "precision": bundle.precision,
        "bundle": bundle.sha256,
        "backend": runtime,
    }
    metrics = Metrics(pool, sensors, info)
    metrics.last_ms = first[-1].stage_ms["total_ms"]
    return Service(bundle, pool, sensors, metrics, runtime, interpreter.threads)


class Server(uvicorn.Server):
    """uvicorn with our protocol, our sweep, and systemd.

    Parameters
    ----------
    service : Service
    listener : socket
        As of `listen`.
    token : str, optional
        What clients must send.
    certificate, key : Path, optional
        PEM files; with them the service speaks TLS only.
    report : callable
        Told of mistakes of ours, in one line each.

    Raises
    ------
    InputError
        If certificate and key cannot be used.
    """

    def __init__(
        self,
        service: Service,
        listener: socket.socket,
        *,
        token: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        report: Callable[[str], object],
    ) -> None:
        self.service, self.listener, self._report = service, listener, report
        host, self.port = listener.getsockname()[:2]
        self.secure = certificate is not None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http{'s' if self.secure else ''}://{shown}:{self.port}"
        self._watchdog = watchdog_interval()
        self._next_ping = self._next_sweep = self._next_status = 0.0
        # Both log what clients send wrong, and a log line a request wears out an SD card.
        for name in ("uvicorn", "python_multipart"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            make_app(service, loopback=is_loopback(host), token=token, report=report),
            http=cast("type[asyncio.Protocol]", GuardedProtocol),
            ws="none",
            loop="asyncio",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"{certificate} and {key}: no certificate with its key in PEM ({error.strerror or error})"
            ) from None
        super().__init__(config)

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Told by asyncio of what nobody has caught; broken connections and TLS that fails are the client's."""
        error = context.get("exception")
        if not isinstance(error, OSError):
            self._report(f"internal error: {context.get('message')}: {type(error).__name__}: {error}")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept; then tell systemd."""
        asyncio.get_running_loop().set_exception_handler(self._note_failure)
        await super().startup(sockets)
        notify("READY=1", f"STATUS=listening on {self.url}")

    async def on_tick(self, counter: int) -> bool:
        """Look round, ten times a second."""
        now = time.monotonic()
        if self._watchdog is not None and now >= self._next_ping and not self.service.pool.stuck():
            notify("WATCHDOG=1")
            self._next_ping = now + self._watchdog
        if now >= self._next_sweep:
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.sweep(now)
            self._next_sweep = now + 1
        if now >= self._next_status:
            last = self.service.metrics.last_ms
            notify(
                f"STATUS={self.service.metrics.answers} answers" + ("" if last is None else f", last in {last:.1f} ms")
            )
            self._next_status = now + 10
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, answer who is waiting, end."""
        notify("STOPPING=1")
        self.service.stopping = True
        await super().shutdown(sockets)

    def serve_forever(self) -> None:
        """Answer until `stop` or a signal."""
        self.run(sockets=[self.listener])

    def stop(self) -> None:
        """Make `serve_forever` return; safe from another thread."""
        self.should_exit = True
