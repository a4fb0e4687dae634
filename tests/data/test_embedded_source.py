import numpy as np
import pytest

from kgraft.data import draw_transfer_set, open_source
from kgraft.data.embedded_source import EMBEDDED_FOLDER
from kgraft.errors import KgraftError


def test_fashion_mnist_holds_50_a_class_and_the_whole_test_part():
    train = open_source("embedded:fashion_mnist")
    test = open_source("embedded:fashion_mnist", split="test")
    assert np.bincount(train.labels).tolist() == [50] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.image_shape == test.image_shape == (28, 28, 1)
    assert train.class_names[0] == "T-shirt/top"
    assert train.class_names[9] == "Ankle boot"
    assert len(set(train.class_names)) == 10


def test_no_transfer_image_is_a_test_image():
    train, test = (
        {image.tobytes() for image, _ in open_source("embedded:fashion_mnist", split=s).iterate()}
        for s in ("train", "test")
    )
    assert len(train) == 500
    assert not train & test


def test_is_small_and_carries_its_licence():
    assert (EMBEDDED_FOLDER / "fashion_mnist.npz").stat().st_size < 6e6
    licence = (EMBEDDED_FOLDER / "fashion_mnist.LICENSE.txt").read_text("utf-8")
    assert "MIT License" in licence
    assert "Zalando SE" in licence


def test_fifty_shots_are_all_there_are():
    source = open_source("embedded:fashion_mnist")
    assert len(draw_transfer_set(source, shots=50).images) == 500
    with pytest.raises(KgraftError, match=r"class 'T-shirt/top' has 50 .* largest .*--shots=50"):
        draw_transfer_set(source, shots=51)


def test_unknown_name_lists_those_there_are():
    with pytest.raises(KgraftError, match=r"embedded:mnist does not exist; .*: fashion_mnist"):
        open_source("embedded:mnist")
    with pytest.raises(KgraftError, match="embedded:fashion_mnist has no split 'validation'"):
        open_source("embedded:fashion_mnist", split="validation")
