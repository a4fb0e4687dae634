import dataclasses
import pathlib

import numpy as np
import pytest

from kgraft.comparison.cells import CellRecord, CellStore
from kgraft.comparison.report import write_comparison

SETTINGS = {
    "student": {"source": "width:0.5", "graft": "1"},
    "data": {"views": 4, "mixed_views": 0, "dataset": "folder:images"},
    "teacher": {"source": "a.keras"},
    "budget": {"updates": 10, "batch": 8},
}


def written(folder: pathlib.Path, hashes: list[str], settings: dict = SETTINGS) -> str:
    """The report of one method at one number of shots, a draw for each hash of a sample."""
    store = CellStore(folder)
    store.start(settings)
    record = CellRecord(
        "kd",
        3,
        0,
        0,
        accuracy=0.5,
        agreement=0.6,
        parameters=9,
        macs=9,
        seconds=1.0,
        updates=10,
        selection="the last",
    )
    for draw, sample in enumerate(hashes):
        changes = {"draw": draw, "seed": draw, "accuracy": 0.5 + draw / 10}
        store.save(dataclasses.replace(record, sample_sha256=sample, **changes))
    write_comparison(folder, store, settings)
    return (folder / "compare.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("hashes", "told"), [(["x", "x"], True), (["x", "y"], False), (["x"], False), (["", ""], False)]
)
def test_draws_that_are_all_the_images_there_are(tmp_path, hashes, told):
    text = written(tmp_path, hashes)
    line = "All draws of 3-shot are of the same images, which are all there are: its ± is over"
    assert (line in text) is told


def test_extra_images_are_named_without_their_place(tmp_path):
    data = {"extra_dataset": "folder:/home/me/photos", "extra_images": 7, "extra_views": 3}
    settings = SETTINGS | {"data": SETTINGS["data"] | data}
    text = written(tmp_path, ["x"], settings)
    assert (
        "--mixed_views=0 --extra_dataset=folder:photos --extra_images=7 --extra_views=3`." in text
    )
    assert "/home/me" not in text


def test_mean_and_spread_are_in_percent(tmp_path):
    text = written(tmp_path, ["x", "y"])
    deviation = np.std([50.0, 60.0], ddof=1)
    assert f"| kd | 55.00 ± {deviation:.2f} |" in text
    assert "Cells by device and versions: 2 of 2 do not say; seconds of different machines" in text
