from kgraft.report.layout import aligned, markdown


def test_layouts():
    table = [("method", "1-shot"), ("kd", "50.00"), ("kgraft", "82.00 ± 2.83")]
    assert aligned(table).splitlines() == [
        "method        1-shot",
        "------  ------------",
        "kd             50.00",
        "kgraft  82.00 ± 2.83",
    ]
    assert markdown(table).splitlines() == [
        "| method | 1-shot |",
        "| --- | ---: |",
        "| kd | 50.00 |",
        "| kgraft | 82.00 ± 2.83 |",
    ]
