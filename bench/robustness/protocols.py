"""Which attacks are run on which defences, how long, on how many photographs: the paper's protocol, the strong one.

"paper" repeats what the paper did: descent with a learning rate of 0.1, through the identity, 30 draws a gradient
where EOT is meant. "strong" gives every attack its strongest setting; a photograph is robust only if all of them fail.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.robustness.cells import Cell
from bench.robustness.paper import L2_BOUND
from edgedefend.errors import UsageError

__all__ = [
    "BARE_EPSILONS",
    "CURVE_EPSILONS",
    "DIFFERENTIATED",
    "PARTS",
    "PROTOCOLS",
    "QUOTED",
    "Planned",
    "Sizes",
    "plan",
    "way_back",
]

PROTOCOLS = ("paper", "strong", "both")
# Parts of an evaluation that can be run alone -> the roles of their cells. What is asked of clean pictures is in each.
PARTS = {
    "curve": ("curve", "smallest"),
    "checks": ("check-steps", "check-longer", "check-unbounded", "check-white", "check-black", "probe"),
    "attacks": ("attack",),
    "detection": ("unaware", "aware", "standard"),
    "standard": ("standard",),
    "rounds": ("bpda", "bpda+eot"),
    "draws": ("draws",),
}
# l2_rms, in steps of two as far as the paper's bound. What lies between two of them is found by scaling down what
# succeeded (`bench.robustness.scale`). Bare models fall below the first of the others, and so do some of the defences
# that draw nothing, whose gradients cost an eighth as much.
CURVE_EPSILONS = (0.002, 0.004, 0.008, 0.016, 0.032, L2_BOUND)
BARE_EPSILONS = (0.0005, 0.001, *CURVE_EPSILONS)
UNRANDOMISED_EPSILONS = (0.001, *CURVE_EPSILONS)
# Of others, those whose derivative is known: they only resample (`bench.baselines.window`) or are a network. The
# identity would flatter them.
DIFFERENTIATED = ("rand", "crop", "guided-denoiser")
# How the gradient of an attack finds its way back through a defence where its cell does not say: "known" is the
# derivative of what was drawn, for those that have one. All other attacks take the identity, as they were published.
_WAYS_BACK = {"adaptive": "known", "adaptive-soft": "soft", "learned": "learned"}
UNBOUNDED = 0.5
# Where an attack behind the defence has succeeded, and the paper's bound: what is left for a detector to see there.
AWARE_EPSILONS = (0.016, L2_BOUND)
ENOUGH = 0.98  # mean probability of what the attacker wants at which a point of the curve is won
QUOTED = ("ours", "none")  # what the number to quote compares
LONGER = 3  # times the steps, to see whether an attack had converged
# attack -> bound (l2_rms; the two that look for the smallest change need none but the paper's), most steps, and more
_TABLE_3: dict[str, tuple[float, int, dict[str, Any]]] = {
    "i-fgsm": (0.010, 50, {"search_steps": 4}),
    "l-bfgs": (L2_BOUND, 20, {"search_steps": 4, "enlarge": True}),
    "c&w": (L2_BOUND, 50, {"search_steps": 4, "enlarge": True}),
}


@dataclass(frozen=True)
class Planned:
    """A cell, what its results are for, and on how many photographs."""

    role: str
    cell: Cell
    images: int


@dataclass(frozen=True)
class Sizes:
    """How much is done. `images` is the full number, that of the paper; dearer series take a part of it.

    `rounds` are those of the paper's descent, `steps` those of the strong attacks, `draws` the fresh draws of a
    verdict, `table_draws` the draws a photograph of Table 1, `training_steps` those of the auto-encoder; `epsilons` are
    the points of the curve where they are not the usual ones. `closer` replaces some of these for the curves of ours
    and of the bare model, which the number to quote is made of. `checked` photographs are for the sanity checks of
    these two, `checked_others` for those of every other defence.
    """

    images: int = 100
    rounds: int = 50
    steps: int = 50
    eot_samples: int = 8
    paper_eot: int = 30
    draws: int = 10
    table_draws: int = 100
    epsilons: tuple[float, ...] = ()
    restarts: int = 1
    training_steps: int = 500
    checked: int = 10
    checked_others: int = 0
    closer: Mapping[str, Any] = field(default_factory=dict)

    def part(self, divisor: int) -> int:
        """Return a part of the photographs, at least one."""
        return max(1, self.images // divisor)

    def curve_of(self, defense: str) -> Sizes:
        """Return the sizes of the security curve of a defence."""
        return replace(self, closer={}, **self.closer) if defense in QUOTED else self

    def given(self, **values: Any) -> Sizes:
        """Return these sizes but for some that hold everywhere."""
        closer = {name: value for name, value in self.closer.items() if name not in values}
        return replace(self, closer=closer, **values)

    @classmethod
    def quick(cls, images: int) -> Sizes:
        """Return sizes with which everything is over in minutes: for a look, never to be quoted.

        With ten steps and points far apart the curve of ours would flatter it three times over: it is looked at closer.
        """
        return cls(
            images,
            rounds=8,
            steps=10,
            eot_samples=4,
            paper_eot=6,
            draws=4,
            table_draws=8,
            training_steps=40,
            checked=2,
            epsilons=(0.002, 0.008, L2_BOUND),
            closer={"steps": 25, "eot_samples": 8, "epsilons": (0.002, 0.004, 0.008, 0.016, L2_BOUND)},
        )


def _points(defense: str, sizes: Sizes, randomised: bool) -> tuple[float, ...]:
    usual = CURVE_EPSILONS if randomised else BARE_EPSILONS if defense == "none" else UNRANDOMISED_EPSILONS
    return sizes.epsilons or usual


def _curve(
    defense: str, sizes: Sizes, *, randomised: bool, costly: bool, milder: bool, images: dict[bool, int]
) -> list[Planned]:
    """Return the security curve of a defence under the strongest white-box attack there is for it.

    Parameters
    ----------
    milder : bool
        Whether milder draws have a vote: then the smallest change is searched for without them in the gradient as well.
    images : dict
        Whether the attacker has a target -> on how many photographs.
    """
    if costly:
        cells = {targeted: _smallest_cell(defense, sizes, randomised, targeted=targeted) for targeted in images}
        return [Planned("curve", cells[targeted], count) for targeted, count in images.items()]
    cells = {targeted: _curve_cell(defense, sizes, randomised, targeted=targeted) for targeted in images}
    smallest = _smallest_cell(defense, sizes, randomised)
    searches = [smallest]
    if milder:
        searches.append(replace(smallest, options={**smallest.options, "draws_alone": True}))
    return [
        *(Planned("curve", cells[targeted], count) for targeted, count in images.items()),
        *(Planned("smallest", cell, images[True]) for cell in searches),
    ]


def _curve_cell(defense: str, sizes: Sizes, randomised: bool, *, targeted: bool) -> Cell:
    sizes = sizes.curve_of(defense)
    return Cell(
        "attack",
        defense,
        strongest_attack(defense),
        targeted=targeted,
        points=_points(defense, sizes, randomised),
        draws=sizes.draws if randomised else 1,
        options=_strong(sizes, randomised, shrink=True, enough=ENOUGH),
    )


def _smallest_cell(defense: str, sizes: Sizes, randomised: bool, *, targeted: bool = True, longer: int = 1) -> Cell:
    """Return the search for the smallest change: twice the steps with half the draws each, the same gradients."""
    sizes = sizes.curve_of(defense)
    way = {"way_back": "known"} if strongest_attack(defense) == "adaptive" and defense != "none" else {}
    return Cell(
        "attack",
        defense,
        "ddn",
        targeted=targeted,
        points=(L2_BOUND,),
        draws=sizes.draws if randomised else 1,
        options={
            "steps": 2 * longer * sizes.steps,
            "eot_samples": max(1, sizes.eot_samples // 2) if randomised else 1,
            "shrink": True,
            **way,
        },
    )


def strongest_attack(defense: str) -> str:
    """Return the attack that fits a defence: through it where its derivative is known, else through the identity."""
    return "adaptive" if defense in ("ours", "none", *DIFFERENTIATED) else "pgd"


def way_back(cell: Cell) -> str:
    """Return what an attack takes a defence's derivative for: "known", "soft", "learned", "identity"; "own" is none."""
    if cell.defense == "none":
        return "own"
    return str(cell.options.get("way_back", _WAYS_BACK.get(cell.attack, "identity")))


