"""Models for every test; what they are made of is in small_models.py."""

import functools
import gc
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Test folders are no packages, so what they share is found by path.
sys.path.insert(0, str(Path(__file__).parent))

# Named here so that TensorFlow is imported only when a test needs a model.
SMALL = (
    "plain",
    "residual",
    "batch_norm",
    "depthwise",
    "nested",
    "shared",
    "squeeze_excite",
    "concatenation",
    "flatten",
    "operators",
    "locked",
)
# The smallest inputs at which their deepest layers still see more than one place.
APPLICATIONS = {"VGG16": 32, "ResNet50": 64, "MobileNetV2": 64, "EfficientNetB0": 64}
# What these have is in the others and in small models: gates in `squeeze_excite`, additions of
# two convolutions in `residual`.
SLOW_APPLICATIONS = ("EfficientNetB0", "ResNet50")


def pytest_collection_finish():
    _keep_out_of_collections()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Behind each file, too: what it imported and what the process keeps has become more."""
    yield
    if nextitem is None or nextitem.path != item.path:
        _keep_out_of_collections()


def _keep_out_of_collections():
    """Spares garbage collections TensorFlow's own objects, which they walk for a second or more.

    There are many: each conversion to TFLite makes one, and each phase that is over.
    """
    gc.collect()
    gc.freeze()


# pytest alone makes a fixture anew when another parameter was asked for in between.
@functools.cache
def _small(name):
    from small_models import small_model

    return small_model(name)


@functools.cache
def _application(name):
    from small_models import application_model

    return application_model(name, APPLICATIONS[name])


@pytest.fixture(scope="session", params=SMALL)
def small_teacher(request):
    """Each small model in turn, made once."""
    return _small(request.param)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW_APPLICATIONS else name
        for name in APPLICATIONS
    ],
)
def application(request):
    """Each real architecture in turn, made once, with random weights."""
    return _application(request.param)
