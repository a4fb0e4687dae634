"""Finds and, where allowed, prepares a TFDS set."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from kgraft.errors import KgraftError

# What TFDS raises for a name, a version or a config that it does not know.
_LOOKUP_ERRORS = (ValueError, KeyError, AssertionError, TypeError)


def open_builder(
    name: str,
    *,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    download: bool = False,
) -> tfds.core.DatasetBuilder:
    """Opens a TFDS set that is prepared, or prepares it.

    A set that was prepared under any name is read by its own files; TFDS need not know it.

    Args:
        name: as TFDS takes it: `NAME`, `NAME/CONFIG`, `NAME:VERSION`.
        data_dir: folder of prepared sets; None for TFDS's own.
        manual_dir: folder of files downloaded by hand, for sets that need them.
        download: whether the set may be downloaded and prepared.

    Returns:
        The builder; its data is on disk.

    Raises:
        KgraftError: the set is neither known to TFDS nor in the folder; it is not prepared and
            `download` is off; preparing it failed.
    """
    # TFDS's own Path also knows buckets, gs://...
    root = tfds.core.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    with quiet_tfds():
        return _open(name, root, manual_dir, download)


def _open(name: str, root: tfds.core.Path, manual_dir: str | None, download: bool) -> Any:
    builder = _registered(name, root)
    if builder is not None and builder.is_prepared():
        return _from_files(builder.data_dir) or builder
    prepared = _newest_prepared(name, root)
    if prepared is not None:
        return prepared
    if builder is None:
        raise KgraftError(
            f"tfds:{name}: TFDS knows no set of this name (or version) and there is none prepared "
            f"in {root}; {_neighbours(root)}"
        )
    if not download:
        raise KgraftError(
            f"tfds:{name} is not prepared in {root}: {_neighbours(root)}; point --data_dir to it, "
            f"or give --download to let TFDS download and prepare it"
        )
    _prepare(builder, name, manual_dir)
    return builder


def _registered(name: str, root: tfds.core.Path) -> Any:
    try:
        return tfds.builder(name, data_dir=str(root))
    except _LOOKUP_ERRORS:
        return None
    except ImportError as error:
        raise KgraftError(f"tfds:{name} needs a package that is missing: {error.name}") from error


def _from_files(folder: tfds.core.Path | str) -> Any:
    """Reads the set as its files describe it, which may be older than TFDS's own code."""
    try:
        return tfds.builder_from_directory(folder)
    except (OSError, *_LOOKUP_ERRORS):
        # Prepared before TFDS wrote features.json: the set's own code has to do.
        return None


def _newest_prepared(name: str, root: tfds.core.Path) -> Any:
    base, _, version = name.partition(":")
    patterns = [f"{base}/{depth}dataset_info.json" for depth in ("", "*/", "*/*/")] if base else []
    found = [path.parent for pattern in patterns for path in root.glob(pattern)]
    if version:
        found = [path for path in found if path.name == version]
    for path in sorted(found, key=_version_of, reverse=True):
        builder = _from_files(path)
        if builder is not None:
            return builder
    return None


def _version_of(folder: tfds.core.Path) -> tuple[int, ...]:
    parts = folder.name.split(".")
    return tuple(int(part) if part.isdigit() else -1 for part in parts)


def _neighbours(root: tfds.core.Path) -> str:
    if not root.is_dir():
        return "there is no such folder"
    names = sorted({path.parent.parent.name for path in root.glob("*/*/dataset_info.json")})
    return f"the folder holds {', '.join(names[:20]) or 'no prepared sets'}"


def _prepare(builder: tfds.core.DatasetBuilder, name: str, manual_dir: str | None) -> None:
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # whatever a set's own code raises; the user needs its first line
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise KgraftError(f"tfds:{name} could not be downloaded and prepared: {reason}") from error


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Keeps TFDS's and TensorFlow's deprecation warnings off the user's terminal for a while."""
    logger = tf.get_logger()
    before = logging.get_verbosity(), logger.level
    logging.set_verbosity(logging.ERROR)
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logging.set_verbosity(before[0])
        logger.setLevel(before[1])
