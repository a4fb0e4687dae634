import importlib.metadata
import platform

import keras

from kgraft.report import peak_memory_mb, versions


def test_versions():
    found = versions(["keras", "no-such-package-of-ours"])
    assert found == {"python": platform.python_version(), "keras": keras.__version__}


def test_what_results_depend_on_is_named():
    always = ("tensorflow-model-optimization", "tf-keras", "keras-tuner", "scikit-learn")
    extras = ("ai-edge-quantizer", "onnx", "tf2onnx", "onnxruntime")
    installed = {d.name.replace("_", "-").lower() for d in importlib.metadata.distributions()}
    found = versions()
    assert set(always) <= set(found)
    assert [name in found for name in extras] == [name in installed for name in extras]
    assert found["keras-tuner"] == importlib.metadata.version("keras-tuner")


def test_peak_memory():
    before = peak_memory_mb()
    held = bytearray(200 * 2**20)
    held[:: 2**10] = b"x" * len(held[:: 2**10])
    assert before > 10 and peak_memory_mb() >= max(before, 200)
