"""Results over MQTT: availability with a last will, a queue on disk for the time without a broker, Home Assistant.

Topics below ``edgedefend/<name>/``: ``available`` (online or offline, retained), ``result`` (one JSON record each, in
order, QoS 2) and ``statistics`` (retained).

Each result is on disk before it is sent and until the broker has taken it. QoS 2 and a session that the broker keeps
make a broken connection or a broker that is restarted deliver each once. Where the broker has forgotten the session (it
was killed and keeps nothing on its own disk), or this process was killed between an acknowledgement and its note of it,
what was on the way then is sent again: better twice, with the same ``id``, than never.

paho's callbacks run with its locks held, so they only put events into a queue; one thread of ours does everything else.
"""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode

from edgedefend.capture import shown_name
from edgedefend.errors import UsageError
from edgedefend.home_assistant import discovery, discovery_topic
from edgedefend.results import encode
from edgedefend.spool import Spool

__all__ = ["Broker", "MqttSink", "parse_broker"]

# Results on the way at once. mosquitto takes 20 of a session and cannot refuse one more in MQTT 3.1.1: it drops the
# connection, and what it has not taken looks taken. What an earlier client of the session left half-way counts too.
_WINDOW = 10
_KEEPALIVE_S = 30
_CLOSE_S = 3.0


@dataclass(frozen=True)
class Broker:
    """How to reach a broker: files of certificates are paths, `password` is never shown."""

    host: str
    port: int
    tls: bool
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def parse_broker(url: str, **more: Any) -> Broker:
    """Return the broker of ``mqtt://HOST[:PORT]`` or, with TLS, ``mqtts://HOST[:PORT]``.

    Parameters
    ----------
    url : str
    **more
        The other fields of `Broker`.

    Raises
    ------
    UsageError
        If it is not such an address, holds a password, or has certificates without TLS.
    """
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError as error:
        raise UsageError(f"{shown_name(url)}: not an address ({error})") from None
    if address.scheme not in ("mqtt", "mqtts") or not address.hostname or address.path.strip("/") or address.query:
        raise UsageError(f"{shown_name(url)}: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    if address.username or address.password:
        raise UsageError(
            f"{shown_name(url)}: a password on the command line can be seen by others: use --mqtt-login FILE, or "
            "EDGEDEFEND_MQTT_LOGIN in the environment"
        )
    tls = address.scheme == "mqtts"
    files = [file for file in (more.get("ca"), more.get("certificate"), more.get("key")) if file is not None]
    if files and not tls:
        raise UsageError(f"{shown_name(url)}: certificates need TLS: mqtts://")
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file}: there is no such file")
    return Broker(address.hostname, port or (8883 if tls else 1883), tls, **more)


