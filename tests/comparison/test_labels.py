import dataclasses

import numpy as np
import pytest

from kgraft.comparison.labels import transfer_labels
from kgraft.errors import KgraftError


def test_labels_are_those_of_the_draw(setting, world):
    labels = transfer_labels(setting)
    drawn = [int(name) for name in setting.job.transfer.images.ids]
    with np.load(world.folder / "images.npz") as arrays:
        np.testing.assert_array_equal(labels, arrays["train_labels"][drawn])
    assert np.bincount(labels).tolist() == [2] * 5


@pytest.fixture
def named(world, tmp_path):
    with np.load(world.folder / "images.npz") as arrays:
        names = np.array(["a", "b", "c", "d", "e"])
        np.savez(tmp_path / "named.npz", class_names=names, **arrays)
    path = f"npz:{tmp_path / 'named.npz'}"
    return world.setting(dataset=path, eval_dataset=path)


def test_labels_go_to_the_logits_of_their_names(named):
    plain = transfer_labels(named)
    turned = dataclasses.replace(named.job, names=("e", "d", "c", "b", "a"))
    labels = transfer_labels(dataclasses.replace(named, job=turned))
    np.testing.assert_array_equal(labels, 4 - plain)


def test_names_of_other_classes_than_the_logits(named):
    graph = named.chain.graph
    wider = dataclasses.replace(graph, shapes=graph.shapes | {graph.output: (None, 7)})
    chain = dataclasses.replace(named.chain, graph=wider)
    teacher = dataclasses.replace(named.job.teacher, chain=chain)
    job = dataclasses.replace(named.job, names=None, teacher=teacher)
    message = "names 5 classes and the teacher has 7 logits, .*: name the logits with --labels"
    with pytest.raises(KgraftError, match=message):
        transfer_labels(dataclasses.replace(named, job=job))


def test_a_class_without_a_logit_of_its_name(named):
    other = dataclasses.replace(named.job, names=("a", "b", "c", "d", "x"))
    with pytest.raises(KgraftError, match="class 'e' is not among the labels of the teacher"):
        transfer_labels(dataclasses.replace(named, job=other))


def test_a_label_beyond_the_logits(world, tmp_path, setting):
    with np.load(world.folder / "images.npz") as arrays:
        changed = dict(arrays)
    changed["train_labels"] = changed["train_labels"] + 1
    np.savez(tmp_path / "beyond.npz", **changed)
    data = dataclasses.replace(setting.config.data, dataset=f"npz:{tmp_path / 'beyond.npz'}")
    config = dataclasses.replace(setting.config, data=data)
    with pytest.raises(KgraftError, match="has label 5, the teacher only the logits 0 to 4"):
        transfer_labels(dataclasses.replace(setting, config=config))
