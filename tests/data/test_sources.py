import pathlib
import subprocess
import sys

import pytest

from kgraft.data import open_source
from kgraft.errors import KgraftError


@pytest.mark.parametrize("spec", ["fashion_mnist", "http://x", "folder:", "", "TFDS:mnist"])
def test_malformed_spec(spec):
    with pytest.raises(KgraftError, match="must be tfds:NAME, folder:PATH, npz:PATH or embedded:"):
        open_source(spec)


def test_tfds_is_imported_only_for_its_own_sources():
    code = (
        "import sys, kgraft.data as d; d.open_source('embedded:fashion_mnist'); "
        "sys.exit('tensorflow_datasets' in sys.modules)"
    )
    root = pathlib.Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
