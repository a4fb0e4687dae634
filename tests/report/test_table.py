from kgraft.report import ModelRow, format_table


def test_the_table_by_hand():
    rows = [
        ModelRow("teacher", 0.92834, 1.0, 14_983_498, 313_500_000, 59_939_000, 8.282),
        ModelRow("student_int8.tflite", None, 0.5, latency_ms=0.1),
    ]
    lines = format_table(rows).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["teacher", "92.83", "100.00", "14,983,498", "313.5", "59,939.0", "8.28"],
        ["student_int8.tflite", "-", "50.00", "-", "-", "-", "0.10"],
    ]
    assert [line[-38:] for line in lines] == [
        "ers  MACs (M)  size (kB)  latency (ms)",
        "---  --------  ---------  ------------",
        "498     313.5   59,939.0          8.28",
        "  -         -          -          0.10",
    ]


def test_nought_is_a_figure_and_none_is_not():
    line = format_table([ModelRow("m", 0.0, None, 0, 0, 0, 0.0)]).splitlines()[-1]
    assert line.split() == ["m", "0.00", "-", "0", "0.0", "0.0", "0.00"]


def test_a_table_of_no_models_has_headings():
    assert len(format_table([]).splitlines()) == 2


def test_the_accuracy_among_classes_is_shown_where_it_is_known():
    rows = [ModelRow("teacher", accuracy=0.681, accuracy_among=0.974), ModelRow("student")]
    head, _, teacher, student = format_table(rows).splitlines()
    assert "among classes %" in head
    assert "97.40" in teacher and student.split() == ["student", *"-------"]
    assert "among" not in format_table([ModelRow("teacher", accuracy=0.681)])


def test_gzipped_sizes_are_shown_where_they_are_known():
    rows = [ModelRow("student"), ModelRow("student_sparse.tflite", gzip_bytes=415_061)]
    lines = [line.split() for line in format_table(rows).splitlines()]
    assert lines[0][-2:] == ["gzipped", "(kB)"]
    assert lines[3] == ["student_sparse.tflite", *"------", "415.1"]
    assert "gzipped" not in format_table(rows[:1])
