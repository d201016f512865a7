"""The TOML that describes a user's own model, and label files."""

import pytest

from convert.model_settings import NORMALIZATIONS, InputSettings, load_settings, read_labels
from edgedefend.errors import InputError


def write(tmp_path, text):
    path = tmp_path / "model.toml"
    path.write_text(text)
    return path


def test_a_full_file(tmp_path):
    path = write(
        tmp_path,
        '[input]\nscale = [0.1, 0.2, 0.3]\noffset = -1\nchannel_order = "BGR"\nsize = [200, 100]\n'
        '[output]\nkind = "logits"\nlabels = "names.txt"\n',
    )
    assert load_settings(path) == InputSettings(
        (0.1, 0.2, 0.3), -1, "BGR", (200, 100), tmp_path / "names.txt", "logits"
    )


def test_an_empty_file_means_normalisation_inside_the_model(tmp_path):
    assert load_settings(write(tmp_path, "")) == InputSettings()


@pytest.mark.parametrize("line", NORMALIZATIONS)
def test_the_normalisations_that_errors_show_can_be_pasted(tmp_path, line):
    lines = line.split(": ", 1)[1].replace(", offset", "\noffset")
    settings = load_settings(write(tmp_path, f"[input]\n{lines}\n"))
    assert settings.scale != 1.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[input]\nscael = 1\n", "input.scael"),
        ("[inputs]\nscale = 1\n", "'inputs'"),
        ("scale = 1\n", "'scale'"),
        ("[input]\nscale = 'x'\n", "scale is 'x'"),
        ("[input]\nscale = true\n", "scale is True"),
        ("[input]\nscale = 0\n", "scale is 0"),
        ("[input]\nscale = nan\n", "scale is nan"),
        ("[input]\noffset = [1, 2]\n", "offset is (1, 2)"),
        ("[input]\nchannel_order = 'RBG'\n", "channel_order is 'RBG'"),
        ("[input]\nsize = 224\n", "size is 224"),
        ("[input]\nsize = [0, 224]\n", "size is (0, 224)"),
        ("[input]\nsize = [224.0, 224]\n", "size is (224.0, 224)"),
        ("[output]\nkind = 'softmax'\n", "kind is 'softmax'"),
        ("[output]\nlabels = 3\n", "output.labels is 3"),
        ("[input\n", "not TOML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, reason):
    with pytest.raises(InputError) as caught:
        load_settings(write(tmp_path, text))
    assert reason in str(caught.value) and "model.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("Katze\n Hündin \n\n", encoding="utf-8")
    assert read_labels(path, 2) == ["Katze", "Hündin"]
    with pytest.raises(InputError, match=r"holds 2 labels, the model has 3"):
        read_labels(path, 3)
    path.write_text("a\n\nb\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        read_labels(path, 3)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(path, 1)
    with pytest.raises(InputError, match="no such file"):
        read_labels(tmp_path / "absent.txt", 1)
