"""The paper's setting as the benchmarks build it."""

import pytest

from benchmarks import paper, product
from kgraft.grafting import fuse

# Multiply-adds of a 3x3 convolution from 256 to 256 channels at 4x4, and of others at 2x2.
CONV = 16 * 9 * 256 * 256
ADAPTER = 4 * 256 * 512
TEACHER_CONV = 4 * 9 * 512 * 512
SMALL_CONV = 4 * 9 * 256 * 256
HEAD = 512 * 512 + 512 * 10


@pytest.fixture(scope="module")
def setting():
    return product.Setting.make()


def phase(name):
    found = next(phase for phase in paper.PHASES if phase.name == name)
    return product.make_phase(found, steps=1)


def test_teacher_and_student_have_the_papers_sizes(setting):
    assert setting.chain.graph.parameters == 14_983_498
    assert fuse(setting.student).graph.parameters == 5_412_682


def test_the_schedule_has_the_papers_updates():
    assert [phase.updates for phase in paper.PHASES] == [200, 120, 120, 200, 200]


def test_work_of_a_step_of_the_first_block(setting):
    span = (2 + 3 + 3) * CONV + 3 * ADAPTER
    suffix = 2 * (3 * TEACHER_CONV + HEAD)
    found = product.required_macs(setting, phase("one/block3"), padding=True)
    assert found == span + suffix


def test_work_of_a_step_of_the_second_block(setting):
    # Its entry adapter, which comes first, is as large as its exit adapter was before pooling.
    span = 2 * ADAPTER + 9 * SMALL_CONV + 3 * (256 * 512)
    found = product.required_macs(setting, phase("one/block4"), padding=True)
    assert found == span + 2 * HEAD


def test_less_work_lies_inside_the_image(setting):
    at_2x2 = phase("one/block4")
    whole = product.required_macs(setting, at_2x2, padding=True)
    inside = product.required_macs(setting, at_2x2, padding=False)
    # Of the 36 products of a 3x3 kernel at 2x2 places, 20 meet padding.
    assert whole - inside == 9 * SMALL_CONV * 20 // 36
