"""Which attacks are run on which defences, and on how many photographs."""

import pytest

from bench.baselines.base import Ingredients
from bench.robustness.protocols import Sizes, plan, strongest_attack, way_back
from edgedefend.errors import UsageError

DEFENSES = {"none": False, "ours": True, "jpeg": False, "rand": True}


def test_every_defence_has_a_colour_of_its_own():
    from bench.baselines.registry import all_baselines
    from bench.robustness.figures import _COLORS

    others = all_baselines(Ingredients(((16.0,) * 8,) * 8)).keys() - {"none", "ours"}
    assert len(set(_COLORS)) == len(_COLORS) >= len(others) == 12


def test_a_table_alone_needs_only_its_own_attacks():
    attacks = {"adaptive", "pgd", "i-fgsm", "l-bfgs", "c&w"}
    one = plan("paper", DEFENSES, Sizes(), tables=[1], attacks=attacks)
    assert {item.role for item in one} == {"draws"}
    assert {item.cell.draws for item in one} == {100} and {item.images for item in one} == {100}
    three = plan("paper", DEFENSES, Sizes(), tables=[3], attacks=attacks)
    assert {item.cell.attack for item in three if item.role == "standard"} == {"i-fgsm", "l-bfgs", "c&w"}
    figure = plan("paper", DEFENSES, Sizes(), figures=[3], attacks=attacks)
    assert {item.cell.defense for item in figure if item.role == "bpda+eot"} == {"ours", "rand"}
    assert all(item.cell.options["eot_samples"] == 30 for item in figure if item.role == "bpda+eot")
    with pytest.raises(UsageError, match="Tables 1 to 3"):
        plan("paper", DEFENSES, Sizes(), tables=[4])


def test_the_adaptive_attack_comes_first_and_at_full_size():
    planned = plan("strong", DEFENSES, Sizes(), attacks={"adaptive", "pgd", "square"})
    assert (planned[0].cell.defense, planned[0].cell.attack, planned[0].images) == ("ours", "adaptive", 100)
    others = [item for item in planned if item.role == "curve" and item.cell.defense not in ("ours", "none")]
    assert {item.images for item in others} == {25}


def test_a_quick_run_looks_closer_at_the_number_to_quote():
    def curves(sizes):
        planned = plan("strong", DEFENSES, sizes, attacks={"adaptive", "pgd"}, parts=["curve"])
        return {i.cell.defense: (i.cell.options["steps"], len(i.cell.points)) for i in planned if i.role == "curve"}

    quick = curves(Sizes.quick(3))
    assert quick["ours"] == quick["none"] == (25, 5) and quick["jpeg"] == quick["rand"] == (10, 3)
    asked_for = curves(Sizes.quick(3).given(steps=6, epsilons=(0.1,)))
    assert set(asked_for.values()) == {(6, 1)}


def test_the_search_for_the_smallest_change_is_checked_with_more_steps():
    """For every defence: at one distortion, where all attacks succeed, more steps could not help."""

    def cells(sizes, *roles):
        planned = plan("strong", DEFENSES, sizes, attacks={"adaptive", "pgd", "ddn"})
        targeted = [item for item in planned if item.role in roles and item.cell.targeted]
        return {(item.cell.defense, item.cell.attack): item for item in targeted}

    full = Sizes(checked_others=3)
    found, usual, longer = (
        cells(full, *roles) for roles in (("curve", "smallest"), ("check-steps",), ("check-longer",))
    )
    assert found.keys() == usual.keys() == {(n, a) for n in DEFENSES for a in (strongest_attack(n), "ddn")}
    assert longer.keys() == {(name, "ddn") for name in DEFENSES}
    for key, item in usual.items():
        assert item.cell.id == found[key].cell.id
        assert item.images == (10 if key[0] in ("none", "ours") else 3)
    for key, item in longer.items():
        assert item.cell.options == {**usual[key].cell.options, "steps": 300}
        assert way_back(item.cell) == {"ours": "known", "rand": "known", "none": "own", "jpeg": "identity"}[key[0]]
    assert cells(Sizes(), "check-longer").keys() == {("ours", "ddn"), ("none", "ddn")}
    assert cells(Sizes.quick(4), "check-longer").keys() == {("ours", "ddn"), ("none", "ddn")}


def test_a_costly_defence_has_its_curve_from_the_search_for_the_smallest_change():
    planned = plan("strong", DEFENSES, Sizes(checked_others=3), attacks={"adaptive", "pgd", "ddn"}, costly={"rand"})
    curve = [item for item in planned if item.role in ("curve", "smallest") and item.cell.defense == "rand"]
    assert [(i.role, i.cell.attack, i.cell.targeted, i.images) for i in curve] == [
        ("curve", "ddn", True, 25), ("curve", "ddn", False, 25),
    ]  # fmt: skip
    checks = {item.cell.id for item in planned if item.role == "check-steps" and item.cell.defense == "rand"}
    assert checks == {curve[0].cell.id}


def test_milder_draws_that_vote_are_left_out_of_one_search_for_the_smallest_change():
    def searches(**more):
        planned = plan("strong", DEFENSES, Sizes(), attacks={"adaptive", "ddn"}, parts=["curve"], **more)
        return [
            (item.cell.defense, item.cell.options.get("draws_alone", False), item.images)
            for item in planned
            if item.role == "smallest" and item.cell.defense in ("ours", "rand")
        ]

    assert searches() == [("ours", False, 100), ("rand", False, 25)]
    assert searches(milder=True) == [("ours", False, 100), ("ours", True, 100), ("rand", False, 25)]


def test_every_attack_gets_the_gradient_that_is_known_of_ours():
    names = {"fgsm", "i-fgsm", "mi-fgsm", "deepfool", "l-bfgs", "c&w"}
    planned = plan("strong", DEFENSES, Sizes(), attacks={*names, "pgd", "learned"}, parts=["attacks"])
    ways = {(item.cell.defense, item.cell.attack): way_back(item.cell) for item in planned if item.role == "attack"}
    assert ways == {
        **{("ours", name): "known" for name in names},
        **{("none", name): "own" for name in names},
        ("ours", "pgd"): "identity",
        ("ours", "learned"): "learned",
    }
