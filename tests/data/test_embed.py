import os
import pathlib

import numpy as np
import pytest

from kgraft.data import open_source
from kgraft.data.embed import draw_per_class, main
from kgraft.data.embedded_source import EMBEDDED_FOLDER
from kgraft.errors import KgraftError


def test_embeds_a_seeded_draw_of_train_and_all_of_test(tfds_folder, tmp_path, capsys):
    path = tmp_path / "new" / "pets.npz"
    arguments = [f"--data_dir={tfds_folder}", "--dataset=tiny_pets", "--per_class=2"]
    assert main([*arguments, f"--output={path}"]) == 0
    assert str(path) in capsys.readouterr().out
    train = open_source(f"npz:{path}")
    test = open_source(f"npz:{path}", split="test")
    assert np.bincount(train.labels).tolist() == [2, 2, 2]
    assert train.class_names == ("cat", "dog", "emu")
    original = open_source("tfds:tiny_pets", split="test", data_dir=str(tfds_folder))
    for (image, label), (expected, expected_label) in zip(
        test.iterate(), original.iterate(), strict=True
    ):
        np.testing.assert_array_equal(image, expected)
        assert label == expected_label
    first = path.read_bytes()
    assert main([*arguments, f"--output={path}"]) == 0
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["pets.npz"]


def test_too_few_images_leave_no_file(tfds_folder, tmp_path, capsys):
    path = tmp_path / "pets.npz"
    arguments = [f"--data_dir={tfds_folder}", "--dataset=tiny_pets", "--per_class=4"]
    assert main([*arguments, f"--output={path}"]) == 1
    error = capsys.readouterr().err
    assert error == "embed-fashion-mnist: error: class 0 has 3 images, fewer than 4\n"
    assert not path.exists()


def test_draw_depends_on_the_seed_and_is_rising():
    labels = np.tile(np.arange(3), 20)
    one, again, other = (draw_per_class(labels, count=5, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    assert np.all(np.diff(one) > 0)
    assert np.bincount(labels[one]).tolist() == [5, 5, 5]
    with pytest.raises(KgraftError, match="class 0 has 20 images, fewer than 21"):
        draw_per_class(labels, count=21, seed=0)


@pytest.mark.slow
def test_the_embedded_file_is_what_the_command_makes(tmp_path):
    """KGRAFT_TEST_DATA: a folder with Fashion-MNIST prepared by TFDS in `tfds/`."""
    data = pathlib.Path(os.environ["KGRAFT_TEST_DATA"], "tfds")
    assert main([f"--data_dir={data}", f"--output={tmp_path / 'f.npz'}"]) == 0
    with (
        np.load(tmp_path / "f.npz") as made,
        np.load(EMBEDDED_FOLDER / "fashion_mnist.npz") as kept,
    ):
        assert made.files == kept.files
        for key in made.files:
            np.testing.assert_array_equal(made[key], kept[key])
