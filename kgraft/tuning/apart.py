"""Whether a validation set is apart from the transfer images and the test set.

What the settings tell is checked without opening anything, the rest by the names of the images.
"""

from collections.abc import Iterable

from kgraft.config import DataConfig
from kgraft.data_config import Place, same_images
from kgraft.errors import KgraftError

_TRANSFER = "the transfer images are drawn from"
_TEST = "the test set of the report"


def check_apart(validation: DataConfig, run: DataConfig) -> None:
    """Refuses a validation set that is the test set, or that images to train on are drawn from.

    Args:
        validation: the validation set in the place of the test set.
        run: the settings of the run that the search starts from.

    Raises:
        KgraftError: it is one of these, as far as the settings tell.
    """
    mine = _tested(validation)
    if same_images(mine, Place(run.dataset, run.split, run.data_dir)):
        raise _not_apart(validation, f"what {_TRANSFER}")
    if same_images(mine, Place(run.extra_dataset, run.extra_split, run.data_dir)):
        raise _not_apart(validation, "what the extra images are drawn from")
    if same_images(mine, _tested(run)):
        raise _not_apart(validation, f"{_TEST}, which must have no part in the choice")


def check_images_apart(
    validation: DataConfig, ids: Iterable[str], others: Iterable[str], what: str
) -> None:
    """Refuses a validation set of which some images are in another set.

    Args:
        validation: the validation set in the place of the test set.
        ids: of its images.
        others: of the other set's; only ids of one data set can be held against each other.
        what: the other set, in words.

    Raises:
        KgraftError: some are in both.
    """
    both = set(ids) & set(others)
    if both:
        raise _not_apart(validation, f"in {len(both)} of its images {what}", "has")


def _tested(data: DataConfig) -> Place:
    return Place(data.eval_dataset, data.eval_split, data.eval_data_dir or data.data_dir)


def _not_apart(validation: DataConfig, what: str, verb: str = "is") -> KgraftError:
    named = f"--val_dataset={validation.eval_dataset} --val_split={validation.eval_split}"
    return KgraftError(
        f"{named} {verb} {what}: give images that are neither drawn from nor tested on, for tfds: "
        "such as --split=train[:45000] --val_split=train[45000:]"
    )
