import numpy as np
import pytest

from bench.attacks.adaptive import adaptive_model
from bench.attacks.base import to_pictures, to_unit
from bench.attacks.bridge import FoolboxBridge
from bench.attacks.decoupled import Decoupled
from bench.attacks.minimal import CarliniWagner, DeepFool
from bench.attacks.pictures import as_pictures
from bench.attacks.voting import Voting
from bench.robustness.judge import ask
from convert.tf import import_tensorflow
from edgedefend.combining import Vote, softmax, with_vote

VOTE = 0.3


@pytest.fixture
def voting(color_gradients, defense):
    return Voting(adaptive_model(color_gradients, defense, eot_samples=4), color_gradients, VOTE)


@pytest.mark.parametrize("targeted", [True, False])
def test_it_breaks_the_model_with_the_vote(voting, color_gradients, reddish, defend, targeted):
    result = Decoupled(steps=60)(
        voting, reddish.images, reddish.labels, reddish.targets if targeted else None,
        epsilon=0.2, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success.all()
    sent = as_pictures(result.images, to_pictures(reddish.images))
    verdicts = ask(
        color_gradients, defend, sent, reddish.labels, reddish.targets if targeted else None,
        draws=10, rng=np.random.default_rng(1), averaged=2, vote=Vote(VOTE),
    )  # fmt: skip
    assert min(verdict["hit"] for verdict in verdicts) >= 0.5


def test_its_answers_are_those_of_a_board(voting, color_gradients, reddish):
    model = voting
    rng = [np.random.default_rng(3) for _ in range(2)]
    behind = model.defended.logits(reddish.images, rng[0])
    expected = with_vote(softmax(behind), color_gradients.logits(reddish.images), VOTE)
    assert np.exp(model.logits(reddish.images, rng[1])) == pytest.approx(expected, abs=1e-6)


def test_its_gradient_is_that_of_both_and_every_query_counts(voting, color_gradients, reddish):
    def of(model):
        return model.gradient(reddish.images, reddish.targets, targeted=True, rng=np.random.default_rng(5))

    both, behind, bare = of(voting), of(voting.defended), of(color_gradients)
    assert both.gradient == pytest.approx(behind.gradient + bare.gradient, abs=1e-6)
    assert both.queries == behind.queries + bare.queries
    assert both.loss == pytest.approx(behind.loss + bare.loss, abs=1e-5)
    assert both.logits.shape == behind.logits.shape


def test_milder_draws_vote_as_a_mean_and_are_attacked_with_the_others(color_gradients, defense, reddish):
    noisy = [
        adaptive_model(color_gradients, defense.with_noise(std), eot_samples=draws) for std, draws in ((40, 4), (5, 2))
    ]
    model = Voting(*noisy, VOTE)

    def of(attacked, rng):
        return attacked.gradient(reddish.images, reddish.targets, targeted=True, rng=rng)

    both, rng = of(model, np.random.default_rng(5)), np.random.default_rng(5)
    behind, voter = of(noisy[0], rng), of(noisy[1], rng)  # one after the other, from one stream
    assert both.gradient == pytest.approx(behind.gradient + voter.gradient, abs=1e-6)
    assert both.queries == 6 and both.logits.shape == behind.logits.shape
    voters = softmax(voter.logits).mean(axis=1, keepdims=True)
    assert np.exp(both.logits) == pytest.approx(with_vote(softmax(behind.logits), voters, VOTE), abs=1e-6)


def test_the_draws_alone_are_attacked_but_judged_with_those_who_vote(color_gradients, defense, reddish):
    behind, voter = [
        adaptive_model(color_gradients, defense.with_noise(std), eot_samples=draws) for std, draws in ((40, 4), (5, 2))
    ]
    rng = [np.random.default_rng(5) for _ in range(2)]
    found = Voting(behind, voter, VOTE, draws_alone=True).gradient(
        reddish.images, reddish.targets, targeted=True, rng=rng[0]
    )
    expected = behind.gradient(reddish.images, reddish.targets, targeted=True, rng=rng[1])
    assert found.gradient == pytest.approx(expected.gradient, abs=1e-7)
    assert found.loss == pytest.approx(expected.loss) and found.queries == expected.queries == 4
    voters = np.mean([softmax(voter.logits(reddish.images, rng[1])) for _ in range(2)], axis=0)[:, None]
    assert np.exp(found.logits) == pytest.approx(with_vote(softmax(expected.logits), voters, VOTE), abs=1e-6)


def test_away_from_a_class_the_bare_model_ends_to_count_once_it_is_left(voting, color_gradients, reddish):
    """Else its gradient, which never ends, would hide that behind the defence."""
    wrong = (color_gradients.logits(reddish.images).argmax(axis=1) + 1) % 3

    def share(labels):
        both = voting.gradient(reddish.images, labels, targeted=False, rng=np.random.default_rng(5)).gradient
        behind = voting.defended.gradient(reddish.images, labels, targeted=False, rng=np.random.default_rng(5))
        bare = color_gradients.gradient(reddish.images, labels, targeted=False).gradient
        return np.linalg.norm(both - behind.gradient) / np.linalg.norm(bare)

    left = softmax(color_gradients.logits(reddish.images))[np.arange(len(wrong)), wrong]
    assert share(wrong.astype(np.int32)) <= left.max() * 1.01 < share(reddish.labels)


def test_foolbox_may_leave_out_those_who_vote_as_well(voting, reddish):
    tf = import_tensorflow()
    alone = Voting(voting.defended, voting.voter, VOTE, draws_alone=True)
    result = CarliniWagner(steps=10, search_steps=1)(
        alone, reddish.images, reddish.labels, None, epsilon=0.3, norm="l2_rms", rng=np.random.default_rng(0)
    )
    # Of each step: four draws.
    assert (result.gradient_queries % 4 == 0).all() and not (result.gradient_queries % 5 == 0).all()

    def slope(model):
        bridge = FoolboxBridge(model, len(reddish.images), np.random.default_rng(3))
        images = bridge.tensor(reddish.images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            given = tf.nn.log_softmax(bridge.model(images)) if model is voting.defended else bridge.model(images)
            wanted = tf.reduce_sum(tf.gather(given, reddish.targets, axis=1, batch_dims=1))
        return tape.gradient(wanted, images).numpy()

    assert slope(alone) == pytest.approx(slope(voting.defended), abs=1e-5)
    assert np.abs(slope(voting) - slope(alone)).max() > 1e-3


@pytest.mark.parametrize("attack", [DeepFool(steps=40, enlarge=True), CarliniWagner(steps=40, search_steps=3)])
def test_foolbox_gets_the_same_answers_and_breaks_it(voting, reddish, attack):
    bridge = FoolboxBridge(voting, len(reddish.images), np.random.default_rng(3))
    given = bridge.model(bridge.tensor(reddish.images)).numpy()
    behind = FoolboxBridge(voting.defended, len(reddish.images), np.random.default_rng(3))
    mean = softmax(behind.model(behind.tensor(reddish.images)).numpy())
    assert np.exp(given) == pytest.approx(with_vote(mean, voting.voter.logits(reddish.images), VOTE), abs=1e-5)
    result = attack(
        voting, reddish.images, reddish.labels, None, epsilon=0.3, norm="l2_rms", rng=np.random.default_rng(0)
    )
    assert result.success.all()
    # Of each step: four draws, and the bare model.
    assert (result.gradient_queries % 5 == 0).all() and (result.gradient_queries > 0).all()


def test_pictures_of_a_model_that_is_no_number_are_no_success(reddish):
    class Broken:
        randomised = False

        def logits(self, images, rng=None):
            return np.full((len(images), 3), np.nan, np.float32)

    found = Voting(Broken(), Broken(), VOTE).logits(to_unit(to_pictures(reddish.images)))
    assert np.isnan(found).all()
