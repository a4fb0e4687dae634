"""The teacher opened and cut: a model source becomes a chain."""

import dataclasses

import keras
import numpy as np

from kgraft.config import StudentConfig, TeacherConfig
from kgraft.errors import KgraftError, keras_reason
from kgraft.grafting.fold import can_absorb_at
from kgraft.graph import (
    Chain,
    Graph,
    block_macs,
    check_cuts,
    choose_cuts,
    clone_op,
    costly_cuts,
    count_macs,
    find_cuts,
    flattened_map,
    logits_graph,
    split_chain,
    trace_model,
    with_plain_layers,
)
from kgraft.pipeline.stopwatch import tell
from kgraft.students import parse_recipe
from kgraft.zoo import Teacher, check_model, load_teacher

# So many times as large may the largest block be for the sake of cuts where adapters fold.
_EVEN = 1.5


@dataclasses.dataclass(frozen=True)
class OpenedTeacher:
    """A teacher ready for grafting.

    Attributes:
        chain: the teacher's blocks, image to logits.
        preprocess: name of what turns pixels 0..255 into the teacher's input.
        logits_note: what was done to get from the model's output to logits.
    """

    chain: Chain
    preprocess: str
    logits_note: str

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.chain.graph.output_shape[-1] or 0


def open_teacher(config: TeacherConfig, model: keras.Model | None = None) -> OpenedTeacher:
    """Loads the teacher, finds its logits and cuts it.

    Args:
        config: where it is and how it is cut.
        model: a loaded model that takes the place of `config.source`.

    Returns:
        The teacher.

    Raises:
        KgraftError: it cannot be loaded, has no single image input and logits output, has weights
            that are not finite, or cannot be cut as asked.
    """
    if model is None:
        loaded = load_told(config)
        model, preprocess = loaded.model, loaded.preprocess
    else:
        model = check_model(model, "the loaded teacher")
        preprocess = "none" if config.preprocess == "auto" else config.preprocess
    graph, note = logits_graph(with_plain_layers(trace_model(model)), config.outputs)
    _check_weights(graph)
    _check_copies(graph)
    cuts = resolve_cuts(graph, config.cuts)
    if isinstance(config.cuts, int):
        _tell_of_cuts(graph, cuts, asked=config.cuts)
    return OpenedTeacher(split_chain(graph, cuts), preprocess, note)


def _tell_of_cuts(graph: Graph, cuts: tuple[str, ...], *, asked: int) -> None:
    """Tells which cuts a number of blocks has come to."""
    found = block_macs(graph, cuts, macs=count_macs(graph))
    if len(found) < asked:
        tell(
            f"cutting the teacher into {len(found)} of {asked} blocks: more of them would have no "
            "multiply-adds"
        )
    if cuts:
        shares = ", ".join(f"{count / max(sum(found), 1):.1%}" for count in found)
        tell(f"cutting the teacher at {', '.join(cuts)}: {shares} of its multiply-adds")


def load_told(config: TeacherConfig) -> Teacher:
    """Loads the teacher, and tells what is taken for granted of its pixels.

    Args:
        config: where it is.

    Returns:
        The model, and what turns pixels into its input.

    Raises:
        KgraftError: it cannot be loaded.
    """
    loaded = load_teacher(config.source, preprocess=config.preprocess)
    if config.preprocess == "auto" and config.source.endswith((".keras", ".h5")):
        tell(
            "feeding the teacher pixels 0..255 as they are; one that was trained on another range "
            "needs --preprocess=unit, tf, torch or caffe"
        )
    return loaded


def _check_weights(graph: Graph) -> None:
    """Refuses weights that a ReLU may hide: it can make 0 of what is not a number."""
    for call in graph.calls:
        for weight in getattr(call.op, "weights", ()):
            values = np.asarray(weight)
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise KgraftError(
                    f"the teacher's layer {call.name} has weights that are not finite: expected a "
                    "trained model"
                )


