"""Signed bundles, with real keys: what a board with a trusted key refuses, and what it goes on doing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgedefend.bundle import load_bundle
from edgedefend.errors import BundleError, InputError
from edgedefend.signing import SIGNATURE, accept_serial, highest_serial, make_keys, sign_bundle
from tests.conftest import one_line

pytest.importorskip("cryptography", reason="signs with cryptography (extra 'sign')")


@pytest.fixture
def bundle(tmp_path, color_bundles) -> Path:
    shutil.copytree(color_bundles / "fp32", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def key(tmp_path) -> Path:
    make_keys(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def board(tmp_path, key, monkeypatch) -> Path:
    """Make this machine a board that trusts `key`."""
    folder = tmp_path / "trusted-keys"
    folder.mkdir(mode=0o755)
    shutil.copy(f"{key}.pub", folder / "ours.pub")
    monkeypatch.setenv("EDGEDEFEND_TRUSTED_KEYS", str(folder))
    monkeypatch.setenv("EDGEDEFEND_STATE", str(tmp_path / "state"))
    return folder


def test_without_a_trusted_key_nothing_is_asked_for(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEDEFEND_STATE", str(tmp_path / "state"))
    for folder in ("absent", "empty"):
        monkeypatch.setenv("EDGEDEFEND_TRUSTED_KEYS", str(tmp_path / folder))
        assert load_bundle(bundle).signature is None
        (tmp_path / "empty").mkdir(exist_ok=True)
    (bundle / SIGNATURE).write_text("nonsense")
    assert load_bundle(bundle).signature is None
    assert not (tmp_path / "state").exists()


def test_a_signed_bundle_loads_and_keeps_its_hash(board, bundle, key):
    before = load_bundle(bundle, check_trust=False).sha256
    signed = sign_bundle(bundle, key, serial=7)
    loaded = load_bundle(bundle)
    assert (loaded.sha256, loaded.signature) == (before, signed)
    assert highest_serial() == 7


def test_a_packed_bundle_is_signed_in_place(board, key, color_bundles, tmp_path):
    packed = tmp_path / "fp32.zip"
    shutil.copy(next(color_bundles.glob("*fp32*.zip")), packed)
    before = load_bundle(packed, check_trust=False)
    with pytest.raises(BundleError, match="not signed"):
        load_bundle(packed)
    for serial in (1, 2):
        sign_bundle(packed, key, serial=serial)
        assert load_bundle(packed).signature.serial == serial
    assert load_bundle(packed).sha256 == before.sha256
    assert load_bundle(packed).model() == before.model()


class TestWhatABoardRefuses:
    def test_no_signature(self, board, bundle):
        with pytest.raises(BundleError, match="not signed"):
            load_bundle(bundle)

    def test_another_key(self, board, bundle, tmp_path):
        make_keys(tmp_path / "other")
        sign_bundle(bundle, tmp_path / "other")
        with pytest.raises(BundleError, match="not of a key that this board trusts"):
            load_bundle(bundle)

    def test_a_changed_file(self, board, bundle, key):
        sign_bundle(bundle, key)
        (bundle / "labels.txt").write_text("a\nb\nc\n")
        with pytest.raises(BundleError, match=r"labels\.txt has changed"):
            load_bundle(bundle)

    def test_changed_sums(self, board, bundle, key):
        import hashlib

        sign_bundle(bundle, key)
        sums = (bundle / "SHA256SUMS").read_text()
        old = hashlib.sha256((bundle / "labels.txt").read_bytes()).hexdigest()
        (bundle / "labels.txt").write_text("a\nb\nc\n")
        new = hashlib.sha256((bundle / "labels.txt").read_bytes()).hexdigest()
        (bundle / "SHA256SUMS").write_text(sums.replace(old, new))
        load_bundle(bundle, check_trust=False)
        with pytest.raises(BundleError, match="changed after signing"):
            load_bundle(bundle)

    def test_a_raised_serial(self, board, bundle, key):
        sign_bundle(bundle, key, serial=5)
        content = json.loads((bundle / SIGNATURE).read_text())
        (bundle / SIGNATURE).write_text(json.dumps({**content, "serial": 6}))
        with pytest.raises(BundleError, match="changed after signing"):
            load_bundle(bundle)

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", "null", '{"format_version": 1, "serial": true, "signature": ""}', "[" * 100_000]
    )
    def test_a_file_that_is_no_signature(self, board, bundle, content):
        (bundle / SIGNATURE).write_text(content)
        with pytest.raises(BundleError, match=r"signature\.json"):
            load_bundle(bundle)

    def test_a_downgrade(self, board, bundle, key, tmp_path):
        old = tmp_path / "old"
        shutil.copytree(bundle, old)
        sign_bundle(old, key, serial=10)
        sign_bundle(bundle, key, serial=11)
        load_bundle(old)
        load_bundle(bundle)
        with pytest.raises(BundleError, match="serial 10, accepted 11"):
            load_bundle(old)
        load_bundle(bundle)

    def test_a_refused_bundle_moves_nothing(self, board, bundle, key):
        sign_bundle(bundle, key, serial=10)
        load_bundle(bundle)
        sign_bundle(bundle, key, serial=99)
        (bundle / "labels.txt").write_text("a\nb\nc\n")
        with pytest.raises(BundleError):
            load_bundle(bundle)
        assert highest_serial() == 10

    def test_everything_when_it_cannot_tell(self, board, bundle, key, tmp_path):
        sign_bundle(bundle, key)
        load_bundle(bundle)
        (tmp_path / "state" / "accepted-serial.json").write_text("{")
        with pytest.raises(BundleError, match="too old"):
            load_bundle(bundle)
        (tmp_path / "state" / "accepted-serial.json").unlink()
        (board / "broken.pub").write_text("no key")
        with pytest.raises(BundleError, match=r"broken\.pub"):
            load_bundle(bundle)

    def test_keys_that_anyone_may_change(self, board, bundle, key):
        sign_bundle(bundle, key)
        board.chmod(0o777)
        with pytest.raises(BundleError, match="another user"):
            load_bundle(bundle)


def test_any_of_several_keys_will_do(board, bundle, tmp_path):
    make_keys(tmp_path / "second")
    shutil.copy(tmp_path / "second.pub", board / "second.pub")
    signed = sign_bundle(bundle, tmp_path / "second")
    assert load_bundle(bundle).signature == signed


def test_the_record_only_grows(board):
    accept_serial(5)
    accept_serial(3)
    assert highest_serial() == 5


def test_a_state_that_cannot_be_written_still_holds(board, bundle, key, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEDEFEND_STATE", str(tmp_path / "file" / "state"))
    sign_bundle(bundle, key, serial=3)
    with pytest.raises(BundleError, match="too old"):
        load_bundle(bundle)


def test_a_read_only_state_is_read(board, bundle, key, tmp_path):
    sign_bundle(bundle, key, serial=10)
    load_bundle(bundle)
    state = tmp_path / "state"
    sign_bundle(bundle, key, serial=9)
    state.chmod(0o555)
    with pytest.raises(BundleError, match="accepted 10"):
        load_bundle(bundle)
    state.chmod(0o755)


def test_without_the_library_a_board_with_keys_refuses(board, bundle, key):
    sign_bundle(bundle, key)
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from edgedefend.cli import main\n"
        f"main(['verify', {str(bundle)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stdout
    assert "edgedefend[sign]" in done.stderr
    assert "verified" not in done.stdout


class TestKeys:
    def test_the_private_key_is_private_from_the_start(self, tmp_path):
        previous = os.umask(0)
        try:
            make_keys(tmp_path / "key")
        finally:
            os.umask(previous)
        assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "key.pub").stat().st_mode & 0o777 == 0o644
        assert "PRIVATE" not in (tmp_path / "key.pub").read_text()

    @pytest.mark.parametrize("existing", ["key", "key.pub"])
    def test_nothing_is_overwritten(self, tmp_path, existing):
        (tmp_path / existing).write_text("precious")
        with pytest.raises(InputError, match="never overwritten"):
            make_keys(tmp_path / "key")
        assert [entry.read_text() for entry in tmp_path.iterdir()] == ["precious"]

    def test_a_key_that_others_can_read_is_not_used(self, bundle, key):
        key.chmod(0o640)
        with pytest.raises(InputError, match="chmod 600"):
            sign_bundle(bundle, key)

    def test_other_files_are_not_keys(self, bundle, tmp_path, key):
        for content in (
            "",
            Path(f"{key}.pub").read_text(),
            "-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----",
        ):
            wrong = tmp_path / "wrong"
            wrong.write_text(content)
            wrong.chmod(0o600)
            with pytest.raises(InputError, match="not a private key"):
                sign_bundle(bundle, wrong)

    def test_a_damaged_bundle_is_not_signed(self, bundle, key):
        (bundle / "labels.txt").write_text("x\n")
        with pytest.raises(BundleError, match="has changed"):
            sign_bundle(bundle, key)
        assert not (bundle / SIGNATURE).exists()

    def test_openssl_reads_the_same_signature(self, bundle, key, tmp_path):
        """The format is plain Ed25519: another implementation verifies it from what the docstring says."""
        import base64
        import hashlib

        if not shutil.which("openssl"):
            pytest.skip("no openssl here to compare with")
        sign_bundle(bundle, key, serial=42)
        content = json.loads((bundle / SIGNATURE).read_text())
        digest = hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()
        (tmp_path / "message").write_text(f"edgedefend bundle signature 1\n42\n{digest}\n")
        (tmp_path / "signature").write_bytes(base64.b64decode(content["signature"]))
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", f"{key}.pub", "-rawin"]
        command += ["-in", tmp_path / "message", "-sigfile", tmp_path / "signature"]
        assert b"Success" in subprocess.run(command, capture_output=True, check=False).stdout


def test_the_command_line(bundle, tmp_path, run_cli, color_photographs):
    env = {"EDGEDEFEND_TRUSTED_KEYS": str(tmp_path / "keys"), "EDGEDEFEND_STATE": str(tmp_path / "state")}
    assert run_cli("keygen", tmp_path / "key").returncode == 0
    one_line(run_cli("keygen", tmp_path / "key"), 3)
    (tmp_path / "keys").mkdir(mode=0o755)
    shutil.copy(tmp_path / "key.pub", tmp_path / "keys")
    picture = color_photographs.parent / "0.png"
    for command in (("verify", bundle), ("serve", bundle, "--port", 0), ("classify", bundle, picture)):
        assert "not signed" in one_line(run_cli(*command, env=env, timeout=120), 4)
    signed = run_cli("sign", bundle, "--key", tmp_path / "key", "--serial", 12)
    assert "serial 12" in signed.stdout, signed.stderr
    assert run_cli("classify", bundle, picture, env=env).returncode == 0
    run_cli("sign", bundle, "--key", tmp_path / "key", "--serial", 11)
    assert "serial 11, accepted 12" in one_line(run_cli("verify", bundle, env=env), 4)
