"""`edgedefend serve BUNDLE`."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from edgedefend.commands.options import backend_option, threads_option

__all__ = ["serve"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("bundle")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Interpreters. Several of one thread each answer more requests; one of several answers each sooner.",
)
@click.option("--waiting", type=click.IntRange(0, 1024), default=8, show_default=True, help="Requests that may wait.")
@click.option("--token-file", type=click.Path(path_type=Path), help="What clients must send (or EDGEDEFEND_TOKEN).")
@click.option("--insecure", is_flag=True, help="Let anybody who can reach --host ask, without a token.")
@click.option("--tls-cert", type=_FILE, help="Certificate (chain) in PEM: speak TLS only.")
@click.option("--tls-key", type=_FILE, help="Its key in PEM, without a pass phrase.")
@threads_option
@backend_option
def serve(
    bundle: str,
    host: str,
    port: int,
    workers: int,
    waiting: int,
    token_file: Path | None,
    insecure: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    threads: int | None,
    backend: str | None,
) -> None:
    """Answer HTTP requests with BUNDLE's model behind its defence, and show it at work on a page.

    POST the bytes of an image to /v1/classify; the page is at /, the description of the rest at /openapi.json.
    It listens only once every interpreter has answered, tells systemd, and stops on SIGTERM and Ctrl-C.
    An address that others can reach needs a token.
    """
    from edgedefend.bundle import load_bundle
    from edgedefend.errors import EdgeDefendError
    from edgedefend.notify import notify
    from edgedefend.serving.access import check_exposure, is_loopback, read_token
    from edgedefend.verification import verify_bundle

    try:
        from edgedefend.serving.server import Server, keep_decoders_quiet, listen, make_service
    except ModuleNotFoundError as error:
        raise EdgeDefendError(
            f"serve needs the Python package {error.name!r}: pip install 'edgedefend[serve]'"
        ) from error

    token = read_token(token_file)
    check_exposure(host, token, insecure=insecure)
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    notify("STATUS=checking the bundle")
    loaded = load_bundle(bundle)
    verify_bundle(loaded, threads=threads, backend=backend)
    service = make_service(loaded, workers=workers, threads=threads, backend=backend, waiting=waiting)

    def report(line: str) -> None:
        click.echo(f"edgedefend: {line}", err=True)

    listener = listen(host, port)
    server = Server(service, listener, token=token, certificate=tls_cert, key=tls_key, report=report)
    if not is_loopback(host):
        if token is None:
            report("--insecure: anybody who can reach this address may ask")
        if not server.secure:
            report("pictures and token travel unencrypted: give --tls-cert and --tls-key, or use a private network")
    # uvicorn takes these signals while it runs, stops, and then raises them once more for whoever had them before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    click.echo(f"{loaded.model_name} {loaded.precision} ({loaded.sha256[:16]}) on {server.url}")
    keep_decoders_quiet()
    server.serve_forever()
    click.echo(f"stopped after {service.metrics.answers} answers")
