"""Fixtures of the grafting tests; what they make is in grafting_cases.py."""

import sys
from pathlib import Path

import pytest
import tensorflow as tf

# The cases are shared with run_graft.py, which tests start in processes of their own.
sys.path.insert(0, str(Path(__file__).parent))

from grafting_cases import GraftFactory

from kgraft.grafting import make_strategy


@pytest.fixture
def strategy() -> tf.distribute.Strategy:
    return make_strategy("one_device")


@pytest.fixture(params=[False, True], ids=["plain", "batchnorm"])
def batchnorm(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def graft(strategy: tf.distribute.Strategy) -> GraftFactory:
    """Makes everything `train_phase` needs."""
    return GraftFactory(strategy)
