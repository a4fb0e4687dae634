"""A variant in a process of its own."""

import os
import pathlib

import pytest

from benchmarks.apart import Apart
from kgraft.errors import KgraftError

MODULE = """
import os

from kgraft.errors import KgraftError


def make(*, start):
    if start is None:
        raise KgraftError("a start is needed")
    print("chatter")

    def run(*, more):
        if more is None:
            os._exit(3)
        return {"sum": start + more, "process": os.getpid()}

    return run
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "variant_of_a_test.py").write_text(MODULE)
    root = pathlib.Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}")


def test_it_is_called_in_one_other_process():
    with Apart("variant_of_a_test:make", start=3) as variant:
        first, second = variant(more=4), variant(more=5)
    assert (first["sum"], second["sum"]) == (7, 8)
    assert first["process"] == second["process"] != os.getpid()


def test_an_error_of_the_users_comes_back_as_it_is():
    with pytest.raises(KgraftError, match=r"^a start is needed$"):
        Apart("variant_of_a_test:make", start=None)


def test_any_other_error_is_named():
    with (
        Apart("variant_of_a_test:make", start="a") as variant,
        pytest.raises(KgraftError, match=r"^TypeError: can only concatenate str"),
    ):
        variant(more=1)


def test_a_process_that_dies_is_named():
    with (
        Apart("variant_of_a_test:make", start=1) as variant,
        pytest.raises(
            KgraftError, match="expected an answer of a benchmark's process; it has died"
        ),
    ):
        variant(more=None)
