"""Compiled training and measuring: many steps per call, data gathered where it is used."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kgraft.errors import KgraftError
from kgraft.grafting.adam import FusedAdam
from kgraft.grafting.batches import Batches
from kgraft.grafting.muon import KernelMuon
from kgraft.grafting.rows import FileRows, gather_rows
from kgraft.grafting.schedule import Phase
from kgraft.grafting.span import Objective, Rows, adapter_variables, block_variables

# The paper's rates were chosen with this one; Keras's own is ten times as large, and the
# gradients of normalised logits are small.
ADAM_EPSILON = 1e-8
SGD_MOMENTUM = 0.9

_Step = Callable[[tf.Tensor, tf.Tensor, Rows], tf.Tensor]


def place_rows(data: Rows, strategy: tf.distribute.Strategy) -> Any:
    """Puts a copy of the data on every local device, so that no step copies any.

    Args:
        data: tensors in host memory; rows on disk stay there and are left out.
        strategy: the strategy that will read them.

    Returns:
        The tensors by name, per replica.
    """
    devices = strategy.extended.worker_devices

    def on_replica(context: Any) -> Rows:
        device = devices[context.replica_id_in_sync_group % len(devices)]
        with tf.device(device):
            return {
                name: tf.identity(source)
                for name, source in data.items()
                if not isinstance(source, FileRows)
            }

    return strategy.experimental_distribute_values_from_function(on_replica)


def make_optimizer(phase: Phase, rate: float) -> keras.optimizers.Optimizer:
    """Makes the optimiser of one group of variables.

    Args:
        phase: says which optimiser, and how its rate decays over how many steps.
        rate: the rate at the start.

    Returns:
        A Keras optimiser; make it in the strategy's scope.
    """
    schedule = rate if phase.decay == "constant" else _warm_cosine(phase, rate)
    if phase.optimizer == "adam":
        return FusedAdam(schedule, epsilon=ADAM_EPSILON)
    if phase.optimizer == "muon":
        return KernelMuon(schedule, epsilon=ADAM_EPSILON)
    return keras.optimizers.SGD(schedule, momentum=SGD_MOMENTUM, nesterov=True)


def rate_at(phase: Phase, rate: float, step: int) -> float:
    """Returns the learning rate that update `step` (from 0) uses, for logs.

    Args:
        phase: says how the rate decays.
        rate: the rate at the start.
        step: number of the update.
    """
    if phase.decay == "constant":
        return rate
    return float(_warm_cosine(phase, rate)(step))


def _warm_cosine(phase: Phase, rate: float) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rises over the first tenth of a phase, then falls to zero.

    Weights that are solved already are soon spoilt by Adam's first updates, which are as large as
    the rate whatever the gradients are.
    """
    warm = phase.steps // 10
    return keras.optimizers.schedules.CosineDecay(
        rate / (warm + 1),
        max(phase.steps - warm, 1),
        warmup_target=rate if warm else None,
        warmup_steps=warm,
    )


@dataclasses.dataclass(frozen=True)
class _Group:
    """Variables that one optimiser moves."""

    variables: list[Any]
    optimizer: keras.optimizers.Optimizer


def _check_scope(variables: list[Any], strategy: tf.distribute.Strategy) -> None:
    for variable in variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise KgraftError(
                f"the student must be made within strategy.scope(); {variable.path} was not"
            )


def _make_groups(objective: Objective, strategy: tf.distribute.Strategy) -> tuple[_Group, ...]:
    phase = objective.phase
    span = objective.student[phase.start : phase.stop]
    pairs = (
        (block_variables(span), phase.block_rate),
        (adapter_variables(span), phase.adapter_rate),
    )
    groups = []
    with strategy.scope():
        for variables, rate in pairs:
            if variables:
                _check_scope(variables, strategy)
                optimizer = make_optimizer(phase, rate)
                optimizer.build(variables)
                groups.append(_Group(variables, optimizer))
    return tuple(groups)


def _replica_share(values: tf.Tensor) -> tf.Tensor:
    """The part of a row that this replica works on."""
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return values
    share = values.shape[0] // replicas
    return tf.slice(values, [context.replica_id_in_sync_group * share], [share])


def _gather(data: Rows, rows: tf.Tensor) -> Rows:
    return {name: gather_rows(source, rows) for name, source in data.items()}


def _train_step(objective: Objective, groups: tuple[_Group, ...], *, xla: bool) -> _Step:
    """One update, in replica context. The weights hold the scaling by the global batch."""
    variables = [v for group in groups for v in group.variables]

    def loss_and_gradients(inputs: Rows, weights: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable.value)
            losses, _ = objective(inputs, training=True)
            loss = tf.reduce_sum(losses * weights)
        values = [v.value for v in variables]
        return loss, tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    # XLA gets the arithmetic alone: the optimiser's sum over replicas cannot be compiled with it.
    compute = (
        tf.function(loss_and_gradients, autograph=False, jit_compile=True)
        if xla
        else loss_and_gradients
    )

    def step(rows: tf.Tensor, weights: tf.Tensor, data: Rows) -> tf.Tensor:
        inputs = _gather(data, _replica_share(rows))
        loss, gradients = compute(inputs, _replica_share(weights))
        for group in groups:
            count = len(group.variables)
            group.optimizer.apply(gradients[:count], group.variables)
            gradients = gradients[count:]
        return tf.expand_dims(loss, 0)

    return step


