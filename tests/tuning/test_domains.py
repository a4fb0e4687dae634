import math

import pytest

from kgraft.errors import KgraftError
from kgraft.tuning.domains import Choice, Range, check_domain, choice, parse_domain, real, whole


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("a|b|c", Choice(("a", "b", "c"))),
        ("32|64", Choice((32, 64))),
        ("0|0.5", Choice((0.0, 0.5))),
        ("first+second|5", Choice(("first+second", "5"))),
        ("0.3..0.9:0.2", Range(0.3, 0.9, 0.2)),
        ("0.3..0.9", Range(0.3, 0.9)),
        ("1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("50..200:50", Range(50, 200, 50, whole=True)),
    ],
)
def test_text_and_what_it_says(text, domain):
    assert parse_domain("x", text) == domain


@pytest.mark.parametrize("text", ["", "a||b", "0.1..x", "..3", "1..2:often"])
def test_text_that_says_nothing(text):
    with pytest.raises(KgraftError, match=r"--vary: x must be values such as a\|b\|c"):
        parse_domain("x", text)


def test_values_of_a_range_are_exact():
    assert real(0.25, 0.55, step=0.1).listed() == (0.25, 0.35, 0.45, 0.55)
    assert whole(0, 100, step=40).listed() == (0, 40, 80)
    assert real(0.1, 0.2).listed() is None


def test_cuts_as_tuples():
    assert choice(("a", "b"), 3).values == ("a+b", "3")


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (
            real(0.9, 0.3),
            "x is an empty range: expected a low end below the high one; got 0.9..0.3",
        ),
        (whole(5, 5), "x is an empty range"),
        (choice(), "x needs values to choose from, each once; got none"),
        (choice(1, 1), "x needs values to choose from, each once; got 1, 1"),
        (real(0.1, 0.5, step=1), "x: the step must be above 0 and fit into 0.1..0.5; got 1"),
        (real(0.0, 0.5, log=True), "x: a log range begins above 0"),
        (choice([1, 2], [3]), r"x must be a choice of texts, numbers or switches; got \[1, 2\]"),
        (choice(0.5, math.inf), "x must be a choice of texts, numbers or switches; got inf"),
        (real(0.3, 0.9, step="x"), "x must be a range of numbers below 1e.12; got 'x'"),
        (whole("a", "b"), "x must be a range of whole numbers below 1e.12; got 'a'"),
        (whole(0.5, 3), "x must be a range of whole numbers below 1e.12; got 0.5"),
        (whole(0, 10**30), "x must be a range of whole numbers below 1e.12; got 10000"),
        (real(0.3, 0.9, step=1e-300), "x has more than 100000 values: give a larger step, or non"),
        (0.5, r"x must be choice\(\.\.\.\), real\(low, high\) or whole\(low, high\); got 0.5"),
    ],
)
def test_domains_without_values(domain, message):
    with pytest.raises(KgraftError, match=f"--space: {message}"):
        check_domain("x", domain)
