import dataclasses
import types

import keras
import numpy as np
import pytest

from kgraft.data.hashes import pixels_sha256
from kgraft.errors import KgraftError
from kgraft.graph import trace_model
from kgraft.pipeline.test_set import open_test_set
from kgraft.pipeline.transfer import (
    class_names,
    fresh_views,
    open_transfer,
    transfer_sha256,
    without_pixels,
)

SIZE = (16, 16, 3)


@pytest.fixture(scope="module")
def teacher(world):
    return trace_model(keras.saving.load_model(world.teacher))


def test_heldout_views_are_further_views_of_each_image(world, teacher):
    transfer = open_transfer(world.config(shots=2, views=3, heldout_views=2).data, teacher)
    longer = open_transfer(world.config(shots=2, views=5).data, teacher)
    assert transfer.views.shape == (24, *SIZE) and transfer.heldout.shape == (16, *SIZE)
    by_image = longer.views.reshape(8, 5, *SIZE)
    assert np.array_equal(transfer.views.reshape(8, 3, *SIZE), by_image[:, :3])
    assert np.array_equal(transfer.heldout.reshape(8, 2, *SIZE), by_image[:, 3:])


def test_fresh_views_go_on_behind_those_trained_on_and_held_out(world, teacher):
    config = world.config(shots=2, views=3, heldout_views=2, mixed_views=6).data
    longer = open_transfer(world.config(shots=2, views=9).data, teacher)
    fresh = fresh_views(config, teacher, 4)
    by_image = longer.views.reshape(8, 9, *SIZE)
    assert len(fresh) == 8 * 4 + 6 * 4 // 3
    assert np.array_equal(fresh[:32].reshape(8, 4, *SIZE), by_image[:, 5:])


def test_mixed_views_that_a_few_images_lack(world, teacher):
    auto = world.config(shots=2, views=199, mixed_views="auto")
    given = dataclasses.replace(auto.data, mixed_views=8)
    made, asked = open_transfer(auto.data, teacher), open_transfer(given, teacher)
    assert (len(made.views), made.plain, made.mixed) == (1600, 1592, 8)
    assert np.array_equal(made.views, asked.views)
    assert open_transfer(dataclasses.replace(auto.data, views=201), teacher).mixed == 0


def test_mixed_views_beside_extra_images_and_in_fresh_views(world, teacher):
    extra = {"extra_dataset": f"folder:{world.images}", "extra_images": 4, "extra_views": 2}
    config = world.config(shots=2, views=198, mixed_views="auto", **extra).data
    assert open_transfer(config, teacher).mixed == 1600 - 1584 - 8
    # Half as many of each image: half as many mixed ones.
    alone = dataclasses.replace(config, extra_dataset=None)
    assert len(fresh_views(alone, teacher, 99)) == 8 * 99 + 8


@pytest.mark.parametrize(("augment", "each"), [("none", 1), ("crop_flip", 2)])
@pytest.mark.parametrize("count", [1, 99, 396])
def test_mixed_views_among_fresh_ones_are_in_proportion_to_those_before(
    world, teacher, augment, each, count
):
    extra = {"extra_dataset": world.npz, "extra_images": 4, "extra_views": 2}
    config = world.config(shots=2, views=198, mixed_views="auto", **extra, extra_augment=augment)
    given = dataclasses.replace(config.data, mixed_views=1600 - 1584 - 4 * each)
    fresh = fresh_views(config.data, teacher, count)
    assert np.array_equal(fresh, fresh_views(given, teacher, count))
    further = 1 if augment == "none" else max(1, round(2 * count / 198))
    assert len(fresh) == 8 * count + 4 * further + round(count / 198 * given.mixed_views)


def test_no_mixed_views_of_a_single_one(world, teacher):
    one = world.config(shots=None, images=1, views=1, mixed_views="auto").data
    assert len(open_transfer(one, teacher).views) == 1
    two = dataclasses.replace(one, views=2)
    assert open_transfer(two, teacher).mixed == 1598


def test_large_views_are_made_up_to_fewer(world, teacher, monkeypatch):
    monkeypatch.setattr("kgraft.pipeline.transfer.ENOUGH_BYTES", 100 * 16 * 16 * 3)
    few = world.config(shots=2, views=3, mixed_views="auto").data
    assert open_transfer(few, teacher).mixed == 100 - 24
    assert open_transfer(dataclasses.replace(few, views=20), teacher).mixed == 0


def test_fresh_views_of_extra_images(world, teacher):
    extra = {"extra_dataset": f"folder:{world.images}", "extra_images": 4, "extra_views": 2}
    config = world.config(shots=2, views=3, **extra)
    longer = dataclasses.replace(config.data, extra_views=8)
    fresh = fresh_views(config.data, teacher, 9)
    assert len(fresh) == 8 * 9 + 4 * 6
    every = open_transfer(longer, teacher).views[24:].reshape(4, 8, *SIZE)
    assert np.array_equal(fresh[72:].reshape(4, 6, *SIZE), every[:, 2:])


