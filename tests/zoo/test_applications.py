import keras
import numpy as np
import pytest

from kgraft.errors import KgraftError
from kgraft.zoo import load_teacher
from kgraft.zoo.applications import PREPROCESS, find_application


@pytest.mark.parametrize("name", ["MobileNetV2", "mobilenet_v2", "mobilenetv2", "MOBILENET-V2"])
def test_names_in_any_spelling(name):
    assert find_application(name) is keras.applications.MobileNetV2


def test_every_network_has_the_preprocessing_of_its_module():
    """The table against what `preprocess_input` of each module does to a picture."""
    x = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype("float32")
    modes = {
        mode: keras.src.applications.imagenet_utils.preprocess_input(x.copy(), mode=mode)
        for mode in ("caffe", "tf", "torch")
    } | {"none": x}
    modules = {
        value.__module__.rsplit(".", 1)[-1]
        for value in vars(keras.applications).values()
        if getattr(value, "__module__", "").startswith("keras.src.applications")
    }
    assert len(modules) > 10
    for module in modules:
        got = getattr(keras.src.applications, module).preprocess_input(x.copy())
        expected = modes[PREPROCESS.get(module, "none")]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4, err_msg=module)


def test_untrained_network_ends_in_logits():
    teacher = load_teacher("applications:MobileNet", pretrained=False, classes=5)
    assert teacher.model.output_shape == (None, 5)
    assert teacher.preprocess == "tf"
    images = np.zeros((1, 224, 224, 3), "float32")
    assert not np.isclose(np.sum(np.asarray(teacher.model(images))), 1)


def test_pretrained_weights_have_a_thousand_classes():
    with pytest.raises(KgraftError, match="ImageNet's 1000 classes; got classes=10"):
        load_teacher("applications:MobileNet", classes=10)


@pytest.mark.parametrize(
    "failure", [Exception("URL fetch failure on https://x: None -- no route"), OSError("no route")]
)
def test_failed_download_is_one_clear_line(monkeypatch, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", fail)
    with pytest.raises(KgraftError, match="cannot download the ImageNet weights of applications:"):
        load_teacher("applications:MobileNet")
