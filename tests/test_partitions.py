import pytest

from edgedefend.bundle import PRECISIONS, load_bundle
from edgedefend.interpreter import Interpreter
from edgedefend.partitions import Partitions, find_partitions


def node(index, name, inputs, outputs):
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


# conv(0) -> pool(1) -> conv(2) -> add(3) of the pool's and the second convolution's outputs -> softmax(4)
OWN = [
    node(0, "CONV_2D", [0, 90, -1], [1]),
    node(1, "AVERAGE_POOL_2D", [1], [2]),
    node(2, "CONV_2D", [2, 91], [3]),
    node(3, "ADD", [2, 3], [4]),
    node(4, "SOFTMAX", [4], [5]),
]


def test_an_operator_between_two_partitions():
    found = find_partitions([*OWN, node(5, "DELEGATE", [0, 90], [1]), node(6, "DELEGATE", [2, 91], [5])])
    assert found == Partitions(2, 5, {"AVERAGE_POOL_2D": 1})
    assert str(found) == "2 delegate partitions, not delegated: 1 AVERAGE_POOL_2D"


def test_a_whole_model_in_one_partition():
    found = find_partitions([*OWN, node(5, "DELEGATE", [0], [5])])
    assert found == Partitions(1, 5, {})
    assert str(found) == "1 delegate partition, every operator in it"


def test_without_a_delegate_every_operator_is_counted():
    found = find_partitions(OWN)
    assert found == Partitions(0, 5, {"CONV_2D": 2, "AVERAGE_POOL_2D": 1, "ADD": 1, "SOFTMAX": 1})
    assert next(iter(found.undelegated)) == "CONV_2D"
    assert str(found) == "no delegate: all 5 operators run in plain kernels"


def test_a_partition_that_ends_in_the_middle():
    found = find_partitions([*OWN, node(5, "DELEGATE", [0], [2, 3])])
    assert found.undelegated == {"ADD": 1, "SOFTMAX": 1}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_converted_models_run_whole_in_the_delegate(color_bundles, precision, run_cli):
    bundle = load_bundle(color_bundles / precision)
    found = Interpreter(bundle.model(), threads=1, backend="ai-edge-litert").partitions()
    assert found.count == 1 and found.undelegated == {} and found.operators >= 3
    assert bundle.manifest["measured"]["delegate_partitions"] == 1
    assert bundle.manifest["measured"]["undelegated"] == {}
    if precision == "int8":
        lines = run_cli("verify", color_bundles / precision).stdout.splitlines()
        assert "runtime    1 delegate partition, every operator in it" in lines


def test_a_runtime_that_does_not_tell(color_bundles, monkeypatch):
    interpreter = Interpreter(load_bundle(color_bundles / "fp32").model(), threads=1)
    monkeypatch.setattr(interpreter, "_interpreter", object())
    assert interpreter.partitions() is None
