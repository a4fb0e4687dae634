import weakref

import pytest
import tensorflow as tf

from kgraft.grafting.release import releasing_graphs
from kgraft.grafting.strategy import make_strategy


@tf.custom_gradient
def _doubled(x):
    return 2 * x, lambda upstream: 2 * upstream


def _summed(x):
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def _compile_and_run(function):
    """Compiles a function for one device, and returns a weak reference to its graph."""
    strategy = make_strategy("one_device")
    run = tf.function(lambda x: strategy.run(function, args=(x,)), autograph=False)
    concrete = run.get_concrete_function(tf.TensorSpec([3]))
    concrete(tf.ones(3))
    return weakref.ref(concrete.graph)


@pytest.mark.parametrize("function", [_doubled, _summed, tf.nn.silu])
def test_a_graph_that_nothing_uses_is_let_go(function):
    with releasing_graphs():
        graph = _compile_and_run(function)
    assert graph() is None


def test_what_was_registered_before_stays():
    run = tf.function(_doubled, autograph=False).get_concrete_function(tf.TensorSpec([]))
    with releasing_graphs(), tf.GradientTape() as tape:
        x = tf.constant(3.0)
        tape.watch(x)
        y = run(x)
    # The gradient of a compiled function is made when it is first asked for.
    assert tape.gradient(y, x).numpy() == 2


def test_gradients_taken_inside_are_right():
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(_summed(_doubled(x)))
        return tape.gradient(y, x)

    strategy = make_strategy("one_device")
    with releasing_graphs():
        run = tf.function(lambda x: strategy.run(gradient, args=(x,)), autograph=False)
        found = run(tf.ones(3)).numpy()
    assert found.tolist() == [2, 2, 2]