def _check_copies(graph: Graph) -> None:
    """Refuses layers that cannot be made anew before any work is done."""
    for call in graph.calls:
        try:
            clone_op(call.op)
        except Exception as error:  # Layers of a user's own may raise anything.
            raise KgraftError(
                f"the teacher's layer {call.name} cannot be copied: expected one that "
                f"{type(call.op).__name__}.from_config makes again from its get_config, with each "
                "class or function of your own registered by keras.saving."
                "register_keras_serializable, and in place of a Lambda a layer such as Rescaling "
                f"or operations of keras.ops ({keras_reason(error)})"
            ) from error


def open_own_student(config: StudentConfig, teacher: OpenedTeacher, *, seed: int) -> Chain | None:
    """Loads a user's own student and cuts it; None where `config.source` is a recipe.

    Raises:
        KgraftError: it cannot be loaded or cut, or is no functional model.
    """
    if parse_recipe(config.source).kind != "model":
        if config.cuts:
            raise KgraftError(
                f"--student_cuts cut a student model; --student={config.source} is a recipe, whose "
                "blocks are the teacher's"
            )
        return None
    try:
        model = load_teacher(
            config.source, classes=teacher.classes, pretrained=False, seed=seed
        ).model
    except KgraftError as error:
        raise KgraftError(
            "--student must be a recipe, width:RATIO, inner:RATIO, depth:N, drop or keep, or a "
            f"Keras model; {config.source!r} is no recipe, and as a model: {error}"
        ) from error
    try:
        graph, _ = logits_graph(with_plain_layers(trace_model(model)), "auto")
    except KgraftError as error:
        raise KgraftError(
            f"--student={config.source} must put out logits, [batch, classes], or end in a "
            "softmax, which is then taken off, or in one sigmoid, of which two logits are made"
        ) from error
    check_cuts(graph, config.cuts, flag="student_cuts")
    return split_chain(graph, config.cuts)


def resolve_cuts(graph: Graph, cuts: tuple[str, ...] | int) -> tuple[str, ...]:
    """Checks the names of cuts, or chooses as many as make a number of blocks.

    Args:
        graph: the whole teacher.
        cuts: names in order, or how many blocks to make; fewer where some would have no
            multiply-adds.

    Returns:
        Names of cuts.

    Raises:
        KgraftError: a name is no cut or lies behind a Flatten.
    """
    if not isinstance(cuts, int):
        check_cuts(graph, cuts)
        _check_not_flattened(graph, cuts)
        return cuts
    macs = count_macs(graph)
    valid = tuple(cut for cut in find_cuts(graph) if flattened_map(graph, cut) is None)
    # Where the next layer takes the adapter in, the fused student is free of it.
    foldable = tuple(cut for cut in valid if can_absorb_at(graph, cut))
    # Layers of a user's own count none: there is nothing to go by.
    if any(macs.values()):
        valid = costly_cuts(graph, valid, macs=macs, prefer=foldable)
        foldable = tuple(cut for cut in valid if cut in foldable)
    best, folding = (choose_cuts(graph, cuts, macs=macs, candidates=c) for c in (valid, foldable))
    uneven = max(block_macs(graph, folding, macs=macs)) > _EVEN * max(
        block_macs(graph, best, macs=macs)
    )
    return best if uneven or len(folding) < len(best) else folding


def _check_not_flattened(graph: Graph, cuts: tuple[str, ...]) -> None:
    for cut in cuts:
        whole = flattened_map(graph, cut)
        if whole is not None:
            right = f"cut at {whole!r}" if whole in find_cuts(graph) else "leave it out"
            shape = "x".join(str(size) for size in graph.shapes[whole][1:])
            raise KgraftError(
                f"--teacher_cuts: {cut!r} has the {shape} values of {whole!r} laid flat, where an "
                f"adapter would have a weight for every two of them: {right}"
            )
