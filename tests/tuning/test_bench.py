import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.tuning.bench import Bench
from kgraft.tuning.candidate import candidate_run


def test_one_pass_of_the_teacher_serves_all_trials_of_the_same_views_and_cuts(world):
    bench = Bench(world.config(), world.teacher)
    start = bench.config.run
    found = []
    for values in ({}, {"block1_ratio": 0.75}, {"block2": "drop", "batch": 4}):
        run = candidate_run(values, start)
        found.append(bench.banks(bench.job(run), run))
    assert bench.passes == 1
    assert found[0] is found[1] is found[2]
    # The views themselves, every cut and the logits.
    assert found[0].banks.train.cached == (0, 1, 2, 3)
    for values in ({"teacher_cuts": "down"}, {"views": 2}):
        run = candidate_run(values | {"block1": "width:0.5"}, start)
        other = bench.banks(bench.job(run), run)
        assert (other.sha256 == found[0].sha256) == ("views" not in values)
    assert bench.passes == 3
    # Two are kept, the one that was used longest ago is let go.
    bench.banks(bench.job(start), start)
    assert bench.passes == 4
    bench.close()


def test_unknown_cuts_of_the_space_are_refused_by_name(world):
    config = world.config(vary=("teacher_cuts=down+conv2|down+conv9",))
    with pytest.raises(KgraftError, match="--teacher_cuts: the model has no layer 'conv9'"):
        Bench(config, world.teacher)


def test_more_blocks_than_have_multiply_adds_are_refused(world):
    config = world.config(vary=("teacher_cuts=3|7",), graft="all")
    message = "--teacher_cuts=7: only 4 blocks .* a search takes --teacher_cuts=4 or names of cuts"
    with pytest.raises(KgraftError, match=message):
        Bench(config, world.teacher)


def test_what_a_search_is_known_by(world, tmp_path):
    """Images, labels and names may change in the files that the settings name."""
    with np.load(world.folder / "images.npz") as arrays:
        pixels, labels = arrays["train_images"], arrays["train_labels"]

    def hashes(pixels=pixels, labels=labels):
        arrays = {"train_images": pixels, "train_labels": labels}
        np.savez(tmp_path / "a.npz", **arrays, test_images=pixels[::-1], test_labels=labels[::-1])
        source = f"npz:{tmp_path / 'a.npz'}"
        return Bench(
            world.config(dataset=source, val_dataset=source, val_split="test"), world.teacher
        ).hashes

    first = hashes()
    assert hashes() == first
    changed = {name for name, found in hashes(255 - pixels).items() if found != first[name]}
    assert changed == {"transfer_sha256", "validation_sha256"}
    changed = hashes(labels=np.roll(labels, 1))
    assert changed["validation_sha256"] != first["validation_sha256"]
