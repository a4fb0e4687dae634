import dataclasses

import numpy as np
import pytest

from kgraft.comparison.pruned import pruned_student
from kgraft.data import open_source
from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.graph import total_macs
from kgraft.pipeline import examiner as examiner_module
from kgraft.pipeline.examiner import Examiner
from kgraft.pipeline.test_set import TestSet

LABELS = np.arange(30) % 5


@pytest.fixture
def counted(setting, monkeypatch):
    """The examiner, and how often the test set was decoded."""
    calls = []
    real = examiner_module.eval_batches

    def counting(*arguments, **options):
        calls.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(examiner_module, "eval_batches", counting)
    return Examiner(setting.job), calls


def test_marks_are_those_of_numpy(setting, counted, pixels):
    examiner, calls = counted
    assert not calls
    student = fuse(pruned_student(setting.chain, setting.job.recipes).blocks).graph
    classes = np.asarray(student(pixels)).argmax(1)
    teachers = np.asarray(setting.chain.graph(pixels)).argmax(1)
    marks = examiner.measure(student)
    assert marks.accuracy == np.mean(classes == LABELS)
    assert marks.agreement == np.mean(classes == teachers)
    assert marks.accuracy_among is None


def test_the_test_set_is_decoded_once(setting, counted):
    examiner, calls = counted
    for _ in range(3):
        examiner.measure(setting.chain.graph)
    assert len(calls) == 1
    assert examiner.images == 30


def test_a_large_test_set_is_decoded_again(setting, counted, monkeypatch):
    monkeypatch.setattr(examiner_module, "_MEMORY_BYTES", 100)
    examiner, calls = counted
    one, other = (examiner.measure(setting.chain.graph) for _ in range(2))
    assert one == other
    assert len(calls) == 3


def test_the_teacher_agrees_with_itself(setting, counted, pixels):
    found = counted[0].teacher()
    teachers = np.asarray(setting.chain.graph(pixels)).argmax(1)
    assert found == {
        "accuracy": np.mean(teachers == LABELS),
        "accuracy_among": None,
        "parameters": setting.chain.graph.parameters,
        "macs": total_macs(setting.chain.graph),
        "classes": 5,
        "test_images": 30,
        "test_images_skipped": 0,
    }


def test_among_the_classes_of_the_test_set(setting, world, tmp_path, pixels):
    with np.load(world.folder / "images.npz") as arrays:
        images, labels = arrays["test_images"], arrays["test_labels"]
    few = labels < 3
    np.savez(
        tmp_path / "few.npz",
        images=images[few],
        labels=labels[few],
        class_names=np.array(["a", "b", "c"]),
    )
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    other = world.setting(
        eval_dataset=f"npz:{tmp_path / 'few.npz'}", labels=str(tmp_path / "labels.txt")
    )
    marks = Examiner(other.job).measure(setting.chain.graph)
    logits = np.asarray(setting.chain.graph(pixels[few]))
    assert marks.accuracy == np.mean(logits.argmax(1) == labels[few])
    assert marks.accuracy_among == np.mean(logits[:, :3].argmax(1) == labels[few])


def test_no_test_set(setting):
    with pytest.raises(KgraftError, match="--eval_dataset is missing"):
        Examiner(dataclasses.replace(setting.job, test=None))


def test_a_test_set_of_other_classes(world, tmp_path, setting):
    with np.load(world.folder / "images.npz") as arrays:
        np.savez(
            tmp_path / "more.npz", images=arrays["test_images"], labels=arrays["test_labels"] + 1
        )
    spec = f"npz:{tmp_path / 'more.npz'}"
    with pytest.raises(KgraftError, match="has labels up to 5, the teacher only the logits 0 to 4"):
        world.setting(eval_dataset=spec)
    other = dataclasses.replace(setting.job, test=TestSet(open_source(spec), "none"))
    with pytest.raises(KgraftError, match="has label 5, the teacher only the logits 0 to 4"):
        Examiner(other).measure(setting.chain.graph)