def _strong(sizes: Sizes, randomised: bool, **more: Any) -> dict[str, Any]:
    return {
        "steps": sizes.steps,
        "eot_samples": sizes.eot_samples if randomised else 1,
        "restarts": sizes.restarts,
        **more,
    }


def _checks(defense: str, sizes: Sizes, *, randomised: bool, costly: bool) -> list[Planned]:
    """Return the runs that show whether the curve's attack is to be believed, on a few photographs."""
    few = min(sizes.images, sizes.checked if defense in QUOTED else sizes.checked_others)
    if not few:
        return []
    draws = sizes.draws if randomised else 1
    attack = strongest_attack(defense)

    def run(role: str, point: float, options: dict[str, Any], name: str = attack, targeted: bool = True) -> Planned:
        cell = Cell("attack", defense, name, targeted, points=(point,), draws=draws, options=options)
        return Planned(role, cell, few)

    strong = _strong(sizes, randomised)
    black = {"steps": 10 * sizes.steps, "score_draws": 4}
    # What the smallest distortions are made of, and the search for them with more steps.
    usual = [_smallest_cell(defense, sizes, randomised)]
    if not costly:
        usual.insert(0, _curve_cell(defense, sizes, randomised, targeted=True))
    return [
        *(Planned("check-steps", cell, few) for cell in usual),
        Planned("check-longer", _smallest_cell(defense, sizes, randomised, longer=LONGER), few),
        run("check-unbounded", UNBOUNDED, {**strong, "steps": LONGER * sizes.steps, "enough": ENOUGH}),
        run("check-white", L2_BOUND, strong, targeted=False),
        run("check-black", L2_BOUND, black, "square", targeted=False),
        run("check-black", L2_BOUND, _strong(sizes, False), "transfer", targeted=False),
    ]


