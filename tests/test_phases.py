import pytest

from kgraft.errors import KgraftError
from kgraft.phases import Span, check_phases, check_side_by_side, choose_phases, list_spans

NAMES = ("one/block1", "one/block2", "one/block4", "two/blocks1-2", "two/blocks1-4")


def test_two_stages():
    spans = list_spans((1, 2, 4), "forward")
    assert tuple(span.name for span in spans) == NAMES
    assert spans[2] == Span("one/block4", 1, 4, 4)
    assert spans[4] == Span("two/blocks1-4", 2, 1, 4)
    backward = [span.name for span in list_spans((1, 2, 4), "backward")]
    assert backward == [*NAMES[:3], "two/blocks2-4", "two/blocks1-4"]
    assert [span.name for span in list_spans((3,), "forward")] == ["one/block3"]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0", NAMES[:1]),
        ("0-2", NAMES[:3]),
        ("4, 1,0-1", (*NAMES[:2], NAMES[4])),
        ("one/block4", NAMES[2:3]),
        ("two/blocks1-2,0", (NAMES[0], NAMES[3])),
        ("0-4", NAMES),
        ("one", NAMES[:3]),
        ("two,0", (NAMES[0], *NAMES[3:])),
        ("all", None),
    ],
)
def test_numbers_ranges_and_names(text, chosen):
    assert choose_phases(text, NAMES) == chosen


@pytest.mark.parametrize("text", ["5", "0-5", "2-1", "one/block3", "two/blocks2-4"])
def test_a_phase_there_is_not(text):
    with pytest.raises(KgraftError) as error:
        choose_phases(text, NAMES)
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(NAMES))
    assert str(error.value) == f"--phases={text}: there is no phase {text}; there are {listed}"


@pytest.mark.parametrize("text", ["", "a", "-1", "0,", "three", "0..2", "three/block0", "all,0"])
def test_what_is_no_list_of_phases(text):
    with pytest.raises(
        KgraftError, match=r"--phases must be all, or .* or by stage, one or two; got"
    ):
        check_phases(text)


@pytest.mark.parametrize("text", ["0", "-1", "two", "", "1.5"])
def test_how_many_side_by_side(text):
    with pytest.raises(KgraftError, match=r"--side_by_side must be auto, off or a whole number"):
        check_side_by_side(text)
    for right in ("auto", "off", "1", "12"):
        check_side_by_side(right)
