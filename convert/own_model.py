"""Opens a user's own classifier and wraps it so that it takes raw RGB levels 0..255.

A Keras file is data here: anything in it that would run code of its own is refused before Keras sees it. A
SavedModel is a TensorFlow program by nature: open only one that you trust.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from convert.model_settings import NORMALIZATIONS, InputSettings, load_settings
from convert.tf import import_tensorflow, quiet_native
from edgedefend.errors import InputError

__all__ = ["open_own_model", "settings_for"]

_CODE_LAYERS = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"}
_LARGEST_CONFIG = 64 << 20
_ENDPOINT = "serving_default"


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]


def settings_for(path: Path) -> InputSettings:
    """Return the settings in the TOML beside a model file or folder; without one, say what is needed."""
    beside = path.parent / f"{path.name}.toml" if path.is_dir() else path.with_suffix(".toml")
    if beside.is_file():
        return load_settings(beside)
    raise InputError(
        f"{path}: what input does it expect? Write {beside.name} beside it (or give --settings, or --scale and "
        f"--offset) with [input] scale and offset, so that input = level * scale + offset of levels 0..255; common "
        f"ones: {'; '.join(NORMALIZATIONS)}; normalisation inside the model: scale = 1.0, offset = 0.0"
    )


def _read_config(path: Path) -> Any:
    """Return the architecture that a .keras or .h5 file describes, as parsed JSON, without loading it."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _LARGEST_CONFIG:
                    raise InputError(f"{path}: its config.json is larger than 64 MiB")
                text = archive.read("config.json")
        else:
            import h5py  # type: ignore[import-untyped,unused-ignore]

            with h5py.File(path, "r") as file:
                if "model_config" not in file.attrs:
                    raise InputError(f"{path}: holds weights only, expected a whole model: save it with model.save()")
                text = file.attrs["model_config"]
        return json.loads(text)
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a Keras model file, or a damaged one ({_reason(error)})") from None


def _refuse_code(path: Path, config: Any) -> None:
    """Raise `InputError` if the architecture names a layer that runs code, or a class that is not Keras' own."""
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            kind, module = item.get("class_name"), item.get("module")
            if kind in _CODE_LAYERS:
                raise InputError(
                    f"{path}: has a {str(kind).strip('_')} layer, which may run any code: rebuild it with Keras' "
                    "own layers, or export it as a SavedModel"
                )
            if isinstance(module, str) and module != "builtins" and module.split(".")[0] not in ("keras", "tensorflow"):
                raise InputError(
                    f"{path}: its layer {kind} comes from {module}, not from Keras: export the model as a SavedModel"
                )
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _open_keras(path: Path) -> Any:
    _refuse_code(path, _read_config(path))
    keras = import_tensorflow().keras
    try:
        with quiet_native():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the layer it stumbles over does
        raise InputError(f"{path}: Keras cannot load it: {_reason(error)}") from error
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs, expected an image and one output"
        )
    # Made anew, because a file may wrap its one input or output in a list or a dictionary.
    return keras.Model(inputs[0], outputs[0])


def _open_saved_model(path: Path) -> tuple[Any, tuple[int | None, ...], str]:
    """Return a layer that runs the SavedModel's serving signature, its input's shape, and its dtype."""
    tf = import_tensorflow()
    try:
        with quiet_native():
            layer = tf.keras.layers.TFSMLayer(str(path), call_endpoint=_ENDPOINT)
    except Exception as error:  # as above
        raise InputError(f"{path}: TensorFlow cannot load this SavedModel: {_reason(error)}") from error
    signature = layer.call_endpoint_fn
    inputs = list(signature.structured_input_signature[1].values())
    if len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise InputError(
            f"{path}: {_ENDPOINT} has {len(inputs)} inputs and {len(signature.structured_outputs)} outputs, "
            "expected an image and one output"
        )
    shape = inputs[0].shape
    return layer, tuple(shape) if shape.rank is not None else (), inputs[0].dtype.name


def _input_size(
    path: Path, shape: tuple[int | None, ...], dtype: str, wanted: tuple[int, int] | None
) -> tuple[int, int]:
    """Check that the input is a batch of images; return its height and width."""
    if len(shape) != 4 or shape[3] not in (3, None) or not dtype.startswith("float"):
        shown = "x".join("?" if side is None else str(side) for side in shape)
        raise InputError(
            f"{path}: its input is {dtype} {shown or '?'}, expected float32 images (batch, height, width, 3)"
        )
    if shape[0] is not None:
        raise InputError(
            f"{path}: takes batches of {shape[0]} only, expected any batch size: export it again with None"
        )
    own = shape[1:3]
    size = tuple(given if given is not None else side for given, side in zip(own, wanted or (None, None), strict=True))
    if None in size:
        raise InputError(f"{path}: does not fix its input's size: give [input] size = [height, width] in its settings")
    if wanted is not None and size != tuple(wanted):
        raise InputError(f"{path}: its input is {size[0]}x{size[1]}, the settings say {wanted[0]}x{wanted[1]}")
    return int(size[0] or 0), int(size[1] or 0)


