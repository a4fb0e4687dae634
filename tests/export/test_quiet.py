import os
import warnings

import pytest

from kgraft.export.quiet import quiet_stderr


def test_only_what_is_inside_is_silenced(capfd):
    with quiet_stderr():
        os.write(2, b"from C++\n")
        warnings.warn("from Python", UserWarning, stacklevel=1)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_an_exception_puts_the_descriptor_back(capfd):
    with pytest.raises(RuntimeError), quiet_stderr():
        raise RuntimeError
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