def _measure_step(objective: Objective) -> _Step:
    """Loss and agreement on one batch, in replica context, both weighted sums."""

    def step(rows: tf.Tensor, weights: tf.Tensor, data: Rows) -> tf.Tensor:
        inputs = _gather(data, _replica_share(rows))
        losses, logits = objective(inputs, training=False)
        same = tf.equal(tf.argmax(logits, -1), tf.argmax(inputs["logits"], -1))
        weights = _replica_share(weights)
        return tf.stack([
            tf.reduce_sum(losses * weights),
            tf.reduce_sum(tf.cast(same, tf.float32) * weights),
        ])

    return step


@dataclasses.dataclass(frozen=True)
class _Loop:
    """Several steps in one call of a compiled function."""

    strategy: tf.distribute.Strategy
    step: _Step
    outputs: int
    data: Rows

    def compiled(self, width: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns a function of rows and weights `[steps, width]` to `[steps, outputs]`.

        The number of steps is left open, so that no count of steps is traced anew.
        """
        signature = [
            tf.TensorSpec([None, width], tf.int32),
            tf.TensorSpec([None, width], tf.float32),
        ]
        placed = place_rows(self.data, self.strategy)
        specs = tf.nest.map_structure(tf.type_spec_from_value, placed)
        function = tf.function(self._run, autograph=False)
        # A concrete function is not counted as a retracing, which a phase's own graph is not.
        run = function.get_concrete_function(*signature, specs)
        # An argument and not part of the graph: TensorFlow keeps each graph that sums over
        # replicas, and all that it holds, for as long as the process lives.
        return lambda rows, weights: run(rows, weights, placed)

    def _run(self, rows: tf.Tensor, weights: tf.Tensor, placed: Any) -> tf.Tensor:
        files = {n: source for n, source in self.data.items() if isinstance(source, FileRows)}
        steps = tf.shape(rows)[0]
        results = tf.TensorArray(tf.float32, size=steps, element_shape=[self.outputs])

        def body(i: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            values = self.strategy.run(self.step, args=(rows[i], weights[i], placed | files))
            total = self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
            return i + 1, results.write(i, total)

        # One step at a time: TensorFlow would run several at once where one does not need what
        # another makes, and its oneDNN kernel of a convolution with an addition behind it keeps
        # state in itself. Two runs of it at once crash, or read what nobody has written.
        _, results = tf.while_loop(
            lambda i, _: i < steps, body, [0, results], parallel_iterations=1
        )
        return results.stack()


class Trainer:
    """The compiled updates of one phase; keeps the optimisers' state."""

    def __init__(
        self,
        objective: Objective,
        data: Rows,
        *,
        strategy: tf.distribute.Strategy,
        xla: bool = False,
    ) -> None:
        """Makes optimisers and places the data; compiles at the first call.

        Args:
            objective: what is made smaller.
            data: `Reads.data` of the training bank.
            strategy: shares out each batch.
            xla: compile loss and gradients with XLA.

        Raises:
            KgraftError: a variable to train was made outside the strategy's scope.
        """
        self._groups = _make_groups(objective, strategy)
        self._loop = _Loop(strategy, _train_step(objective, self._groups, xla=xla), 1, data)
        self._run: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None

    @property
    def trains(self) -> bool:
        """Whether the span has anything to train."""
        return bool(self._groups)

    def __call__(self, batches: Batches) -> Any:
        """Does one update per row.

        Args:
            batches: `[steps, width]`, the same width at every call.

        Returns:
            The loss before each update, float32 `[steps]`.
        """
        if self._run is None:
            self._run = self._loop.compiled(batches.rows.shape[1])
        losses = self._run(tf.constant(batches.rows), tf.constant(batches.weights))
        return losses.numpy()[:, 0]


class Meter:
    """The compiled held-out measurement of one phase.

    Attributes:
        compile_seconds: time that tracing took.
    """

    def __init__(
        self,
        objective: Objective,
        data: Rows,
        *,
        strategy: tf.distribute.Strategy,
        batches: Batches,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Places the data and compiles.

        Args:
            objective: what is measured.
            data: `Reads.data` of the held-out bank.
            strategy: shares out each batch.
            batches: every held-out view once, weights summing to 1.
            before: called before each measurement.
        """
        loop = _Loop(strategy, _measure_step(objective), 2, data)
        began = time.monotonic()
        self._run = loop.compiled(batches.rows.shape[1])
        self.compile_seconds = time.monotonic() - began
        self._batches, self._before = batches, before

    def __call__(self) -> tuple[float, float]:
        """Returns the mean loss and the agreement with the teacher, 0..1."""
        if self._before is not None:
            self._before()
        rows = tf.constant(self._batches.rows)
        sums = self._run(rows, tf.constant(self._batches.weights)).numpy().sum(axis=0)
        return float(sums[0]), float(sums[1])
