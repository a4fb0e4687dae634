import pytest

import kgraft
from kgraft import config, errors
from kgraft.comparison import CompareConfig, compare
from kgraft.tuning import TuneConfig, tune


def test_settings_and_error_are_public():
    assert kgraft.RunConfig is config.RunConfig
    assert kgraft.TeacherConfig is config.TeacherConfig
    assert kgraft.StudentConfig is config.StudentConfig
    assert kgraft.DataConfig is config.DataConfig
    assert kgraft.TrainConfig is config.TrainConfig
    assert kgraft.ExportConfig is config.ExportConfig
    assert kgraft.CompressConfig is config.CompressConfig
    assert kgraft.CompareConfig is CompareConfig
    assert kgraft.KgraftError is errors.KgraftError


def test_compare_is_public():
    assert kgraft.compare is compare


def test_tune_is_public():
    assert kgraft.tune is tune
    assert kgraft.TuneConfig is TuneConfig


def test_public_names_are_listed():
    assert set(kgraft.__all__) <= set(dir(kgraft))
    assert {"distill", "RunConfig", "KgraftError", "__version__"} <= set(kgraft.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'kgraft' has no attribute 'destill'"):
        _ = kgraft.destill
