"""TFLite Metadata: what a file takes and what its logits mean, inside the file itself.

The format is that of TensorFlow Lite Support (`metadata_schema.fbs`): a flatbuffer of its own in
the model's metadata `TFLITE_METADATA`, and the labels as a zip archive behind the model. Its own
writer, `tflite-support`, has no release for Python 3.12 or later, so that the few tables that are
needed are written here, field by field.
"""

import io
import zipfile
from collections.abc import Callable, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kgraft.data.preprocess import normalization
from kgraft.export.flatbuffer import pack_model
from kgraft.export.guards import Shape
from kgraft.export.names import INPUT_NAME, LABELS_NAME, OUTPUT_NAME
from kgraft.export.records import DeviceInput

METADATA_NAME = "TFLITE_METADATA"
_FILE_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"
_COLOR_SPACES = {3: 1, 1: 2}  # RGB, GRAYSCALE
_TENSOR_AXIS_LABELS = 2
_IMAGE_PROPERTIES = 2
_NORMALIZATION_OPTIONS = 1


def with_metadata(
    data: bytes, shape: Shape, takes: DeviceInput, labels: Sequence[str] | None = None
) -> bytes:
    """Adds metadata, and the labels where they are known, to a `.tflite` file.

    Args:
        data: the file as converted, without metadata.
        shape: `(height, width, channels)` of an image.
        takes: what is done to pixels before the file.
        labels: class names in the order of the logits; None for none.

    Returns:
        The file; the same interpreters run it.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    model.buffers.append(schema.BufferT(data=np.frombuffer(_metadata(shape, takes, labels), "u1")))
    entry = schema.MetadataT(name=METADATA_NAME, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]
    return _with_labels(pack_model(model, data), labels)


def label_lines(labels: Sequence[str]) -> bytes:
    """Returns the contents of a labels file: a name a line, UTF-8."""
    return "".join(f"{label}\n" for label in labels).encode("utf-8")


def read_labels(data: bytes) -> tuple[str, ...] | None:
    """Reads the labels that lie inside a `.tflite` file.

    Args:
        data: the whole file.

    Returns:
        Class names in the order of the logits; None where the file has none.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(archive.read(LABELS_NAME).decode("utf-8").split("\n")[:-1])
    except (zipfile.BadZipFile, KeyError):
        return None


def _with_labels(data: bytes, labels: Sequence[str] | None) -> bytes:
    if labels is None:
        return data
    packed = io.BytesIO(data)
    # Appending, so that the archive's offsets count from the beginning of the file.
    with zipfile.ZipFile(packed, "a") as archive:
        # A fixed date: the same student is the same file.
        name = zipfile.ZipInfo(LABELS_NAME, date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(name, label_lines(labels))
    return packed.getvalue()


def _metadata(shape: Shape, takes: DeviceInput, labels: Sequence[str] | None) -> bytes:
    build = flatbuffers.Builder(1024)
    subgraph = _table(
        build,
        {
            2: _vector(build, [_input_tensor(build, shape, takes)]),
            3: _vector(build, [_output_tensor(build, labels)]),
        },
    )
    model = _table(
        build,
        {
            0: build.CreateString("student"),
            1: build.CreateString("Image classifier, distilled by kgraft."),
            3: _vector(build, [subgraph]),
            7: build.CreateString(_PARSER_VERSION),
        },
    )
    build.Finish(model, file_identifier=_FILE_IDENTIFIER)
    return bytes(build.Output())


def _input_tensor(build: flatbuffers.Builder, shape: Shape, takes: DeviceInput) -> int:
    height, width, channels = shape
    size = _table(
        build, {}, {0: (width, build.PrependUint32Slot), 1: (height, build.PrependUint32Slot)}
    )
    color = _COLOR_SPACES.get(channels, 0)
    image = _table(build, {1: size}, {0: (color, build.PrependInt8Slot)})
    content = _table(build, {1: image}, {0: (_IMAGE_PROPERTIES, build.PrependUint8Slot)})
    fields = {
        0: build.CreateString(INPUT_NAME),
        1: build.CreateString(
            f"Pixels 0..255, preprocessed by {takes.before_file!r}; see preprocess.json."
        ),
        3: content,
    }
    steps = normalization(takes.before_file)
    # The format has no word for BGR: such a file says in its description alone what it wants.
    if not steps.reversed_channels:
        options = _table(
            build,
            {
                0: build.CreateNumpyVector(np.array(steps.mean, np.float32)),
                1: build.CreateNumpyVector(np.array(steps.std, np.float32)),
            },
        )
        kind = {0: (_NORMALIZATION_OPTIONS, build.PrependUint8Slot)}
        fields[4] = _vector(build, [_table(build, {1: options}, kind)])
    return _table(build, fields)


def _output_tensor(build: flatbuffers.Builder, labels: Sequence[str] | None) -> int:
    fields = {0: build.CreateString(OUTPUT_NAME), 1: build.CreateString("One logit a class.")}
    if labels is not None:
        kind = {2: (_TENSOR_AXIS_LABELS, build.PrependInt8Slot)}
        file = _table(build, {0: build.CreateString(LABELS_NAME)}, kind)
        fields[6] = _vector(build, [file])
    return _table(build, fields)


def _table(
    build: flatbuffers.Builder,
    offsets: dict[int, int],
    scalars: dict[int, tuple[int, Callable[[int, int, int], None]]] | None = None,
) -> int:
    """Writes a table: places of what is already written, and numbers, by field number."""
    scalars = scalars or {}
    build.StartObject(1 + max([*offsets, *scalars]))
    for field, place in offsets.items():
        build.PrependUOffsetTRelativeSlot(field, place, 0)
    for field, (value, prepend) in scalars.items():
        prepend(field, value, 0)
    return build.EndObject()


def _vector(build: flatbuffers.Builder, places: Sequence[int]) -> int:
    build.StartVector(4, len(places), 4)
    for place in reversed(places):
        build.PrependUOffsetTRelative(place)
    return build.EndVector()
