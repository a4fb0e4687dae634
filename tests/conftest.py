"""Models for every test; what they are made of is in small_models.py."""

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


@pytest.fixture(scope="session", params=SMALL)
def small_teacher(request):
    """Each small model in turn, made once."""
    from small_models import small_model

    return small_model(request.param)


@pytest.fixture(scope="session", params=APPLICATIONS)
def application(request):
    """Each real architecture in turn, made once, with random weights."""
    from small_models import application_model

    return application_model(request.param, APPLICATIONS[request.param])
