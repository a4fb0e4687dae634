"""Labels of the transfer images, for the one rival that learns from them.

Nothing else of the package reads them after the draw.
"""

import numpy as np

from kgraft.comparison.setting import Setting
from kgraft.comparison.sources import transfer_source
from kgraft.errors import KgraftError


def transfer_labels(setting: Setting) -> np.ndarray:
    """Reads what class each transfer image is of.

    Args:
        setting: the cell.

    Returns:
        The logit of each transfer image, int64 `[images]`.

    Raises:
        KgraftError: a class has no logit, or it is not known which.
    """
    data, drawn = setting.config.data, setting.job.transfer.images
    source = transfer_source(data, channels=setting.job.transfer.size[-1])
    positions = {name: position for position, name in enumerate(source.ids)}
    chosen = [positions[name] for name in drawn.ids]
    labels = np.asarray(source.labels)[chosen]
    names, classes = setting.job.names, setting.job.teacher.classes
    if names is None and source.class_names and len(source.class_names) != classes:
        raise KgraftError(
            f"{source.name} names {len(source.class_names)} classes and the teacher has {classes} "
            "logits, so that finetune cannot know which are meant: name the logits with --labels, "
            "or leave finetune out of --methods"
        )
    if names is not None and source.class_names is not None:
        logits = {name: number for number, name in enumerate(names)}
        missing = [name for name in source.class_names if name not in logits]
        if missing:
            raise KgraftError(
                f"{source.name}: class {missing[0]!r} is not among the labels of the teacher, so "
                "that finetune cannot learn it: leave finetune out of --methods"
            )
        labels = np.array([logits[name] for name in source.class_names])[labels]
    if labels.max() >= classes:
        raise KgraftError(
            f"{source.name} has label {labels.max()}, the teacher only the logits 0 to "
            f"{classes - 1}: leave finetune out of --methods"
        )
    return labels.astype(np.int64)
