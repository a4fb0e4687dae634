"""A report with something in every field."""

import pytest

from kgraft.export import Verification
from kgraft.grafting import PhaseResult, Remaining
from kgraft.report import ModelRow, RunReport, Skipped


@pytest.fixture
def report() -> RunReport:
    teacher = ModelRow("teacher", 0.9283, None, 14_983_498, 313_500_000, 59_939_000, 8.282)
    student = ModelRow("student", 0.9, 0.9551, 5_412_682, 226_000_000, 21_650_000, 5.1)
    int8 = ModelRow("student_int8.tflite", 0.899, 0.95, None, None, 5_432_100, 0.94)
    phase = PhaseResult(
        "two/blocks3-4",
        (3, 4),
        steps=300,
        seconds=12.34,
        loss_start=0.5,
        loss_end=0.125,
        heldout_loss_start=0.6,
        heldout_loss_end=0.25,
        heldout_agreement_start=0.5,
        heldout_agreement_end=0.9,
        kept_step=262,
    )
    check = Verification(
        name="student_int8.tflite",
        max_abs_difference=1.5,
        mean_abs_difference=0.25,
        largest_logit=20.0,
        tolerance=0.25,
        agreement=0.975,
        images=40,
        ops={"CONV_2D": 13, "MEAN": 1},
        static=True,
        builtin_only=True,
        ok=True,
        why="",
    )
    return RunReport(
        models=(teacher, student, int8),
        phases=(phase,),
        transfer={"images": 100, "sha256": "ab12", "source": "tfds:cifar10"},
        seconds={"train": 60.04, "export": 3.0},
        flags={"data": {"shots": 10, "images": None}, "workdir": "a|b", "resume": False},
        versions={"keras": "3.15.1"},
        seeds={"run": 0},
        adapters_left=(Remaining("block3_exit", "an identity shortcut takes no 1x1 map"),),
        verification=(check,),
        skipped=(Skipped("image 7.png", "cannot be decoded"),),
        selection_rule="lowest held-out loss within the phase",
        evaluation="10,000 test images",
        peak_memory_mb=1234.5,
    )
