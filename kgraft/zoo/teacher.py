"""`load_teacher`: a functional Keras model from a file, the zoo or keras.applications."""

import dataclasses
import json
import pathlib
import zipfile

import keras

from kgraft.config import PREPROCESSINGS
from kgraft.errors import KgraftError, keras_reason
from kgraft.zoo.applications import load_application
from kgraft.zoo.build import build
from kgraft.zoo.float32 import FUNCTIONAL, float32_copy, half_precision

EMBEDDED = pathlib.Path(__file__).parent / "embedded"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A model and what its pixels go through first.

    Attributes:
        model: functional, preprocessed images `[batch, height, width, channels]` to logits or
            probabilities `[batch, classes]`.
        preprocess: name of the preprocessing that turns pixels 0..255 into the model's input.
        name: the source it was loaded from.
    """

    model: keras.Model
    preprocess: str
    name: str


def load_teacher(
    source: str,
    *,
    preprocess: str = "auto",
    classes: int | None = None,
    pretrained: bool = True,
    seed: int = 0,
) -> Teacher:
    """Loads a model.

    Args:
        source: `PATH.keras`, `embedded:NAME`, `zoo:NAME` (untrained) or `applications:NAME`.
        preprocess: name of the preprocessing, or `auto`: what keras.applications says, and pixels
            as they are for all others.
        classes: number of logits for a network that is built; None for its usual number. A model
            from a file has its own.
        pretrained: whether `applications:` takes the ImageNet weights.
        seed: seed of the fresh weights of `zoo:`.

    Returns:
        The teacher.

    Raises:
        KgraftError: the preprocessing is unknown.
        KgraftError: the source is unknown, or there is no such file.
        KgraftError: the file is not a Keras model, or not a functional one.
        KgraftError: the model has not one image as input and one vector per image as output.
    """
    if preprocess not in PREPROCESSINGS:
        raise KgraftError(
            f"preprocess must be one of {', '.join(PREPROCESSINGS)}; got {preprocess!r}"
        )
    kind, colon, name = source.partition(":")
    usual = "none"
    if kind == "zoo" and colon:
        model = build(name, classes=classes, seed=seed)
    elif kind == "applications" and colon:
        model, usual = load_application(name, classes=classes, pretrained=pretrained)
    else:
        model = load_file(_path(source))
    model = check_model(model, source)
    return Teacher(model, usual if preprocess == "auto" else preprocess, source)


def _path(source: str) -> pathlib.Path:
    kind, colon, name = source.partition(":")
    if kind == "embedded" and colon:
        path = EMBEDDED / f"{name}.keras"
        if not path.exists():
            known = ", ".join(sorted(file.stem for file in EMBEDDED.glob("*.keras")))
            raise KgraftError(f"no embedded teacher {name!r}; there is {known}")
        return path
    path = pathlib.Path(source)
    if path.is_dir() or path.suffix.lower() not in (".keras", ".h5"):
        raise KgraftError(
            f"a teacher is PATH.keras, embedded:NAME, zoo:NAME or applications:NAME; got {source!r}"
        )
    if not path.exists():
        raise KgraftError(
            f"no teacher file {source}: expected a .keras or .h5 file, embedded:NAME, zoo:NAME or "
            "applications:NAME"
        )
    return path


def load_file(path: pathlib.Path) -> keras.Model:
    """Loads a `.keras` or `.h5` file without its optimiser.

    Args:
        path: an existing file.

    Raises:
        KgraftError: Keras cannot read the file.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises most kinds of error on a broken or foreign file.
        raise KgraftError(
            f"{path} cannot be read as a Keras model: expected a functional model's file, made by "
            "model.save, with layers that Keras knows; with layers of your own, load it in Python "
            f"and give it to kgraft.distill(teacher_model=...) ({_unread(path, error)})"
        ) from error


