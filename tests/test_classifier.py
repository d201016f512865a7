import shutil

import numpy as np
import pytest

from edgedefend.bundle import PRECISIONS, load_bundle
from edgedefend.classifier import Classifier
from edgedefend.combining import softmax
from edgedefend.errors import BackendError, BundleError, InputError
from tests.test_bundle import edit_manifest, rewrite

SQUARES = {"red": (250, 20, 10), "green": (20, 250, 10), "blue": (10, 20, 250)}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("defended", [True, False])
def test_a_red_square_is_red(color_bundles, precision, defended):
    classifier = Classifier(load_bundle(color_bundles / precision), threads=1, defended=defended)
    for name, color in SQUARES.items():
        prediction = classifier.classify(np.full((64, 64, 3), color, np.uint8), draws=3)
        assert prediction.top[0].label == name
        assert prediction.top[0].score > 0.9
        assert prediction.draws == (3 if defended else 0)
        assert prediction.agreement == 1.0
        assert sum(answer.score for answer in prediction.top) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_channel_order_of_the_manifest_is_followed(color_bundles, tmp_path, precision):
    shutil.copytree(color_bundles / precision, tmp_path / "bgr")
    edit_manifest(tmp_path / "bgr", "input", "channel_order", value="BGR")
    classifier = Classifier(load_bundle(tmp_path / "bgr"), threads=1)
    assert classifier.classify(np.full((8, 8, 3), SQUARES["red"], np.uint8)).top[0].label == "blue"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_normalisation_of_the_manifest_is_followed(color_bundles, tmp_path, precision):
    """Scale -1 and offset 255 show the model the negative: cyan for red, so the weakest channel wins."""
    shutil.copytree(color_bundles / precision, tmp_path / "negative")
    edit_manifest(tmp_path / "negative", "input", "scale", value=[-1, -1, -1])
    edit_manifest(tmp_path / "negative", "input", "offset", value=[255, 255, 255])
    classifier = Classifier(load_bundle(tmp_path / "negative"), threads=1)
    assert classifier.classify(np.full((40, 48, 3), (250, 10, 120), np.uint8)).top[0].label == "green"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_several_draws_in_one_batch_equal_single_ones(color_bundles, precision, photographs):
    bundle = load_bundle(color_bundles / precision)
    together = Classifier(bundle, threads=1, rng=np.random.default_rng(7)).classify(photographs[0], draws=6)
    single = Classifier(bundle, threads=1, rng=np.random.default_rng(7))
    mean = np.mean([single.classify(photographs[0]).probabilities for _ in range(6)], axis=0)
    assert together.probabilities == pytest.approx(mean, abs=2e-3)
    # And back to one: the interpreter is resized both ways.
    assert single.classify(photographs[0], draws=2).draws == 2


@pytest.mark.parametrize("draws", [1, 4])
def test_the_undefended_answer_has_the_vote_that_the_bundle_gives_it(color_bundles, tmp_path, photographs, draws):
    shutil.copytree(color_bundles / "int8", tmp_path / "voting")
    edit_manifest(tmp_path / "voting", "defense", "undefended_vote", value=0.25)
    bundles = [load_bundle(color_bundles / "int8"), load_bundle(tmp_path / "voting")]
    plain, voting = (Classifier(bundle, threads=1, rng=np.random.default_rng(7)) for bundle in bundles)
    without, found = (each.classify(photographs[0], draws=draws) for each in (plain, voting))
    bare = Classifier(bundles[1], threads=1, defended=False)
    ballot = np.eye(3)[bare.classify(photographs[0]).index]
    assert found.probabilities == pytest.approx(0.75 * without.probabilities + 0.25 * ballot, abs=2e-3)
    assert (found.draws, found.agreement) == (draws, without.agreement)
    assert not bare.vote.share, "without the defence there is nothing to vote beside"
    assert bare.classify(photographs[0]).probabilities == pytest.approx(
        Classifier(bundles[0], threads=1, defended=False).classify(photographs[0]).probabilities
    )


