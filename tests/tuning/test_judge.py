import numpy as np
import pytest

from kgraft.tuning.bench import Bench
from kgraft.tuning.candidate import candidate_run


@pytest.fixture(scope="module")
def bench(world):
    return Bench(world.config(), world.teacher)


def test_the_teacher_agrees_with_itself(bench):
    quality = bench.judge(bench.start.chain.graph)
    assert (quality.agreement, quality.loss) == (1.0, pytest.approx(0.0, abs=1e-6))


def test_the_loss_is_the_distance_of_logits(bench):
    model = bench.untrained(bench.config.run)
    quality = bench.judge(bench.job(bench.config.run).chain.graph)
    assert quality.loss < 1e-6
    from kgraft.graph import trace_model

    inputs = (bench.judge.views / 255.0).astype("float32")
    got, wanted = (np.asarray(m(inputs, training=False)) for m in (model, _teacher(bench)))
    got, wanted = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (got, wanted))
    expected = np.square(got - wanted).sum(axis=1).mean()
    found = bench.judge(trace_model(model))
    assert found.loss == pytest.approx(expected, rel=1e-3)
    assert found.agreement == np.mean(got.argmax(1) == wanted.argmax(1))


def _teacher(bench):
    from kgraft.graph import as_model

    return as_model(bench.start.chain.graph, name="teacher")


def test_no_view_is_one_that_runs_train_on_or_choose_by(bench):
    transfer = bench.start.transfer
    seen = {view.tobytes() for part in (transfer.views, transfer.heldout) for view in part}
    assert len(bench.judge.views) == 40
    assert not seen & {view.tobytes() for view in bench.judge.views}


def test_a_candidate_of_more_views_does_not_train_on_the_judges(world):
    bench = Bench(world.config(vary=("views=2..6:2",), augment="imagenet"), world.teacher)
    job = bench.job(candidate_run({"views": 6}, bench.config.run))
    parts = (job.transfer.views, job.transfer.heldout)
    seen = {view.tobytes() for part in parts for view in part}
    assert len(job.transfer.views) == 60
    assert not seen & {view.tobytes() for view in bench.judge.views}


def test_without_augmentation_the_held_out_images_stand_in(world):
    bench = Bench(world.config(augment="none"), world.teacher)
    np.testing.assert_array_equal(bench.judge.views, bench.start.transfer.heldout)
    assert bench.judge.note == "2 transfer images that training does not see"