class MqttSink:
    """Publishes results, statistics and availability. It never makes the caller wait for the broker.

    Parameters
    ----------
    broker : Broker
    name : str
        Of this device: letters, digits, ``-`` and ``_``. No two may have the same one at a broker.
    spool : Spool
        Where results wait.
    say : callable
        Gets one line when the broker is lost or back.
    discovery_prefix : str, optional
        Home Assistant's; None does not announce the device.
    model : str
        What runs here, for Home Assistant.

    Raises
    ------
    UsageError
        If the name is not one, or a certificate cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        name: str,
        spool: Spool,
        say: Callable[[str], None],
        *,
        discovery_prefix: str | None = None,
        model: str = "",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise UsageError(f"{name!r} cannot be the name of a device: expected letters, digits, - and _")
        self.broker, self.name, self._spool, self._say = broker, name, spool, say
        self.topics = {topic: f"edgedefend/{name}/{topic}" for topic in ("available", "result", "statistics")}
        self._prefix, self._model = discovery_prefix, model
        self._events: queue.SimpleQueue[tuple[Client | None, str, Any]] = queue.SimpleQueue()
        self._connected = self._closing = self._down = False
        self._on_the_way: dict[int, int] = {}  # message id -> sequence number, in the order they were sent
        self._taken: set[int] = set()
        self._statistics: bytes | None = None
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"edgedefend-{self.name}", clean_session=False, userdata=None
        )
        broker = self.broker
        if broker.tls:
            files = [None if file is None else str(file) for file in (broker.ca, broker.certificate, broker.key)]
            try:
                client.tls_set(*files)
            except (OSError, ValueError) as error:
                raise UsageError(f"the certificates cannot be used: {error}") from None
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        client.will_set(self.topics["available"], "offline", qos=1, retain=True)
        client.max_inflight_messages_set(_WINDOW)
        client.reconnect_delay_set(1, 15)
        client.on_connect = lambda client, _data, flags, code, _properties: self._events.put(
            (client, "refused", str(code)) if code.is_failure else (client, "connected", flags.session_present)
        )
        client.on_connect_fail = lambda client, _data: self._events.put((client, "failed", str(sys.exc_info()[1])))
        client.on_disconnect = lambda client, *_: self._events.put((client, "disconnected", None))
        client.on_publish = lambda client, _data, mid, _code, _properties: self._events.put((client, "taken", mid))
        client.on_message = self._on_message
        client.connect_async(broker.host, broker.port, keepalive=_KEEPALIVE_S)
        client.loop_start()
        return client

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.payload == b"online":
            self._events.put((client, "birth", None))

    def send(self, record: dict[str, Any]) -> None:
        """Put one result in the queue."""
        self._spool.append(encode(record))
        self._events.put((None, "more", None))

    def statistics(self, record: dict[str, Any]) -> None:
        """Publish what the run has counted; without a broker only the last of these is kept."""
        self._events.put((None, "statistics", encode(record)))

    def counts(self) -> dict[str, int]:
        """Return what waits, and what was given up."""
        return {"mqtt_queued": len(self._spool), "mqtt_lost": self._spool.lost}

    def _work(self) -> None:
        handlers: dict[str, Callable[[Any], None]] = {
            "connected": self._when_connected,
            "disconnected": lambda _: self._when_lost("the connection is lost"),
            "failed": self._when_lost,
            "refused": self._when_lost,
            "taken": self._when_taken,
            "birth": lambda _: self._announce(),
            "statistics": self._when_statistics,
            "more": lambda _: None,
        }
        while True:
            client, kind, value = self._events.get()
            if kind == "close":
                break
            # What a client that was given up still had to say is about messages that are forgotten.
            if client is not None and client is not self._client:
                continue
            handlers[kind](value)
            self._pump()

    def _when_connected(self, session_present: bool) -> None:
        if self._on_the_way and not session_present:
            # The broker has forgotten what it had half taken; paho would go on where nobody knows of it.
            self._forget_the_way()
            self._events.put((None, "more", None))
            return
        self._connected = True
        if self._down:
            self._down = False
            waiting = len(self._spool)
            self._say(f"{self.broker!r}: connected again, {waiting} results wait")
        self._client.publish(self.topics["available"], "online", qos=1, retain=True)
        if self._prefix is not None:
            self._client.subscribe(f"{self._prefix}/status", qos=1)
        self._announce()

    def _forget_the_way(self) -> None:
        self._connected = False
        self._stop_client()
        self._on_the_way.clear()
        self._taken.clear()
        self._spool.rewind()
        self._client = self._new_client()

    def _stop_client(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _announce(self) -> None:
        """Publish the device's configuration and the last statistics: at each connection and birth message."""
        if not self._connected:
            return
        if self._prefix is not None:
            configuration = discovery(self.name, self.topics, self._model)
            self._client.publish(discovery_topic(self._prefix, self.name), encode(configuration), qos=1, retain=True)
        if self._statistics is not None:
            self._client.publish(self.topics["statistics"], self._statistics, qos=0, retain=True)

    def _when_lost(self, reason: str) -> None:
        self._connected = False
        if not (self._down or self._closing):
            self._down = True
            self._spool.sync()
            self._say(f"{self.broker!r}: {reason}: results wait until the broker is back")

    def _when_statistics(self, payload: bytes) -> None:
        self._statistics = payload
        if self._connected:
            self._client.publish(self.topics["statistics"], payload, qos=0, retain=True)

    def _when_taken(self, mid: int) -> None:
        if mid not in self._on_the_way:
            return
        self._taken.add(mid)
        last = None
        # Only what all before it are taken of may be let go: the disk holds one mark.
        for first in list(self._on_the_way):
            if first not in self._taken:
                break
            self._taken.discard(first)
            last = self._on_the_way.pop(first)
        if last is not None:
            self._spool.acknowledge(last)

    def _pump(self) -> None:
        """Send what waits, as long as not too much is on the way."""
        while self._connected and not self._closing and len(self._on_the_way) < _WINDOW:
            message = self._spool.next_unsent()
            if message is None:
                return
            info = self._client.publish(self.topics["result"], message[1], qos=2)
            # Without a connection paho keeps it and sends it with the next one, so it is on the way all the same.
            if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                self._say(f"{self.broker!r}: a result cannot be published ({info.rc.name})")
            self._on_the_way[info.mid] = message[0]

    def close(self) -> None:
        """Give what waits some seconds to go out, say goodbye, and stop; the rest stays on disk for the next run."""
        until = time.monotonic() + _CLOSE_S
        while self._connected and len(self._spool) and time.monotonic() < until:
            time.sleep(0.02)
        self._closing = True
        if self._connected:
            # A clean goodbye keeps the last will from being sent, so it is said here.
            farewell = self._client.publish(self.topics["available"], "offline", qos=1, retain=True)
            while not farewell.is_published() and time.monotonic() < until + 1:
                time.sleep(0.02)
        self._events.put((None, "close", None))
        self._thread.join()
        self._stop_client()
        self._spool.close()