MILDER = {"share": 0.25, "noise_std": 3, "draws": 3}


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(("draws", "suspicion"), [(1, False), (4, False), (4, True)])
def test_milder_draws_have_the_vote_that_the_bundle_gives_them(
    color_bundles, tmp_path, photographs, monkeypatch, draws, suspicion, batched
):
    shutil.copytree(color_bundles / "fp32", tmp_path / "voting")
    edit_manifest(tmp_path / "voting", "defense", "noise_std", value=40)
    edit_manifest(tmp_path / "voting", "defense", "milder_vote", value=MILDER)
    classifier = Classifier(load_bundle(tmp_path / "voting"), threads=1)
    monkeypatch.setattr(classifier.draw_choice, "batched", lambda runs: batched)
    inputs, outputs, invoke = [], [], classifier.interpreter.invoke

    def kept():
        view = classifier.interpreter.input_view()
        inputs.extend(view.copy())
        del view
        output = invoke()
        outputs.extend(output.copy())
        return output

    monkeypatch.setattr(classifier.interpreter, "invoke", kept)
    found = classifier.classify(photographs[0], draws=draws, top=3, suspicion=suspicion)
    assert len(outputs) == draws + 3 + suspicion and found.draws == draws
    each = softmax(np.array(outputs)) if classifier.bundle.output == "logits" else np.array(outputs)
    ballot = np.eye(3)[each[draws : draws + 3].mean(axis=0).argmax()]
    assert found.probabilities == pytest.approx(0.75 * each[:draws].mean(axis=0) + 0.25 * ballot, abs=1e-5)
    rough = [np.abs(np.diff(tensor, axis=1)).mean() for tensor in inputs]
    assert max(rough[draws:]) < min(rough[:draws]) / 2, "who votes has less noise"
    assert (found.suspicion is None) == (not suspicion)
    assert Classifier(classifier.bundle, threads=1, defended=False).runs(draws).count == 1


def test_a_vote_and_a_suspicion_share_one_run_of_the_model(color_bundles, tmp_path, photographs, monkeypatch):
    shutil.copytree(color_bundles / "fp32", tmp_path / "voting")
    edit_manifest(tmp_path / "voting", "defense", "undefended_vote", value=0.25)
    classifier = Classifier(load_bundle(tmp_path / "voting"), threads=1)
    runs, invoke = [], classifier.interpreter.invoke

    def counted():
        output = invoke()
        runs.append(len(output))
        return output

    monkeypatch.setattr(classifier.interpreter, "invoke", counted)
    for _ in range(6):  # in one batch at first, then one by one
        runs.clear()
        assert classifier.classify(photographs[0], draws=3, suspicion=True).suspicion is not None
        assert sum(runs) == 4


@pytest.mark.parametrize("batched", [True, False])
def test_the_undefended_answer_is_that_of_the_picture_as_it_is(color_bundles, photographs, monkeypatch, batched):
    classifier = Classifier(load_bundle(color_bundles / "fp32"), threads=1)
    monkeypatch.setattr(classifier.draw_choice, "batched", lambda runs: batched)
    seen, suspicion = [], classifier.suspicion

    def noticed(output, undefended):
        seen.append((output, undefended))
        return suspicion(output, undefended)

    monkeypatch.setattr(classifier, "suspicion", noticed)
    classifier.classify(photographs[0], draws=3, suspicion=True)
    (output, undefended), plain = seen[0], classifier.run(classifier.fit(photographs[0]), defended=False)
    assert undefended == pytest.approx(plain, abs=1e-3)
    assert output.shape == (3, 3)
    assert not (abs(output - plain) < 1e-6).all(axis=1).any(), "the draws are defended"


def test_the_defence_changes_what_the_model_sees(color_bundles, photographs):
    bundle = load_bundle(color_bundles / "fp32")
    plain = Classifier(bundle, threads=1, defended=False)
    assert (plain.run(plain.fit(photographs[3])) == plain.run(plain.fit(photographs[3]))).all()
    defended = Classifier(bundle, threads=1)
    answers = {defended.run(defended.fit(photographs[3])).tobytes() for _ in range(5)}
    assert len(answers) == 5


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 900, 3), (3000, 2, 3), (40, 48, 3)])
def test_any_size_of_image(color_bundles, shape):
    classifier = Classifier(load_bundle(color_bundles / "int8"), threads=1)
    assert classifier.classify(np.full(shape, SQUARES["green"], np.uint8)).top[0].label == "green"


def test_stage_times_add_up(color_bundles, photographs):
    stages = Classifier(load_bundle(color_bundles / "fp32"), threads=1).classify(photographs[0]).stage_ms
    assert set(stages) == {"resize_ms", "defend_ms", "invoke_ms", "total_ms"}
    assert 0 < sum(value for name, value in stages.items() if name != "total_ms") <= stages["total_ms"]


def test_bad_arguments(color_bundles, photographs):
    classifier = Classifier(load_bundle(color_bundles / "fp32"), threads=1)
    with pytest.raises(InputError, match="draws is 0"):
        classifier.classify(photographs[0], draws=0)
    with pytest.raises(InputError, match="top is 0"):
        classifier.classify(photographs[0], top=0)


def test_a_model_that_is_none(color_bundles, tmp_path):
    shutil.copytree(color_bundles / "int8", tmp_path / "b")
    rewrite(tmp_path / "b", "model.tflite", b"not a model at all, but with the right hash")
    with pytest.raises(BackendError, match="cannot run this model"):
        Classifier(load_bundle(tmp_path / "b"), threads=1)


def test_a_model_of_another_size(color_bundles, tmp_path):
    shutil.copytree(color_bundles / "int8", tmp_path / "b")
    edit_manifest(tmp_path / "b", "input", "height", value=41)
    with pytest.raises(BundleError, match="the manifest says"):
        Classifier(load_bundle(tmp_path / "b"), threads=1)
