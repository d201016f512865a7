"""Which operators of a model run in the runtime's fast delegate, and which it leaves to the slow kernels.

A runtime hands what its delegate (XNNPACK on CPUs) takes over in partitions; an operator that it does not take
runs in a plain kernel and splits the partition around it, with a copy on each side. That is why one model is slower
than another of the same size, and nothing else of the runtime says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Partitions", "find_partitions"]

_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Partitions:
    """How a runtime has divided a model.

    Attributes
    ----------
    count : int
        Partitions that the delegate runs; 1 is best, 0 means that it takes no part of the model.
    operators : int
        Operators of the model.
    undelegated : dict
        How many operators of each name stay with the runtime's plain kernels, the most frequent first.
    """

    count: int
    operators: int
    undelegated: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.count:
            return f"no delegate: all {self.operators} operators run in plain kernels"
        parts = "1 delegate partition" if self.count == 1 else f"{self.count} delegate partitions"
        if not self.undelegated:
            return f"{parts}, every operator in it" if self.count == 1 else f"{parts}, no operator outside them"
        left = ", ".join(f"{count} {name}" for name, count in self.undelegated.items())
        return f"{parts}, not delegated: {left}"


def find_partitions(nodes: Sequence[Mapping[str, Any]]) -> Partitions:
    """Tell from the nodes of an allocated interpreter how it has divided the model.

    Parameters
    ----------
    nodes : sequence of dict
        From ``Interpreter._get_ops_details()``: "index", "op_name", "inputs" and "outputs" (tensor indices, -1 for
        an absent one). It lists the model's own operators and, after them, one node named DELEGATE a partition.

    Notes
    -----
    The runtime does not say which operators a partition has swallowed. They are those that its outputs depend on,
    back to its inputs: a partition's inputs are all the tensors that others make for it.
    """
    partitions = [node for node in nodes if node["op_name"] == _DELEGATE]
    own = [node for node in nodes if node["op_name"] != _DELEGATE]
    maker = {int(tensor): node for node in own for tensor in node["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        inputs = {int(tensor) for tensor in partition["inputs"]}
        pending = [int(tensor) for tensor in partition["outputs"]]
        while pending:
            tensor = pending.pop()
            node = maker.get(tensor)
            if tensor in inputs or node is None or int(node["index"]) in taken:
                continue
            taken.add(int(node["index"]))
            pending.extend(int(tensor) for tensor in node["inputs"])
    left = Counter(str(node["op_name"]) for node in own if int(node["index"]) not in taken)
    return Partitions(len(partitions), len(own), dict(left.most_common()))
