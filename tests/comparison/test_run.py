import dataclasses
import datetime
import json
import re
import shutil
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import SHAPE, small_model

from kgraft import KgraftError, compare
from kgraft.comparison import methods as methods_module
from kgraft.comparison import run as run_module
from kgraft.comparison.bench import Bench
from kgraft.comparison.methods import Method

QUICK = ("fskd", "kd")


def run(world, folder, **changes):
    lines = []
    flags = {"methods": QUICK, "graft": "3", "shots_list": (1, 2), "draws": 2} | changes
    flags = world.flags(workdir=str(folder), **flags)
    return compare(teacher_model=world.teacher, say=lines.append, **flags), lines


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "work"
    result, lines = run(world, folder)
    return result, lines, folder


def record(folder, name):
    return json.loads((folder / "cells" / f"{name}.json").read_text())


def test_every_cell_has_a_record(done):
    _, _, folder = done
    names = sorted(path.name for path in (folder / "cells").iterdir())
    assert names == sorted(
        f"{method}_{shots}shot_draw{draw}.json"
        for method in QUICK
        for shots in (1, 2)
        for draw in (0, 1)
    )
    cell = record(folder, "kd_2shot_draw1")
    assert (cell["method"], cell["shots"], cell["draw"], cell["seed"]) == ("kd", 2, 1, 1)
    assert (cell["images"], cell["views"], cell["updates"]) == (10, 30, 2)
    assert cell["selection"] == "the weights after the last update"
    assert cell["settings"]["rate"] == 3e-3
    assert 0 <= cell["accuracy"] <= 1
    assert cell["seconds"] > 0
    assert cell["versions"]["keras"] == keras.__version__
    assert {"python", "tensorflow"} <= cell["versions"].keys()
    assert datetime.datetime.fromisoformat(cell["date"]).utcoffset() == datetime.timedelta(0)
    assert re.search(r"\w, \d+ cores?$", cell["device"])
    assert (cell["computed_in"], cell["revision"]) == ("float32", 1)


def test_methods_of_a_cell_see_the_same_images_and_draws_differ(done):
    _, _, folder = done
    hashes = {
        (method, draw): record(folder, f"{method}_2shot_draw{draw}")["sample_sha256"]
        for method in QUICK
        for draw in (0, 1)
    }
    assert hashes["kd", 0] == hashes["fskd", 0] != hashes["kd", 1]


def test_tables_and_picture(done):
    result, _, folder = done
    assert not result.failed
    assert result.workdir == folder
    assert [(row.method, row.shots, row.draws) for row in result.rows] == [
        ("kd", 1, (0, 1)),
        ("kd", 2, (0, 1)),
        ("fskd", 1, (0, 1)),
        ("fskd", 2, (0, 1)),
    ]
    assert result.table.startswith("teacher: ")
    assert "Agreement with the teacher, %" in result.table
    text = (folder / "compare.md").read_text("utf-8")
    assert "| method | 1-shot | 2-shot |" in text
    assert "![accuracy over shots](compare.svg)" in text
    assert "`--graft=3 --student=width:0.5`" in text
    assert "2 updates of 8 views" in text
    assert "All learn from the same views, `--views=3 --mixed_views=0`." in text
    assert text.splitlines()[2].startswith("Teacher: ")
    assert "million MACs" in text.splitlines()[2]
    assert "images.npz, teacher small.keras" in (folder / "compare.svg").read_text("utf-8")
    content = json.loads((folder / "compare.json").read_text())
    mean = np.mean([record(folder, f"kd_1shot_draw{draw}")["accuracy"] for draw in (0, 1)])
    assert content["rows"][0]["accuracy"]["mean"] == pytest.approx(mean)
    assert content["teacher"] == result.teacher
    assert content["settings"]["budget"] == {"updates": 2, "batch": 8}
    for name in ("compare.svg", "compare.png"):
        assert (folder / name).exists()


def test_progress_is_told(done):
    _, lines, _ = done
    assert lines[0] == (
        "2 methods, 2 numbers of shots, 2 draws: 8 cells, 0 done; budget 2 updates of 8 views"
    )
    assert len(lines) == 17
    assert lines[1] == "[1/8] fskd, 1-shot, draw 0 ..."
    assert lines[2].startswith("[1/8] fskd, 1-shot, draw 0: ")
    assert lines[2].endswith(" left")
    assert lines[3] == "[2/8] kd, 1-shot, draw 0 ..."
    assert re.search(r"% agreement, took \d+:\d\d", lines[-1])


def test_a_cell_alone_agrees_with_the_same_cell_among_others(done, world, tmp_path):
    _, _, folder = done
    run(world, tmp_path / "alone", methods=("kd",), shots_list=(2,), draws=1)
    one, other = (record(f, "kd_2shot_draw0") for f in (folder, tmp_path / "alone"))
    assert {**one, "seconds": 0, "date": ""} == {**other, "seconds": 0, "date": ""}


