"""What is left of a series of results, in which order, and with which random streams."""

from bench.robustness.cells import Cell, CellChain, Photo, chains_of
from bench.robustness.store import ResultStore


def photo(name):
    return Photo(name, f"/{name}", 0, 1, "0" * 64)


def test_an_early_success_saves_the_larger_epsilons(tmp_path):
    cell = Cell("attack", "none", "adaptive", points=(0.1, 0.2, 0.3))
    chain = CellChain(cell, 0, (photo("a"), photo("b")))
    with ResultStore(tmp_path, {}) as store:
        assert chain.left(store) == 6
        assert [p.name for p in chain.next_task(store).photos] == ["a", "b"]
        for name, hit in (("a", 1.0), ("b", 0.9)):
            store.append(
                [{"cell": cell.id, "image": photo(name).key, "point": "0.1", "select": {"hit": hit, "right": 0.0}}]
            )
        task = chain.next_task(store)
        assert task.point == 0.2 and [p.name for p in task.photos] == ["b"]
        assert chain.left(store) == 2


def test_every_purpose_and_task_has_a_stream_of_its_own():
    cell = Cell("attack", "ours", "adaptive")
    draws = {
        cell.rng(seed, first, point, purpose).random()
        for seed in (0, 1)
        for first in (0, 8)
        for point in (0.01, 0.02)
        for purpose in ("attack", "select", "judge")
    }
    assert len(draws) == 24
    assert cell.rng(0, 0, 0.01, "judge").random() == cell.rng(0, 0, 0.01, "judge").random()
    assert Cell("attack", "ours", "adaptive", options={"steps": 5}).id != cell.id


def test_chunks_do_not_depend_on_how_many_photographs_there_are():
    cell = Cell("attack", "none", chunk=4)
    few = chains_of([cell], [photo(str(n)) for n in range(8)])
    many = chains_of([cell], [photo(str(n)) for n in range(11)])
    assert [chain.photos for chain in many[:2]] == [chain.photos for chain in few]
    assert len(many[2].photos) == 3
    assert sum(len(chain.photos) for chain in chains_of([cell], [photo(str(n)) for n in range(11)], {cell.id: 5})) == 5
