"""The tables of docs/performance.md."""

import json
import pathlib
import re

import pytest

from benchmarks import report
from kgraft.errors import KgraftError

DOCS = pathlib.Path(__file__).parents[2] / "docs"
DOCUMENT = "Before.\n\n<!-- table: export -->\nold\n<!-- end -->\nAfter.\n"
EXPORT = {
    "bytes": {"teacher_int8": 2048},
    "teacher_int8_1t_ms": 0.25,
    "teacher_int8_2t_ms": 0.5,
    **{
        f"ratio_{key}_{threads}t": 1.5
        for key in ("float32", "int8", "float32_to_int8")
        for threads in (1, 2)
    },
}


def test_a_table_is_filled_and_the_rest_is_left():
    text = report.render(DOCUMENT, {"export": EXPORT})
    assert text.startswith("Before.\n\n<!-- table: export -->\n|  | KiB | ms at 1 thread |")
    assert "\n|---|---:|---:|---:|\n| teacher, int8 | 2 | 0.250 | 0.500 |\n" in text
    assert text.endswith("| 1.50x | 1.50x |\n<!-- end -->\nAfter.\n")
    assert "old" not in text


def test_filling_twice_changes_nothing():
    once = report.render(DOCUMENT, {"export": EXPORT})
    assert report.render(once, {"export": EXPORT}) == once


def test_an_unknown_table_is_named():
    with pytest.raises(KgraftError, match=r"a table is one of machine, .*; the document has 'x'"):
        report.render("<!-- table: x -->\n<!-- end -->", {})


def test_missing_results_are_named_with_the_command_that_makes_them():
    with pytest.raises(KgraftError, match=r"needs docs/performance/export.json; make it with "):
        report.render(DOCUMENT, {})


def test_the_documents_tables_are_those_of_its_results():
    results = {p.stem: json.loads(p.read_text()) for p in (DOCS / "performance").glob("*.json")}
    text = (DOCS / "performance.md").read_text("utf-8")
    assert {"machine", "step", "peak"} <= set(re.findall("<!-- table: (.*) -->", text))
    assert report.render(text, results) == text
