import numpy as np
import pytest

from edgedefend.dataset import load_dataset
from edgedefend.errors import InputError

LABELS = ["red", "green", "blue"]


def test_csv(color_photographs):
    data = load_dataset(color_photographs, LABELS)
    assert len(data) == 12
    assert [item.label for item in data][:4] == [0, 1, 2, 0]
    assert [item.target for item in data][:3] == [1, 2, 0]
    assert len(data.first(5)) == 5
    assert data.first(None) is data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nA,3\n", r"line 2: label is '3', expected a class from 0 to 2"),
        ("file,label\nA,x\n", r"line 2: label is 'x'"),
        ("file,label\nA,\n", r"line 2: label is ''"),
        ("file,label,target\nA,1,1\n", "target 1 is the label itself"),
        ("file,label,target\nA,1,9\n", "target is '9'"),
        ("file,label\nmissing.png,1\n", "no such file: missing.png"),
        ("name,class\nA,1\n", "expected a header"),
        ("", "expected a header"),
        ("file,label\n", "holds no photographs"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "A").touch()
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "labels.csv", LABELS)


def test_binary_csv(tmp_path):
    (tmp_path / "labels.csv").write_bytes(bytes(range(128, 256)) * 5)
    with pytest.raises(InputError, match="not a CSV text file"):
        load_dataset(tmp_path / "labels.csv", LABELS)


@pytest.mark.parametrize("names", [("0", "1", "2"), ("red", "Green", "BLUE"), ("apple", "brick", "cloud")])
def test_class_folders(tmp_path, names):
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.jpg").touch()
        (tmp_path / name / "notes.txt").touch()
    data = load_dataset(tmp_path, LABELS)
    assert sorted(item.label for item in data) == [0, 1, 2]


def test_bad_class_folders(tmp_path):
    with pytest.raises(InputError, match="expected one folder a class"):
        load_dataset(tmp_path, LABELS)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="named neither"):
        load_dataset(tmp_path, LABELS)
    (tmp_path / "cat").rename(tmp_path / "7")
    with pytest.raises(InputError, match="expected a class from 0 to 2"):
        load_dataset(tmp_path, LABELS)


def test_the_sample_photographs(sample_files):
    data = load_dataset("sample", ["?"] * 1000)
    assert len(data) == 20
    assert all(0 <= item.label < 1000 for item in data)
    assert len(np.unique([item.label for item in data])) > 10
    with pytest.raises(InputError, match="the model has 3"):
        load_dataset("sample", LABELS)
    with pytest.raises(InputError, match="no such data"):
        load_dataset("nowhere", LABELS)
