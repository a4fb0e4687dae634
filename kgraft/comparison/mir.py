"""MiR: mimic the features before pooling, then keep the teacher's head.

Wang, Liu, Ma, Yong, Chai, Wu, "Compressing Models with Few Samples: Mimicking then Replacing", CVPR
2022.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from keras import layers as kl

from kgraft.comparison.classifier import feature_values
from kgraft.comparison.fit import FitPlan, fit
from kgraft.comparison.pruned import PrunedStudent, pruned_student
from kgraft.comparison.setting import Outcome, Setting
from kgraft.comparison.whole import Feed, Student, as_whole, trainable
from kgraft.data.preprocess import preprocess
from kgraft.errors import KgraftError
from kgraft.grafting import fuse
from kgraft.grafting.fold import can_absorb_at
from kgraft.graph import Chain, Graph, find_cuts, prune, split_chain, without_training_layers
from kgraft.students import StudentBlock, make_adapter, set_adapter_matrix
from kgraft.students.channels import is_conv

_POOLING = (
    kl.AveragePooling2D,
    kl.GlobalAveragePooling2D,
    kl.GlobalMaxPooling2D,
    kl.MaxPooling2D,
)
_BATCH = 64
_HEAD_NOTE = "keeps the teacher's layers behind the features, which the others make smaller"


def mir(setting: Setting) -> Outcome:
    """Trains a pruned backbone to make the teacher's features before pooling, keeps the head.

    Squared error on the features, BatchNorms on batch statistics. SGD with momentum at 0.02, a
    tenth of it after every 40 % of the updates, weight decay 1e-4, as in the paper. Where the
    pruned features are narrower than the teacher's, a 1x1 map without bias follows them, which
    folds into the head.
    """
    whole = without_training_layers(setting.chain.graph)
    value = feature_value(whole)
    pruned = pruned_student(setting.chain, setting.job.recipes)
    backbone = _backbone(pruned, whole, value)
    head = split_chain(whole, (value,)).blocks[1].graph
    feed = Feed.of(setting)

    def loss(rows: dict[str, tf.Tensor]) -> tf.Tensor:
        made = feed.run(rows, backbone)
        return tf.reduce_mean(tf.square(made - rows["features"]), list(range(1, made.shape.rank)))

    plan = FitPlan("mir", setting.updates, setting.config.train.batch, 0.02, "sgd", "steps", 1e-4)
    data = {"entry": feed.data()["entry"], "features": _features(setting, whole, value)}
    losses = fit(loss, trainable(backbone), data, plan=plan, seed=setting.seed)
    student = (*backbone, StudentBlock(len(backbone), head, kept=True))
    settings = {"start": "pruned", "loss": "mse", "features": value, **plan.describe()}
    notes = (_HEAD_NOTE,) if _thins(pruned, head) else ()
    return Outcome(fuse(student), len(losses), settings, notes=notes)


def check_features(chain: Chain, grafted: Sequence[int]) -> None:
    """Checks that the student has something to learn in front of the teacher's features.

    Args:
        chain: the teacher.
        grafted: numbers of the blocks that are replaced, at least one.

    Raises:
        KgraftError: the teacher has no feature maps, or every replaced block lies behind them.
    """
    value = feature_value(without_training_layers(chain.graph))
    last = _block_of(chain, value)
    before = prune(dataclasses.replace(chain.blocks[last].graph, output=value))
    learns = any(getattr(call.op, "weights", ()) for call in before.calls)
    if not any(index < last or (index == last and learns) for index in grafted):
        raise KgraftError(
            f"--methods: mir mimics the feature maps {value}, which block {last} makes, and "
            f"--graft replaces nothing that learns up to there, only "
            f"{', '.join(map(str, grafted))}: graft an earlier block, or leave mir out"
        )


def feature_value(graph: Graph) -> str:
    """Finds the teacher's last feature maps, before pooling where an adapter there can fold.

    Args:
        graph: the whole teacher.

    Returns:
        The name of a value through which everything flows, before the classifier.

    Raises:
        KgraftError: no such value has feature maps.
    """
    features = feature_values(graph)
    maps = [c for c in find_cuts(graph) if c in features and len(graph.shapes[c]) == 4]
    if not maps:
        raise KgraftError(
            "--methods: mir needs a teacher with feature maps that all of it flows through: leave "
            "mir out"
        )
    value = maps[-1]
    producer = graph.producer(value)
    while producer is not None and isinstance(producer.op, _POOLING) and producer.input in maps:
        # An adapter behind thinner features has to get past the pooling into the head.
        if not can_absorb_at(graph, producer.input):
            break
        value = producer.input
        producer = graph.producer(value)
    return value


def _block_of(chain: Chain, value: str) -> int:
    """The number of the block that makes a value."""
    return next(b.index for b in chain.blocks if b.graph.producer(value) is not None)


def _thins(pruned: PrunedStudent, head: Graph) -> bool:
    """Whether a layer of the teacher's head is thinner in the pruned student."""
    convs = (call for call in head.calls if is_conv(call.op) and call.output in pruned.kept)
    return any(len(pruned.kept[c.output]) < (head.shapes[c.output][-1] or 0) for c in convs)


def _backbone(pruned: PrunedStudent, whole: Graph, value: str) -> Student:
    """The pruned student as far as the features, with a map to the teacher's width."""
    blocks = as_whole(pruned.blocks)
    made = pruned.names.get(value, value)
    for block in blocks:
        if block.body.producer(made) is not None:
            body = prune(dataclasses.replace(block.body, output=made))
            adapter = _adapter(body, whole.shapes[value][-1] or 0, made, pruned.kept)
            return (*blocks[: block.index], dataclasses.replace(block, body=body, exit=adapter))
    raise KgraftError(f"mir needs the teacher's feature maps {value} in the student")


def _adapter(body: Graph, width: int, value: str, kept: Mapping[str, np.ndarray]) -> Graph | None:
    if body.output_shape[-1] == width:
        return None
    adapter = make_adapter("mir_exit", body.output_shape, width)
    set_adapter_matrix(adapter, np.eye(width, dtype="float32")[kept[value]])
    return adapter


def _features(setting: Setting, whole: Graph, value: str) -> tf.Tensor:
    """The teacher's features of all views, computed once."""
    graph = split_chain(whole, (value,)).blocks[0].graph
    views = setting.bank.views

    def run(batch: tf.Tensor) -> tf.Tensor:
        return tf.cast(graph(preprocess(batch, setting.bank.preprocess)), tf.float32)

    signature = [tf.TensorSpec([None, *views.shape[1:]], views.dtype)]
    compiled = tf.function(run, input_signature=signature, autograph=False).get_concrete_function()
    parts = [
        compiled(tf.constant(views[first : first + _BATCH]))
        for first in range(0, len(views), _BATCH)
    ]
    with tf.device("CPU:0"):
        return tf.concat(parts, 0)
