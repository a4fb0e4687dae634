"""Student logits and agreement."""

import numpy as np
import pytest
from grafting_cases import GraftFactory, make_views

from kgraft.errors import KgraftError
from kgraft.grafting import agreement, heldout_loss, make_loss, student_logits


def test_a_student_that_keeps_everything_is_the_teacher(graft: GraftFactory) -> None:
    made = graft(kept=(0, 1, 2), batchnorm=True)
    logits = student_logits(made["student"], make_views(), preprocess="unit", batch=6)
    np.testing.assert_allclose(logits, made["bank"].logits, atol=1e-5)
    assert agreement(logits, made["bank"].logits) == 1.0
    loss = heldout_loss(made["student"], made["heldout"], loss=make_loss("mse"))
    assert loss == pytest.approx(0.0, abs=1e-8)


def test_uint8_and_float_pixels_are_the_same(graft: GraftFactory) -> None:
    student = graft()["student"]
    views = make_views()
    np.testing.assert_array_equal(
        student_logits(student, views), student_logits(student, views.astype(np.float32))
    )


def test_heldout_loss_is_the_mean_loss_on_logits(graft: GraftFactory) -> None:
    made = graft()
    logits = student_logits(made["student"], made["heldout"].views, preprocess="unit")
    expected = np.mean((logits - made["heldout"].logits) ** 2)
    found = heldout_loss(made["student"], made["heldout"], loss=make_loss("mse"), batch=3)
    assert found == pytest.approx(expected, rel=1e-5)


def test_agreement_counts_equal_classes() -> None:
    student = np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.1], [3.0, 4.0]])
    teacher = np.array([[5.0, 0.0], [9.0, 1.0], [0.9, 0.1], [0.0, 0.1]])
    assert agreement(student, teacher) == 0.75


def test_agreement_of_different_shapes() -> None:
    with pytest.raises(KgraftError, match=r"got \(3, 2\) and \(4, 2\)"):
        agreement(np.zeros([3, 2]), np.zeros([4, 2]))


def test_no_images(graft: GraftFactory) -> None:
    with pytest.raises(KgraftError, match="at least one image"):
        student_logits(graft()["student"], make_views(0))
