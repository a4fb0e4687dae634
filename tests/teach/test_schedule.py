import pytest

from kgraft.teach.schedule import one_cycle


def rates(total=100, peak=0.4, warmup=0.2):
    return [one_cycle(step, total=total, peak=peak, warmup=warmup) for step in range(total)]


def test_rises_in_a_line_then_falls_to_nearly_nothing():
    found = rates()
    assert found[:2] == pytest.approx([0.4 * 0.5 / 20, 0.4 * 1.5 / 20])
    assert found[:20] == sorted(found[:20])
    assert found[20:] == sorted(found[20:], reverse=True)
    assert max(found) <= 0.4
    assert found[60] == pytest.approx(0.2, rel=0.03)  # The middle of the cosine is half the peak.
    assert 0 < found[-1] < 1e-4


def test_no_warmup_starts_at_the_peak():
    assert rates(warmup=0.0)[0] == pytest.approx(0.4, rel=1e-3)


def test_a_single_step():
    assert 0 < one_cycle(0, total=1, peak=0.1, warmup=0.2) <= 0.1


@pytest.mark.parametrize("step", [-1, 100])
def test_step_outside(step):
    with pytest.raises(ValueError, match=r"step must be within 0\.\.99; got"):
        one_cycle(step, total=100, peak=0.1, warmup=0.2)
