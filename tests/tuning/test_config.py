import pytest
from tuning_cases import settings

from kgraft.errors import KgraftError


def test_texts_and_tuples():
    config = settings("batch=8|16", "order=forward|backward", max_latency=0.4, weigh_bytes=0.1)
    assert list(config.opened.parameters) == ["batch", "order"]
    assert settings(vary="batch=8|16,loss=mse|kl").opened.ordered() == ("loss", "batch")
    assert config.bounds == {"latency": 0.4}
    assert config.weights == {"latency": 0.0, "bytes": 0.1, "macs": 0.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuner": "grid"}, "--tuner must be one of random, bayesian, hyperband; got 'grid'"),
        (
            {"objective": "speed"},
            "--objective must be one of agreement, loss, accuracy; got 'speed'",
        ),
        (
            {"objective": "accuracy"},
            "--objective=accuracy needs labels, and nothing names any: give a labelled",
        ),
        ({"min_accuracy": 0.9}, "--min_accuracy=0.9 needs labels, and nothing names any"),
        ({"min_accuracy": 90}, "--min_accuracy must be a share of images above 0 and up to 1"),
        ({"val_dataset": "images"}, "--val_dataset must be tfds:NAME, folder:PATH, npz:PATH"),
        ({"prune": "yes"}, "--prune must be one of score, front, off"),
        ({"trials": 0}, "--trials must be at least 1"),
        (
            {"tuner": "hyperband", "trials": 12},
            "--tuner=hyperband needs --trials=13 or more: 9 train a ninth of their phases, the "
            "best 3 go on to a third, and only then 1 to the end; got 12; for fewer trials",
        ),
        ({"judge_views": 0}, "--judge_views must be at least 1"),
        ({"max_latency": 0.0}, "--max_latency must be above 0"),
        ({"weigh_macs": -1.0}, "--weigh_macs must be at least 0"),
        ({"strategy": "multi_worker"}, "--strategy=multi_worker is not for searches"),
        ({"phases": "0"}, "--phases is not for searches"),
        (
            {"compress": "prune"},
            "--compress=prune is not for searches, .*: search without it .*, then run "
            "kgraft-distill --flagfile=best.flags --compress=prune",
        ),
        ({"colour": 1}, "unknown settings: colour"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(KgraftError, match=message):
        settings(**changes)


@pytest.mark.parametrize(
    ("vary", "changes", "allowed"),
    [
        (("batch=8|16",), {"graft": "1"}, True),
        (("block1=keep|width:0.5",), {"graft": "1"}, True),
        (("batch=8|16",), {"graft": "1-2"}, False),
        (("block2=keep|width:0.5",), {"graft": "1"}, False),
        # Only the start replaces block 1, and is trained whole in any case.
        (("block1=keep", "block2=depth:2|width:0.5"), {"graft": "1"}, True),
        # What more cuts make is replaced as --student says.
        (("teacher_cuts=first+second|first+second+third",), {"graft": "2"}, False),
        (("teacher_cuts=first|first+second",), {"graft": "1"}, True),
    ],
)
def test_hyperband_may_be_short_where_every_trial_has_one_phase(vary, changes, allowed):
    changes |= {"tuner": "hyperband", "trials": 3}
    if allowed:
        assert settings(*vary, **changes).trials == 3
        return
    with pytest.raises(KgraftError, match="--tuner=hyperband needs --trials=13 or more"):
        settings(*vary, **changes)


def test_editing_the_space_during_a_search_changes_nothing(tmp_path):
    file = tmp_path / "space.py"
    text = "from kgraft.tuning import choice\nSPACE = {'batch': choice(8, 16)}\n"
    file.write_text(text)
    config = settings("order=forward|backward", space=str(file))
    file.write_text(text.replace("batch", "colour"))
    assert list(config.opened.parameters) == ["batch", "order"]
