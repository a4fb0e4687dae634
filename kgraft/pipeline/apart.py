"""Whether the test set is apart from the images that are trained on."""

from collections.abc import Iterator

from kgraft.config import DataConfig
from kgraft.data import TransferSet
from kgraft.data_config import same_set
from kgraft.errors import KgraftError
from kgraft.pipeline.test_set import TestSet
from kgraft.pipeline.transfer import Transfer


def check_drawn_apart(config: DataConfig, transfer: Transfer, test: TestSet | None) -> None:
    """Refuses a test set that holds images which were drawn to train on.

    Splits may overlap, and a .npz file of one array has no splits: what the settings tell is
    checked before anything is opened, this when the images are there.

    Args:
        config: the data settings.
        transfer: what the student learns from.
        test: the test set, or None.

    Raises:
        KgraftError: an image is in both.
    """
    if test is None:
        return
    for kind, drawn, dataset in _drawn(config, transfer):
        if not same_set(dataset, config.eval_dataset) or not test.source.ids_span_splits:
            continue
        both = len(set(drawn.ids) & set(test.source.ids))
        if both:
            raise KgraftError(
                f"--eval_dataset={config.eval_dataset} --eval_split={config.eval_split} holds "
                f"{both} of the {len(drawn.ids)} {kind} images: give a test set apart from them, "
                "for tfds: such as --split=train[:45000] --eval_split=train[45000:], for npz: a "
                "file with arrays for both splits or another file"
            )


def _drawn(config: DataConfig, transfer: Transfer) -> Iterator[tuple[str, TransferSet, str]]:
    yield "transfer", transfer.images, config.dataset
    if transfer.extra is not None and config.extra_dataset is not None:
        yield "extra", transfer.extra, config.extra_dataset
