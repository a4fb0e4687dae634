"""What the step benchmark makes of measured times."""

import pytest

from benchmarks import paper, step

TIMES = {
    "published": [0.8, 0.6, 0.7],
    "published_no_grad": [0.5, 0.5, 0.4],
    "kgraft_cold": [0.1, 0.1, 0.2],
    "kgraft_cached": [0.02, 0.03, 0.02],
    "matrix": [0.5, 0.5, 0.5],
}


def figures(phase, scale=1.0):
    times = {name: [scale * value for value in values] for name, values in TIMES.items()}
    times["matrix"] = TIMES["matrix"]
    return step.phase_figures(
        phase, times, macs=10**9, macs_inside=5 * 10**8, matrix_operations=10**11
    )


def test_figures_of_a_phase():
    found = figures(paper.PHASES[0])
    assert found["published_ms"] == pytest.approx(700)
    assert found["published_no_grad_ms"] == pytest.approx(500)
    assert found["kgraft_cold_ms"] == pytest.approx(100)
    assert found["kgraft_cached_ms"] == pytest.approx(20)
    assert found["ratio_cold"] == pytest.approx(7)
    assert found["ratio_cached"] == pytest.approx(35)
    assert found["ratio_no_grad_cold"] == pytest.approx(5)
    assert found["ratio_no_grad_cached"] == pytest.approx(25)
    assert found["matrix_gflops"] == pytest.approx(200)
    assert found["peak_fraction"] == pytest.approx(0.5)
    assert found["peak_fraction_inside"] == pytest.approx(0.25)
    assert found["rounds_ms"]["kgraft_cached"] == pytest.approx([20, 30, 20])


def test_milliseconds_and_ratios_are_of_the_mean_over_stage_one():
    phases = [
        figures(phase, scale) for phase, scale in zip(paper.PHASES, (1, 2, 3, 9, 9), strict=True)
    ]
    found = step.summary(phases)
    assert found["published_ms"] == pytest.approx(1400)
    assert found["kgraft_cold_ms"] == pytest.approx(200)
    assert found["kgraft_cached_ms"] == pytest.approx(40)
    assert found["ratio_cold"] == pytest.approx(7)
    assert found["ratio_cached"] == pytest.approx(35)


def test_fractions_of_peak_weigh_each_phase_by_its_updates():
    phases = [
        figures(phase, scale) for phase, scale in zip(paper.PHASES, (1, 2, 4, 1, 1), strict=True)
    ]
    found = step.summary(phases)
    # Updates 200, 120, 120 at 20, 40 and 80 ms: 440e9 multiply-adds in 18.4 s at 200e9 a second.
    assert found["peak_fraction"] == pytest.approx(2 * 440 / 18.4 / 200)
    assert found["peak_fraction_stage_two"] == pytest.approx(0.5)
    assert found["peak_fraction_all_updates"] == pytest.approx(2 * 840 / 26.4 / 200)