def _without_softmax(keras: Any, model: Any) -> Any | None:
    """Return `model` up to its last softmax, or None where it does not end in one that can be taken off."""
    history = getattr(model.outputs[0], "_keras_history", None)
    if history is None or len(model.outputs[0].shape) != 2:
        return None
    layer = history.operation
    node = layer._inbound_nodes[history.node_index]
    if len(node.input_tensors) != 1:
        return None
    before = node.input_tensors[0]
    softmax = getattr(layer, "activation", None) is keras.activations.softmax
    if isinstance(layer, keras.layers.Softmax) or (softmax and isinstance(layer, keras.layers.Activation)):
        return keras.Model(model.inputs[0], before)
    if softmax and type(layer) is keras.layers.Dense:
        linear = keras.layers.Dense.from_config({**layer.get_config(), "activation": "linear"})
        output = linear(before)
        linear.set_weights(layer.get_weights())
        return keras.Model(model.inputs[0], output)
    return None


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _is_distribution(outputs: Any) -> bool:
    return bool((outputs >= -1e-6).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _output_kind(path: Path, outputs: Any, wanted: str | None) -> str:
    """Tell from the outputs for random images what they are, and hold it against what the settings say."""
    if not np.isfinite(outputs).all():
        raise InputError(f"{path}: its output is not a number (NaN or infinity): check its weights and normalisation")
    found = "probabilities" if _is_distribution(outputs) else "logits"
    if wanted is None and found == "logits" and (outputs >= 0).all() and (outputs <= 1).all():
        raise InputError(
            f"{path}: its outputs lie in 0..1 and do not add up to 1 (a sigmoid?): expected logits or probabilities; "
            "if the largest one is the answer all the same, say so: [output] kind = 'logits'"
        )
    if wanted is not None and wanted != found:
        raise InputError(f"{path}: the settings say its output is {wanted}, by its values it is {found}")
    return found


def open_own_model(path: Path, settings: InputSettings) -> tuple[Any, tuple[int, int], str]:
    """Open a .keras file, an .h5 file or a SavedModel folder.

    Returns
    -------
    model : keras.Model
        float32 (N, height, width, 3) raw RGB levels 0..255 -> (N, classes), differentiable where the file is.
    input_size : (int, int)
        Height and width.
    output : str
        "logits" (a softmax at the end is taken off where that changes nothing else) or "probabilities".

    Raises
    ------
    InputError
        If the file cannot be loaded, would run code of its own, or is not a classifier of RGB images.
    """
    keras = import_tensorflow().keras
    bare = None
    if path.is_dir():
        core, shape, dtype = _open_saved_model(path)
    else:
        core = _open_keras(path)
        shape, dtype = tuple(core.inputs[0].shape), str(core.inputs[0].dtype)
        bare = _without_softmax(keras, core)
    size = _input_size(path, shape, dtype, settings.input_size)

    def wrap(network: Any) -> Any:
        image = keras.Input((*size, 3), name="image")
        x = image[..., ::-1] if settings.channel_order == "BGR" else image
        if settings.scale != 1 or settings.offset != 0:
            scale, offset = (list(v) if isinstance(v, tuple) else v for v in (settings.scale, settings.offset))
            x = keras.layers.Rescaling(scale, offset, name="normalize")(x)
        output = network(x)
        return keras.Model(image, next(iter(output.values())) if isinstance(output, dict) else output)

    images = np.random.default_rng(0).integers(0, 256, (4, *size, 3)).astype(np.float32)
    try:
        model = wrap(core)
        outputs = np.asarray(model(images, training=False))
    except Exception as error:  # any layer may refuse the size
        raise InputError(f"{path}: does not run on images of {size[0]}x{size[1]}: {_reason(error)}") from error
    if outputs.ndim != 2 or outputs.shape[0] != 4 or outputs.shape[1] < 2:
        raise InputError(f"{path}: its output for 4 images has the shape {outputs.shape}, expected (4, classes >= 2)")
    kind = _output_kind(path, outputs, settings.output)
    if bare is not None and kind == "probabilities":
        stripped = wrap(bare)
        logits = np.asarray(stripped(images, training=False))
        if np.isfinite(logits).all() and np.allclose(_softmax(logits), outputs, atol=1e-5):
            return stripped, size, "logits"
    return model, size, kind
