import pytest

from kgraft.errors import KgraftError
from kgraft.tuning.budget import check_budget, smallest


def test_the_smallest_student_of_a_space(world, tmp_path):
    vary = ("block1=keep|width|inner", "block1_ratio=0.25..0.75:0.25", "block2=keep|drop|width:0.9")
    laboratory = world.laboratory(tmp_path, vary=vary)
    values = smallest(laboratory.bench)
    assert (values["block1"], values["block1_ratio"]) == ("width", 0.25)
    assert values["block2"] == "drop"


def test_a_budget_that_no_student_can_keep_to_is_refused_by_name(world, tmp_path):
    laboratory = world.laboratory(tmp_path, max_macs=0.05)
    with pytest.raises(KgraftError) as caught:
        check_budget(laboratory.bench, laboratory.costs)
    assert str(caught.value).startswith(
        "--max_macs=0.05: no student of this space keeps to it; the one of the fewest "
        "multiply-adds (--graft=1=width:0.5) has 0."
    )
    assert "of the teacher's multiply-adds: give a larger bound" in str(caught.value)


def test_a_budget_that_can_be_kept(world, tmp_path):
    laboratory = world.laboratory(tmp_path, max_macs=0.95, max_bytes=0.95)
    check_budget(laboratory.bench, laboratory.costs)
