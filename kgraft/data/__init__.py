"""Images in: sources, the few-shot draw, views by augmentation, test batches, preprocessing."""

from kgraft.data.evaluation import eval_batches
from kgraft.data.fewshot import TransferSet, draw_transfer_set, write_transfer_list
from kgraft.data.mixing import add_mixed_views
from kgraft.data.resize import check_fits, fit_image, resolve_resize
from kgraft.data.source import CorruptImage, Source
from kgraft.data.sources import open_set, open_source
from kgraft.data.views import make_views

__all__ = [
    "CorruptImage",
    "Source",
    "TransferSet",
    "add_mixed_views",
    "check_fits",
    "draw_transfer_set",
    "eval_batches",
    "fit_image",
    "make_views",
    "open_set",
    "open_source",
    "resolve_resize",
    "write_transfer_list",
]
