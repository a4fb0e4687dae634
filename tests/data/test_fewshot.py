import json

import numpy as np
import pytest

from kgraft.data import CorruptImage, draw_transfer_set, open_source, write_transfer_list
from kgraft.data.hashes import pixels_sha256
from kgraft.errors import KgraftError

from .conftest import picture, write_image


@pytest.fixture
def source(class_folder):
    return open_source(f"folder:{class_folder}")


def counts(transfer):
    names = [name.split("/")[0] for name in transfer.ids]
    return {name: names.count(name) for name in sorted(set(names))}


def test_shots_are_images_of_every_class(source):
    transfer = draw_transfer_set(source, shots=2, seed=3)
    assert counts(transfer) == {"ant": 2, "bee": 2, "cow": 2}
    assert transfer.class_names == ("ant", "bee", "cow")
    assert transfer.skipped == ()
    for name, image in zip(transfer.ids, transfer.images, strict=True):
        np.testing.assert_array_equal(image, source.read(source.ids.index(name)))


def test_same_seed_same_list_other_seed_another(source):
    draws = [draw_transfer_set(source, shots=2, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert draws[0].ids == draws[1].ids
    assert draws[0].sha256 == draws[1].sha256
    assert len({draw.sha256 for draw in draws}) > 2


def test_draws_of_a_seed_are_nested(source):
    ids = [set(draw_transfer_set(source, shots=shots, seed=5).ids) for shots in (1, 2, 3)]
    assert ids[0] < ids[1] < ids[2]


def test_images_counts_all_and_needs_no_labels(tmp_path):
    for index in range(6):
        write_image(tmp_path / f"{index}.png", picture(index))
    flat = open_source(f"folder:{tmp_path}")
    transfer = draw_transfer_set(flat, images=4)
    assert len(transfer.images) == 4
    assert transfer.class_names is None
    with pytest.raises(KgraftError, match=r"has no labels, so --shots .* give --images=N"):
        draw_transfer_set(flat, shots=1)
    with pytest.raises(KgraftError, match=r"holds 6 readable images, fewer than --images=7"):
        draw_transfer_set(flat, images=7)


def test_images_of_a_labelled_source_never_reads_its_labels(source, monkeypatch):
    """Invariant: an unlabelled draw is the same whatever the labels say."""
    expected = draw_transfer_set(source, images=5, seed=1).ids
    monkeypatch.setattr(source, "_labels", np.zeros(len(source), np.int64))
    assert draw_transfer_set(source, images=5, seed=1).ids == expected


def test_transfer_set_holds_no_labels(source):
    transfer = draw_transfer_set(source, shots=1)
    assert not hasattr(transfer, "labels")
    assert set(vars(transfer)) == {"images", "ids", "class_names", "skipped"}


def test_too_few_names_the_class_its_count_and_the_largest_k(source):
    message = r"class 'bee' has 3 readable images, fewer than --shots=4; the largest .*--shots=3$"
    with pytest.raises(KgraftError, match=message):
        draw_transfer_set(source, shots=4)


def test_empty_class_has_a_remedy(class_folder):
    (class_folder / "dog").mkdir()
    source = open_source(f"folder:{class_folder}")
    with pytest.raises(KgraftError, match=r"class 'dog' has 0 .*; remove the class, or give"):
        draw_transfer_set(source, shots=1)


def test_one_of_shots_and_images(source):
    with pytest.raises(KgraftError, match=r"one of shots and images; got shots=None, images=None"):
        draw_transfer_set(source)
    with pytest.raises(KgraftError, match=r"got shots=1, images=2"):
        draw_transfer_set(source, shots=1, images=2)


def test_corrupt_image_is_replaced_by_one_of_its_class_and_counted(source, class_folder):
    chosen = draw_transfer_set(source, shots=2, seed=3).ids
    broken = next(name for name in chosen if name.startswith("bee/"))
    (class_folder / broken).write_bytes(b"broken")
    transfer = draw_transfer_set(source, shots=2, seed=3)
    assert counts(transfer) == {"ant": 2, "bee": 2, "cow": 2}
    assert transfer.skipped == (broken,)
    assert set(chosen) - set(transfer.ids) == {broken}


def test_corrupt_image_may_stop_the_draw(source, class_folder):
    broken = draw_transfer_set(source, shots=1).ids[0]
    (class_folder / broken).write_bytes(b"broken")
    with pytest.raises(CorruptImage, match=rf"{broken}: .*; give --on_corrupt=skip to draw"):
        draw_transfer_set(source, shots=1, on_corrupt="stop")


def test_class_that_runs_out_of_readable_images(source, class_folder):
    for index in (0, 1):
        next((class_folder / "bee").glob(f"{index}.*")).write_bytes(b"broken")
    assert len(draw_transfer_set(source, shots=1).images) == 3
    with pytest.raises(KgraftError, match=r"class 'bee' has 1 readable .* largest .*--shots=1$"):
        draw_transfer_set(source, shots=2)


def test_corrupt_image_without_classes(source, class_folder):
    broken = draw_transfer_set(source, images=12).ids[7]
    (class_folder / broken).write_bytes(b"broken")
    transfer = draw_transfer_set(source, images=11)
    assert transfer.skipped == (broken,)
    with pytest.raises(KgraftError, match=r"holds 11 readable images, fewer than --images=12"):
        draw_transfer_set(source, images=12)


def test_tfds_draw(tfds_folder):
    source = open_source("tfds:tiny_pets", data_dir=str(tfds_folder))
    transfer = draw_transfer_set(source, shots=2, seed=0)
    positions = [source.ids.index(name) for name in transfer.ids]
    assert np.bincount(source.labels[positions]).tolist() == [2, 2, 2]
    for position, image in zip(positions, transfer.images, strict=True):
        np.testing.assert_array_equal(image, source.read(position))


def test_list_is_written_whole(source, tmp_path):
    transfer = draw_transfer_set(source, shots=2)
    path = tmp_path / "work" / "transfer.json"
    path.parent.mkdir()
    path.write_text("old")
    write_transfer_list(transfer, path)
    content = json.loads(path.read_text("utf-8"))
    assert content == {
        "images": 6,
        "sha256": transfer.sha256,
        "pixels_sha256": pixels_sha256(transfer.images),
        "ids": list(transfer.ids),
        "skipped": [],
    }
    assert [file.name for file in path.parent.iterdir()] == ["transfer.json"]
