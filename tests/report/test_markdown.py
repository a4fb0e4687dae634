import dataclasses

from kgraft.export import Comparison, LayerNoise
from kgraft.report.markdown import to_markdown


def test_every_part_is_told(report):
    text = to_markdown(report)
    assert "| teacher | 92.83 | - | 14,983,498 | 313.5 | 59,939.0 | 8.28 |" in text
    phase = (
        "| two/blocks3-4 | 3, 4 | 300 | 262 | 12.3 | 0.0 | float32 | 0.5 to 0.125 | 0.6 to 0.25 | "
        "50.00 to 90.00 |"
    )
    assert phase in text
    assert "Weights kept: lowest held-out loss within the phase." in text
    assert (
        "| student_int8.tflite | yes | 1.5 | 0.25 | 5 | 97.50 | 40 | CONV_2D 13, MEAN 1 |" in text
    )
    assert "- adapter `block3_exit` stays in the student: an identity shortcut" in text
    assert "- image 7.png: cannot be decoded" in text
    assert "| train | 60.0 | 95.2 |\n| export | 3.0 | 4.8 |\n| all | 63.0 | 100.0 |" in text
    assert "Peak memory: 1,234 MiB." in text
    assert "- data.shots: 10\n" in text and "- data.images: -\n" in text
    assert "- sha256: ab12" in text and "- keras: 3.15.1" in text


def test_what_blocks_were_rounded_to_is_told(report):
    phase = dataclasses.replace(report.phases[0], fake_quant="int8")
    text = to_markdown(dataclasses.replace(report, phases=(phase,)))
    assert "| float32, rounded to int8 | 0.5 to 0.125 |" in text


def test_the_test_set_and_the_noisiest_layers_are_told(report):
    layers = (
        LayerNoise("a/conv1/convolution;a/conv1/Squeeze", "CONV_2D", 12.34),
        LayerNoise("pool", "MEAN", 40.0),
        LayerNoise("flat", "RESHAPE", None),
        LayerNoise("last", "RESHAPE", None),
    )
    test = Comparison(2.5, 0.125, 0.98, 0.9, 10_000)
    check = dataclasses.replace(report.verification[0], layers=layers, test=test)
    text = to_markdown(dataclasses.replace(report, verification=(check,)))
    assert "| student_int8.tflite | 90.00 | 98.00 | 2.5 | 0.125 | 10000 |" in text
    noise = "a/conv1/Squeeze (CONV_2D) 12.3 dB | pool (MEAN) 40.0 dB | flat (RESHAPE) exact |"
    assert f"| student_int8.tflite | 4 | {noise}" in text
    few = dataclasses.replace(check, layers=layers[:1], test=None)
    text = to_markdown(dataclasses.replace(report, verification=(few,)))
    assert "(CONV_2D) 12.3 dB | - | - |" in text and "on the test set" not in text


def test_every_line_of_a_table_has_as_many_cells(report):
    tables = to_markdown(report).split("\n\n")
    for table in (part for part in tables if part.startswith("|")):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_failed_export_stands_out_and_bars_do_not_break_the_table(report):
    failed = dataclasses.replace(report.verification[0], ok=False, why="differs | much\nmore")
    text = to_markdown(dataclasses.replace(report, verification=(failed,)))
    assert "| NO: differs \\| much more |" in text


def test_a_run_without_training_and_exports(report):
    bare = dataclasses.replace(
        report, phases=(), verification=(), adapters_left=(), skipped=(), peak_memory_mb=None
    )
    text = to_markdown(bare)
    assert "No phase was trained." in text and "Nothing." in text
    assert "## Exports" not in text and "Peak memory" not in text


def test_files_made_again_say_nothing_of_phases(report):
    text = to_markdown(dataclasses.replace(report, phases=(), selection_rule=""))
    assert "Phases" not in text and "No phase was trained" not in text
