import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

from kgraft import KgraftError, distill
from kgraft.grafting import run as run_module
from kgraft.tuning import run as tune_module
from kgraft.tuning import tune
from kgraft.tuning.records import FAILED, START, TrialRecord, TrialStore

VARY = ("block1_ratio=0.6|0.75|0.9", "batch=8|4")


def search(world, folder, **changes):
    lines = []
    flags = world.flags(vary=VARY, trials=2, prune="off", workdir=str(folder)) | changes
    return tune(teacher_model=world.teacher, say=lines.append, **flags), lines


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    """A search whose second trial's training fails."""
    folder = tmp_path_factory.mktemp("run") / "work"
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        train = run_module.train_phase

        def sometimes(phase, **training):
            calls.append(phase.name)
            if len(calls) == 3:
                raise KgraftError("it broke")
            return train(phase, **training)

        patch.setattr(run_module, "train_phase", sometimes)
        found, lines = search(world, folder, graft="1")
    return found, lines, folder


def test_every_trial_has_a_record_and_a_failing_one_stops_nothing(done):
    found, lines, folder = done
    assert [record.trial for record in found.records] == ["start", "0", "1"]
    failed = [record for record in found.records if record.status == "failed"]
    assert [record.error for record in failed] == ["it broke"]
    assert len([r for r in found.records if r.status == "trained"]) == 2
    content = json.loads((folder / "search.json").read_text())
    assert [trial["trial"] for trial in content["trials"]] == ["start", "0", "1"]
    assert content["ranked"][0] == content["best"]
    assert lines[0].startswith("2 trials, random, 2 parameters; judged on 40 views: 4 further")
    assert any(": failed: it broke" in line for line in lines)


def test_a_start_that_failed_is_tried_again(done, world, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(done[2], folder)
    store = TrialStore(folder)
    store.save(TrialRecord(START, FAILED, {}, error="the disk was full"))
    found, lines = search(world, folder, graft="1", resume=True)
    assert found.records[0].trial == START and found.records[0].status == "trained"
    assert not any("the disk was full" in line for line in lines)


def test_a_search_whose_state_is_cut_short_is_named(done, world, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(done[2], folder)
    (folder / "tuner" / "oracle.json").write_text("{")
    with pytest.raises(KgraftError, match=r"the search in .*tuner cannot be gone on with: JSOND"):
        search(world, folder, graft="1", resume=True, trials=3)


def test_pictures_tensorboard_and_table(done):
    found, _, folder = done
    for name in ("front", "importance", "blocks"):
        assert "</svg>" in (folder / f"{name}.svg").read_text("utf-8")
        assert (folder / f"{name}.png").stat().st_size > 1000
    assert "agreement %" in found.table
    for record in found.records:
        assert list((folder / "logs" / record.trial).glob("events*"))


def test_the_best_flags_make_the_same_student(done, world):
    found, _, folder = done
    content = json.loads((folder / "search.json").read_text())
    record = next(r for r in found.records if r.trial == content["best"])
    flags = dict(
        line.removeprefix("--").split("=", 1)
        for line in (folder / "best.flags").read_text().splitlines()
        if line.startswith("--")
    )
    run = world.flags(graft=flags["graft"], batch=int(flags["batch"]), workdir=flags["workdir"])
    for name in ("vary", "tuner", "trials", "judge_views", "objective"):
        del run[name]
    again = distill(teacher_model=world.teacher, **run).student
    assert pathlib.Path(flags["workdir"]) == folder / "best"
    # The start has half the channels of block 1, every trial more.
    assert record.trial != "start"
    model = keras.models.clone_model(again)
    model.load_weights(folder / "tuner" / f"trial_{record.trial}" / "checkpoint.weights.h5")
    for got, wanted in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("quick_costs")
def test_a_finished_search_goes_on_with_more_trials(done, world):
    found, _, folder = done
    more, _ = search(world, folder, graft="1", trials=3, resume=True)
    assert more.records[:3] == found.records
    assert len(more.records) == 4


@pytest.mark.usefixtures("quick_costs")
def test_a_space_of_fewer_points_than_trials_ends_the_search(world, tmp_path):
    flags = {"vary": ("batch=8|4",), "tuner": "bayesian", "trials": 4, "steps": (0, 0)}
    found, lines = search(world, tmp_path / "work", graft="1", **flags)
    assert sorted(r.values["batch"] for r in found.records if r.trial != "start") == [4, 8]
    assert lines[-1] == "2 of 4 trials: the space has no further points"


def test_other_settings_need_another_folder(done, world):
    _, _, folder = done
    with pytest.raises(KgraftError, match=r"search of other settings: .*judge_views"):
        search(world, folder, graft="1", resume=True, judge_views=2)
    with pytest.raises(KgraftError, match="--workdir must be new or empty"):
        search(world, folder, graft="1")


@pytest.mark.usefixtures("quick_costs")
def test_nothing_is_written_where_the_budget_is_impossible(world, tmp_path):
    with pytest.raises(KgraftError, match=r"--max_macs=0\.05: a student of this space"):
        search(world, tmp_path / "work", max_macs=0.05)
    assert not (tmp_path / "work").exists()


@pytest.mark.usefixtures("quick_costs")
def test_a_search_that_found_nothing_is_an_error_and_keeps_what_it_did(
    world, tmp_path, monkeypatch
):
    # A bound that the smallest student keeps to and no trial does.
    monkeypatch.setattr(tune_module, "check_budget", lambda *_: None)
    folder = tmp_path / "work"
    with pytest.raises(
        KgraftError, match=r"no student was found within --max_macs=0\.05: the near"
    ):
        search(world, folder, graft="1", max_macs=0.05, trials=1, steps=(0, 0))
    content = json.loads((folder / "search.json").read_text())
    assert (content["best"], content["ranked"]) == (None, [])
    assert [trial["status"] for trial in content["trials"]] == ["trained", "over budget"]
    assert (folder / "front.svg").exists() and not list(folder.glob("*.flags"))