def _unread(path: pathlib.Path, error: Exception) -> str:
    """Why a file cannot be read, where Keras says something else too."""
    if path.suffix.lower() != ".keras":
        return keras_reason(error)
    if not zipfile.is_zipfile(path):
        # Keras says that there is no such file.
        return "it is no zip archive, or the end of it is missing"
    try:
        with zipfile.ZipFile(path) as archive:
            version = str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        version = ""
    if version.startswith("2."):
        # Keras says that it does not know the class Functional.
        return f"it is of Keras {version}: load it there and save it as .h5, which Keras 3 reads"
    return keras_reason(error)


def check_model(model: keras.Model, source: str) -> keras.Model:
    """Returns a model as a functional float32 one with one image in and one vector out.

    Args:
        model: functional or Sequential.
        source: what to call it in messages.

    Raises:
        KgraftError: the model is subclassed, a Sequential that is not built, or one of Keras 2.
        KgraftError: it has several inputs or outputs.
        KgraftError: the input is not `[batch, height, width, channels]` of a fixed size, or the
            output not `[batch, classes]`.
        KgraftError: a layer is quantised, has LoRA weights, or takes channels first.
        KgraftError: it computes in half precision and cannot be made anew in float32.
    """
    if any(kind.__module__.startswith("tf_keras.") for kind in type(model).__mro__):
        raise KgraftError(
            f"{source} is a model of Keras 2 (tf_keras): expected one of Keras 3; save it as .h5 "
            "and load that with keras.saving.load_model, or make it again with keras.layers and "
            "set its weights"
        )
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise KgraftError(
                f"{source} is a Sequential that is not built: expected one that knows the shape of "
                "its images; put keras.Input((height, width, channels)) in front of its layers, or "
                "call model.build((None, height, width, channels))"
            )
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not isinstance(model, FUNCTIONAL) or type(model).call is not FUNCTIONAL.call:
        raise KgraftError(
            f"{source} holds a {type(model).__name__} whose graph cannot be seen: expected a "
            f"functional model, keras.Model(inputs, outputs)"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise KgraftError(
            f"{source} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected "
            f"one image in and one vector of logits out"
        )
    taken, given = model.inputs[0].shape, model.outputs[0].shape
    if len(taken) != 4 or None in taken[1:] or len(given) != 2 or given[1] is None:
        raise KgraftError(
            f"{source} maps {taken} to {given}; expected images [batch, height, width, channels] "
            f"of a fixed size to logits [batch, classes]"
        )
    _check_layers(model, source)
    return _in_float32(model, source)


def _check_layers(model: keras.Model, source: str) -> None:
    """Refuses layers whose kernels are not what they compute with, and channels first."""
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            raise KgraftError(
                f"{source}: layer {layer.name} has LoRA weights beside its kernel: expected one "
                "kernel, into which they are merged"
            )
        if getattr(layer, "quantization_mode", None):
            raise KgraftError(
                f"{source}: layer {layer.name} is quantised ({layer.quantization_mode}): expected "
                "the float model that it was before quantize()"
            )
        if getattr(layer, "data_format", None) == "channels_first":
            raise KgraftError(
                f"{source}: layer {layer.name} is of channels_first: expected channels_last; make "
                "the model again with it, for images [height, width, channels], and set its "
                "weights: kernels are the same, the rows of a Dense behind a Flatten change order"
            )


def _in_float32(model: keras.Model, source: str) -> keras.Model:
    """Returns a model that computes in float32: itself, or the same layers and weights.

    Mixed precision is for training; what is exported is float32, and compared with it.

    Args:
        model: a functional model; it does not change.
        source: what to call it in messages.

    Raises:
        KgraftError: a layer computes in half precision and cannot be made anew.
    """
    if not half_precision(model):
        return model
    try:
        return float32_copy(model)
    except Exception as error:  # Layers of a user's own may raise anything.
        raise KgraftError(
            f"{source} computes in half precision, and cannot be made anew in float32: expected "
            f"a float32 model ({keras_reason(error)})"
        ) from error
