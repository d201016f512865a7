"""`edgedefend serve BUNDLE`."""

from __future__ import annotations

import signal

import click

from edgedefend.commands.options import backend_option, threads_option

__all__ = ["serve"]


@click.command()
@click.argument("bundle")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others than loopback too.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--waiting", type=click.IntRange(0, 256), default=8, show_default=True, help="Requests that may wait.")
@threads_option
@backend_option
def serve(bundle: str, host: str, port: int, waiting: int, threads: int | None, backend: str | None) -> None:
    """Answer HTTP requests with BUNDLE's model behind its defence.

    POST the bytes of an image to /v1/classify (options ?draws=N&top=K); GET /healthz says how the service is.
    It listens only once the golden input has got its answer, tells systemd, and stops on SIGTERM and Ctrl-C.
    There is no password: put a proxy in front of it before giving it an address that others can reach.
    """
    from edgedefend.bundle import load_bundle
    from edgedefend.classifier import Classifier, verify_bundle
    from edgedefend.errors import DeviceError
    from edgedefend.notify import notify
    from edgedefend.server import Server

    notify("STATUS=checking the bundle")
    loaded = load_bundle(bundle)
    verify_bundle(loaded, threads=threads, backend=backend)
    classifier = Classifier(loaded, threads=threads, backend=backend)
    first = classifier.classify(loaded.golden().image)
    try:
        server = Server(classifier, host, port, waiting=waiting)
    except OSError as error:
        raise DeviceError(
            f"cannot listen on {host} port {port}: {error.strerror or error}: is another service running there?"
        ) from error
    server.last_answer_ms = first.stage_ms["total_ms"]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    address, bound = server.server_address[:2]
    name = f"[{address!s}]" if ":" in str(address) else address
    click.echo(f"{loaded.model_name} {loaded.precision} ({loaded.sha256[:16]}) on http://{name!s}:{bound}")
    server.serve()
    click.echo(f"stopped after {server.answers} answers")
