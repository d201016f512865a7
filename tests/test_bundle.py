import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgedefend.bundle import FORMAT_VERSION, load_bundle, parse_sums
from edgedefend.combining import Vote
from edgedefend.errors import BundleError
from tests.conftest import one_line


@pytest.fixture
def copy(color_bundles, tmp_path) -> Path:
    shutil.copytree(color_bundles / "int8", tmp_path / "bundle")
    return tmp_path / "bundle"


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Change a file as an attacker or a newer program would: with sums that fit."""
    (folder / name).write_bytes(content)
    names = parse_sums((folder / "SHA256SUMS").read_text(), "test")
    sums = "".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / "SHA256SUMS").write_text(sums)


def edit_manifest(folder: Path, *keys: str, value: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    rewrite(folder, "manifest.json", json.dumps(manifest).encode())


def test_folder_and_packed_hold_the_same(color_bundles):
    folder, packed = load_bundle(color_bundles / "int8"), load_bundle(color_bundles / "int8.zip")
    assert folder.sha256 == packed.sha256
    assert folder.labels == packed.labels == ("red", "green", "blue")
    assert (folder.quant_table == packed.quant_table).all()
    assert folder.model().read_bytes() == packed.model()
    assert (folder.golden().defended == packed.golden().defended).all()
    assert folder.manifest["format_version"] == FORMAT_VERSION


def test_manifest_tells_what_it_was_made_from_and_with(color_bundles):
    manifest = load_bundle(color_bundles / "fp32").manifest
    assert manifest["made_with"]["tensorflow"]
    assert manifest["made_from"]["data"] == "labels.csv"
    assert manifest["measured"]["n"] == 12
    assert manifest["measured"]["agreement"] == 1.0
    assert manifest["measured"]["clean_accuracy"]["hits"] == 12


def test_sums_are_those_of_sha256sum(color_bundles):
    import subprocess

    result = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=color_bundles / "fp32", check=False)
    assert result.returncode == 0


def test_a_flipped_byte_in_any_file_is_noticed(copy, run_cli):
    names = sorted(entry.name for entry in copy.iterdir())
    assert len(names) == 8
    for name in names:
        data = bytearray((copy / name).read_bytes())
        for position in {0, len(data) // 2, len(data) - 1}:
            data[position] ^= 1
            (copy / name).write_bytes(data)
            with pytest.raises(BundleError):
                load_bundle(copy)
            data[position] ^= 1
        (copy / name).write_bytes(data)
    load_bundle(copy)
    data[0] ^= 1
    (copy / names[-1]).write_bytes(data)
    assert names[-1] in one_line(run_cli("verify", copy), 4)


def test_a_flipped_byte_anywhere_in_a_packed_bundle(color_bundles, tmp_path):
    whole = (color_bundles / "int8.zip").read_bytes()
    good = load_bundle(color_bundles / "int8.zip")
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 150):
        data = bytearray(whole)
        data[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "packed.zip").write_bytes(data)
        try:
            seen = load_bundle(tmp_path / "packed.zip")
        except BundleError:
            continue
        # Some bits of a zip mean nothing (times, attributes): then nothing of the bundle may have changed.
        assert seen.sha256 == good.sha256
        assert seen.model() == good.model()


@pytest.mark.parametrize("name", ["manifest.json", "model.tflite", "labels.txt", "SHA256SUMS", "golden.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)


def test_a_newer_format_says_upgrade(copy, run_cli):
    edit_manifest(copy, "format_version", value=FORMAT_VERSION + 1)
    line = one_line(run_cli("verify", copy), 4)
    assert "pip install --upgrade edgedefend" in line


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("input", "height"), "224", "input.height is '224', expected a whole number"),
        (("input", "channel_order"), "GBR", "expected one of RGB, BGR"),
        (("input", "scale"), [1, 2], "expected a list of 3 numbers"),
        (("input",), None, "input. must be an object"),
        (("model", "precision"), "int4", "expected one of fp32"),
        (("model", "file"), "../../etc/passwd", "does not list"),
        (("model", "classes"), 4, "labels.txt has 3 lines"),
        (("defense", "distort_limit"), 2, "distort_limit is 2"),
        (("defense", "num_steps"), 0, "num_steps is 0"),
        (("defense", "draws"), 33, "draws is 33, expected a whole number from 1 to 32"),
        (("defense", "passes"), 9, "passes is 9, expected a whole number from 1 to 8"),
        (("defense", "noise_std"), 65, "noise_std is 65, expected a number from 0 to 64"),
        (("defense", "undefended_vote"), 0.5, "undefended_vote is 0.5, expected a number from 0 to 0.45"),
        (("defense", "milder_vote"), 0.1, "milder_vote. must be an object"),
        (("defense", "milder_vote"), {"share": 0, "noise_std": 8, "draws": 4}, "share is 0, expected a number above 0"),
        (
            ("defense", "milder_vote"),
            {"share": 0.1, "noise_std": 0, "draws": 4},
            "noise_std is 0, expected a number above 0",
        ),
        (("defense", "milder_vote"), {"share": 0.1, "noise_std": 8, "draws": 0}, "draws is 0, expected a whole"),
    ],
)
def test_a_bad_manifest_names_the_key(copy, keys, value, message):
    edit_manifest(copy, *keys, value=value)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_what_a_tuning_chose_is_what_runs(copy):
    older = load_bundle(copy)
    assert (older.draws, older.passes, older.defense().passes) == (1, 1, 1)
    assert older.noise_std == older.defense().noise_std == older.vote.share == 0
    edit_manifest(copy, "defense", "draws", value=4)
    edit_manifest(copy, "defense", "passes", value=3)
    tuned = load_bundle(copy)
    assert (tuned.draws, tuned.passes, tuned.defense().passes) == (4, 3, 3)
    edit_manifest(copy, "defense", "noise_std", value=6.5)
    noisy = load_bundle(copy)
    assert noisy.noise_std == noisy.defense().noise_std == 6.5


def test_one_vote_at_most_and_whose_it_is(copy, tmp_path):
    shutil.copytree(copy, tmp_path / "milder")
    edit_manifest(copy, "defense", "undefended_vote", value=0.2)
    undefended = load_bundle(copy).vote
    assert undefended == Vote(0.2) and undefended.undefended and not undefended.milder
    given = {"share": 0.15, "noise_std": 4, "draws": 2}
    edit_manifest(tmp_path / "milder", "defense", "milder_vote", value=given)
    milder = load_bundle(tmp_path / "milder").vote
    assert milder == Vote(0.15, 4, 2) and milder.milder and not milder.undefended
    edit_manifest(copy, "defense", "milder_vote", value=given)
    with pytest.raises(BundleError, match="the only vote: there is an undefended_vote as well"):
        load_bundle(copy)


@pytest.mark.parametrize("table", [np.zeros((8, 8)), np.ones((7, 8)), "x"])
def test_a_bad_table_is_refused(copy, table):
    content = table if isinstance(table, str) else table.tolist()
    rewrite(copy, "quant_table.json", json.dumps({"quant_table": content}).encode())
    with pytest.raises(BundleError, match="quant_table"):
        load_bundle(copy)


@pytest.mark.parametrize("content", [b"{}", b'{"rows": 3}', b"[", b'{"rows": [1e99], "cols": [], "output": []}'])
def test_a_bad_golden_input_is_refused(copy, content):
    rewrite(copy, "golden.json", content)
    with pytest.raises(BundleError, match="golden"):
        load_bundle(copy).golden()


@pytest.mark.parametrize(
    "text",
    ["x\n", "0" * 64 + " one space\n", "0" * 64 + "  ../up\n", "0" * 64 + "  no-newline", ("0" * 64 + "  a\n") * 2],
)
def test_bad_sums(text):
    with pytest.raises(BundleError, match="SHA256SUMS"):
        parse_sums(text, "here")


def test_what_is_no_bundle(tmp_path, color_bundles):
    with pytest.raises(BundleError, match="no such bundle"):
        load_bundle(tmp_path / "missing")
    with pytest.raises(BundleError, match="not a bundle"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="it holds the bundles dynamic, fp16, fp32, int8"):
        load_bundle(color_bundles)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(BundleError, match="neither a bundle folder nor a packed bundle"):
        load_bundle(tmp_path / "text.zip")


def test_links_are_not_followed(copy):
    (copy / "labels.txt").unlink()
    (copy / "labels.txt").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match="labels.txt is missing"):
        load_bundle(copy)


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    from edgedefend import bundle

    monkeypatch.setattr(bundle, "_MAX_OTHER", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (50 << 20))
    with pytest.raises(BundleError, match="larger than 1 MB"):
        load_bundle(tmp_path / "bomb.zip")
