"""What is inside the files, read back by the field numbers of metadata_schema.fbs."""

import io
import zipfile

import flatbuffers.table
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types

from kgraft.data.preprocess import PREPROCESSORS
from kgraft.export import DeviceInput, TFLiteRunner
from kgraft.export.flatbuffer import read_contents
from kgraft.export.metadata import read_labels, with_metadata

SHAPE = (12, 12, 3)
LABELS = ("cat", "größe", "", "a dog", "e")


class Table:
    """A table of a flatbuffer whose schema only the reader knows."""

    def __init__(self, data, place):
        self.table = flatbuffers.table.Table(data, place)

    @classmethod
    def root(cls, data):
        return cls(data, int.from_bytes(data[:4], "little"))

    def _at(self, field):
        return self.table.Offset(4 + 2 * field)

    def text(self, field):
        return self.table.String(self.table.Pos + self._at(field)).decode()

    def number(self, field, kind=number_types.Uint8Flags):
        return self.table.Get(kind, self.table.Pos + self._at(field))

    def child(self, field):
        return Table(self.table.Bytes, self.table.Indirect(self.table.Pos + self._at(field)))

    def children(self, field):
        if not self._at(field):
            return []
        start, count = self.table.Vector(self._at(field)), self.table.VectorLen(self._at(field))
        return [Table(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(count)]

    def floats(self, field):
        array = self.table.GetVectorAsNumpy(number_types.Float32Flags, self._at(field))
        return array.tolist()


def metadata(data):
    model = schema.Model.GetRootAs(data, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()


def test_the_model_is_what_it_was(plain, images):
    packed = with_metadata(plain, SHAPE, DeviceInput(), LABELS)
    np.testing.assert_array_equal(TFLiteRunner(packed)(images), TFLiteRunner(plain)(images))
    assert read_contents(packed) == read_contents(plain)
    before, after = (
        schema.ModelT.InitFromObj(schema.Model.GetRootAs(d, 0)) for d in (plain, packed)
    )
    assert after.description == before.description and after.version == before.version
    assert [m.name for m in after.metadata[:-1]] == [m.name for m in before.metadata]


def test_every_buffer_lies_where_the_schema_wants_it(plain):
    packed = with_metadata(plain, SHAPE, DeviceInput(), LABELS)
    model = schema.Model.GetRootAs(packed, 0)
    start = np.frombuffer(packed, np.uint8).ctypes.data
    filled = [
        model.Buffers(i).DataAsNumpy()
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(filled) > 3
    assert {(array.ctypes.data - start) % 16 for array in filled} == {0}


def test_labels_lie_in_the_file(plain):
    packed = with_metadata(plain, SHAPE, DeviceInput(), LABELS)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.testzip() is None
    assert read_labels(packed) == LABELS
    assert packed == with_metadata(plain, SHAPE, DeviceInput(), LABELS)


def test_without_labels_there_is_no_archive(plain):
    packed = with_metadata(plain, SHAPE, DeviceInput())
    assert read_labels(packed) is None
    (graph,) = Table.root(metadata(packed)).children(3)
    assert graph.children(3)[0].children(6) == []


def test_the_metadata_say_what_goes_in_and_comes_out(plain):
    data = metadata(with_metadata(plain, SHAPE, DeviceInput("torch"), LABELS))
    assert data[4:8] == b"M001"
    model = Table.root(data)
    assert model.text(7) == "1.0.0"
    (graph,) = model.children(3)
    (taken,), (given,) = graph.children(2), graph.children(3)
    assert taken.text(0) == "image" and "'torch'" in taken.text(1)
    content = taken.child(3)
    assert content.number(0) == 2  # ImageProperties
    image = content.child(1)
    assert image.number(0) == 1  # RGB
    size = image.child(1)
    assert [size.number(i, number_types.Uint32Flags) for i in (0, 1)] == [12, 12]
    (unit,) = taken.children(4)
    assert unit.number(0) == 1  # NormalizationOptions
    mean, std = unit.child(1).floats(0), unit.child(1).floats(1)
    np.testing.assert_allclose(mean, [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(std, [58.395, 57.12, 57.375], rtol=1e-6)
    assert given.text(0) == "logits"
    (file,) = given.children(6)
    assert file.text(0) == "labels.txt" and file.number(2) == 2  # TENSOR_AXIS_LABELS


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_only_what_the_format_can_say_is_said(plain, name):
    data = metadata(with_metadata(plain, SHAPE, DeviceInput(name)))
    (taken,) = Table.root(data).children(3)[0].children(2)
    assert len(taken.children(4)) == (0 if name == "caffe" else 1)
    inside = metadata(with_metadata(plain, SHAPE, DeviceInput(name, inside=True)))
    (taken,) = Table.root(inside).children(3)[0].children(2)
    assert taken.children(4)[0].child(1).floats(0) == [0.0]
