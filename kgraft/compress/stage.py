"""The third grafting stage: the fused student compressed, one technique after another."""

import dataclasses
from collections.abc import Callable, Mapping, Set
from typing import Any

import keras
import numpy as np

from kgraft.compress.bridge import to_keras, to_tf_keras
from kgraft.compress.clustering import clustering_left, wrap_clustering
from kgraft.compress.emulation import check_quantizable
from kgraft.compress.features import Features
from kgraft.compress.pruning import (
    kernel_layers,
    kernel_size,
    pruning_left,
    solved,
    uniform_shares,
    wrap_pruning,
)
from kgraft.compress.quantizing import QuantizedStudent, wrap_quantizing
from kgraft.compress.solved_pruning import fold_student
from kgraft.compress.training import Wrapped, train_wrapped
from kgraft.compress_config import CompressConfig
from kgraft.config import TrainConfig
from kgraft.errors import KgraftError, one_line
from kgraft.grafting import (
    Checkpoints,
    OnProgress,
    Phase,
    PhaseResult,
    Remaining,
    ViewBank,
    make_loss,
)
from kgraft.grafting.checkpoints import settings_key

Wrap = Callable[[Any, CompressConfig, tuple[str, ...]], Wrapped]
_WRAPS: dict[str, Wrap] = {
    "prune": wrap_pruning,
    "cluster": wrap_clustering,
    "quantize": wrap_quantizing,
}


