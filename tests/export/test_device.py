from pathlib import Path

import keras
import pytest

from kgraft.errors import KgraftError
from kgraft.export import (
    DeviceInput,
    export_student,
    float32_bytes,
    microcontroller_notes,
    phone_commands,
)
from kgraft.export.flatbuffer import least_arena


def test_the_commands_for_a_phone_end_with_reading_the_result(tmp_path):
    paths = [tmp_path / "student_int8.tflite", tmp_path / "my teacher.tflite"]
    commands = phone_commands(paths, runs=50)
    assert commands[1].startswith("adb push benchmark_model /data/local/tmp")
    assert commands[3] == (
        "adb shell /data/local/tmp/benchmark_model --graph=/data/local/tmp/student_int8.tflite "
        "--num_threads=1 --num_runs=50 --use_xnnpack=true --report_peak_memory_footprint=true "
        "> student_int8.log 2>&1"
    )
    assert commands[4] == (
        f"adb push '{tmp_path}/my teacher.tflite' /data/local/tmp/my_teacher.tflite"
    )
    assert commands[-1] == "kgraft-benchmark --read=student_int8.log,my_teacher.log"


def test_files_of_one_name_do_not_overwrite_each_other_on_the_phone():
    paths = [Path(folder, "net.tflite") for folder in ("a", "b", "c")]
    lines = "\n".join(phone_commands(paths, runs=5))
    for path, name in zip(paths, ("net", "net_2", "net_3"), strict=True):
        assert f"adb push {path} /data/local/tmp/{name}.tflite\n" in lines
        assert f"--graph=/data/local/tmp/{name}.tflite " in lines
        assert f"> {name}.log 2>&1" in lines
    assert lines.endswith("kgraft-benchmark --read=net.log,net_2.log,net_3.log")


def test_the_memory_of_activations_by_hand(tmp_path):
    # 8x8x1 to 6x6x4: 64 + 144 floats are more than any other op touches.
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Dense(2)(x))
    assert least_arena(float32_bytes(model)) == 4 * (64 + 144)


def test_what_goes_to_a_microcontroller(student, images, tmp_path):
    export_student(student, folder=tmp_path, formats=["float32", "int8"], calibration=images)
    path = tmp_path / "student_int8.tflite"
    command, flash, arena = microcontroller_notes(path)
    assert command == f"xxd -i {path} > student_int8.cc"
    assert f"{path.stat().st_size:,} bytes of flash" in flash
    assert flash.endswith("CONV_2D, FULLY_CONNECTED, MAX_POOL_2D, RESHAPE")
    # 12x12x3 to 10x10x8, a byte each.
    assert "more than 1,232 bytes" in arena
    (no,) = microcontroller_notes(tmp_path / "student_float32.tflite")
    assert no == "student_float32.tflite: has floating-point tensors; export int8"


def test_a_file_of_any_batch_is_told_not_refused(student, images, tmp_path):
    takes = DeviceInput(dynamic_batch=True)
    for name in ("int8", "int16x8"):
        folder = tmp_path / name
        export_student(student, folder=folder, formats=[name], calibration=images, takes=takes)
        file = f"student_{name}.tflite"
        assert microcontroller_notes(folder / file) == [
            f"{file}: has open shapes; export it without --dynamic_batch"
        ]


def test_a_name_with_a_space_is_one_word(student, images, tmp_path):
    export_student(student, folder=tmp_path, formats=["int8"], calibration=images)
    path = (tmp_path / "student_int8.tflite").rename(tmp_path / "my net.tflite")
    assert microcontroller_notes(path)[0] == f"xxd -i '{path}' > 'my net.cc'"


def test_no_file(tmp_path):
    with pytest.raises(KgraftError, match="no TFLite file"):
        microcontroller_notes(tmp_path / "no.tflite")