def test_what_is_done_is_not_run_again(done, world, monkeypatch):
    _, _, folder = done
    before = {path: path.read_bytes() for path in (folder / "cells").iterdir()}

    def never(*_):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(run_module, "_cell", never)
    result, lines = run(world, folder, resume=True)
    assert lines == [
        "2 methods, 2 numbers of shots, 2 draws: 8 cells, 8 done; budget 2 updates of 8 views"
    ]
    assert not result.failed
    assert {path: path.read_bytes() for path in (folder / "cells").iterdir()} == before


def test_cells_of_another_revision_are_made_again(done, world, tmp_path, monkeypatch):
    folder = shutil.copytree(done[2], tmp_path / "w")
    path = folder / "cells" / "fskd_1shot_draw0.json"
    older = {k: v for k, v in json.loads(path.read_text()).items() if k != "revision"}
    path.write_text(json.dumps(older))
    changed = dataclasses.replace(methods_module.method("fskd"), revision=2)
    monkeypatch.setitem(methods_module._METHODS, "fskd", changed)
    _, lines = run(world, folder, resume=True)
    assert "8 cells, 5 done" in lines[0]
    assert lines[1] == "made again, because their method has changed since: 3 cells of fskd"
    assert record(folder, "fskd_1shot_draw0") == older
    assert [record(folder, f"{m}_2shot_draw1")["revision"] for m in QUICK] == [2, 1]


def test_more_methods_shots_and_draws_join_a_table(done, world, tmp_path):
    shutil.copytree(done[2], tmp_path / "w")
    result, lines = run(
        world, tmp_path / "w", methods=("fskd", "mir"), shots_list=(3,), draws=1, resume=True
    )
    assert "2 cells, 0 done" in lines[0]
    assert [(row.method, row.shots, row.draws) for row in result.rows] == [
        ("kd", 1, (0, 1)),
        ("kd", 2, (0, 1)),
        ("fskd", 1, (0, 1)),
        ("fskd", 2, (0, 1)),
        ("fskd", 3, (0,)),
        ("mir", 3, (0,)),
    ]


def test_a_folder_of_another_comparison_is_refused(done, world):
    _, _, folder = done
    with pytest.raises(KgraftError, match="must be new or empty"):
        run(world, folder)
    with pytest.raises(KgraftError, match=r"other settings: .*data\.views was 3, now 4"):
        run(world, folder, resume=True, views=4)
    other = compare_with(small_model("residual", seed=5), world, folder)
    with pytest.raises(KgraftError, match="teacher_sha256 was"):
        other()