@dataclasses.dataclass(frozen=True)
class TechniqueOutcome:
    """What a technique made of the kernels.

    Attributes:
        technique: `prune`, `cluster` or `quantize`.
        layers: how many layers' kernels it changed.
        sparsity: share of zeros in them afterwards, 0..1; behind `prune`, quantising tells it of
            those that were pruned.
        distinct: the most different values that one of those that were clustered has; None where
            none was.
        left: layers with kernels that it left alone.
    """

    technique: str
    layers: int
    sparsity: float
    distinct: int | None
    left: tuple[Remaining, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """A student after the third stage.

    Attributes:
        model: the Keras 3 student, pruned and clustered where that was asked for.
        quantized: the same trained on with int8 emulated; None where that was not asked for.
        results: what each technique's training did.
        outcomes: what each made of the kernels.
    """

    model: keras.Model
    quantized: QuantizedStudent | None = None
    results: tuple[PhaseResult, ...] = ()
    outcomes: tuple[TechniqueOutcome, ...] = ()


def compress_phases(config: CompressConfig, train: TrainConfig, blocks: int) -> tuple[Phase, ...]:
    """Lists what the third stage trains.

    Args:
        config: the techniques.
        train: batch, optimiser and decay, as in the other stages.
        blocks: how many blocks the teacher has.
    """
    return tuple(
        Phase(
            name=f"three/{technique}",
            start=0,
            stop=blocks,
            steps=config.compress_steps,
            block_rate=config.compress_rate,
            adapter_rate=config.compress_rate,
            batch=train.batch,
            optimizer=train.optimizer,
            decay=train.decay,
            stage=3,
        )
        for technique in config.techniques
    )


def checkpoint_names(config: CompressConfig) -> tuple[str, ...]:
    """Names the checkpoints of the third stage; other settings have other ones beside them."""
    return tuple(
        f"three/{technique}-{settings_key(config.settings(technique))[:8]}"
        for technique in config.techniques
    )


def check_compressible(model: keras.Model, config: CompressConfig) -> None:
    """Checks before training that a student can be compressed.

    Args:
        model: one of the student's form, whatever its weights.
        config: the techniques.

    Raises:
        KgraftError: a layer cannot cross to Keras 2, or int8 cannot be emulated in it, or not with
            what an earlier technique makes of kernels kept; the message names it.
        KgraftError: a technique would leave every kernel as it is, whatever the weights.
    """
    if not config.techniques:
        return
    plain = to_tf_keras(model)
    kernels = {layer.name: kernel_size(layer) for layer in kernel_layers(plain)}
    zeros: dict[str, int] = {}
    if "prune" in config.techniques:
        left = pruning_left(plain, config)
        pruned = kernels.keys() - {layer.name for layer in left}
        zeros = _least_zeros({name: kernels[name] for name in pruned}, config)
        _check_some(pruned, left, f"--compress=prune, --sparsity_pattern={config.sparsity_pattern}")
    if "cluster" in config.techniques:
        left = clustering_left(plain, config, zeros)
        clustered = kernels.keys() - {layer.name for layer in left}
        _check_some(clustered, left, f"--compress=cluster, --clusters={config.clusters}")
    if "quantize" in config.techniques:
        _check_some(set(kernels), (), "--compress=quantize")
        check_quantizable(plain, config.techniques[:-1])


def _least_zeros(sizes: Mapping[str, int], config: CompressConfig) -> dict[str, int]:
    """How many weights of each kernel are zero at least when clustering comes, of any weights."""
    if uniform_shares(config):
        return {name: round(config.sparsity * size) for name, size in sizes.items()}
    # Which ones go depends on the weights; none keeps more than all keep together, nor less than 1.
    total = sum(sizes.values())
    kept = max(1, total - round(config.sparsity * total))
    return {name: max(0, size - kept) for name, size in sizes.items()}


def _check_some(changed: Set[str], left: tuple[Remaining, ...], flags: str) -> None:
    if changed:
        return
    reasons = "; ".join(dict.fromkeys(layer.why for layer in left)) or "no layer has a kernel"
    raise KgraftError(
        f"{flags} would leave every kernel of the student as it is: {reasons}; give other "
        "settings, or leave it out of --compress"
    )


def compress(
    model: keras.Model,
    config: CompressConfig,
    train: TrainConfig,
    *,
    bank: ViewBank,
    heldout: ViewBank,
    blocks: int,
    seed: int,
    checkpoints: Checkpoints | None = None,
    on_progress: OnProgress | None = None,
) -> Compressed:
    """Compresses a fused student, trained by the teacher that the views are labelled by.

    Args:
        model: the fused student; it does not change.
        config: the techniques.
        train: losses, batch, optimiser and the rule which weights are kept.
        bank: the training views.
        heldout: views that are measured and never trained on.
        blocks: how many blocks the teacher has.
        seed: seed of the training order.
        checkpoints: where each technique's result is kept; None for nowhere.
        on_progress: called about once a second and at every measurement.

    Returns:
        The student, and the quantised one where that was asked for.

    Raises:
        KgraftError: a layer cannot be compressed, or none would be; or training diverged.
    """
    # The closed form fits kernels as the device has them.
    model = fold_student(model) if solved(config) else model
    student, plain = model, to_tf_keras(model) if config.techniques else None
    norms = _hold_norms(plain) if plain is not None else ()
    quantized, results, outcomes = None, [], []
    names = checkpoint_names(config)
    changed: dict[str, tuple[str, ...]] = {}
    for number, phase in enumerate(compress_phases(config, train, blocks)):
        technique, done = config.techniques[number], config.techniques[:number]
        wrapped = _WRAPS[technique](plain, config, done)
        _check_some({*wrapped.layers}, wrapped.left, f"--compress={technique}")
        results.append(
            _restored(wrapped, checkpoints, names[number])
            or _trained(
                wrapped,
                checkpoints,
                names[number],
                phase=phase,
                bank=bank,
                heldout=heldout,
                loss=make_loss(train.loss, temperature=train.temperature),
                features=Features.of(student, wrapped.model, train.feature_weight),
                seed=seed,
                select=train.select,
                on_progress=on_progress,
            )
        )
        plain = wrapped.strip()
        changed[technique] = wrapped.layers
        outcomes.append(_outcome(technique, wrapped, plain, changed))
        if technique == "quantize":
            quantized = QuantizedStudent(wrapped.model, to_keras(plain))
        else:
            model = to_keras(plain)
            for name in norms:
                model.get_layer(name).trainable = True
    return Compressed(model, quantized, tuple(results), tuple(outcomes))


def _hold_norms(plain: Any) -> tuple[str, ...]:
    """Lets a model's BatchNorms run as at inference, and returns the names of those it held.

    A handful of views are too few for statistics; those that folded into kernels do not move.
    """
    held = [
        layer
        for layer in plain.layers
        if type(layer).__name__ == "BatchNormalization" and layer.trainable
    ]
    for layer in held:
        layer.trainable = False
    return tuple(layer.name for layer in held)


def restore_quantized(
    model: keras.Model, config: CompressConfig, arrays: list[np.ndarray]
) -> QuantizedStudent:
    """Puts a quantised student together again.

    Args:
        model: the student that `compress` returned beside it.
        config: the techniques.
        arrays: what its checkpoint holds.

    Raises:
        KgraftError: the arrays are of another student.
    """
    wrapped = wrap_quantizing(to_tf_keras(model), config, config.techniques[:-1])
    _put_back(wrapped, arrays, "the quantised weights")
    return QuantizedStudent(wrapped.model, to_keras(wrapped.strip()))


def _restored(wrapped: Wrapped, checkpoints: Checkpoints | None, name: str) -> PhaseResult | None:
    result = checkpoints.finished(name) if checkpoints else None
    if checkpoints and result:
        _put_back(wrapped, checkpoints.arrays(name), f"the weights of the checkpoint {name}")
    return result


def _put_back(wrapped: Wrapped, arrays: list[np.ndarray], what: str) -> None:
    try:
        wrapped.restore(arrays)
    except ValueError as error:
        reason = one_line(error)
        raise KgraftError(
            f"{what} are of another student: {reason}; remove that technique's .json and .npz from "
            "the checkpoints and go on with --resume to train it anew"
        ) from None


def _trained(
    wrapped: Wrapped, checkpoints: Checkpoints | None, name: str, **training: Any
) -> PhaseResult:
    result = train_wrapped(wrapped, **training)
    if checkpoints:
        checkpoints.save_arrays(name, [variable.numpy() for variable in wrapped.state], result)
    return result


def _outcome(
    technique: str, wrapped: Wrapped, plain: Any, changed: Mapping[str, tuple[str, ...]]
) -> TechniqueOutcome:
    """What a technique made, from the layers that it and those before it changed."""
    # Quantising changes kernels too that neither zeros nor values were asked of.
    pruned = changed.get("prune", wrapped.layers) if technique == "quantize" else wrapped.layers
    kernels = [_kernel(plain.get_layer(name)) for name in pruned]
    values = [len(np.unique(_kernel(plain.get_layer(n)))) for n in changed.get("cluster", ())]
    zeros = sum(int(np.sum(kernel == 0)) for kernel in kernels)
    return TechniqueOutcome(
        technique=technique,
        layers=len(wrapped.layers),
        sparsity=zeros / max(1, sum(kernel.size for kernel in kernels)),
        distinct=max(values, default=None),
        left=wrapped.left,
    )


def _kernel(layer: Any) -> np.ndarray:
    names = ("pointwise_kernel", "kernel", "depthwise_kernel")
    return np.asarray(next(getattr(layer, name) for name in names if hasattr(layer, name)))
