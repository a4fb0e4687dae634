import pytest
from matplotlib.figure import Figure
from tuning_cases import record, settings

from kgraft.tuning.pictures import _front


@pytest.mark.parametrize(
    ("least", "label"), [(0.7, "Pareto front"), (0.8, "Pareto front within the bounds")]
)
def test_the_front_says_where_students_are_left_out(least, label):
    records = [record("1", 0.8, 0.4, accuracy=0.8), record("2", 0.9, 0.6, accuracy=0.75)]
    axes = Figure().add_subplot()
    _front(axes, records, settings(min_accuracy=least, val_dataset="npz:held.npz"))
    (line,) = axes.lines
    assert line.get_label() == label
    assert len(line.get_xdata()) == (2 if least == 0.7 else 1)