def test_names_and_networks_in_files_are_known_by_what_is_in_them(world, tmp_path):
    def settings(**changes):
        return Bench(world.config(methods=("kd",), graft="3", **changes), world.teacher).settings

    labels = tmp_path / "labels.txt"
    hashes = []
    for names in ("abcde", "abcde", "abced"):
        labels.write_text("\n".join(names))
        hashes.append(settings(labels=str(labels))["labels_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]
    hashes = []
    for shade in (0, 0, 9):
        np.savez(tmp_path / "extra.npz", images=np.full([4, *SHAPE], shade, np.uint8))
        extra = {"extra_dataset": f"npz:{tmp_path / 'extra.npz'}", "extra_images": 2}
        hashes.append(settings(**extra)["extra_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]
    hashes = []
    for seed in (1, 2):
        small_model("residual", seed=seed).save(tmp_path / "own.keras")
        own = {
            "student": str(tmp_path / "own.keras"),
            "student_cuts": world.config().run.teacher.cuts,
        }
        hashes.append(settings(**own)["student_sha256"])
    assert hashes[0] != hashes[1]
    assert not {"labels_sha256", "extra_sha256", "student_sha256"} & settings().keys()


def compare_with(teacher, world, folder):
    flags = world.flags(methods=QUICK, graft="3", workdir=str(folder), resume=True)
    return lambda: compare(teacher_model=teacher, say=lambda _: None, **flags)


@pytest.fixture
def changed(world, world_of, tmp_path):
    """A world with one cell done, whose transfer images are others since."""
    small = world_of(world.teacher)
    run(small, tmp_path / "w", **ONE)
    path = small.folder / "images.npz"
    with np.load(path) as arrays:
        before = dict(arrays)
    np.savez(path, **before | {"train_images": 255 - before["train_images"]})
    return small, before


ONE = {"methods": ("fskd",), "shots_list": (1,), "draws": 1}


def test_a_data_set_that_has_changed_is_refused(changed, tmp_path):
    small, before = changed
    # No record is of the same shots.
    with pytest.raises(KgraftError, match=r"of other settings: transfer_sha256 was"):
        run(small, tmp_path / "w", **ONE | {"shots_list": (2,)}, resume=True)
    np.savez(small.folder / "images.npz", **before | {"test_images": 255 - before["test_images"]})
    with pytest.raises(KgraftError, match=r"of other settings: test_sha256 was"):
        run(small, tmp_path / "w", **ONE, resume=True)


def test_folders_of_older_versions_know_the_images_of_their_cells(changed, tmp_path):
    small, _ = changed
    settings = json.loads((tmp_path / "w" / "settings.json").read_text())
    del settings["transfer_sha256"]
    (tmp_path / "w" / "settings.json").write_text(json.dumps(settings))
    other = ONE | {"methods": ("closed",)}
    refused = r"fskd_1shot_draw0\.json is of other images than are drawn"
    with pytest.raises(KgraftError, match=refused):
        run(small, tmp_path / "w", **other, resume=True)
    result, _ = run(small, tmp_path / "w", **other | {"shots_list": (2, 1)}, resume=True)
    assert [cell.shots for cell in result.failed] == [1]
    assert re.match(refused, result.failed[0].error)
    record = tmp_path / "w" / "cells" / "fskd_1shot_draw0.json"
    content = json.loads(record.read_text()) | {"pixels_sha256": ""}
    record.write_text(json.dumps(content | {"sample_sha256": "of another draw"}))
    with pytest.raises(KgraftError, match=refused):
        run(small, tmp_path / "w", **other, resume=True)


def test_damaged_records_are_told_of_before_any_work(done, world, tmp_path, monkeypatch):
    shutil.copytree(done[2], tmp_path / "w")
    (tmp_path / "w" / "cells" / "fskd_2shot_draw0.json").write_text("{")
    monkeypatch.setattr(run_module, "_cell", None)
    with pytest.raises(KgraftError, match=r"fskd_2shot_draw0\.json.*move it away"):
        run(world, tmp_path / "w", methods=("mir",), resume=True)


def test_what_a_cell_compiled_is_let_go(world, tmp_path, monkeypatch):
    """TensorFlow keeps a graph that has the gradient of a SiLU, unless it is told otherwise."""
    graphs = []

    def compiling(_):
        run = tf.function(tf.nn.silu, autograph=False).get_concrete_function(tf.TensorSpec([3]))
        graphs.append(weakref.ref(run.graph))
        raise ValueError

    monkeypatch.setitem(methods_module._METHODS, "kd", Method(compiling))
    run(world, tmp_path / "w", draws=1, shots_list=(1, 2), methods=("kd",))
    assert [graph() for graph in graphs] == [None, None]


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(world, tmp_path, monkeypatch):
    def broken(_):
        raise ValueError("it\nbroke")

    monkeypatch.setitem(methods_module._METHODS, "kd", Method(broken))
    changes = {"draws": 1, "shots_list": (1,), "methods": ("kd", "fskd")}
    result, lines = run(world, tmp_path / "w", **changes)
    assert [(cell.method, cell.shots) for cell in result.failed] == [("kd", 1)]
    assert result.failed[0].error == "ValueError: it broke"
    assert record(tmp_path / "w", "kd_1shot_draw0")["error"] == "ValueError: it broke"
    assert "failed: ValueError: it broke" in lines[2]
    assert "- kd, 1-shot, draw 0: ValueError: it broke" in (tmp_path / "w/compare.md").read_text()
    assert record(tmp_path / "w", "fskd_1shot_draw0")["error"] is None
    monkeypatch.undo()
    again, lines = run(world, tmp_path / "w", **changes, resume=True)
    assert not again.failed
    assert "2 cells, 1 done" in lines[0]


def test_cells_whose_images_cannot_be_opened_fail_alone(world, tmp_path, monkeypatch):
    opened = Bench.open

    def broken(bench, shots, draw):
        if shots == 2:
            raise KgraftError("no readable images")
        return opened(bench, shots, draw)

    monkeypatch.setattr(Bench, "open", broken)
    result, _ = run(world, tmp_path / "w", shots_list=(1, 2), draws=1, methods=("fskd",))
    assert [(cell.shots, cell.error) for cell in result.failed] == [(2, "no readable images")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots_list": (1, 6)}, "--shots_list=1,6: class '0' .* 5 images, fewer than 6"),
        ({"shots_list": (6, 1)}, "--shots_list=6,1: class '0' .* 5 images, fewer than 6"),
        ({"steps": (0, 0)}, "--steps=0 leaves kd no updates"),
        ({"graft": "9"}, "--graft"),
        ({"student": "drop"}, "--methods: for a pruned teacher, which is what fskd must start"),
    ],
)
def test_bad_input_leaves_nothing_behind(world, tmp_path, changes, message):
    with pytest.raises(KgraftError, match=message):
        run(world, tmp_path / "w", **changes)
    assert not (tmp_path / "w").exists()


def test_a_config_and_settings_by_name_are_too_much(world):
    with pytest.raises(KgraftError, match="not both; got draws too"):
        compare(world.config(), draws=3)


def test_a_cluster_is_refused_whatever_names_it(world, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["localhost:1"]}}))
    with pytest.raises(KgraftError, match=r"TF_CONFIG is set, .*: unset it, or give another"):
        run(world, tmp_path / "w", strategy="auto")
    assert not (tmp_path / "w").exists()
