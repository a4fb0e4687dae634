"""What the operators of a file take, by pieces of it."""

import keras
import numpy as np
import pytest
from small_models import SHAPE, images, plain, trained

from benchmarks.operators import cut_behind, operator_times, table
from kgraft.export import FILE_NAMES, export_student
from kgraft.export.flatbuffer import read_ops
from kgraft.export.runner import open_interpreter


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    image = keras.Input(SHAPE)
    model = trained(keras.Model(image, plain(image)))
    folder = tmp_path_factory.mktemp("operators") / "export"
    export_student(model, folder=folder, formats=("float32",), calibration=images())
    return (folder / FILE_NAMES["float32"]).read_bytes()


def _output(data, image):
    interpreter = open_interpreter(data)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_a_piece_makes_what_the_file_has_there(data):
    ops, _ = read_ops(data)
    pieces = [cut_behind(data, op.output) for op in ops]
    assert [read_ops(piece)[0] for piece in pieces] == [ops[: end + 1] for end in range(len(ops))]
    outputs = [_output(piece, images(1)) for piece in pieces]
    np.testing.assert_array_equal(outputs[-1], _output(data, images(1)))
    assert len({output.shape for output in outputs}) > 1


def test_every_operator_has_a_time_and_they_add_up(data):
    found = operator_times({"a": data, "b": data}, rounds=2)
    ops, _ = read_ops(data)
    for file in found.values():
        assert [row["op"] for row in file["operators"]] == [op.op for op in ops]
        times = [row["ms"] for row in file["operators"]]
        assert min(times) >= 0
        assert sum(times) == pytest.approx(sum(file["kinds"].values()))
        assert sum(times) >= file["ms"] > 0
    lines = table(found).splitlines()
    assert lines[0].startswith("a: ") and lines[0].endswith(" ms")
    assert sum(line.startswith(f"| {ops[0].op} |") for line in lines) == 2 * sum(
        op.op == ops[0].op for op in ops
    )
