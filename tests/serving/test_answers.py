"""What a worker does for a request, without HTTP around it."""

from __future__ import annotations

import base64
import shutil

import numpy as np
import pytest

from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.combining import softmax
from edgedefend.errors import InputError
from edgedefend.grid import Grid, remap
from edgedefend.serving.answers import Options, classify_picture, show_stages
from edgedefend.serving.requests import parse_options
from edgedefend.sources import decode_image
from edgedefend.suspicion import suspicion_score
from tests.test_bundle import edit_manifest


@pytest.fixture(scope="module")
def classifier(color_bundles) -> Classifier:
    return Classifier(load_bundle(color_bundles / "fp32"), threads=1)


def png(text: str) -> np.ndarray:
    return decode_image(base64.b64decode(text))


def test_the_pictures_are_those_that_were_answered(classifier, pictures):
    answer = show_stages(classifier, pictures[1], Options(draws=3, top=3))
    original, quantised = png(answer["pictures"]["original"]), png(answer["pictures"]["quantised"])
    assert (original == classifier.fit(decode_image(pictures[1]))).all()
    assert (quantised == classifier.defense.quantize(original)).all()
    undefended = {one["label"]: one["score"] for one in answer["undefended"]}
    output = softmax(classifier.run(original, defended=False))
    assert undefended == {
        label: pytest.approx(float(score), abs=2e-6)
        for label, score in zip(classifier.bundle.labels, output, strict=True)
    }
    means = dict.fromkeys(classifier.bundle.labels, 0.0)
    for draw in answer["each"]:
        # The bare model says of the picture that is shown what the draw is said to have answered.
        output = softmax(classifier.run(png(draw["picture"]), defended=False))
        for one in draw["top"]:
            assert one["score"] == pytest.approx(float(output[one["index"]]), abs=2e-6)
            means[one["label"]] += one["score"] / 3
    for one in answer["top"]:
        assert one["score"] == pytest.approx(means[one["label"]], abs=5e-6)
    assert (answer["label"], answer["draws"], answer["agreement"]) == ("green", 3, 1.0)
    assert len({draw["picture"] for draw in answer["each"]}) == 3, "each draw is another one"


def test_the_cells_say_where_a_draw_takes_its_pixels_from(classifier, pictures):
    answer = show_stages(classifier, pictures[0], Options(draws=1))
    quantised, draw = png(answer["pictures"]["quantised"]), answer["each"][0]
    distorted = png(draw["picture"])
    rows, columns = draw["cells"]["rows"], draw["cells"]["columns"]
    assert [place for place, _ in rows] == list(range(0, 40, 4))
    assert [place for place, _ in columns][:2] == [0, 4]
    corners = remap(quantised, Grid(np.array([r[1] for r in rows]), np.array([c[1] for c in columns])))
    assert (distorted[np.ix_([r[0] for r in rows], [c[0] for c in columns])] == corners).all()


def test_leaving_the_defence_away_is_for_one_answer(classifier, pictures):
    bare = classify_picture(classifier, pictures[0], Options(defense=False))
    assert bare["draws"] == 0
    with pytest.raises(InputError):
        classify_picture(classifier, b"no image", Options(defense=False))
    assert classify_picture(classifier, pictures[0], Options())["draws"] == 1


def test_a_suspicion_is_that_of_the_answers_that_are_shown(classifier, pictures):
    answer = show_stages(classifier, pictures[2], Options(draws=4, top=3))

    def scores(top: list[dict]) -> np.ndarray:
        return np.array([one["score"] for one in sorted(top, key=lambda one: one["index"])], np.float32)

    expected = suspicion_score(np.array([scores(draw["top"]) for draw in answer["each"]]), scores(answer["undefended"]))
    assert answer["suspicion"] == pytest.approx(expected, abs=1e-5)
    assert answer["suspicious"] is (answer["suspicion"] > classifier.bundle.suspicion.value)
    assert "suspicion" not in show_stages(classifier, pictures[2], Options(draws=1)), "nothing to compare"


def test_the_vote_counts_in_what_is_shown(color_bundles, tmp_path, pictures):
    shutil.copytree(color_bundles / "fp32", tmp_path / "voting")
    edit_manifest(tmp_path / "voting", "defense", "undefended_vote", value=0.4)
    voting = Classifier(load_bundle(tmp_path / "voting"), threads=1)
    answer = show_stages(voting, pictures[2], Options(draws=4, top=3))

    def scores(top: list[dict]) -> np.ndarray:
        return np.array([one["score"] for one in sorted(top, key=lambda one: one["index"])], np.float32)

    mean = np.mean([scores(draw["top"]) for draw in answer["each"]], axis=0)
    ballot = np.eye(3)[answer["undefended"][0]["index"]]
    assert scores(answer["top"]) == pytest.approx(0.6 * mean + 0.4 * ballot, abs=1e-5)


def test_milder_draws_vote_in_what_is_shown(color_bundles, tmp_path, pictures):
    shutil.copytree(color_bundles / "fp32", tmp_path / "voting")
    edit_manifest(tmp_path / "voting", "defense", "noise_std", value=20)
    edit_manifest(tmp_path / "voting", "defense", "milder_vote", value={"share": 0.4, "noise_std": 5, "draws": 2})
    voting = Classifier(load_bundle(tmp_path / "voting"), threads=1)
    answer = show_stages(voting, pictures[2], Options(draws=4, top=3))

    def scores(top: list[dict]) -> np.ndarray:
        return np.array([one["score"] for one in sorted(top, key=lambda one: one["index"])], np.float32)

    mean = np.mean([scores(draw["top"]) for draw in answer["each"]], axis=0)
    assert len(answer["each"]) == 4, "who votes is not shown"
    assert sorted(scores(answer["top"]) - 0.6 * mean) == pytest.approx([0, 0, 0.4], abs=1e-5)


def test_a_picture_with_too_many_pixels_is_never_decoded(classifier, pictures):
    with pytest.raises(InputError, match="limit"):
        classify_picture(classifier, pictures[0], Options(), max_pixels=1000)


def test_who_asks_for_no_number_of_draws_gets_the_bundle_s():
    assert parse_options([], 10, default_draws=4).draws == 4
    assert parse_options([], 10, default_draws=16, max_draws=8).draws == 8, "no more than there are pictures for"
    assert parse_options([("draws", "2")], 10, default_draws=4).draws == 2
