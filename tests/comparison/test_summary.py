import math

import pytest

from kgraft.comparison.cells import CellRecord
from kgraft.comparison.summary import (
    Spread,
    cost_table,
    plain,
    shots_table,
    summarize,
)


def cell(method, shots, draw, accuracy, **changes):
    figures = {"agreement": 0.9, "parameters": 1_000, "macs": 2_500_000, "seconds": 3.0}
    return CellRecord(method, shots, draw, draw, accuracy=accuracy, updates=10, **figures | changes)


CELLS = (
    cell("kgraft", 1, 0, 0.80),
    cell("kgraft", 1, 1, 0.84, seconds=5.0),
    cell("kgraft", 10, 0, 0.9, parameters=2_000),
    cell("kd", 1, 0, 0.5),
    CellRecord("kd", 1, 1, 1, error="it broke"),
    CellRecord("kd", 10, 0, 0, error="it broke"),
)


def test_mean_and_spread_over_draws():
    rows = {(row.method, row.shots): row for row in summarize(CELLS)}
    assert list(rows) == [("kd", 1), ("kd", 10), ("kgraft", 1), ("kgraft", 10)]
    ours = rows["kgraft", 1]
    assert ours.accuracy.mean == pytest.approx(0.82)
    assert ours.accuracy.deviation == pytest.approx(0.04 / math.sqrt(2))
    assert (ours.draws, ours.failed, ours.seconds, ours.updates) == ((0, 1), 0, 4.0, 10)
    assert ours.accuracy_among is None
    assert rows["kgraft", 10].accuracy == Spread(0.9, None)
    assert (rows["kd", 1].draws, rows["kd", 1].failed) == ((0,), 1)
    assert (rows["kd", 10].draws, rows["kd", 10].accuracy) == ((), None)


def test_methods_against_shots():
    assert shots_table(summarize(CELLS), "accuracy") == [
        ("method", "1-shot", "10-shot"),
        ("kd", "50.00 (1)", "failed"),
        ("kgraft", "82.00 ± 2.83", "90.00"),
    ]
    assert shots_table(summarize(CELLS[:4]), "accuracy")[1] == ("kd", "50.00 (1)", "-")
    assert shots_table(summarize(CELLS[:1] + CELLS[3:4]), "accuracy")[1] == ("kd", "50.00")


def test_rows_of_other_draws_are_marked_where_they_are_as_many():
    cells = (cell("kgraft", 1, 0, 0.8), cell("kgraft", 1, 1, 0.8), cell("kd", 1, 1, 0.5))
    assert shots_table(summarize(cells), "accuracy")[1:] == [
        ("kd", "50.00 (1)"),
        ("kgraft", "80.00 ± 0.00"),
    ]
    cells = (cell("kgraft", 1, 0, 0.8), cell("kd", 1, 1, 0.5))
    assert shots_table(summarize(cells), "accuracy")[1:] == [
        ("kd", "50.00 (1)"),
        ("kgraft", "80.00 (1)"),
    ]


def test_cost():
    assert cost_table(summarize(CELLS))[1:3] == [
        ("kd", "1", "1, 1 failed", "1,000", "2.5", "10", "3.0"),
        ("kd", "10", "0, 1 failed", "-", "-", "-", "-"),
    ]


def test_plain_values():
    first = plain(summarize(CELLS))[0]
    assert first["accuracy"] == {"mean": 0.5, "deviation": None}
