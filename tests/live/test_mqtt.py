"""Results over MQTT, against a real mosquitto that is stopped, killed and started again."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("paho.mqtt", reason="no MQTT client (extra 'mqtt')")

from bench.live_world import Camera, Mosquitto, Reader, mosquitto_program
from edgedefend.errors import UsageError
from edgedefend.mqtt import MqttSink, parse_broker
from edgedefend.spool import Spool
from tests.conftest import one_line

needs_mosquitto = pytest.mark.skipif(mosquitto_program() is None, reason="mosquitto is not installed")


def url(broker: Mosquitto) -> str:
    return f"mqtt://127.0.0.1:{broker.port}"


@pytest.fixture
def reader(broker):
    reading = Reader(broker.port)
    yield reading
    reading.close()


def ids(reader: Reader) -> list[str]:
    return [record["id"] for _, record in reader.results()]


def retained(broker: Mosquitto, topic: str = "#") -> dict[str, str]:
    """What a new subscriber is given at once."""
    reading = Reader(broker.port, topic)
    try:
        time.sleep(0.5)
        return {name: payload.decode() for _, name, payload, kept in reading.messages if kept}
    finally:
        reading.close()


def test_every_result_once_and_in_order(broker, reader, start_run, color_video):
    run = start_run(color_video, "--mqtt", url(broker), "--name", "door")
    assert run.end() == 0
    assert reader.wait_for(30)
    assert [record for _, record in reader.results("edgedefend/door/result")] == run.results
    kept = retained(broker)
    assert kept["edgedefend/door/available"] == "offline"
    assert json.loads(kept["edgedefend/door/statistics"])["answers"] == 30
    assert "edgedefend/door/result" not in kept
    assert not any(topic.startswith("homeassistant") for topic in kept)


def test_results_made_while_the_broker_is_away_come_later_once_in_order(broker, reader, start_run, color_video):
    camera = Camera(color_video, fps=20)
    camera.start()
    try:
        run = start_run(camera.url, "--mqtt", url(broker), "--name", "door", "--statistics", "1")
        assert reader.wait_for(10)
        assert retained(broker)["edgedefend/door/available"] == "online"
        broker.stop()
        run.wait_until(lambda: any("results wait" in line for line in run.said))
        away = len(run.results)
        run.wait_for(away + 20)
        broker.start()
        run.wait_until(lambda: any("connected again" in line for line in run.said))
        run.wait_for(len(run.results) + 10)
        assert run.stop() == 0
    finally:
        camera.stop()
    assert reader.wait_for(len(run.results))
    assert ids(reader) == [result["id"] for result in run.results]
    assert "results wait for the next run" not in run.said[-1]


def test_what_no_broker_took_waits_for_the_next_run(broker, start_run, color_video, tmp_path):
    broker.stop()
    first = start_run(color_video, "--mqtt", url(broker), "--name", "door")
    assert first.end() == 0
    assert first.said[-1].endswith("30 results wait for the next run")
    broker.start()
    reader = Reader(broker.port)
    try:
        second = start_run(color_video, "--mqtt", url(broker), "--name", "door", "--frames", "5")
        assert second.end() == 0
        assert reader.wait_for(35)
        assert ids(reader) == [result["id"] for result in [*first.results, *second.results]]
    finally:
        reader.close()


def test_killed_and_started_again_nothing_is_lost(broker, reader, start_run, color_video):
    camera = Camera(color_video, fps=20)
    camera.start()
    try:
        first = start_run(camera.url, "--mqtt", url(broker), "--name", "door")
        first.wait_for(10)
        broker.stop()
        first.wait_for(len(first.results) + 15)
        first.process.kill()
        first.end()
        broker.start()
        second = start_run(camera.url, "--mqtt", url(broker), "--name", "door", "--frames", "5")
        assert second.end() == 0
    finally:
        camera.stop()
    # The line of the result that was being printed may be missing, its message is not.
    made = [result["id"] for result in [*first.results, *second.results]]
    assert reader.wait_for(len(made))
    got = ids(reader)
    assert [name for name in dict.fromkeys(got) if name in made] == made
    assert len(set(got)) - len(made) <= 1
    # What was on the way when first the broker and then the run went may come twice.
    assert len(got) - len(set(got)) <= 20


class Gate:
    """The network between a board and its broker: `cut` breaks every connection, whatever it carries."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_open = True
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                if not self.is_open:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._connections += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self.is_open = False
        connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


