import xml.etree.ElementTree as ElementTree

import numpy as np
from matplotlib.figure import Figure

from kgraft.comparison import picture
from kgraft.comparison.picture import PICTURES, draw
from kgraft.comparison.summary import Spread, SummaryRow

ROWS = (
    SummaryRow("kd", 1, (0, 1), 0, accuracy=Spread(0.5, 0.02)),
    SummaryRow("kd", 10, (0, 1), 0, accuracy=Spread(0.6, 0.01)),
    SummaryRow("kgraft", 1, (0,), 0, accuracy=Spread(0.8, None)),
    SummaryRow("mir", 1, (), 1),
)


def test_it_is_an_svg_with_the_methods_and_a_png(tmp_path):
    files = draw(ROWS, tmp_path, teacher=0.9, title="a title")
    assert [path.name for path in files] == list(PICTURES)
    text = " ".join(ElementTree.parse(files[0]).getroot().itertext())
    for word in ("kd", "kgraft", "teacher", "images per class", "test accuracy, %", "a title"):
        assert word in text
    assert "mir" not in text
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".*"))


def test_points_bars_and_the_level_of_the_teacher_are_those_of_the_table():
    axes = Figure().add_subplot()
    picture._draw_axes(axes, ROWS, 0.9, "a title")
    lines = {bars.get_label(): bars for bars in axes.containers}
    assert sorted(lines) == ["kd", "kgraft"]
    line, _, (bars,) = lines["kd"].lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 50], [10, 60]])
    np.testing.assert_allclose(bars.get_segments(), [[[1, 48], [1, 52]], [[10, 59], [10, 61]]])
    line, _, (bars,) = lines["kgraft"].lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 80]])
    np.testing.assert_allclose(bars.get_segments(), [[[1, 80], [1, 80]]])
    level = next(found for found in axes.lines if found.get_label() == "teacher")
    np.testing.assert_allclose(level.get_ydata(), 90)
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10"]


def test_the_same_table_gives_the_same_file(tmp_path):
    one = draw(ROWS, tmp_path, teacher=0.9, title="a title")[0].read_bytes()
    assert draw(ROWS, tmp_path, teacher=0.9, title="a title")[0].read_bytes() == one
    assert draw(ROWS, tmp_path, teacher=None, title="a title")[0].read_bytes() != one
