import pytest

from kgraft.config import RunConfig
from kgraft.errors import KgraftError
from kgraft.pipeline.job import open_job
from kgraft.pipeline.plan import plan_phases
from kgraft.pipeline.stopwatch import Stopwatch


def planned(**flags):
    config = RunConfig.from_flags(teacher="t.keras", dataset="folder:x", **flags)
    return [span.name for span in plan_phases(config)]


def test_phases_from_settings_alone():
    assert planned(teacher_cuts=3, graft="0,2") == ["one/block0", "one/block2", "two/blocks0-2"]
    assert planned(teacher_cuts=("a", "b"), graft="1") == ["one/block1"]
    two = planned(teacher_cuts=3, graft="0=keep,1-2", order="backward")
    assert two == ["one/block1", "one/block2", "two/blocks1-2"]


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_they_are_those_of_the_run(world, order):
    config = world.config(order=order)
    job = open_job(config, Stopwatch())
    spans = plan_phases(config)
    assert [span.name for span in spans] == [phase.name for phase in job.phases]
    assert [span.stage for span in spans] == [phase.stage for phase in job.phases]


def test_a_wrong_list_is_found_before_anything_is_opened():
    with pytest.raises(
        KgraftError, match="--phases=3: there is no phase 3; there are 0 one/block0"
    ):
        planned(teacher_cuts=2, phases="3")
    with pytest.raises(KgraftError, match="--graft: expected 'all', or block numbers from 0 to 1"):
        planned(teacher_cuts=2, graft="2")