def until(condition, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs_mosquitto
@pytest.mark.parametrize("killed", [False, True])
def test_the_network_is_cut_and_a_broker_that_forgets(tmp_path, killed):
    """Cut in the middle of messages: once each. Where the broker forgets all it knew meanwhile: none is lost."""
    broker = Mosquitto(tmp_path / "broker", remembers=not killed)
    broker.start()
    gate = Gate(broker.port)
    said: list[str] = []
    sink = MqttSink(parse_broker(f"mqtt://127.0.0.1:{gate.port}"), "door", Spool(tmp_path / "queue"), said.append)
    reader, seen = Reader(broker.port), []
    try:
        for number in range(250):
            sink.send({"id": number})
            if number == 100:
                assert reader.wait_for(number - 60, seconds=40)
                gate.cut()
                if killed:
                    time.sleep(0.5)  # what it has acknowledged it hands on: after that it owes nobody anything
                    seen.append(reader.connections)
                    broker.kill()
                    broker.start()
                    # A reader that was forgotten as well is there again before anything comes.
                    until(lambda: reader.connections > seen[-1])
                    time.sleep(0.3)
                gate.is_open = True
        until(lambda: sink.counts()["mqtt_queued"] == 0)
        assert reader.wait_for(250, seconds=40)
        assert sink.counts()["mqtt_lost"] == 0
    finally:
        sink.close()
        gate.close()
        reader.close()
        broker.stop()
    got = ids(reader)
    if killed:
        # What was on the way may come twice, in order as well.
        assert list(dict.fromkeys(got)) == list(range(250))
        assert len(got) <= 270
    else:
        assert got == list(range(250))
    assert sum("connected again" in line for line in said) >= 1


def test_the_last_will_tells_that_it_is_gone(broker, reader, start_run, color_video):
    camera = Camera(color_video)
    camera.start()
    try:
        run = start_run(camera.url, "--mqtt", url(broker), "--name", "door")
        assert reader.wait_for(3)
        run.process.kill()
        assert reader.wait_for(2, "/available")
    finally:
        camera.stop()
    assert [payload for _, topic, payload, _ in reader.messages if topic.endswith("available")] == [
        b"online",
        b"offline",
    ]


def test_home_assistant_gets_one_device_and_again_at_its_birth(broker, reader, start_run, color_video):
    topic = "homeassistant/device/edgedefend-door/config"
    camera = Camera(color_video)
    camera.start()
    try:
        run = start_run(camera.url, "--mqtt", url(broker), "--name", "door", "--home-assistant")
        assert reader.wait_for(1, "/config")
        config = json.loads(retained(broker)[topic])
        reader.publish("homeassistant/status", "offline")
        reader.publish("homeassistant/status", "online")
        assert reader.wait_for(2, "/config")
        run.wait_for(5)
        assert run.stop() == 0
    finally:
        camera.stop()
    configurations = [payload for _, name, payload, _ in reader.messages if name == topic]
    assert len(configurations) == 2 and json.loads(configurations[1]) == config
    assert config["dev"]["ids"] == ["edgedefend-door"] and config["o"]["name"] == "edgedefend"
    assert config["availability_topic"] == "edgedefend/door/available"
    parts = config["cmps"]
    assert {"label", "score", "temperature", "source_lost"} <= set(parts)
    assert len({part["unique_id"] for part in parts.values()}) == len(parts)
    # Every value that a template takes is in what is published under its topic.
    published = {"result": run.results[0], "statistics": json.loads(retained(broker)["edgedefend/door/statistics"])}
    for part in parts.values():
        kind = part["state_topic"].rpartition("/")[2]
        key = part["value_template"].partition("value_json.")[2].split(" ")[0].rstrip(")}")
        assert key in published[kind], part


def certificates(folder: Path) -> None:
    """A certificate authority, a broker's and a device's certificate, and another authority that nobody trusts."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("ca", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt",
                "-days", "2", "-subj", f"/CN={name}")  # fmt: skip
    for name in ("broker", "device"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                f"/CN={name}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.crt", "-days", "2", "-extfile", "san")  # fmt: skip


@needs_mosquitto
def test_tls_and_credentials(start_run, color_video, tmp_path):
    certificates(tmp_path)
    program = Path(mosquitto_program()).with_name("mosquitto_passwd")
    if not program.exists():
        program = Path("/usr/bin/mosquitto_passwd")
    subprocess.run([program, "-c", "-b", tmp_path / "passwords", "board", "s3cret:with colon"], check=True)
    settings = (
        f"allow_anonymous false\npassword_file {tmp_path}/passwords\nrequire_certificate true\n"
        f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/broker.crt\nkeyfile {tmp_path}/broker.key\n"
    )
    broker = Mosquitto(tmp_path / "broker", settings=settings)
    broker.start()
    login = tmp_path / "login"
    login.write_text("board:s3cret:with colon\n")
    login.chmod(0o600)
    files = [
        "--mqtt-ca",
        tmp_path / "ca.crt",
        "--mqtt-cert",
        tmp_path / "device.crt",
        "--mqtt-key",
        tmp_path / "device.key",
    ]
    address = f"mqtts://localhost:{broker.port}"
    reader = Reader(
        broker.port,
        tls_set=(str(tmp_path / "ca.crt"), str(tmp_path / "device.crt"), str(tmp_path / "device.key")),
        username_pw_set=("board", "s3cret:with colon"),
    )
    try:
        run = start_run(color_video, "--mqtt", address, "--mqtt-login", login, *files, "--name", "file")
        assert run.end() == 0, run.said
        environment = {"EDGEDEFEND_MQTT_LOGIN": "board:s3cret:with colon"}
        assert start_run(color_video, "--mqtt", address, *files, "--name", "env", env=environment).end() == 0
        assert reader.wait_for(60)
        wrong = start_run(
            color_video, "--mqtt", address, *files, "--name", "wrong", env={"EDGEDEFEND_MQTT_LOGIN": "board:no"}
        )
        assert wrong.end() == 0
        assert any("ot authori" in line for line in wrong.said), wrong.said
        assert wrong.said[-1].endswith("30 results wait for the next run")
        stranger = [tmp_path / "stranger.crt" if file == tmp_path / "ca.crt" else file for file in files]
        refused = start_run(color_video, "--mqtt", address, "--mqtt-login", login, *stranger, "--name", "stranger")
        assert refused.end() == 0
        assert any("certificate verify failed" in line for line in refused.said), refused.said
    finally:
        reader.close()
        broker.stop()
    everything = " ".join([*run.said, *wrong.said, *refused.said])
    assert "s3cret" not in everything
    assert {record["source"] for _, record in reader.results()} == {str(color_video)}
    assert len(reader.results()) == 60


def test_a_secret_that_others_may_read_is_refused(run_cli, color_bundles, color_video, tmp_path):
    login = tmp_path / "login"
    login.write_text("a:b\n")
    login.chmod(0o644)
    options = ["--mqtt", "mqtt://127.0.0.1:1", "--mqtt-login", login, "--queue", tmp_path]
    assert "chmod 600" in one_line(run_cli("run", color_bundles / "int8", color_video, *options), 2)


def test_two_runs_do_not_share_a_queue(start_run, run_cli, color_bundles, color_video, tmp_path):
    options = ["--mqtt", "mqtt://127.0.0.1:1", "--name", "door", "--queue", tmp_path / "queue"]
    first = start_run(color_video, "--live", *options)
    first.wait_for(1)
    assert "--name" in one_line(run_cli("run", color_bundles / "int8", color_video, *options), 1)
    assert first.stop() == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("localhost", "expected mqtt://"),
        ("http://localhost", "expected mqtt://"),
        ("mqtt://", "expected mqtt://"),
        ("mqtt://host:port", "not an address"),
        ("mqtt://host/topic", "expected mqtt://"),
        ("mqtt://me:secret@host", "--mqtt-login"),
    ],
)
def test_addresses_that_are_none(text, says):
    with pytest.raises(UsageError, match=says) as refused:
        parse_broker(text)
    assert "secret" not in str(refused.value)


def test_addresses():
    assert (parse_broker("mqtt://host").port, parse_broker("mqtts://host").port) == (1883, 8883)
    assert parse_broker("mqtts://[::1]:99").host == "::1"
    broker = parse_broker("mqtt://host", user="me", password="secret")
    assert "secret" not in repr(broker) + str(broker)
    with pytest.raises(UsageError, match="mqtts://"):
        parse_broker("mqtt://host", ca=Path("x"))
    with pytest.raises(UsageError, match="no such file"):
        parse_broker("mqtts://host", ca=Path("/nowhere.crt"))


def test_without_paho_the_command_that_brings_it_is_named(color_bundles, color_video, tmp_path):
    code = (
        "import sys; sys.modules['paho'] = None\n"
        "from edgedefend.cli import main\n"
        f"main(['run', {str(color_bundles / 'int8')!r}, {str(color_video)!r}, '--mqtt', 'mqtt://h'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'edgedefend[mqtt]'" in one_line(done, 2)
