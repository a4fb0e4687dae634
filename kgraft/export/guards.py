"""What must hold before anything is converted; each check says what came and what is right."""

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from kgraft.compress import QuantizedStudent
from kgraft.config import FORMATS
from kgraft.data.write import ASIDE
from kgraft.errors import KgraftError
from kgraft.export.names import EXPORTED_NAMES, MARKS
from kgraft.export.records import DeviceInput

_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
# `.partial` is an earlier version's.
_ASIDE = {ASIDE, ".partial"}

Shape = tuple[int, int, int]


def check_formats(formats: Sequence[str]) -> None:
    """Checks the names of the formats asked for.

    Args:
        formats: names, any of `kgraft.config.FORMATS`.

    Raises:
        KgraftError: a name is unknown.
        KgraftError: a name is given twice.
    """
    for name in formats:
        if name not in FORMATS:
            raise KgraftError(f"--formats must be among {', '.join(FORMATS)}; got {name!r}")
    if len(set(formats)) != len(formats):
        raise KgraftError(f"--formats names a format twice: {', '.join(formats)}")


def image_shape(model: keras.Model, images: np.ndarray | None = None) -> Shape:
    """Finds the one image shape that a model is exported for.

    Args:
        model: functional classifier, `[batch, height, width, channels]` to `[batch, classes]`.
        images: `[n, height, width, channels]`, which fix what the model leaves open; None for none.

    Returns:
        `(height, width, channels)`.

    Raises:
        KgraftError: the model has not exactly one image input and one vector of logits.
        KgraftError: the model leaves a size open and there are no images to fix it.
        KgraftError: the images do not fit the model.
    """
    _check_ends(model)
    wanted = tuple(model.inputs[0].shape[1:])
    if images is None:
        if None in wanted:
            raise KgraftError(
                f"export needs a fixed image shape; {model.name} takes {_shown(wanted)}: "
                f"give images of the size it shall have on the device"
            )
        return wanted
    found = tuple(images.shape[1:])
    fits = len(found) == 3 and all(w in (None, f) for w, f in zip(wanted, found, strict=True))
    if not fits:
        raise KgraftError(f"{model.name} takes images of {_shown(wanted)}; got {_shown(found)}")
    return found


def check_calibration(name: str, calibration: np.ndarray | None) -> None:
    """Checks the images that fix the ranges of a full-integer file.

    Args:
        name: the file's format.
        calibration: `[n, height, width, channels]`, as the file takes them.

    Raises:
        KgraftError: there is no image.
        KgraftError: a value is not finite.
    """
    if calibration is None or len(calibration) == 0:
        raise KgraftError(
            f"the {name} file needs calibration images; got none: give some or drop {name}"
        )
    if not np.isfinite(calibration).all():
        raise KgraftError("calibration images must be finite; got NaN or infinity")


def check_compressed(
    formats: Sequence[str],
    model: keras.Model,
    quantized: QuantizedStudent | None,
    takes: DeviceInput,
) -> None:
    """Checks that the formats of compressed students have one.

    Args:
        formats: names of formats.
        model: the Keras student.
        quantized: the student trained with int8 emulated; None for none.
        takes: what the files take.

    Raises:
        KgraftError: `int8_qat` is asked for without a quantised student, or with preprocessing
            inside, which it was not trained with.
        KgraftError: `sparse` is asked for of a student without zeros.
    """
    if "int8_qat" in formats and quantized is None:
        raise KgraftError(
            "the int8_qat file needs a student trained with int8 emulated; got none: distill with "
            "--compress=quantize or drop int8_qat"
        )
    if "int8_qat" in formats and takes.in_file != "none":
        raise KgraftError(
            "the int8_qat file takes what the student was trained on, preprocessed images; got "
            "--preprocess_inside: leave it out or drop int8_qat"
        )
    kernels = [np.asarray(weight) for weight in model.weights if len(weight.shape) > 1]
    if "sparse" in formats and all(kernel.all() for kernel in kernels):
        raise KgraftError(
            "the sparse file needs a pruned student; this one's kernels have no zero: distill with "
            "--compress=prune or drop sparse"
        )


def check_labels(labels: Sequence[str] | None, classes: int) -> None:
    """Checks the class names that go beside the model.

    Args:
        labels: one name per logit, or None for no labels file.
        classes: how many logits the model has.

    Raises:
        KgraftError: the counts differ.
        KgraftError: a name has a line break, which a file of one name a line cannot hold.
    """
    if labels is None:
        return
    if len(labels) != classes:
        raise KgraftError(f"the model has {classes} logits; got {len(labels)} labels")
    for label in labels:
        if label.splitlines() not in ([label], []):
            raise KgraftError(f"a label must be one line; got {label!r}")


def check_folder(folder: Path) -> None:
    """Checks a folder that an export takes the place of, and changes nothing.

    Args:
        folder: it need not be there.

    Raises:
        KgraftError: it is no folder.
        KgraftError: it holds something that is not from an export.
        KgraftError: it holds things named as in an export, but nothing that marks it as one.
    """
    try:
        names = {path.name for path in folder.iterdir() if not _is_litter(path.name)}
    except FileNotFoundError:
        return
    except OSError as error:
        raise KgraftError(f"exports need a folder; {folder}: {error.strerror}") from error
    strange = sorted(names - set(EXPORTED_NAMES))
    if strange:
        raise KgraftError(
            f"an export replaces its folder as a whole; {folder} holds {strange[0]!r}, which is "
            "not from an export: give a new folder"
        )
    if names and not names & set(MARKS):
        raise KgraftError(
            f"an export replaces its folder as a whole; {folder} holds {min(names)!r} but no "
            f"{' or '.join(MARKS)}, so it is not from an export: give a new folder"
        )


def make_parent(folder: Path) -> None:
    """Makes the folder that an export folder goes to.

    Args:
        folder: the export folder.

    Raises:
        KgraftError: the folder above it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KgraftError(f"cannot make the folder {folder} for the exports: {error}") from error


def _is_litter(name: str) -> bool:
    """Whether a file is what a killed write or a file manager leaves behind."""
    aside = not _ASIDE.isdisjoint(Path(name).suffixes[-2:])
    return name in _LITTER or (name.startswith(".") and aside)


def _check_ends(model: keras.Model) -> None:
    inputs = getattr(model, "inputs", None) or []
    outputs = getattr(model, "outputs", None) or []
    ranks = [len(tensor.shape) for tensor in (*inputs, *outputs)]
    if len(inputs) != 1 or ranks != [4, 2] or outputs[0].shape[-1] is None:
        raise KgraftError(
            f"export takes a functional model from one image [batch, height, width, channels] to "
            f"logits [batch, classes]; got {model.name} from "
            f"{[_shown(t.shape) for t in inputs]} to {[_shown(t.shape) for t in outputs]}"
        )
    if not math.prod(outputs[0].shape[1:]) > 0:
        raise KgraftError(f"{model.name} has no logits")


def _shown(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