def _every_attack(defense: str, sizes: Sizes, randomised: bool) -> list[Planned]:
    """Return every other attack at the paper's bound; those that take thousands of gradients on fewer photographs.

    Behind our defence each gets the gradient of the adaptive attack. Projected descent through the identity stands
    beside them, to show what the paper's attacker misses.
    """
    strong = _strong(sizes, randomised)
    plain = strong
    if defense == "ours":
        strong = {**strong, "way_back": "known"}
    slow = {**strong, "steps": max(10, sizes.steps // 2), "search_steps": 4, "enlarge": True}
    runs: list[tuple[str, dict[str, Any], bool, int]] = [
        ("fgsm", strong, True, 8),
        ("i-fgsm", strong, True, 8),
        ("mi-fgsm", strong, True, 8),
        ("deepfool", slow, False, 16),
        ("l-bfgs", slow, True, 16),
        # A result on the boundary would be on the wrong side of it in half of the draws; Adam takes its time beyond it.
        ("c&w", {**slow, "steps": 2 * sizes.steps, "confidence": 5.0}, True, 16),
    ]
    if defense == "ours":
        runs += [(name, plain, True, 8) for name in ("pgd", "adaptive-soft", "learned")]
    draws = sizes.draws if randomised else 1
    return [
        Planned(
            "attack",
            Cell("attack", defense, name, targeted, points=(L2_BOUND,), draws=draws, options=options, chunk=4),
            sizes.part(divisor),
        )
        for name, options, targeted, divisor in runs
    ]


def _aware(sizes: Sizes) -> list[Planned]:
    """Return an attack on ours that lowers the suspicion score as well, and the same one that does not know of it."""
    strong = _strong(sizes, True)
    cells = [
        Cell("attack", "ours", "adaptive", points=AWARE_EPSILONS, draws=sizes.draws, options=options, stop_early=False)
        for options in (strong, {**strong, "bare_share": 0.5})
    ]
    return [Planned(role, cell, sizes.part(4)) for role, cell in zip(("unaware", "aware"), cells, strict=True)]


def _rounds(defense: str, sizes: Sizes, attack: str, images: int) -> Planned:
    samples = sizes.paper_eot if attack == "bpda+eot" else 1
    cell = Cell(
        "rounds",
        defense,
        attack,
        points=(L2_BOUND,),
        draws=min(3, sizes.draws),
        options={"rounds": sizes.rounds, "learning_rate": 0.1, "eot_samples": samples},
        chunk=8 if samples == 1 else 2,
    )
    return Planned(attack, cell, images)


def _table_1(names: Sequence[str], sizes: Sizes) -> list[Planned]:
    cells = [Cell("draws", name, draws=sizes.table_draws, chunk=4) for name in names]
    return [Planned("draws", cell, sizes.images) for cell in cells]


def _table_3(sizes: Sizes) -> list[Planned]:
    return [
        Planned(
            "standard",
            Cell(
                "attack",
                "none",
                name,
                points=(bound,),
                draws=sizes.draws,
                options={"steps": min(sizes.steps, most), **more},
                judged=("none", "ours"),
            ),
            sizes.images,
        )
        for name, (bound, most, more) in _TABLE_3.items()
    ]


def plan(
    protocol: str,
    defenses: dict[str, bool],
    sizes: Sizes,
    *,
    tables: Sequence[int] = (),
    figures: Sequence[int] = (),
    attacks: Collection[str] = (),
    parts: Collection[str] = (),
    costly: Collection[str] = (),
    milder: bool = False,
) -> list[Planned]:
    """Return what has to be measured, the adaptive attack first.

    Parameters
    ----------
    protocol : {"paper", "strong", "both"}
        What is run where neither a table nor a figure is named.
    defenses : dict
        Name in `bench.baselines` -> whether it draws at random; "none" and "ours" are among them.
    tables, figures : sequence of int
        Of the paper: only what these need.
    attacks : collection of str
        The attacks that there are.
    parts : collection of str
        Of `PARTS`: only these of what the protocol has.
    costly : collection of str
        The defences whose curve is made with the search for the smallest change alone.
    milder : bool
        Whether milder draws have a vote beside those of ours.

    Raises
    ------
    UsageError
        If there is no such protocol, table or figure.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol!r}: expected one of {', '.join(PROTOCOLS)}")
    if set(tables) - {1, 2, 3} or set(figures) - {1, 2, 3, 4}:
        raise UsageError("the paper has Tables 1 to 3 and Figures 1 to 4")
    everything = not tables and not figures
    first = [name for name in QUOTED if name in defenses]
    others = [name for name in defenses if name not in first]
    planned: list[Planned] = []
    if everything or 2 in tables:
        for name in (*first, *others):
            targeted, untargeted = (1, 2) if name in first else (4, 4)
            images = {True: sizes.part(targeted), False: sizes.part(untargeted)}
            planned += _curve(
                name,
                sizes,
                randomised=defenses[name],
                costly=name in costly,
                milder=milder and name == "ours",
                images=images,
            )
    if everything:
        for name in first:
            planned += _checks(name, sizes, randomised=defenses[name], costly=name in costly)
            if protocol != "paper":
                planned += _every_attack(name, sizes, defenses[name])
        for name in others:
            planned += _checks(name, sizes, randomised=defenses[name], costly=name in costly)
        planned += _aware(sizes) if "ours" in defenses else []
    if 1 in tables or (everything and (not parts or "draws" in parts)):
        planned += _table_1((*first, *others), sizes)
    else:
        # The curve at no distortion, and accuracy on clean pictures, need a few draws of every defence in any case.
        planned += [
            Planned("draws", Cell("draws", name, draws=sizes.draws), sizes.images) for name in (*first, *others)
        ]
    if (3 in tables or (everything and protocol != "strong")) and len(first) == 2:
        planned += _table_3(sizes)
    if 3 in figures or 2 in tables or (everything and protocol != "strong"):
        # In the paper only the defences that withstand BPDA are shown to BPDA+EOT.
        planned += [_rounds(name, sizes, "bpda", sizes.images) for name in (*first, *others) if name != "none"]
        withstand = [name for name in ("ours", "rand", "crop") if name in defenses]
        planned += [_rounds(name, sizes, "bpda+eot", sizes.part(2)) for name in withstand]
    roles = {role for part in parts for role in PARTS[part]} | {"draws"}
    return [
        item
        for item in planned
        if (item.cell.attack in attacks or item.cell.kind != "attack") and (not parts or item.role in roles)
    ]