def test_without_augmentation_every_eighth_image_is_held_out(world, teacher):
    settings = world.config(shots=None, images=17, augment="none").data
    transfer = open_transfer(settings, teacher)
    held = [0, 8, 16]
    trained = [index for index in range(17) if index not in held]
    images = np.stack(transfer.images.images)
    assert np.array_equal(transfer.heldout, images[held])
    assert np.array_equal(transfer.views, images[trained])


def test_two_images_are_enough_without_augmentation(world, teacher):
    settings = world.config(shots=None, images=2, augment="none").data
    transfer = open_transfer(settings, teacher)
    assert len(transfer.views) == len(transfer.heldout) == 1


def test_transfer_images_without_their_pixels(world, teacher):
    transfer = open_transfer(world.config(shots=2).data, teacher)
    rest = without_pixels(transfer)
    assert rest.images.images == () and len(transfer.images.images) == 8
    assert (rest.images.ids, rest.images.sha256) == (transfer.images.ids, transfer.images.sha256)
    assert rest.views is transfer.views and rest.heldout is transfer.heldout


def test_extra_images_train_and_are_never_held_out(world, teacher):
    settings = {"shots": 2, "views": 3, "mixed_views": 5}
    alone = open_transfer(world.config(**settings).data, teacher)
    extra = {"extra_dataset": f"folder:{world.images}", "extra_images": 4, "extra_views": 2}
    more = open_transfer(world.config(**settings, **extra).data, teacher)
    assert alone.extra is None and len(more.extra.ids) == 4
    assert (alone.plain, more.plain) == (24, 24)
    assert np.array_equal(more.views[:24], alone.views[:24])
    assert np.array_equal(more.heldout, alone.heldout)
    assert len(more.views) == 24 + 4 * 2 + 5
    # Mixed views are made of the extra ones too.
    assert not np.array_equal(more.views[-5:], alone.views[-5:])
    whole = open_transfer(world.config(**settings, **extra, extra_augment="none").data, teacher)
    assert len(whole.views) == 24 + 4 + 5
    assert without_pixels(more).extra.images == ()
    assert without_pixels(more).extra.sha256 == more.extra.sha256


def test_extra_images_of_the_teachers_size_are_left_as_they_are(world, teacher):
    extra = {"extra_dataset": world.npz, "extra_images": 3, "extra_augment": "none"}
    transfer = open_transfer(world.config(shots=1, views=1, **extra).data, teacher)
    assert np.array_equal(transfer.views[transfer.plain :], np.stack(transfer.extra.images))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"extra_images": 9999}, r"holds \d+ readable images, fewer than --extra_images=9999"),
        ({"extra_images": 0}, "--extra_images must be at least 1; got 0"),
        ({"extra_views": 0}, "--extra_views must be at least 1; got 0"),
        ({"extra_augment": "twist"}, "--extra_augment must be one of none, crop_flip, imagenet"),
    ],
)
def test_extra_images_that_cannot_be_had(world, teacher, extra, message):
    flags = {"extra_dataset": f"folder:{world.images}", **extra}
    with pytest.raises(KgraftError, match=message):
        open_transfer(world.config(**flags).data, teacher)


def test_the_size_comes_from_the_images_where_the_teacher_leaves_it_open(world):
    image = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    anywhere = trace_model(keras.Model(image, keras.layers.Dense(4)(x)))
    assert open_transfer(world.config().data, anywhere).size == SIZE
    with pytest.raises(KgraftError, match="give a teacher with a fixed input size"):
        open_transfer(world.config(dataset=f"folder:{world.images}").data, anywhere)


def test_names_of_logits(world, teacher, tmp_path):
    config = world.config(eval_dataset=world.npz)
    transfer = open_transfer(config.data, teacher).images
    test = open_test_set(config.data, teacher)
    colours = ("red", "green", "blue", "yellow")
    assert class_names(config.data, transfer, test, 4) == colours
    assert class_names(config.data, transfer, test, 5) is None
    (tmp_path / "labels.txt").write_text("a\n\n b \nc\nd\n", "utf-8-sig")
    named = world.config(labels=str(tmp_path / "labels.txt")).data
    assert class_names(named, transfer, test, 4) == ("a", "b", "c", "d")


def test_classes_that_are_no_logits_are_told_of(world, teacher, tmp_path, capsys):
    path = tmp_path / "labels.txt"
    config = world.config(labels=str(path)).data
    transfer = open_transfer(config, teacher).images
    path.write_text("yellow\nblue\ngreen\nrde\n")
    class_names(config, transfer, None, 4)
    told = capsys.readouterr().err
    assert "has the class 'red', and --labels=" in told and "no such name (yellow, ...)" in told
    path.write_text("yellow\nblue\ngreen\nred\n")
    class_names(config, transfer, None, 4)
    assert capsys.readouterr().err == ""


def test_extra_images_count_too():
    def transfer(images, extra=None):
        extra = extra and types.SimpleNamespace(images=extra)
        return types.SimpleNamespace(images=types.SimpleNamespace(images=images), extra=extra)

    one, two = (np.full((2, 2, 3), value, "uint8") for value in (1, 2))
    assert transfer_sha256(transfer((one,))) == pixels_sha256([one])
    found = {transfer_sha256(transfer((one,), extra)) for extra in (None, (one,), (two,))}
    assert len(found) == 3
