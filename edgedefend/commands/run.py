"""`edgedefend run BUNDLE SOURCE`."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedefend.commands.options import backend_option, threads_option

if TYPE_CHECKING:
    from edgedefend.bundle import Bundle
    from edgedefend.publish import Sink

__all__ = ["run"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _say(line: str) -> None:
    click.echo(f"edgedefend: {' '.join(line.split())}", err=True)


@click.command()
@click.argument("bundle")
@click.argument("source")
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames a second at most.")
@click.option("--frames", type=click.IntRange(1), help="Stop after so many answers.")
@click.option("--roi", metavar="L,T,W,H", help="Classify this part of each frame, in pixels.")
@click.option("--draws", type=click.IntRange(1, 256), help="Random draws to average (default: as the bundle says).")
@click.option(
    "--suspicion", is_flag=True, help="Say how far draws and undefended answer disagree (one more run of the model)."
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes a result has.")
@click.option("--live", is_flag=True, help="Play a video file as if it were a camera, again and again.")
@click.option("--give-up", "give_up", type=click.FloatRange(0), help="End after so many seconds without a frame.")
@click.option("--on-change", type=click.IntRange(0), default=0, help="Publish an answer only when N frames agree anew.")
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.0, help="Publish no answer below this.")
@click.option("--quiet", is_flag=True, help="Print no results.")
@click.option("--output", type=_FILE, help="Append results to this file, as JSON lines.")
@click.option(
    "--rotate-mb", type=click.IntRange(1), default=10, show_default=True, help="Start a new file at this size."
)
@click.option("--keep", type=click.IntRange(0, 1000), default=5, show_default=True, help="Older files to keep.")
@click.option("--save", type=click.Path(path_type=Path), help="Annotated frames: a folder, or a video .avi or .mp4.")
@click.option("--mqtt", metavar="URL", help="Publish to mqtt://HOST[:PORT] or, with TLS, mqtts://HOST[:PORT].")
@click.option("--name", help="This device's name at the broker (default: the host's).")
@click.option("--mqtt-login", type=_FILE, help="File with USER:PASSWORD; else $EDGEDEFEND_MQTT_LOGIN.")
@click.option("--mqtt-ca", type=_FILE, help="Certificates that the broker's is checked against.")
@click.option("--mqtt-cert", type=_FILE, help="Certificate of this device.")
@click.option("--mqtt-key", type=_FILE, help="Its key.")
@click.option("--home-assistant", is_flag=True, help="Announce this device to Home Assistant.")
@click.option("--discovery-prefix", default="homeassistant", show_default=True, help="Home Assistant's topics.")
@click.option("--post", metavar="URL", help="POST results to this address, as JSON lines.")
@click.option("--post-token", type=_FILE, help="File with its bearer token; else $EDGEDEFEND_POST_TOKEN.")
@click.option("--queue", type=click.Path(file_okay=False, path_type=Path), help="Folder where results wait.")
@click.option("--queue-mb", type=click.IntRange(2), default=64, show_default=True, help="At most so many.")
@click.option("--statistics", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds between two.")
@threads_option
@backend_option
def run(bundle: str, source: str, threads: int | None, backend: str | None, **options: Any) -> None:
    """Classify what SOURCE shows with BUNDLE's model behind its defence, one JSON line a frame.

    SOURCE is an image, a folder, a pattern, a video file, v4l2:///dev/video0, csi://0, rtsp://..., http://... (MJPEG),
    or @FILE, whose first line is one of these. Cameras and streams never lag: the newest frame wins, dropped ones are
    counted, and what is lost is opened again. SIGTERM and Ctrl-C end it cleanly.
    """
    from edgedefend.annotate import Saver, parse_roi
    from edgedefend.bundle import load_bundle
    from edgedefend.capture import open_source
    from edgedefend.classifier import Classifier
    from edgedefend.errors import InputError, UsageError
    from edgedefend.live import Run, RunOptions
    from edgedefend.pace import Pace
    from edgedefend.suspicion import DRAWS

    opened = open_source(source, live=options["live"])
    roi = None if options["roi"] is None else parse_roi(options["roi"])
    loaded = load_bundle(bundle)
    draws: int = loaded.draws if options["draws"] is None else options["draws"]
    if options["suspicion"] and draws < 2:
        raise UsageError(f"--suspicion compares draws of the defence: give --draws {DRAWS}")
    pace = Pace(options["fps"])
    # Before the model is loaded: a wrong option should not take seconds to be told.
    saver = None if options["save"] is None else Saver(options["save"], _say, fps=options["fps"] or 10.0)
    with ExitStack() as unfinished:
        sinks: list[Sink] = []
        for make in (_file_sink, _mqtt_sink, _http_sink):
            sink = make(options, loaded)
            if sink is not None:
                sinks.append(sink)
                unfinished.callback(sink.close)
        classifier = Classifier(loaded, threads=threads, backend=backend)
        if loaded.weights == "random":
            _say("this bundle's weights are random: its answers mean nothing")
        names = ("frames", "suspicion", "top", "on_change", "min_score")
        chosen = RunOptions(
            **{name: options[name] for name in names},
            draws=draws,
            roi=roi,
            statistics_s=options["statistics"],
            give_up_s=options["give_up"],
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: pace.stop.set())
        watched = Run(classifier, opened, pace, chosen, sinks, _printer(options["quiet"]), _say, saver=saver)
        unfinished.pop_all()  # the run closes them
        counts = watched.go()
    waiting = counts.get("mqtt_queued", 0) + counts.get("http_queued", 0)
    _say(
        f"{counts['answers']} answers, {counts['published']} published, {counts['dropped']} frames dropped"
        + (f", {counts['damaged']} damaged" if counts["damaged"] else "")
        + (f", {waiting} results wait for the next run" if waiting else "")
    )
    if counts["damaged"] and not opened.live:
        sys.exit(InputError.exit_code)


def _printer(quiet: bool) -> Callable[[dict[str, Any]], None]:
    from edgedefend.results import encode

    return (lambda record: None) if quiet else (lambda record: click.echo(encode(record)))


def _file_sink(options: dict[str, Any], bundle: Bundle) -> Sink | None:
    from edgedefend.publish import JsonLinesFile

    if options["output"] is None:
        return None
    return JsonLinesFile(options["output"], _say, max_bytes=options["rotate_mb"] << 20, keep=options["keep"])


def _device_name(options: dict[str, Any]) -> str:
    name: str = options["name"] or re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname()).strip("-")[:64] or "board"
    return name


def _queue(options: dict[str, Any], kind: str) -> Any:
    from edgedefend.errors import UsageError
    from edgedefend.publish import default_queue_folder
    from edgedefend.spool import Spool

    folder = (options["queue"] or default_queue_folder()) / f"{kind}-{_device_name(options)}"
    try:
        return Spool(folder, max_bytes=options["queue_mb"] << 20)
    except OSError as error:
        raise UsageError(
            f"{folder}: results cannot wait here ({error.strerror}): name another folder (--queue)"
        ) from None


def _mqtt_sink(options: dict[str, Any], bundle: Bundle) -> Sink | None:
    from edgedefend.errors import UsageError
    from edgedefend.publish import read_secret

    if options["mqtt"] is None:
        if options["home_assistant"]:
            raise UsageError("--home-assistant needs a broker: --mqtt URL")
        return None
    try:
        from edgedefend.mqtt import MqttSink, parse_broker
    except ModuleNotFoundError as error:
        raise UsageError(f"--mqtt needs the Python package {error.name!r}: pip install 'edgedefend[mqtt]'") from error

    files = {"ca": options["mqtt_ca"], "certificate": options["mqtt_cert"], "key": options["mqtt_key"]}
    user, colon, password = (read_secret(options["mqtt_login"], "EDGEDEFEND_MQTT_LOGIN") or "").partition(":")
    broker = parse_broker(options["mqtt"], **files, user=user or None, password=password if colon else None)
    if user and not broker.tls and broker.host not in _LOOPBACK:
        _say(f"{broker!r}: the password goes over the network unencrypted: use mqtts://")
    return MqttSink(
        broker,
        _device_name(options),
        _queue(options, "mqtt"),
        _say,
        discovery_prefix=options["discovery_prefix"] if options["home_assistant"] else None,
        model=f"{bundle.model_name} {bundle.precision}",
    )


def _http_sink(options: dict[str, Any], bundle: Bundle) -> Sink | None:
    from edgedefend.publish import HttpSink, read_secret

    if options["post"] is None:
        return None
    token = read_secret(options["post_token"], "EDGEDEFEND_POST_TOKEN")
    return HttpSink(options["post"], _queue(options, "post"), _say, token=token)
