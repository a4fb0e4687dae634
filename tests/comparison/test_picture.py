import xml.etree.ElementTree as ElementTree

from kgraft.comparison.picture import PICTURES, draw
from kgraft.comparison.summary import Spread, SummaryRow

ROWS = (
    SummaryRow("kd", 1, 2, 0, accuracy=Spread(0.5, 0.02)),
    SummaryRow("kd", 10, 2, 0, accuracy=Spread(0.6, 0.01)),
    SummaryRow("kgraft", 1, 1, 0, accuracy=Spread(0.8, None)),
    SummaryRow("mir", 1, 0, 1),
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


def test_the_same_table_gives_the_same_file(tmp_path):
    one = draw(ROWS, tmp_path, teacher=0.9, title="a title")[0].read_bytes()
    assert draw(ROWS, tmp_path, teacher=0.9, title="a title")[0].read_bytes() == one
    assert draw(ROWS, tmp_path, teacher=None, title="a title")[0].read_bytes() != one
