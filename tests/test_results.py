"""That docs/results.md says what the records of the comparisons say."""

import json
import pathlib
import re
import shutil

import pytest

from kgraft.comparison.cells import CellStore
from kgraft.comparison.config import METHODS
from kgraft.comparison.report import MARKDOWN_NAME, write_comparison

RESULTS = pathlib.Path(__file__).parents[1] / "docs" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/settings.json"))
# What a table of docs/results.md measures, by a word of its headings.
FIGURES = {"among": "among", "agreement": "Agreement", "accuracy": "accuracy"}


def table_rows(text):
    """Yields, for each table, the cells of its heading and of its rows."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [line.strip("| \n").split("|") for line in block.splitlines()]
        cells = [[cell.strip().strip("*") for cell in line] for line in lines]
        yield cells[0], cells[2:]


def figure_of(words):
    return next((figure for word, figure in FIGURES.items() if word in words), None)


def said(section):
    """Yields figure, shots, method and value of what docs/results.md says of a comparison."""
    for head, rows in table_rows(section):
        for row in rows:
            method = row[0].partition(":")[0].partition(", w")[0]
            if method not in METHODS or "without mixed views" in row[0]:
                continue
            for name, value in zip(head[1:], row[1:], strict=True):
                shots = re.match(r"\d+-shot", name if "-shot" in name else head[0])
                figure = figure_of(head[0] if "-shot" in name else name)
                if figure and "minutes" not in name:
                    yield figure, shots.group(), method, value


def recorded(folder):
    """Collects the same of the tables that were printed."""
    found = {}
    text = (folder / MARKDOWN_NAME).read_text("utf-8")
    for title, table in re.findall(r"^## (.*)\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        figure = figure_of(title.lower())
        for head, rows in table_rows(table):
            for row in rows if figure else ():
                for shots, value in zip(head[1:], row[1:], strict=True):
                    found[figure, shots, row[0]] = value
    return found


def numbers(cell):
    return [float(number) for number in re.findall(r"[\d.]+", cell)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_tables_are_those_of_the_records(folder, tmp_path):
    for name in ("cells", "teacher.json"):
        copy = shutil.copytree if name == "cells" else shutil.copy
        copy(folder / name, tmp_path / name)
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    write_comparison(tmp_path, CellStore(tmp_path), settings)
    printed = (tmp_path / MARKDOWN_NAME).read_text("utf-8")
    assert printed == (folder / MARKDOWN_NAME).read_text("utf-8")


def test_results_say_what_was_printed():
    text = RESULTS.with_suffix(".md").read_text("utf-8")
    checked = set()
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        names = set(re.findall(r"\]\(results/(\w+)\)", section))
        tables = [recorded(RESULTS / name) for name in sorted(names)]
        for figure, shots, method, value in said(section) if tables else ():
            values = [numbers(table.get((figure, shots, method), "")) for table in tables]
            assert numbers(value) in values, (figure, shots, method, value)
        checked |= names
    assert checked == {folder.name for folder in FOLDERS}
