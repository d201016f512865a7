"""Tokens, addresses and TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
from pathlib import Path

import pytest

from edgedefend.errors import InputError, UsageError
from edgedefend.serving.access import check_exposure, is_loopback, read_token, token_matches
from tests.conftest import one_line
from tests.serving.conftest import Client, start

TOKEN = "correct-horse-battery-staple"


def test_what_is_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "localhost.evil.example", "", "1")))


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGEDEFEND_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("EDGEDEFEND_TOKEN", TOKEN + "-of-the-environment")
    assert read_token(None) == TOKEN + "-of-the-environment"
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN


@pytest.mark.parametrize("text", ["", "short", "with a space in it 1234", "ü" * 20, "a" * 600, "\0" * 20])
def test_what_is_no_token(tmp_path, text):
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(InputError, match="at least 16"):
        read_token(file)


def test_a_token_that_everybody_can_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_token(file)
    with pytest.raises(InputError, match="no such file"):
        read_token(tmp_path / "nothing")


def test_only_the_token_matches():
    assert token_matches(b"Bearer " + TOKEN.encode(), TOKEN)
    assert token_matches(b"bearer " + TOKEN.encode(), TOKEN)
    for wrong in (b"", b"Bearer", b"Bearer ", TOKEN.encode(), b"Basic " + TOKEN.encode(), b"Bearer \xff\xfe"):
        assert not token_matches(wrong, TOKEN)
    assert not token_matches(b"Bearer " + TOKEN.encode()[:-1], TOKEN)


def test_others_need_a_token_or_the_word_insecure():
    check_exposure("127.0.0.1", None, insecure=False)
    check_exposure("0.0.0.0", TOKEN, insecure=False)
    check_exposure("0.0.0.0", None, insecure=True)
    with pytest.raises(UsageError, match="--insecure"):
        check_exposure("0.0.0.0", None, insecure=False)


def test_the_command_refuses_to_expose_itself(run_cli, color_bundles, monkeypatch):
    line = one_line(run_cli("serve", color_bundles / "int8", "--host", "0.0.0.0", env={"EDGEDEFEND_TOKEN": ""}), 3)
    assert "EDGEDEFEND_TOKEN" in line
    monkeypatch.delenv("EDGEDEFEND_TOKEN", raising=False)
    line = one_line(run_cli("serve", color_bundles / "int8", "--host", "0.0.0.0"), 2)
    assert "--token-file" in line


def test_with_a_token(color_bundles, pictures):
    running = start(color_bundles / "int8", "--host", "0.0.0.0", EDGEDEFEND_TOKEN=TOKEN)
    client = Client(running.port)
    for path, method in (("/v1/classify", "POST"), ("/v1/stages", "POST"), ("/v1/model", "GET"), ("/metrics", "GET")):
        for header in ({}, {"Authorization": "Bearer wrong-horse-battery-staple"}):
            status, headers, content = client.ask_raw(method, path, pictures[0] if method == "POST" else None, **header)
            assert status == 401
            assert headers["www-authenticate"].startswith("Bearer")
            assert "token" in json.loads(content)["error"]
        right = {"Authorization": f"Bearer {TOKEN}", "Host": "a.name.of.this.board"}
        assert client.ask_raw(method, path, pictures[0] if method == "POST" else None, **right)[0] == 200
    for path in ("/", "/page/page.js", "/healthz", "/readyz"):
        assert client.ask_raw("GET", path)[0] == 200
    assert client.ask("GET", "/openapi.json")[1]["security"] == [{"token": []}]
    _, said = running.stop()
    assert said.splitlines() == [
        "edgedefend: pictures and token travel unencrypted: give --tls-cert and --tls-key, or use a private network"
    ]
    assert TOKEN not in said


def test_a_token_file_counts_on_loopback_too(color_bundles, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    running = start(color_bundles / "int8", "--token-file", file)
    assert running.ask("GET", "/v1/status")[0] == 401
    assert running.ask("GET", "/v1/status", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert running.stop()[1] == ""


def test_insecure_is_said(color_bundles):
    running = start(color_bundles / "int8", "--host", "0.0.0.0", "--insecure")
    assert running.ask("GET", "/v1/status")[0] == 200
    assert "--insecure: anybody" in running.stop()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by its own key."""
    pytest.importorskip("cryptography", reason="makes a certificate with cryptography (extra 'sign')")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"


def test_tls(color_bundles, certificate, pictures):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    running = start(color_bundles / "int8", "--tls-cert", certificate[0], "--tls-key", certificate[1], secure=context)
    status, answer = running.ask("POST", "/v1/classify", pictures[1])
    assert (status, answer["label"]) == (200, "green")
    # Whoever speaks no TLS gets no HTTP, and leaves no trace in the journal.
    assert b"HTTP" not in running.send_raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with socket.create_connection(("127.0.0.1", running.port)) as channel:
        channel.sendall(b"\x16\x03\x01")
    assert running.ask("GET", "/healthz")[0] == 200
    assert running.stop()[1] == ""
    assert running.process.returncode == 0


def test_what_is_no_certificate(color_bundles, certificate, run_cli, tmp_path):
    (tmp_path / "no.pem").write_text("nothing")
    words = ["serve", color_bundles / "int8", "--port", 0]
    line = one_line(run_cli(*words, "--tls-cert", tmp_path / "no.pem", "--tls-key", certificate[1]), 3)
    assert "no.pem" in line
    assert run_cli(*words, "--tls-cert", certificate[0]).returncode == 2
