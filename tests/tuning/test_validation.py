import types

import numpy as np
import pytest
from small_models import CLASSES, SHAPE
from tuning_cases import settings

from kgraft.errors import KgraftError
from kgraft.graph import trace_model
from kgraft.pipeline import examiner as examiner_module
from kgraft.tuning import trial as trial_module
from kgraft.tuning.bench import Bench
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.records import TrialStore
from kgraft.tuning.trial import Laboratory
from kgraft.tuning.validation import _check_ids

pytestmark = pytest.mark.usefixtures("quick_costs")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Labelled images apart from those that are drawn from."""
    path = tmp_path_factory.mktemp("validation") / "held.npz"
    pixels = np.random.default_rng(7).integers(0, 256, [30, *SHAPE], np.uint8)
    np.savez(path, test_images=pixels, test_labels=np.arange(30) % CLASSES)
    return f"npz:{path}"


def test_accuracy_is_that_on_the_named_images(world, labelled):
    config = world.config(objective="accuracy", val_dataset=labelled, val_split="test")
    bench = Bench(config, world.teacher)
    assert bench.judge.note.endswith(f"; accuracy on 30 labelled images of {labelled}, split test")
    model = bench.untrained(config.run)
    found = bench.judge(trace_model(model))
    with np.load(labelled.removeprefix("npz:")) as file:
        logits = np.asarray(model((file["test_images"] / 255.0).astype("float32")))
        assert found.accuracy == np.mean(logits.argmax(1) == file["test_labels"])
    assert found.value("accuracy") == found.accuracy


def test_a_trial_is_scored_by_it(world, labelled, tmp_path):
    flags = {"val_dataset": labelled, "val_split": "test", "objective": "accuracy"}
    laboratory = world.laboratory(tmp_path, **flags)
    found = _attempt(laboratory)
    assert found.score == found.accuracy is not None
    assert found.closed_accuracy is not None
    # What is known already: the same student under a bound that it misses.
    config = world.config(workdir=str(tmp_path), min_accuracy=1.0, **flags)
    store = TrialStore(tmp_path)
    missed = _attempt(Laboratory(Bench(config, world.teacher), store, tmp_path))
    assert missed.accuracy == found.accuracy
    assert missed.score == pytest.approx(-0.1 * (1 - found.accuracy))


def test_a_candidate_not_trained_misses_the_bound_like_one_that_was(
    world, labelled, tmp_path, monkeypatch
):
    flags = {"val_dataset": labelled, "val_split": "test", "min_accuracy": 1.0}
    laboratory = world.laboratory(tmp_path, **flags)
    monkeypatch.setattr(trial_module, "hopeless", lambda *_: "it is hopeless")
    found = _attempt(laboratory)
    assert found.status == "pruned"
    assert found.score == pytest.approx(-0.1 * (1 - found.closed_accuracy))


def test_without_such_a_set_no_label_is_read_after_the_draw(world, tmp_path, monkeypatch):
    def read(*_, **__):
        raise AssertionError("a label was read")

    monkeypatch.setattr(examiner_module, "eval_batches", read)
    laboratory = world.laboratory(tmp_path)
    found = _attempt(laboratory)
    assert (found.status, found.accuracy, found.closed_accuracy) == ("trained", None, None)


def test_images_that_are_drawn_from_are_found_under_another_split(world, tmp_path):
    with np.load(world.folder / "images.npz") as file:
        pixels, labels = file["train_images"], file["train_labels"]
    np.savez(tmp_path / "one.npz", images=pixels, labels=labels)
    # A file of one split, which any name of a split stands for.
    same = f"npz:{tmp_path / 'one.npz'}"
    config = world.config(dataset=same, val_dataset=same, val_split="validation")
    message = "has in 25 of its images what the transfer images are drawn from"
    with pytest.raises(KgraftError, match=message):
        Bench(config, world.teacher)


def test_extra_images_are_found_under_another_split(world, tmp_path):
    pixels = np.random.default_rng(8).integers(0, 256, [9, *SHAPE], np.uint8)
    np.savez(tmp_path / "more.npz", images=pixels, labels=np.arange(9) % CLASSES)
    same = f"npz:{tmp_path / 'more.npz'}"
    extra = {"extra_dataset": same, "extra_images": 5}
    config = world.config(val_dataset=same, val_split="validation", **extra)
    message = r"has in 9 of its images what the extra images are drawn from \(--extra_split=train"
    with pytest.raises(KgraftError, match=message):
        Bench(config, world.teacher)


def test_a_set_without_labels_is_refused_by_its_flag(world, tmp_path):
    np.savez(tmp_path / "plain.npz", images=np.zeros([3, *SHAPE], np.uint8))
    config = world.config(val_dataset=f"npz:{tmp_path / 'plain.npz'}", objective="accuracy")
    with pytest.raises(
        KgraftError, match=r"--val_dataset=npz:.*plain\.npz, split validation, has no labels"
    ):
        Bench(config, world.teacher)


def _attempt(laboratory):
    run = candidate_run({"block1_ratio": 0.75}, laboratory.bench.config.run)
    model = laboratory.bench.untrained(run)
    found, _ = laboratory.attempt("0", {"block1_ratio": 0.75}, run, model=model)
    return found


def test_splits_of_a_tfds_set_are_held_against_each_other_image_by_image():
    def split(first, stop):
        return types.SimpleNamespace(
            ids_span_splits=True, ids=[f"a__{i}" for i in range(first, stop)]
        )

    data = settings(val_dataset="tfds:a", val_split="train[6:]").validation_data
    _check_ids(split(6, 10), split(0, 6), data, "what is drawn from")
    with pytest.raises(KgraftError, match=r"train\[6:\] has in 2 of its images what is drawn from"):
        _check_ids(split(6, 10), split(0, 8), data, "what is drawn from")
