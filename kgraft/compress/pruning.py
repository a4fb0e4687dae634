"""Pruning: the weights of each kernel that are missed least become zero and stay so."""

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from kgraft.compress.allocation import lamp_sparsities
from kgraft.compress.bridge import to_keras
from kgraft.compress.legacy import load_tf_keras, load_tfmot
from kgraft.compress.solved_pruning import solvable_layers, solve_pruned
from kgraft.compress.training import Wrapped
from kgraft.compress_config import CompressConfig
from kgraft.grafting import Remaining
from kgraft.grafting.bank import ViewBank
from kgraft.students.sparse import Sparsity

# Attribute of the kernel that is pruned.
_KERNELS = {
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv2DTranspose": "kernel",
    "Dense": "kernel",
    "SeparableConv2D": "pointwise_kernel",
}
_WHOLE = (*_KERNELS, "DepthwiseConv2D")
# Layers that a pattern can be had in, and why not in others.
_PATTERNS = {
    "unstructured": (tuple(_KERNELS), ""),
    "2:4": (("Conv2D", "Dense"), "2:4 sparsity is for convolutions and dense layers"),
    "block": (("Dense",), "block sparsity is for dense layers"),
}
# Four inputs of one output lie side by side in a file, which is what LiteRT's kernels take.
_BLOCK = (4, 1)
# The smallest kernels, up to this share of all kernels' weights together, save next to nothing; the
# first and the last layer's often are such, and miss each weight the most. A bound on each kernel
# alone would leave most of a deep network as it is.
_FEW = 0.01
_FEW_WEIGHTS = "its kernel is of the smallest, which together have less than 1 % of the weights"
_NEVER = "tensorflow-model-optimization does not prune it"
# The one step at which a mask may be made of magnitudes where the closed form makes the others.
_MASK_STEP = 1
# How often a mask is made anew while the sparsity rises.
_MASKS = 40


def wrap_pruning(plain: Any, config: CompressConfig, done: tuple[str, ...]) -> Wrapped:
    """Wraps a model for pruning.

    Args:
        plain: a Keras 2 model, used up.
        config: sparsity, how it is shared out, schedule, pattern and steps.
        done: techniques that went before; none does.

    Returns:
        The wrapped model; layers that the pattern is not for are named.
    """
    tfmot, library = load_tfmot(), load_tf_keras()
    left = pruning_left(plain, config)
    names = {layer.name for layer in left}
    shares = _shares(plain, config, names)
    settled = _settled(config)
    settings: dict[str, Any] = {}
    if config.sparsity_pattern == "2:4":
        settings["sparsity_m_by_n"] = (2, 4)
        settled = min(settled, 1)
    if config.sparsity_pattern == "block":
        settings["block_size"] = _BLOCK

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in _KERNELS or layer.name in names:
            return layer
        schedule = _schedule(config, shares[layer.name], tfmot.sparsity.keras)
        return tfmot.sparsity.keras.prune_low_magnitude(
            layer, pruning_schedule=schedule, **settings
        )

    model = library.models.clone_model(plain, clone_function=wrap)
    pruned = [layer for layer in model.layers if hasattr(layer, "pruning_obj")]

    def begin(bank: ViewBank, seed: int) -> None:
        for layer in pruned:
            layer.pruning_step.assign(0)
        if solved(config):
            _solve(plain, pruned, shares, config.sparsity_pattern, bank=bank, seed=seed)

    def after_update() -> None:
        for layer in pruned:
            layer.pruning_obj.weight_mask_op()

    return Wrapped(
        model,
        layers=tuple(layer.layer.name for layer in pruned),
        left=left,
        strip=lambda: tfmot.sparsity.keras.strip_pruning(model),
        begin=begin,
        after_update=after_update,
        settled=settled,
    )


def pruning_left(plain: Any, config: CompressConfig) -> tuple[Remaining, ...]:
    """Names the layers whose kernels pruning leaves as they are, and why.

    Args:
        plain: a Keras 2 model.
        config: the pattern.
    """
    kinds, why = _PATTERNS[config.sparsity_pattern]
    few = _smallest(plain)
    return tuple(
        Remaining(layer.name, _FEW_WEIGHTS if type(layer).__name__ in kinds else why or _NEVER)
        for layer in kernel_layers(plain)
        if type(layer).__name__ not in kinds or layer.name in few
    )


