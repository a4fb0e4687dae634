"""One verb that opens every kind of source."""

from kgraft.checks import check_source
from kgraft.data.embedded_source import open_embedded
from kgraft.data.folder_source import FolderSource
from kgraft.data.npz_source import NpzSource
from kgraft.data.source import Source
from kgraft.data_config import DataConfig


def open_source(
    spec: str,
    *,
    split: str = "train",
    data_dir: str | None = None,
    manual_dir: str | None = None,
    download: bool = False,
    channels: int = 3,
) -> Source:
    """Opens a source of images.

    Args:
        spec: `tfds:NAME`, `folder:PATH`, `npz:PATH` or `embedded:NAME`.
        split: split of a `tfds:` or `embedded:` source, or of an npz file that has splits. A folder
            and other npz files have only one.
        data_dir: folder of prepared TFDS sets; None for TFDS's own.
        manual_dir: folder of files downloaded by hand, for TFDS sets that need them.
        download: whether TFDS may download and prepare the data.
        channels: channels of the decoded images where the data leaves that open: folders, and
            TFDS sets that do not fix it.

    Returns:
        The source, checked to exist and to hold images.

    Raises:
        KgraftError: the spec is malformed, or the data is missing or not of the form expected.
    """
    check_source("dataset", spec)
    kind, _, rest = spec.partition(":")
    if kind == "folder":
        return FolderSource(rest, channels=channels)
    if kind == "npz":
        return NpzSource(rest, split=split)
    if kind == "embedded":
        return open_embedded(rest, split=split)
    # Late: TFDS takes a second to import, and three of the four kinds do without it.
    from kgraft.data.tfds_source import TfdsSource

    return TfdsSource(
        rest,
        split=split,
        data_dir=data_dir,
        manual_dir=manual_dir,
        download=download,
        channels=channels,
    )


def open_set(config: DataConfig, dataset: str, split: str, *, channels: int) -> Source:
    """Opens a data set that images are drawn from.

    Args:
        config: the data settings; where prepared data lies.
        dataset: the transfer images' or the extra ones'.
        split: part of it.
        channels: of decoded images, where the data leaves that open.

    Raises:
        KgraftError: the data is missing or not of the form expected.
    """
    return open_source(
        dataset,
        split=split,
        data_dir=config.data_dir,
        manual_dir=config.manual_dir,
        download=config.download,
        channels=channels,
    )
