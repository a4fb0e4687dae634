import platform

import keras

from kgraft.report import peak_memory_mb, versions


def test_versions():
    found = versions(["keras", "no-such-package-of-ours"])
    assert found == {"python": platform.python_version(), "keras": keras.__version__}


def test_peak_memory():
    before = peak_memory_mb()
    held = bytearray(200 * 2**20)
    held[:: 2**10] = b"x" * len(held[:: 2**10])
    assert before > 10 and peak_memory_mb() >= max(before, 200)