def kernel_layers(plain: Any) -> tuple[Any, ...]:
    """Returns the layers of a Keras 2 model that have a kernel."""
    return tuple(layer for layer in plain.layers if type(layer).__name__ in _WHOLE)


def _smallest(plain: Any) -> set[str]:
    """Names of the layers of the smallest kernels that could be pruned, up to `_FEW` together."""
    layers = kernel_layers(plain)
    room = _FEW * sum(map(kernel_size, layers))
    few: set[str] = set()
    for layer in sorted((la for la in layers if type(la).__name__ in _KERNELS), key=kernel_size):
        room -= kernel_size(layer)
        if room <= 0:
            break
        few.add(layer.name)
    return few


def kernel_size(layer: Any) -> int:
    """Returns how many weights the largest array of a layer has."""
    return max(int(np.prod(weight.shape)) for weight in layer.weights)


def uniform_shares(config: CompressConfig) -> bool:
    """Whether the same share of each kernel goes, whatever its weights."""
    return config.sparsity_allocation == "uniform" or config.sparsity_pattern != "unstructured"


def _shares(plain: Any, config: CompressConfig, left: Set[str]) -> dict[str, float]:
    """The share of each kernel that goes, by the layer's name."""
    layers = [
        layer
        for layer in kernel_layers(plain)
        if type(layer).__name__ in _KERNELS and layer.name not in left
    ]
    if not layers or uniform_shares(config):
        return {layer.name: config.sparsity for layer in layers}
    kernels = {
        layer.name: np.asarray(getattr(layer, _KERNELS[type(layer).__name__])) for layer in layers
    }
    return lamp_sparsities(kernels, config.sparsity)


def solved(config: CompressConfig) -> bool:
    """Whether kernels are pruned in closed form."""
    return "prune" in config.techniques and config.sparsity_schedule == "solved"


def _solve(
    plain: Any,
    pruned: list[Any],
    shares: Mapping[str, float],
    pattern: str,
    *,
    bank: ViewBank,
    seed: int,
) -> None:
    """Prunes the layers under the wrappers, those of `plain`, and sets the wrappers' masks."""
    student = to_keras(plain)
    solvable = solvable_layers(student)
    for layer in pruned:
        # What the closed form does not know loses its smallest weights, before others make it good.
        layer.pruning_step.assign(_MASK_STEP)
        if layer.layer.name not in solvable:
            layer.pruning_obj.conditional_mask_update()
            layer.pruning_obj.weight_mask_op()
    sparsities = {n: Sparsity(s, pattern) for n, s in shares.items() if n in solvable and s > 0}
    weights = solve_pruned(student, to_keras(plain), sparsities, bank, seed=seed)
    for layer in plain.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
    for layer in pruned:
        if layer.layer.name in solvable:
            for kernel, mask, _ in layer.pruning_vars:
                mask.assign(np.asarray(kernel) != 0)


def _settled(config: CompressConfig) -> int:
    """After how many updates the sparsity asked for is reached."""
    if solved(config):
        return 0
    return 1 if _at_once(config) else _rise(config)[1]


def _at_once(config: CompressConfig) -> bool:
    return config.sparsity_schedule == "constant" or config.compress_steps < 4


def _rise(config: CompressConfig) -> tuple[int, int]:
    """Updates between two masks, and after how many the sparsity asked for is reached."""
    every = max(1, config.compress_steps // _MASKS)
    # Updates count from 1; the last mask is made a whole number of times later.
    return every, 1 + max(1, config.compress_steps // 2 // every) * every


def _schedule(config: CompressConfig, sparsity: float, library: Any) -> Any:
    every, end = _rise(config)
    if solved(config):
        return library.ConstantSparsity(sparsity, begin_step=_MASK_STEP, end_step=_MASK_STEP)
    if _at_once(config):
        return library.ConstantSparsity(sparsity, begin_step=1, frequency=every)
    return library.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=sparsity,
        begin_step=1,
        end_step=end,
        frequency=every,
    )
